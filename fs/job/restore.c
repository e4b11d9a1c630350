// SPDX-License-Identifier: MIT
//
// A restore job from its checks to its recorded end. struct restore is the state between the steps;
// whatever step fails, roll_back() sees what had been touched.
#include "fs/job/restore.h"

#include "base/fault.h"
#include "base/io.h"
#include "catalog/snapshot.h"
#include "fs/job/backup.h"
#include "fs/job/restore_copy.h"
#include "fs/store/snapshot_record.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct restore {
    struct engine *engine;
    struct job_run *run;
    const struct job_row *job;
    struct snapshot_row snapshot;
    struct snapshot_row safety; // id 0: none
    bool held, safety_held;
    struct target *target;
    struct restore_copy copy;
};

// --- steps

static int open_snapshot(struct restore *restore, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int64_t id = restore->job->restore_snapshot_id;

    if (id == 0)
        return error_set(err, -ENOENT, "the snapshot has been forgotten");
    int r = engine_hold_snapshot(restore->engine, id, err);
    if (r < 0)
        return r;
    restore->held = true;
    r = catalog_read_begin(restore->engine->repository.catalog, &conn, err);
    if (r < 0)
        return r;
    r = snapshot_get(conn, id, &restore->snapshot, err);
    if (r == 0)
        r = snapshot_record_check(restore->engine->repository.store, conn, &restore->snapshot, err);
    return r;
}

static int open_target(struct restore *restore, struct error *err)
{
    const char *path = restore->job->restore_target;
    int r = target_open(path, restore->snapshot.capacity, &restore->target, err);

    if (r == 0)
        r = queue_refuse_used(restore->engine, restore->run, path, err);
    if (r == 0)
        r = queue_note_use(restore->engine, restore->run, path, err);
    if (r < 0)
        return r;
    job_run_log(restore->run, "%s: %s, %llu bytes", path,
                target_is_new(restore->target) ? "a new file" : "there already",
                (unsigned long long)target_capacity(restore->target));
    return 0;
}

// The file has no name, so it is gone with the process.
static int open_undo_file(struct restore *restore, struct error *err)
{
    const char *dir = store_cache_dir(restore->engine->repository.store);

    restore->copy.undo_fd = io_openat(AT_FDCWD, dir, O_TMPFILE | O_RDWR, 0600);
    if (restore->copy.undo_fd >= 0)
        return 0;
    AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s/undo-XXXXXX", dir) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    restore->copy.undo_fd = mkostemp(path, O_CLOEXEC);
    if (restore->copy.undo_fd < 0)
        return error_set_errno(err, -errno, "cannot make an undo file in %s", dir);
    unlink(path);
    return 0;
}

// What a failure is undone from: the safety snapshot, or without one a file that gets each chunk
// before it is overwritten.
static int prepare_undo(struct restore *restore, struct error *err)
{
    struct restore_copy *copy = &restore->copy;
    int r;

    if (target_is_new(restore->target))
        return 0;
    if (!restore->job->restore_safety)
        return open_undo_file(restore, err);
    r = backup_safety(restore->engine, restore->run, restore->job, restore->target,
                      &restore->safety, err);
    if (r == 0)
        r = engine_hold_snapshot(restore->engine, restore->safety.id, err);
    if (r < 0)
        return r;
    restore->safety_held = true;
    return image_open(restore->engine->repository.store, &restore->safety.digest,
                      restore->safety.capacity, restore->safety.chunk_size, &copy->before, err);
}

static int prepare_copy(struct restore *restore, struct error *err)
{
    struct restore_copy *copy = &restore->copy;

    copy->store = restore->engine->repository.store;
    copy->pool = restore->run->pool;
    copy->run = restore->run;
    copy->target = restore->target;
    copy->root = restore->snapshot.digest;
    copy->capacity = restore->snapshot.capacity;
    copy->chunk_size = restore->snapshot.chunk_size;
    return restore_copy_init(copy, err);
}

