// SPDX-License-Identifier: MIT
//
// Replays a log of file operations (record.c) as the crashes it may have ended in, and looks at
// what each leaves.
//
//   replay compare LOG DIR           the whole log gives the real tree DIR, byte for byte, or 1
//   replay list LOG                  the operations, for people
//   replay run LOG EXPECT WORK KEY=VALUE…
//       states of every point of the log: each policy of disk_state.h, those by seed `seeds` times;
//       with `sample` about so many of all, chosen by `seed`. Each different one is written below
//       WORK, opened and checked, every `thorough`th thoroughly, by `workers` processes at once.
//       `ignore` takes syncs for not having happened (trace_load()). `slowest` is how many
//       milliseconds a start may take. Told, separated by tabs: "policy" name, states, recovered;
//       "totals"; "fault" and where, for the first ones.
//   replay one LOG EXPECT DIR POINT POLICY SEED     that state in DIR, checked thoroughly
//
// Exit status 0, 1 when something is wrong, 4 when the log cannot be followed.
#include "tests/crash/disk_state.h"
#include "tests/crash/expect.h"
#include "tests/crash/recovered.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 16
#define SET_SIZE (1u << 22)
#define STATE_SECONDS 60
#define CANNOT_WORK 4       // exit status
#define SHUFFLE 2654435761u // a prime above any number of states: each comes once
#define FAULTS_TOLD 12

struct under_way { // what a worker looks at, for whoever finds it dead
    bool busy;
    uint32_t point;
    enum crash_policy policy;
    uint64_t seed;
};

struct counts {
    atomic_uint states, recovered;
};

struct shared {
    _Atomic uint64_t next;
    atomic_uint faults, same, no_repository, rebuilt, thorough, slow;
    atomic_uint slowest_us;
    struct counts by_policy[CRASH_POLICIES];
    struct under_way under_way[WORKERS_MAX];
    _Atomic uint64_t set[SET_SIZE]; // hashes of states that were looked at
};

struct run {
    struct trace *trace;
    struct expect_script *script;
    const char *work;
    unsigned workers, seeds, thorough;
    uint64_t sample, seed;
    double slowest;
    const char *ignore;
    struct shared *shared;
};

static struct run run = {.workers = 1, .seeds = 1, .thorough = 16, .slowest = 2000};

