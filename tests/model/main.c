// SPDX-License-Identifier: MIT
//
// The model test: random operations on a repository and on a plain model of it, which must stay
// alike. One test point (TAP) a round, and one for each way in which the model is spoilt on purpose
// to see that it is noticed.
//
//   BACKTREE_SEED=N             repeat a run (of the first round, the seed is the round's)
//   BACKTREE_LONG=1             100,000 operations instead of some thousands
//   BACKTREE_MODEL_OPERATIONS=N so many
//   BACKTREE_MODEL_TRACE=1      print every operation
//   BACKTREE_KEEP=1             keep the folder of a round that failed
//
// Each round has a repository of its own in memory (/dev/shm), and a process of its own, so that a
// crash or a hang is told like any difference.
#include "tests/model/world.h"

#include "base/log.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUND 2000 // operations
#define SHORT 4000
#define LONG 100000
#define SPOIL_AFTER 150

enum spoil { SPOIL_NOTHING, SPOIL_BYTE, SPOIL_DROP, SPOIL_FORGOTTEN, SPOIL_FIELD, SPOIL_HOLE };

static const char *const spoilt[] = {
    [SPOIL_NOTHING] = "nothing",
    [SPOIL_BYTE] = "a byte of expected content is flipped",
    [SPOIL_DROP] = "an expected snapshot is dropped",
    [SPOIL_FORGOTTEN] = "a forgotten snapshot is expected",
    [SPOIL_FIELD] = "an expected protection is turned round",
    [SPOIL_HOLE] = "an expected source is one byte longer",
};
#define SPOIL_COUNT (sizeof(spoilt) / sizeof(spoilt[0]))

static bool flag(const char *name)
{
    const char *value = getenv(name);

    return value && *value && strcmp(value, "0") != 0;
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);

    return value && *value ? strtoull(value, NULL, 0) : otherwise;
}

// --- a round, in the child

static struct model_snapshot *any_snapshot(struct world *world)
{
    for (;;) {
        struct model_snapshot *snapshot = world_pick_snapshot(world);
        if (snapshot)
            return snapshot;
        operation_next(world);
    }
}

// One small untruth in what is expected.
static void spoil(struct world *world, enum spoil how)
{
    struct model_snapshot *snapshot = any_snapshot(world);
    struct model_disk *disk = snapshot->disk;

    switch (how) {
    case SPOIL_NOTHING:
        return;
    case SPOIL_BYTE:
        snapshot->content->bytes[world_below(world, snapshot->capacity)] ^= 1;
        return;
    case SPOIL_DROP:
        model_forget(snapshot);
        return;
    case SPOIL_FORGOTTEN:
        world_expect(
            world, engine_forget_snapshot(world->engine, world_snapshot_id(world, snapshot), NULL),
            snapshot->protected ? -EPERM : 0, NULL, "forgetting");
        snapshot->protected = false;
        return;
    case SPOIL_FIELD:
        snapshot->protected = !snapshot->protected;
        return;
    case SPOIL_HOLE:
        disk->bytes = realloc(disk->bytes, disk->size + 1);
        disk->bytes[disk->size++] = 0;
        return;
    }
}

static void run(struct world *world, uint64_t count, enum spoil how)
{
    const struct repository_choices choices = {
        .chunk_size = MODEL_CHUNK, .compression_level = 1, .retention = "keep-last=3"};
    struct error err = ERROR_INIT;

    world_expect(world, mkdir(world->folder, 0700), 0, NULL, "making a folder");
    world_expect(world, repository_init(world->repo, &choices, &err), 0, &err,
                 "making a repository");
    world->model.keep_last = 3;
    world_open(world);
    while (world->shared->operation < count)
        operation_next(world);
    if (how != SPOIL_NOTHING)
        spoil(world, how);
    compare_all(world);
    if (how == SPOIL_NOTHING) {
        operation_rebuild(world);
        operation_check_full(world);
        compare_all(world);
    }
    world_close(world);
    model_deinit(&world->model);
}

static int child(struct shared *shared, const char *folder, uint64_t count, enum spoil how)
{
    struct world *world = calloc(1, sizeof(*world));

    if (!world)
        return 2;
    world->shared = shared;
    world->random = shared->seed;
    world->trace = flag("BACKTREE_MODEL_TRACE");
    snprintf(world->folder, sizeof(world->folder), "%s", folder);
    snprintf(world->repo, sizeof(world->repo), "%s/repo", folder);
    log_set_level(LOG_LEVEL_ERROR);
    prctl(PR_SET_PDEATHSIG, SIGKILL); // no round outlives its parent
    run(world, count, how);
    free(world);
    return 0;
}

// --- the parent

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void choose_folder(char folder[MODEL_PATH])
{
    static unsigned count;
    const char *parent = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");

    snprintf(folder, MODEL_PATH, "%.180s/backtree-model-%d-%u", parent ? parent : "/tmp",
             (int)getpid(), ++count);
}