static int copy_and_prove(struct restore *restore, struct error *err)
{
    struct restore_copy *copy = &restore->copy;
    int r = restore_copy_write(copy, err);

    if (r == 0)
        r = fault_hit(FAULT_RESTORE_SYNC, err);
    if (r == 0)
        r = target_flush(restore->target, err);
    if (r == 0)
        r = restore_copy_verify(copy, err);
    if (r == 0)
        r = job_run_check(restore->run, err); // the last moment to cancel
    if (r == 0)
        r = fault_hit(FAULT_RESTORE_RENAME, err);
    if (r == 0)
        r = target_publish(restore->target, err);
    return r;
}

// Appends how the roll-back went to the sentence that says why there was one. Returns `result`, or
// what the roll-back failed with: a job that leaves its target half written has failed, whatever
// ended it.
static int roll_back(struct restore *restore, int result, struct error *err)
{
    struct error failure = ERROR_INIT;
    size_t used = strlen(err->message), room = sizeof(err->message) - used;

    if (!restore->target || target_is_new(restore->target) || !restore->copy.touched ||
        atomic_load(&restore->copy.compared) == 0)
        return result;
    int r = restore_copy_roll_back(&restore->copy, &failure);
    if (r == 0)
        snprintf(err->message + used, room, "; the target was put back as it was");
    else if (restore->safety.id)
        snprintf(err->message + used, room,
                 "; PUTTING THE TARGET BACK FAILED TOO: %.300s; the snapshot made by job %lld "
                 "holds what was there",
                 failure.message, (long long)restore->safety.job_id);
    else
        snprintf(err->message + used, room,
                 "; PUTTING THE TARGET BACK FAILED TOO: %.300s; it is partly written",
                 failure.message);
    return r < 0 ? r : result;
}

static int run_steps(struct restore *restore, struct error *err)
{
    int r = open_snapshot(restore, err);

    if (r == 0)
        r = open_target(restore, err);
    if (r == 0)
        r = prepare_undo(restore, err);
    if (r == 0)
        r = prepare_copy(restore, err);
    if (r < 0)
        return r; // nothing is written yet
    r = copy_and_prove(restore, err);
    return r < 0 ? roll_back(restore, r, err) : 0;
}

static void record_result(struct restore *restore)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct restore_copy *copy = &restore->copy;
    struct error err = ERROR_INIT;
    int r = catalog_write_begin(restore->engine->repository.catalog, &conn, &err);

    if (r == 0)
        r = job_set_restore_result(conn, restore->job->id, atomic_load(&copy->compared),
                                   atomic_load(&copy->written), atomic_load(&copy->verified), &err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), &err);
    if (r < 0)
        job_run_log(restore->run, "the counts of bytes are not recorded: %s", error_message(&err));
}

static void release(struct restore *restore)
{
    restore->copy.before = image_close(restore->copy.before);
    if (restore->copy.undo_fd >= 0)
        close(restore->copy.undo_fd);
    restore_copy_deinit(&restore->copy);
    restore->target = target_close(restore->target);
    if (restore->safety_held)
        engine_release_snapshot(restore->engine, restore->safety.id);
    if (restore->held)
        engine_release_snapshot(restore->engine, restore->job->restore_snapshot_id);
}

void restore_job(struct engine *engine, struct job_run *run, const struct job_row *job)
{
    struct restore *restore = calloc(1, sizeof(*restore));
    struct error err = ERROR_INIT;
    int r = -ENOMEM;

    if (restore) {
        *restore = (struct restore){.engine = engine, .run = run, .job = job};
        restore->copy.undo_fd = -1;
        r = run_steps(restore, &err);
        job_run_log(run, "compared %llu bytes, wrote %llu, read back and verified %llu",
                    (unsigned long long)atomic_load(&restore->copy.compared),
                    (unsigned long long)atomic_load(&restore->copy.written),
                    (unsigned long long)atomic_load(&restore->copy.verified));
        record_result(restore);
        release(restore);
    } else {
        error_set(&err, r, "out of memory");
    }
    if (r < 0) {
        error_prefix(&err, "%.1000s", job->restore_target);
        job_run_log(run, "%s", error_message(&err));
    }
    queue_end_job(engine, run, r, r < 0 ? error_message(&err) : "");
    free(restore);
}