static uint64_t scatter(uint64_t a, uint64_t b)
{
    uint64_t x = (a + 0x9e3779b97f4a7c15u) ^ b * 0xd6e8feb86659fd93u;

    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

static bool is_new_state(uint64_t hash)
{
    hash |= hash == 0;
    for (uint64_t at = hash % SET_SIZE;; at = (at + 1) % SET_SIZE) {
        uint64_t there = 0;

        if (atomic_compare_exchange_strong(&run.shared->set[at], &there, hash))
            return true;
        if (there == hash)
            return false;
    }
}

static void tell_fault(uint32_t point, enum crash_policy policy, uint64_t seed,
                       const struct recovered *result)
{
    char after[700] = "nothing";

    if (atomic_fetch_add(&run.shared->faults, 1) >= FAULTS_TOLD)
        return;
    if (point > 0)
        trace_describe(run.trace, point - 1, after, sizeof(after));
    dprintf(1, "fault\tpoint %u, policy %d (%s), seed %llu, after: %s\t%s\n", point, policy,
            crash_policy_words[policy], (unsigned long long)seed, after, result->sentence);
}

static void count(enum crash_policy policy, const struct recovered *result)
{
    struct shared *shared = run.shared;
    unsigned us = (unsigned)(result->start_ms * 1e3), slowest = atomic_load(&shared->slowest_us);

    while (us > slowest && !atomic_compare_exchange_weak(&shared->slowest_us, &slowest, us))
        ;
    shared->by_policy[policy].states++;
    shared->by_policy[policy].recovered += result->sentence[0] == '\0';
    shared->no_repository += result->no_repository;
    shared->rebuilt += result->rebuilt;
}

// Another process may have had the machine: a start that is slow is so twice.
static void check_state(struct disk_state *state, const struct expect *expect, const char *dir,
                        bool thorough, struct recovered *ret_result)
{
    for (int i = 0; i < 2; i++) {
        if (disk_state_write(state, dir) < 0) {
            dprintf(1, "cannot write a state to %s: %s\n", dir, strerror(errno));
            _exit(CANNOT_WORK);
        }
        alarm(STATE_SECONDS);
        recovered_check(dir, expect, thorough, ret_result);
        alarm(0);
        if (ret_result->start_ms <= run.slowest)
            return;
        run.shared->slow++;
    }
    if (!ret_result->sentence[0])
        snprintf(ret_result->sentence, sizeof(ret_result->sentence), "start-up took %.0f ms",
                 ret_result->start_ms);
}

static void look(struct disk_state *state, const char *dir, const struct under_way *what)
{
    static struct expect expect;
    static struct recovered result;
    uint64_t hash;
    bool thorough;

    expect_at(run.script, run.trace, what->point, &expect);
    disk_state_build(state, what->point, what->policy, what->seed);
    hash = scatter(disk_state_hash(state), expect.epoch);
    if (!is_new_state(hash)) {
        run.shared->same++;
        return;
    }
    thorough = (hash >> 20) % run.thorough == 0;
    check_state(state, &expect, dir, thorough, &result);
    run.shared->thorough += thorough;
    count(what->policy, &result);
    if (result.sentence[0])
        tell_fault(what->point, what->policy, what->seed, &result);
}

static uint64_t states_a_point(void)
{
    return CRASH_ORDERED + 2 * (uint64_t)run.seeds;
}

static uint64_t states_in_all(void)
{
    return states_a_point() * (run.trace->op_count + 1);
}

static struct under_way state_of_number(uint64_t number, uint64_t seed)
{
    uint64_t kind = number % states_a_point();

    return (struct under_way){
        .busy = true,
        .point = (uint32_t)(number / states_a_point()),
        .policy = kind < CRASH_ORDERED
                      ? (enum crash_policy)kind
                      : CRASH_ORDERED + (enum crash_policy)((kind - CRASH_ORDERED) % 2),
        .seed = seed >> 16,
    };
}

// Looks at one state after the other in this process; ends when there is none left. In no order, so
// that a run which is ended early has looked everywhere.
static void work(unsigned worker)
{
    struct disk_state *state = disk_state_new(run.trace);
    uint64_t total = states_in_all(), number;
    char dir[PATH_MAX];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(dir, sizeof(dir), "%s/%u", run.work, worker);
    if ((mkdir(dir, 0700) < 0 && errno != EEXIST) || !freopen("/dev/null", "w", stderr))
        _exit(CANNOT_WORK);
    while ((number = atomic_fetch_add(&run.shared->next, 1)) < total) {
        uint64_t chosen = number * SHUFFLE % total, seed = scatter(run.seed, chosen);

        if (run.sample && seed % total >= run.sample)
            continue;
        run.shared->under_way[worker] = state_of_number(chosen, seed);
        look(state, dir, &run.shared->under_way[worker]);
        run.shared->under_way[worker].busy = false;
    }
    _exit(0);
}

static int tell_totals(void)
{
    struct shared *shared = run.shared;
    unsigned states = 0;

    for (int i = 0; i < CRASH_POLICIES; i++) {
        printf("policy\t%s\t%u\t%u\n", crash_policy_words[i], shared->by_policy[i].states,
               shared->by_policy[i].recovered);
        states += shared->by_policy[i].states;
    }
    printf("totals\toperations %u all %llu states %u same %u faults %u no-repository %u rebuilt %u "
           "thorough %u slow %u slowest-us %u\n",
           run.trace->op_count, (unsigned long long)states_in_all(), states, shared->same,
           shared->faults, shared->no_repository, shared->rebuilt, shared->thorough, shared->slow,
           shared->slowest_us);
    return shared->faults > 0;
}

static pid_t start_worker(unsigned worker)
{
    pid_t child = fork();

    if (child == 0)
        work(worker);
    if (child < 0)
        exit(CANNOT_WORK);
    return child;
}

// A state that ends the process which looks at it is a fault like another.
static void tell_death(const struct under_way *what, int status)
{
    struct recovered result = {0};
    bool hangs = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;

    snprintf(result.sentence, sizeof(result.sentence), "the program %s (status %d)",
             hangs ? "hangs" : "crashed", status);
    count(what->policy, &result);
    tell_fault(what->point, what->policy, what->seed, &result);
}

// Told to end, the workers find nothing left to do, and what they have seen is told.
static void end_early(int signal)
{
    (void)signal;
    atomic_store(&run.shared->next, UINT64_MAX / 2);
}

static int run_all(void)
{
    pid_t children[WORKERS_MAX], child;
    int status, result = 0;

    fflush(stdout);
    for (unsigned i = 0; i < run.workers; i++)
        children[i] = start_worker(i);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = end_early, .sa_flags = SA_RESTART}, NULL);
    while ((child = wait(&status)) > 0) {
        for (unsigned i = 0; i < run.workers; i++) {
            struct under_way *what = &run.shared->under_way[i];

            if (children[i] != child || status == 0)
                continue;
            if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_WORK)
                result = CANNOT_WORK;
            else if (what->busy) {
                tell_death(what, status);
                what->busy = false;
                children[i] = start_worker(i);
            }
        }
    }
    return result ? result : tell_totals();
}

