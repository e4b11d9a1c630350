// SPDX-License-Identifier: MIT
//
// Gives a target every file of its corpus, so that what was found once is an ordinary test with
// any compiler. One TAP point: a property that does not hold ends the process.
//
//   fuzz_replay_TARGET NAME FOLDER
#include "tests/fuzz/fuzz.h"

#include "base/io.h"

#include <dirent.h>

#define INPUT_MAX (16u * 1024 * 1024)

static int replay_file(const char *folder, const char *name)
{
    struct error err = ERROR_INIT;
    char path[4096];
    char *data;
    size_t len;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (io_read_file(path, INPUT_MAX, &data, &len, &err) < 0) {
        printf("Bail out! %s\n", error_message(&err));
        return -1;
    }
    // A copy of exactly that size, so that a sanitizer sees a read past the end.
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned inputs = 0;
    DIR *dir = argc == 3 ? opendir(argv[2]) : NULL;

    printf("1..1\n");
    fflush(stdout);
    if (!dir) {
        printf("Bail out! no corpus\n");
        return 1;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        if (replay_file(argv[2], entry->d_name) < 0)
            return 1;
        inputs++;
    }
    closedir(dir);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    printf("%sok 1 - %s: %u inputs\n", inputs ? "" : "not ", argv[1], inputs);
    return 0;
}
