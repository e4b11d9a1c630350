// SPDX-License-Identifier: MIT
//
// Restores: over the disk's own source, to a new file, over something else that is there; with and
// without a safety backup; and failing half-way, when all must be as it was before.
#include "tests/model/world.h"

#include "base/fault.h"

#include <stdio.h>
#include <string.h>

struct aim {
    char path[MODEL_PATH];
    uint8_t *bytes; // what is there, NULL = a new file; borrowed from `owner` when there is one
    uint64_t size;
    struct model_disk *owner; // whose source it is, NULL = nobody's
};

static void say_restore(struct world *world, const struct model_snapshot *snapshot,
                        const struct aim *aim, bool safety)
{
    world_say(world, "%s/%s chain %u %s to %s%s%s; ", snapshot->disk->vm->name,
              snapshot->disk->name, snapshot->chain, snapshot->seen.name,
              aim->owner ? "the source of " : strrchr(aim->path, '/') + 1,
              aim->owner ? aim->owner->name : "", safety ? "" : ", safety=off");
}

// The safety backup: of the disk when the target is its source, else beside its chains.
static void settle_safety(struct world *world, const struct model_snapshot *snapshot,
                          const struct aim *aim, int64_t job_id)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    bool foreign = aim->owner != snapshot->disk;
    struct model_backup backup = {.mode = MODEL_AUTO,
                                  .origin = MODEL_SAFETY,
                                  .tags = "",
                                  .job = job_id,
                                  .foreign = foreign ? aim->path : NULL,
                                  .foreign_bytes = aim->bytes,
                                  .foreign_size = aim->size};

    if (job_id == 0)
        world_differ(world, "a restore has made no safety backup");
    world_get_job(world, job_id, job);
    if (job->state != JOB_COMPLETED)
        world_differ(world, "the safety backup is %s: %s", job_state_to_word(job->state),
                     job->reason);
    model_add_snapshot(model_make_snapshot(&world->model, snapshot->disk, &backup));
}

// The first bytes are the snapshot's, what is behind them stays.
static void settle_target(struct world *world, const struct model_snapshot *snapshot,
                          struct aim *aim, const struct job_row *job)
{
    const struct content *content = snapshot->content;
    uint64_t written = model_difference(content->bytes, aim->bytes, content->size);

    if (job->restore_written != written)
        world_differ(world, "a restore has written %llu bytes instead of %llu",
                     (unsigned long long)job->restore_written, (unsigned long long)written);
    if (job->restore_verified != written)
        world_differ(world, "a restore has verified %llu bytes instead of %llu",
                     (unsigned long long)job->restore_verified, (unsigned long long)written);
    if (!aim->bytes) {
        source_compare_file(world, aim->path, content->bytes, content->size);
        return;
    }
    memcpy(aim->bytes, content->bytes, content->size);
    source_compare_file(world, aim->path, aim->bytes, aim->size);
}

static void settle_failure(struct world *world, const struct aim *aim, const struct job_row *job)
{
    if (!strstr(job->reason, "injected fault"))
        world_differ(world, "a restore failed: %s", job->reason);
    if (aim->bytes)
        source_compare_file(world, aim->path, aim->bytes, aim->size);
    else if (access(aim->path, F_OK) == 0)
        world_differ(world, "a restore that failed has left %s", aim->path);
}

static void arm_failure(struct world *world)
{
    static const char *const points[] = {"restore-read", "restore-write", "restore-sync",
                                         "restore-verify", "restore-rename"};
    char fault[64];

    snprintf(fault, sizeof(fault), "%s:%u=EIO",
             points[world_below(world, sizeof(points) / sizeof(points[0]))],
             (unsigned)world_below(world, 3) + 1);
    world_say(world, "%s; ", fault);
    world_arm(fault);
}

static void restore(struct world *world, struct model_snapshot *snapshot, struct aim *aim)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    struct restore_request request = {.snapshot_id = world_snapshot_id(world, snapshot),
                                      .safety = world_percent(world, 60)};
    bool refused = aim->bytes && aim->size < snapshot->capacity;
    bool failing = world_percent(world, 15);
    struct error err = ERROR_INIT;
    int64_t job_id = 0;

    snprintf(request.target, sizeof(request.target), "%s", aim->path);
    say_restore(world, snapshot, aim, request.safety);
    if (failing)
        arm_failure(world);
    int r = engine_request_restore(world->engine, &request, &job_id, &err);
    if (r == 0)
        world_wait(world, job_id);
    fault_disarm();
    world_expect(world, r, refused ? -ENOSPC : 0, &err, "asking for a restore");
    world->touched = snapshot->disk->vm;
    if (refused) {
        world_say(world, "refused");
        source_compare_file(world, aim->path, aim->bytes, aim->size);
        return;
    }
    world_get_job(world, job_id, job);
    world_say(world, "job %lld %s", (long long)job_id, job_state_to_word(job->state));
    if (aim->bytes && request.safety)
        settle_safety(world, snapshot, aim, job->restore_safety_job);
    if (job->state == JOB_COMPLETED)
        settle_target(world, snapshot, aim, job);
    else if (failing)
        settle_failure(world, aim, job);
    else
        world_differ(world, "a restore is %s: %s", job_state_to_word(job->state), job->reason);
}

static void aim_at_source(struct aim *aim, struct model_disk *disk)
{
    *aim = (struct aim){.bytes = disk->bytes, .size = disk->size, .owner = disk};
    snprintf(aim->path, sizeof(aim->path), "%s", disk->source);
}

bool operation_restore_in_place(struct world *world)
{
    struct model_snapshot *snapshot = world_pick_snapshot(world);
    struct aim aim;

    if (!snapshot)
        return false;
    aim_at_source(&aim, snapshot->disk);
    restore(world, snapshot, &aim);
    return true;
}

bool operation_restore_new_file(struct world *world)
{
    struct model_snapshot *snapshot = world_pick_snapshot(world);
    struct aim aim = {0};

    if (!snapshot)
        return false;
    world_new_path(world, aim.path);
    restore(world, snapshot, &aim);
    unlink(aim.path);
    return true;
}

// Another disk's source, or a file that is nobody's.
bool operation_restore_other(struct world *world)
{
    struct model_snapshot *snapshot = world_pick_snapshot(world);
    struct model_disk *disk = world_pick_disk(world);
    struct aim aim = {0};

    if (!snapshot)
        return false;
    if (disk && disk != snapshot->disk && world_percent(world, 40)) {
        aim_at_source(&aim, disk);
        restore(world, snapshot, &aim);
        return true;
    }
    world_new_path(world, aim.path);
    aim.bytes = source_random(world, &aim.size);
    source_write_file(world, aim.path, aim.bytes, aim.size);
    restore(world, snapshot, &aim);
    unlink(aim.path);
    free(aim.bytes);
    return true;
}