static bool take_setting(const char *setting)
{
    const char *value = strchr(setting, '=');
    size_t len = value ? (size_t)(value - setting) : 0;
    unsigned long long number = value ? strtoull(value + 1, NULL, 10) : 0;

    if (len == 0)
        return false;
    if (strncmp(setting, "workers", len) == 0 && number >= 1 && number <= WORKERS_MAX)
        run.workers = (unsigned)number;
    else if (strncmp(setting, "seeds", len) == 0)
        run.seeds = (unsigned)number;
    else if (strncmp(setting, "sample", len) == 0)
        run.sample = number;
    else if (strncmp(setting, "seed", len) == 0)
        run.seed = number;
    else if (strncmp(setting, "thorough", len) == 0 && number >= 1)
        run.thorough = (unsigned)number;
    else if (strncmp(setting, "slowest", len) == 0)
        run.slowest = (double)number;
    else if (strncmp(setting, "ignore", len) == 0)
        run.ignore = value + 1;
    else
        return false;
    return true;
}

static int look_at_one(char **argv)
{
    static struct expect expect;
    static struct recovered result;
    uint32_t point = (uint32_t)strtoul(argv[5], NULL, 10);
    enum crash_policy policy = (enum crash_policy)strtoul(argv[6], NULL, 10);
    struct disk_state *state = disk_state_new(run.trace);

    if (point > run.trace->op_count || policy >= CRASH_POLICIES)
        return 2;
    expect_at(run.script, run.trace, point, &expect);
    disk_state_build(state, point, policy, strtoull(argv[7], NULL, 10));
    check_state(state, &expect, argv[4], true, &result);
    printf("%s\n", result.sentence[0] ? result.sentence : "right");
    return result.sentence[0] != '\0';
}

static int list_all(void)
{
    char text[700];

    for (uint32_t i = 0; i < run.trace->op_count; i++) {
        trace_describe(run.trace, i, text, sizeof(text));
        puts(text);
    }
    return 0;
}

static int compare(const char *dir)
{
    struct disk_state *state = disk_state_new(run.trace);

    disk_state_build(state, run.trace->op_count, CRASH_DIES, 0);
    return disk_state_compare(state, dir) > 0;
}

int main(int argc, char **argv)
{
    const char *word = argc > 2 ? argv[1] : "";

    run.shared =
        mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run.shared == MAP_FAILED)
        return CANNOT_WORK;
    for (int i = 5; i < argc && strcmp(word, "run") == 0; i++) {
        if (!take_setting(argv[i]))
            return 2;
    }
    if (word[0])
        run.trace = trace_load(argv[2], run.ignore);
    if (strcmp(word, "list") == 0)
        return list_all();
    if (strcmp(word, "compare") == 0 && argc == 4)
        return compare(argv[3]);
    if (argc < 5)
        return 2;
    run.script = expect_load(argv[3]);
    run.work = argv[4];
    if (strcmp(word, "run") == 0)
        return run_all();
    return strcmp(word, "one") == 0 && argc == 8 ? look_at_one(argv) : 2;
}