// What became of a round; "" = all was alike.
static void judge(const struct shared *shared, int status, char text[256])
{
    text[0] = '\0';
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(text, 256, "operation %llu does not end", (unsigned long long)shared->operation);
    else if (WIFSIGNALED(status))
        snprintf(text, 256, "operation %llu ended by signal %d",
                 (unsigned long long)shared->operation, WTERMSIG(status));
    else if (shared->difference[0])
        snprintf(text, 256, "program and model differ at operation %llu",
                 (unsigned long long)shared->operation);
    else if (WEXITSTATUS(status) != 0)
        snprintf(text, 256, "operation %llu ended the process with %d",
                 (unsigned long long)shared->operation, WEXITSTATUS(status));
}

static void tell(const struct shared *shared, const char *what)
{
    uint64_t first = shared->operation > SHARED_LINES ? shared->operation - SHARED_LINES + 1 : 1;

    printf("# seed %llu: %s\n", (unsigned long long)shared->seed, what);
    for (uint64_t i = first; i <= shared->operation; i++)
        printf("#   %s\n", shared->lines[i % SHARED_LINES]);
    printf("# difference: %s\n", shared->difference[0] ? shared->difference : what);
}

// True when all was alike. The difference is in `shared`.
static bool run_round(struct shared *shared, uint64_t seed, uint64_t count, enum spoil how,
                      char what[256])
{
    char folder[MODEL_PATH];
    int status = 0;

    choose_folder(folder);
    shared->seed = seed;
    shared->operation = 0;
    shared->difference[0] = '\0';
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        exit(child(shared, folder, count, how));
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        snprintf(what, 256, "no process for a round");
        return false;
    }
    judge(shared, status, what);
    if (what[0] && how == SPOIL_NOTHING && flag("BACKTREE_KEEP"))
        printf("# kept: %s\n", folder);
    else
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return what[0] == '\0';
}

static void tell_totals(const struct shared *shared, time_t began)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < operation_count; i++) {
        printf("# %8llu %s\n", (unsigned long long)shared->done[i], operations[i].name);
        sum += shared->done[i];
    }
    printf("# %8llu operations in %lld s; jobs of backups: %llu completed, %llu failed, %llu "
           "cancelled\n",
           (unsigned long long)sum, (long long)(time(NULL) - began),
           (unsigned long long)shared->outcomes[0], (unsigned long long)shared->outcomes[1],
           (unsigned long long)shared->outcomes[2]);
    printf("# %llu snapshots made; compared: %llu trees, %llu snapshots by byte (%llu MB)\n",
           (unsigned long long)shared->snapshots_made, (unsigned long long)shared->trees,
           (unsigned long long)shared->snapshots_read,
           (unsigned long long)(shared->bytes_read / 1000000));
}

// The point of a round.
static bool test_round(struct shared *shared, uint64_t point, uint64_t seed, uint64_t count)
{
    char what[256];
    bool alike = run_round(shared, seed, count, SPOIL_NOTHING, what);

    if (!alike)
        tell(shared, what);
    printf("%s %llu - %llu operations, seed %llu\n", alike ? "ok" : "not ok",
           (unsigned long long)point, (unsigned long long)count, (unsigned long long)seed);
    return alike;
}

// The point of a model that is spoilt on purpose: a difference must be found, and not before.
static bool test_spoilt(struct shared *shared, uint64_t point, uint64_t seed, enum spoil how)
{
    char what[256];
    bool alike = run_round(shared, seed, SPOIL_AFTER, how, what);
    bool noticed = !alike && shared->difference[0] && shared->operation >= SPOIL_AFTER;

    if (!noticed && !alike)
        tell(shared, what);
    printf("# %s: %s\n", spoilt[how], noticed ? shared->difference : "not noticed");
    printf("%s %llu - noticed: %s\n", noticed ? "ok" : "not ok", (unsigned long long)point,
           spoilt[how]);
    return noticed;
}

int main(void)
{
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t seed = number("BACKTREE_SEED", (uint64_t)time(NULL) % 1000000 * 1000);
    uint64_t left = number("BACKTREE_MODEL_OPERATIONS", flag("BACKTREE_LONG") ? LONG : SHORT);
    uint64_t rounds = (left + ROUND - 1) / ROUND, point = 0;
    time_t began = time(NULL);
    bool good = true;

    if (shared == MAP_FAILED)
        return 2;
    printf("# BACKTREE_SEED=%llu, %llu operations\n", (unsigned long long)seed,
           (unsigned long long)left);
    printf("1..%llu\n", (unsigned long long)(rounds + SPOIL_COUNT - 1));
    for (uint64_t i = 0; i < rounds; i++, left -= ROUND)
        good = test_round(shared, ++point, seed + i, left < ROUND ? left : ROUND) && good;
    tell_totals(shared, began);
    for (unsigned how = SPOIL_NOTHING + 1; how < SPOIL_COUNT; how++)
        good = test_spoilt(shared, ++point, seed, (enum spoil)how) && good;
    return good ? 0 : 1;
}
