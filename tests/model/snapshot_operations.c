// SPDX-License-Identifier: MIT
//
// Operations on snapshots that are there: forgetting, protecting, pruning, reading.
#include "tests/model/world.h"

#include <stdio.h>
#include <string.h>

static void say_snapshot(struct world *world, const struct model_snapshot *snapshot)
{
    world_say(world, "%s/%s chain %u %s", snapshot->disk->vm->name, snapshot->disk->name,
              snapshot->chain, snapshot->seen.name);
    world->touched = snapshot->disk->vm;
}

// Refused while it is protected, or somebody reads it.
bool operation_forget(struct world *world)
{
    struct model_snapshot *snapshot = world_pick_snapshot(world);
    struct error err = ERROR_INIT;
    bool held = world_percent(world, 10);

    if (!snapshot)
        return false;
    int64_t id = world_snapshot_id(world, snapshot);
    say_snapshot(world, snapshot);
    if (held)
        world_expect(world, engine_hold_snapshot(world->engine, id, &err), 0, &err, "holding");
    int wanted = held ? -EBUSY : snapshot->protected ? -EPERM : 0;
    world_expect(world, engine_forget_snapshot(world->engine, id, &err), wanted, &err,
                 "forgetting");
    if (held)
        engine_release_snapshot(world->engine, id);
    world_say(world, "%s", held ? ", held" : wanted ? ", protected" : "");
    if (wanted == 0)
        model_forget(snapshot);
    return true;
}

bool operation_protect(struct world *world)
{
    struct model_snapshot *snapshot = world_pick_snapshot(world);
    struct error err = ERROR_INIT;

    if (!snapshot)
        return false;
    bool on = snapshot->protected ? world_percent(world, 10) : world_percent(world, 80);
    say_snapshot(world, snapshot);
    world_say(world, ": %s", on ? "on" : "off");
    world_expect(world,
                 engine_set_protected(world->engine, world_snapshot_id(world, snapshot), on, &err),
                 0, &err, "protecting");
    snapshot->protected = on;
    return true;
}

struct pruning {
    struct model_vm *vm;
    struct model_disk *disk; // NULL: every one
    unsigned keep;           // by the words of the request, MODEL_KEEP_ALL = the VM's policy
    struct model_snapshot *held;
};

static void compare_counts(struct world *world, int64_t job_id, const struct model_pruned *pruned)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));

    world_get_job(world, job_id, job);
    if (job->state != JOB_COMPLETED)
        world_differ(world, "a prune is %s: %s", job_state_to_word(job->state), job->reason);
    if ((uint64_t)job->prune_kept != pruned->kept ||
        (uint64_t)job->prune_forgotten != pruned->forgotten ||
        (uint64_t)job->prune_skipped != pruned->skipped)
        world_differ(world,
                     "a prune has kept %lld, forgotten %lld, passed over %lld instead of %llu, "
                     "%llu, %llu",
                     (long long)job->prune_kept, (long long)job->prune_forgotten,
                     (long long)job->prune_skipped, (unsigned long long)pruned->kept,
                     (unsigned long long)pruned->forgotten, (unsigned long long)pruned->skipped);
}

static int64_t run_prune(struct world *world, const struct pruning *pruning)
{
    struct prune_request request = {.context_id = world_vm_id(world, pruning->vm),
                                    .disk_id =
                                        pruning->disk ? world_disk_id(world, pruning->disk) : 0,
                                    .trigger = TRIGGER_MANUAL};
    int64_t held = pruning->held ? world_snapshot_id(world, pruning->held) : 0, job = 0;
    struct error err = ERROR_INIT;

    if (pruning->keep != MODEL_KEEP_ALL)
        snprintf(request.policy, sizeof(request.policy), "keep-last=%u", pruning->keep);
    if (held)
        world_expect(world, engine_hold_snapshot(world->engine, held, &err), 0, &err, "holding");
    world_expect(world, engine_request_prune(world->engine, &request, &job, NULL, &err), 0, &err,
                 "asking for a prune");
    world_wait(world, job);
    if (held)
        engine_release_snapshot(world->engine, held);
    return job;
}

bool operation_prune(struct world *world)
{
    struct pruning pruning = {.vm = world_pick_vm(world)};
    struct model_pruned pruned = {0};

    if (!pruning.vm)
        return false;
    if (pruning.vm->disk_count > 0 && world_percent(world, 40))
        pruning.disk = pruning.vm->disks[world_below(world, pruning.vm->disk_count)];
    if (world_percent(world, 70))
        pruning.keep = (unsigned)world_below(world, 6) + 1;
    if (world_percent(world, 20))
        pruning.held = world_pick_snapshot_of(world, pruning.vm);
    unsigned keep = pruning.keep ? pruning.keep : model_policy(&world->model, pruning.vm);
    int64_t job = run_prune(world, &pruning);
    for (size_t i = 0; i < pruning.vm->disk_count; i++)
        if (!pruning.disk || pruning.disk == pruning.vm->disks[i])
            model_prune(pruning.vm->disks[i], keep, pruning.held, &pruned);
    world_say(world, "%s%s%s keep-last=%u: %llu kept, %llu forgotten, %llu passed over",
              pruning.vm->name, pruning.disk ? "/" : "", pruning.disk ? pruning.disk->name : "",
              keep, (unsigned long long)pruned.kept, (unsigned long long)pruned.forgotten,
              (unsigned long long)pruned.skipped);
    compare_counts(world, job, &pruned);
    world->touched = pruning.vm;
    return true;
}

bool operation_read(struct world *world)
{
    struct model_snapshot *snapshot = world_pick_snapshot(world);

    if (!snapshot)
        return false;
    say_snapshot(world, snapshot);
    compare_content(world, snapshot);
    return true;
}
