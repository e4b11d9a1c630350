// SPDX-License-Identifier: MIT
//
// Loop devices for tests that need a real block device. loop_attach() is false where the machine
// has none to give (no root, a container); the test is skipped then. A teardown calls
// loop_detach_all(), so that a failed assertion leaves no device behind.
#ifndef TESTS_UNIT_LOOP_DEVICE_H
#define TESTS_UNIT_LOOP_DEVICE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOP_DEVICE_SIZE 64
#define LOOP_DEVICES_MAX 16

static char loop_devices[LOOP_DEVICES_MAX][LOOP_DEVICE_SIZE]; // "" = free

// Runs `losetup OPTIONS PATH`; its first line of output is put into `ret_line`, when that is
// wanted. True when it ended with 0.
static inline bool loop_setup(const char *options, const char *path,
                              char ret_line[LOOP_DEVICE_SIZE])
{
    char command[9000];
    char line[LOOP_DEVICE_SIZE] = "";
    snprintf(command, sizeof(command), "losetup %s '%s' 2>/dev/null", options, path);
    FILE *out = popen(command, "re");
    if (!out)
        return false;
    if (fgets(line, sizeof(line), out))
        line[strcspn(line, "\n")] = '\0';
    bool good = pclose(out) == 0;
    if (good && ret_line)
        strcpy(ret_line, line);
    return good;
}

// `options` are losetup's own: "-f --show", "-r -f --show".
static inline bool loop_attach(const char *options, const char *file,
                               char ret_device[LOOP_DEVICE_SIZE])
{
    if (geteuid() != 0)
        return false;
    for (int i = 0; i < LOOP_DEVICES_MAX; i++) {
        if (loop_devices[i][0])
            continue;
        if (!loop_setup(options, file, loop_devices[i]))
            return false;
        strcpy(ret_device, loop_devices[i]);
        return ret_device[0] == '/';
    }
    return false;
}

// Makes the device take its file's new size.
static inline bool loop_refresh(const char *device)
{
    return loop_setup("-c", device, NULL);
}

static inline bool loop_detach(const char *device)
{
    for (int i = 0; i < LOOP_DEVICES_MAX; i++) {
        if (strcmp(loop_devices[i], device) == 0)
            loop_devices[i][0] = '\0';
    }
    return loop_setup("-d", device, NULL);
}

static inline bool loop_detach_all(void)
{
    bool good = true;
    for (int i = 0; i < LOOP_DEVICES_MAX; i++) {
        if (loop_devices[i][0])
            good = loop_setup("-d", loop_devices[i], NULL) && good;
        loop_devices[i][0] = '\0';
    }
    return good;
}

#endif
