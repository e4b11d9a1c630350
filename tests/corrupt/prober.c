// SPDX-License-Identifier: MIT
//
// Damages a repository and says what reading it gives.
//
//   prober read REPO PATH=RAW…            a line a snapshot: PATH CLASS SENTENCE
//   prober flip REPO FILE STEP[:FROM:TO] PATH=RAW…
//       every STEPth byte of REPO/FILE (of that range) is changed in four ways, one at a time, and
//       put back; counts of what came of it. Most of a database of a few rows is empty: inside a
//       stretch of zeros two ways do (all bits, one bit), and a STEP over 1 looks at every 64th
//       byte only.
//
// Each probe of a damaged repository is a process of its own, so that a crash or a hang is counted
// instead of ending the run.
#include "tests/corrupt/probe.h"

#include "base/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DISKS_MAX 8
#define HANG_SECONDS 60
#define CRASHED 7

struct shared { // between a probe and who asked for it
    int disk;
    char sentence[ERROR_MESSAGE_MAX];
};

static struct probe_disk disks[DISKS_MAX];
static size_t disk_count;
static struct shared *shared;

static void take_disk(char *argument)
{
    struct probe_disk *disk = &disks[disk_count++];
    char *raw = strchr(argument, '=');
    char *bytes;

    if (!raw || disk_count > DISKS_MAX || io_read_file(raw + 1, 1 << 24, &bytes, &disk->len, NULL))
        exit(2);
    *raw = '\0';
    disk->path = argument;
    disk->bytes = (uint8_t *)bytes;
}

static int probe_in_child(const char *repo, const char *cache)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        alarm(HANG_SECONDS);
        int worst = (int)probe_repository(repo, cache, disks, disk_count);
        for (size_t i = 0; i < disk_count; i++) {
            if ((int)disks[i].seen != worst)
                continue;
            shared->disk = (int)i;
            memcpy(shared->sentence, disks[i].sentence, sizeof(shared->sentence));
        }
        _exit(worst);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        exit(2);
    return WIFEXITED(status) && WEXITSTATUS(status) <= PROBE_WRONG ? WEXITSTATUS(status) : CRASHED;
}

// What a reader of SQLite's leaves beside the database must not meet the next damage.
static void remove_wal(const char *repo)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/catalog.db-wal", repo);
    unlink(path);
    snprintf(path, sizeof(path), "%s/catalog.db-shm", repo);
    unlink(path);
}

static uint8_t damaged(uint8_t byte, off_t at, int way)
{
    switch (way) {
    case 0:
        return byte ^ 0xff;
    case 1:
        return byte ^ (uint8_t)(1 << at % 8);
    case 2:
        return byte ^ 3; // 1 and 2, 'a' and 'b': what numbers and names of small things differ in
    default:
        return byte + 1;
    }
}

static void flip(const char *repo, const char *file, const char *range)
{
    long long step = 1, from = 0, to = INT64_MAX;
    unsigned counts[CRASHED + 1] = {0};
    char path[4096], cache[4096];
    uint8_t byte, bad, before = 1;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", repo, file);
    snprintf(cache, sizeof(cache), "%s.untouched", repo);
    if (sscanf(range, "%lld:%lld:%lld", &step, &from, &to) < 1 || step < 1)
        exit(2);
    fd = open(path, O_RDWR);
    for (off_t at = from; at < to && pread(fd, &byte, 1, at) == 1; at += step) {
        bool empty = byte == 0 && before == 0;

        before = byte;
        if (empty && step > 1 && at % 64 >= step)
            continue;
        for (int way = 0; way < (empty ? 2 : 4); way++) {
            bad = damaged(byte, at, way);
            if (pwrite(fd, &bad, 1, at) != 1)
                exit(2);
            int class = probe_in_child(repo, strncmp(file, "cache/", 6) == 0 ? cache : NULL);
            if (pwrite(fd, &byte, 1, at) != 1)
                exit(2);
            remove_wal(repo);
            counts[class]++;
            if (class > PROBE_REFUSED)
                printf("# %s at %lld, way %d: %s %s: %s\n",
                       class == CRASHED ? "crashed" : probe_class_word(class), (long long)at, way,
                       file, disks[shared->disk].path, class == CRASHED ? "" : shared->sentence);
        }
    }
    close(fd);
    printf("%s right %u refused %u missing %u renamed %u wrong %u crashed %u\n", file, counts[1],
           counts[2], counts[3], counts[4], counts[5], counts[CRASHED]);
}

int main(int argc, char **argv)
{
    bool flips = argc > 4 && strcmp(argv[1], "flip") == 0;
    bool reads = argc > 3 && strcmp(argv[1], "read") == 0;

    if (!flips && !reads)
        return 2;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = flips ? 5 : 3; i < argc; i++)
        take_disk(argv[i]);
    if (flips) {
        // Undamaged it is right. And what the libraries set up once is there when a probe begins.
        if (probe_repository(argv[2], NULL, disks, disk_count) != PROBE_RIGHT)
            return 2;
        remove_wal(argv[2]);
        flip(argv[2], argv[3], argv[4]);
        return 0;
    }
    int worst = probe_in_child(argv[2], NULL);
    probe_repository(argv[2], NULL, disks, worst == CRASHED ? 0 : disk_count);
    for (size_t i = 0; i < disk_count; i++)
        printf("%s %s %s\n", disks[i].path,
               worst == CRASHED ? "crashed" : probe_class_word(disks[i].seen), disks[i].sentence);
    return 0;
}
