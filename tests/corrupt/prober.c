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
// The probes of a damaged repository are in processes of their own, so that a crash or a hang is
// counted instead of ending the run: the byte is put back, and a new process goes on behind it. A
// process that met more than right bytes or a refusal ends there too.
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
#define PROBES_MAX 100 // of one process: descriptors or memory that leak must not add up

struct shared { // between a process that probes and who started it
    off_t at;
    int way;
    uint8_t byte, before; // at `at` when undamaged; at the place looked at before
    bool done;
    unsigned counts[CRASHED + 1];
};

struct flip {
    const char *repo, *file, *cache;
    int fd;
    long long step, from, to;
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

// The worst class that a probe of it as it is meets.
static int probe_in_child(const char *repo)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        alarm(HANG_SECONDS);
        _exit((int)probe_repository(repo, NULL, disks, disk_count));
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

static void put_byte(const struct flip *flip, uint8_t byte)
{
    if (pwrite(flip->fd, &byte, 1, shared->at) != 1)
        exit(2);
}

static void tell(const struct flip *flip, int class)
{
    const struct probe_disk *disk = disks;

    for (size_t i = 0; i < disk_count; i++) {
        if ((int)disks[i].seen == class)
            disk = &disks[i];
    }
    printf("# %s at %lld, way %d: %s %s: %s\n",
           class == CRASHED ? "crashed" : probe_class_word((enum probe_class) class),
           (long long)shared->at, shared->way, flip->file, disk->path,
           class == CRASHED ? "" : disk->sentence);
    fflush(stdout);
}

static int probe_damaged(const struct flip *flip)
{
    put_byte(flip, damaged(shared->byte, shared->at, shared->way));
    alarm(HANG_SECONDS);
    int class = (int)probe_repository(flip->repo, flip->cache, disks, disk_count);
    put_byte(flip, shared->byte);
    remove_wal(flip->repo);
    shared->counts[class]++;
    if (class > PROBE_REFUSED)
        tell(flip, class);
    return class;
}

// Goes on where `shared` says, for PROBES_MAX probes or until one is bad.
static void probe_on(const struct flip *flip)
{
    int left = PROBES_MAX;

    for (; shared->at < flip->to && pread(flip->fd, &shared->byte, 1, shared->at) == 1;
         shared->at += flip->step, shared->way = 0, shared->before = shared->byte) {
        bool empty = shared->byte == 0 && shared->before == 0;
        int ways = !empty ? 4 : flip->step > 1 && shared->at % 64 >= flip->step ? 0 : 2;

        for (; shared->way < ways; shared->way++) {
            if (left-- == 0)
                return;
            if (probe_damaged(flip) > PROBE_REFUSED)
                left = 0;
        }
    }
    shared->done = true;
}

static void flip_all(const struct flip *flip)
{
    *shared = (struct shared){.at = flip->from, .before = 1};
    while (!shared->done) {
        int status;
        pid_t child = fork();

        if (child == 0) {
            probe_on(flip);
            _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
            exit(2);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        put_byte(flip, shared->byte);
        remove_wal(flip->repo);
        shared->counts[CRASHED]++;
        tell(flip, CRASHED);
        shared->way++;
    }
}

static void flip(const char *repo, const char *file, const char *range)
{
    char path[4096], cache[4096];
    struct flip flip = {.repo = repo, .file = file, .step = 1, .to = INT64_MAX};

    snprintf(path, sizeof(path), "%s/%s", repo, file);
    snprintf(cache, sizeof(cache), "%s.untouched", repo);
    flip.cache = strncmp(file, "cache/", 6) == 0 ? cache : NULL;
    flip.fd = open(path, O_RDWR);
    if (flip.fd < 0 || sscanf(range, "%lld:%lld:%lld", &flip.step, &flip.from, &flip.to) < 1 ||
        flip.step < 1)
        exit(2);
    flip_all(&flip);
    close(flip.fd);
    printf("%s right %u refused %u missing %u renamed %u wrong %u crashed %u\n", file,
           shared->counts[1], shared->counts[2], shared->counts[3], shared->counts[4],
           shared->counts[5], shared->counts[CRASHED]);
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
    int worst = probe_in_child(argv[2]);
    probe_repository(argv[2], NULL, disks, worst == CRASHED ? 0 : disk_count);
    for (size_t i = 0; i < disk_count; i++)
        printf("%s %s %s\n", disks[i].path,
               worst == CRASHED ? "crashed" : probe_class_word(disks[i].seen), disks[i].sentence);
    return 0;
}
