// SPDX-License-Identifier: MIT
//
// The table of what can happen, how often, and what is compared afterwards.
#include "tests/model/world.h"

#include <stdio.h>
#include <unistd.h>

#define HANG_SECONDS 300
#define TREE_EVERY 20 // operations
#define ALL_EVERY 250

// What changes nothing that is listed or read is one more line here and one function beside
// operation_check(): the comparison that follows every operation does the rest.
const struct operation operations[] = {
    {"add a VM", 12, operation_add_vm},
    {"add a disk", 10, operation_add_disk},
    {"set a source", 12, operation_set_source},
    {"remove a disk", 8, operation_remove_disk},
    {"remove a VM", 4, operation_remove_vm},
    {"change a source", 190, operation_change_source},
    {"resize a source", 20, operation_resize_source},
    {"set a policy", 15, operation_set_policy},
    {"backup", 230, operation_backup},
    {"backup, cancelled", 40, operation_backup_cancelled},
    {"backup, owner closes", 12, operation_backup_interrupted},
    {"backup, failing", 35, operation_backup_failing},
    {"three requests at once", 15, operation_requests_at_once},
    {"restore in place", 50, operation_restore_in_place},
    {"restore to a new file", 30, operation_restore_new_file},
    {"restore over another file", 25, operation_restore_other},
    {"forget", 60, operation_forget},
    {"protect", 40, operation_protect},
    {"prune", 50, operation_prune},
    {"read", 60, operation_read},
    {"close and reopen", 12, operation_reopen},
    {"delete the cache", 6, operation_drop_cache},
    {"rebuild", 6, operation_rebuild},
    {"check", 10, operation_check},
    {"check, full", 5, operation_check_full},
    {"gc", 25, operation_gc},
    {"verify", 12, operation_verify},
    {"bad request", 40, operation_bad_request},
};

const size_t operation_count = sizeof(operations) / sizeof(operations[0]);

static size_t pick(struct world *world)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < operation_count; i++)
        sum += operations[i].weight;
    uint64_t at = world_below(world, sum);
    for (size_t i = 0; i < operation_count; i++) {
        if (at < operations[i].weight)
            return i;
        at -= operations[i].weight;
    }
    return 0;
}

static void compare_now(struct world *world)
{
    uint64_t number = world->shared->operation;

    if (world->touched)
        compare_vm(world, world->touched);
    else
        compare_tree(world);
    if (number % TREE_EVERY == 0) {
        struct model_snapshot *snapshot = world_pick_snapshot(world);
        compare_tree(world);
        if (snapshot)
            compare_content(world, snapshot);
    }
    if (number % ALL_EVERY == 0)
        compare_all(world);
}

void operation_next(struct world *world)
{
    struct shared *shared = world->shared;
    char *line;

    shared->operation++;
    // Each operation has numbers of its own: one that went another way, because a cancel came a
    // moment later, does not shift all that follow.
    world->random = shared->seed * UINT64_C(1000003) + shared->operation;
    line = shared->lines[shared->operation % SHARED_LINES];
    alarm(HANG_SECONDS);
    for (;;) {
        size_t which = pick(world);
        *line = '\0';
        world->touched = NULL;
        world_say(world, "%llu %s: ", (unsigned long long)shared->operation,
                  operations[which].name);
        if (!operations[which].run(world))
            continue;
        shared->done[which]++;
        break;
    }
    if (world->trace)
        dprintf(STDOUT_FILENO, "# %s\n", line);
    compare_now(world);
    alarm(0);
}
