// SPDX-License-Identifier: MIT
//
// Backup jobs over one or several disks, and the safety backup of a restore.
#include "fs/job/backup.h"

#include "base/fault.h"
#include "catalog/pack_index.h"
#include "fs/job/disk_backup.h"
#include "fs/job/disk_reader.h"
#include "fs/job/prune.h"
#include "fs/job/verify_job.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

// --- when it is asked for

struct request_check {
    struct catalog_conn *conn;
    const struct backup_request *request;
    int disks;
    struct snapshot_row parent;
    struct chain_row chain;
};

static int check_disk(const struct disk_row *disk, void *arg, struct error *err)
{
    struct request_check *check = arg;
    const struct backup_request *request = check->request;
    const char *why = NULL;

    if (request->disk_id && disk->id != request->disk_id)
        return 0;
    check->disks++;
    if (disk->source[0] == '\0')
        return error_set(err, -ENOENT, "disk %s/%s has no source yet", disk->context_name,
                         disk->name);
    if (request->mode != BACKUP_INCREMENTAL)
        return 0;
    int r = disk_backup_can_go_on(check->conn, disk, disk->source, 0, &check->parent, &check->chain,
                                  &why, err);
    if (r == 0)
        return error_set(err, -EINVAL, "no incremental of %s/%s: %s", disk->context_name,
                         disk->name, why);
    return r < 0 ? r : 0;
}

int backup_check_request(struct catalog_conn *conn, const struct backup_request *request,
                         struct error *err)
{
    AUTO_FREE struct request_check *check = calloc(1, sizeof(*check));
    struct context_row context;

    if (!check)
        return error_set(err, -ENOMEM, "out of memory");
    int r = context_get(conn, request->context_id, &context, err);
    if (r < 0)
        return r;
    check->conn = conn;
    check->request = request;
    r = disk_each(conn, request->context_id, check_disk, check, err);
    if (r == 0 && check->disks == 0)
        r = request->disk_id ? error_set(err, -ENOENT, "VM %s has no such disk", context.name)
                             : error_set(err, -ENOENT, "VM %s has no disks yet", context.name);
    return r;
}

// --- a job

struct disk_plan {
    struct disk_row disk;
    struct source *source; // NULL: it could not be opened, see err
    struct error err;
    struct disk_plan *prev, *next;
};

struct job_plan {
    struct engine *engine;
    struct job_run *run;
    const struct job_row *job;
    struct catalog_conn *conn; // while the disks are listed
    struct disk_plan *disks;
    int64_t prune_id, verify_id; // jobs that follow, recorded with the end of this one; 0 = none
};

static int plan_row(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct job_plan *plan = arg;

    if (row->state != JOB_PENDING)
        return 0;
    struct disk_plan *disk = calloc(1, sizeof(*disk));
    if (!disk)
        return error_set(err, -ENOMEM, "out of memory");
    DL_APPEND(plan->disks, disk);
    return disk_get(plan->conn, row->disk_id, &disk->disk, err);
}

static int list_disks(struct job_plan *plan, struct error *err)
{
    struct snapshot_filter filter = {.job_id = plan->job->id, .every_row = true};
    int r = catalog_read_begin(plan->engine->repository.catalog, &plan->conn, err);

    if (r < 0)
        return r;
    r = snapshot_each(plan->conn, &filter, plan_row, plan, err);
    catalog_read_end(plan->conn);
    plan->conn = NULL;
    if (r == 0 && !plan->disks)
        r = error_set(err, -ENOENT, "VM %s has no disks any more", plan->job->context_name);
    return r;
}

// All sources are opened before any is read: the total is known, and a disk that is not there is
// found out early.
static void open_sources(struct job_plan *plan)
{
    struct disk_plan *disk;
    uint64_t total = 0;

    DL_FOREACH(plan->disks, disk)
    {
        uint64_t bytes = 0;
        int r = disk->disk.source[0] ? source_open(disk->disk.source, &disk->source, &disk->err)
                                     : error_set(&disk->err, -ENOENT, "the disk has no source");
        if (r == 0)
            r = queue_note_use(plan->engine, plan->run, disk->disk.source, &disk->err);
        if (r == 0)
            r = disk_read_total(disk->source, disk->disk.chunk_size, plan->run, &bytes, &disk->err);
        if (r < 0)
            disk->source = source_close(disk->source);
        total += bytes;
    }
    atomic_store(&plan->run->total_bytes, total);
}

static void free_plan(struct job_plan *plan)
{
    struct disk_plan *disk, *tmp;

    DL_FOREACH_SAFE(plan->disks, disk, tmp)
    {
        source_close(disk->source);
        free(disk);
    }
    plan->disks = NULL;
}

static int start_disk(struct job_plan *plan, const struct disk_plan *disk, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(plan->engine->repository.catalog, &conn, err);

    if (r == 0)
        r = snapshot_start(conn, plan->job->id, disk->disk.id, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    return r;
}

// A failure is recorded with its disk at once; what cannot be recorded now is by job_end(), which
// ends open rows.
static void record_failure(struct job_plan *plan, const struct disk_plan *disk, int result,
                           const char *reason)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct error err = ERROR_INIT;
    int r = catalog_write_begin(plan->engine->repository.catalog, &conn, &err);

    if (r == 0)
        r = snapshot_fail(conn, plan->job->id, disk->disk.id, job_state_of_result(result), reason,
                          &err);
    // What a failed run has stored is kept for the next one to find; a cancelled run's is dropped.
    if (r == 0 && result != -ECANCELED)
        r = pack_make_durable(conn, plan->job->id, &err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), &err);
    if (r < 0)
        job_run_log(plan->run, "the failure is not recorded with its disk: %s",
                    error_message(&err));
}

static int run_disk(struct job_plan *plan, struct disk_plan *disk, bool ends_job, struct error *err)
{
    struct disk_backup backup = {.engine = plan->engine,
                                 .run = plan->run,
                                 .job = plan->job,
                                 .disk = &disk->disk,
                                 .source = disk->source,
                                 .source_text = disk->disk.source,
                                 .ends_job = ends_job};
    int r = start_disk(plan, disk, err);

    if (r == 0)
        r = job_run_check(plan->run, err);
    if (r == 0 && !disk->source)
        r = error_set(err, disk->err.code, "%s", error_message(&disk->err));
    if (r == 0) {
        r = disk_backup(&backup, err);
        plan->prune_id = backup.prune_id;
        plan->verify_id = backup.verify_id;
    }
    if (r < 0) {
        error_prefix(err, "%s/%s", disk->disk.context_name, disk->disk.name);
        job_run_log(plan->run, "%s", error_message(err));
        record_failure(plan, disk, r, error_message(err));
    }
    return r;
}

// Every disk is tried; the first failure is the job's. A cancelled or interrupted job stops at
// once.
static int run_disks(struct job_plan *plan, struct error *first)
{
    struct disk_plan *disk;
    int result = 0;

    DL_FOREACH(plan->disks, disk)
    {
        struct error err = ERROR_INIT;
        int r = run_disk(plan, disk, result == 0 && !disk->next, &err);
        if (r < 0 && result == 0) {
            result = r;
            *first = err;
        }
        if (r == -ECANCELED || r == -EINTR)
            return r;
    }
    return result;
}

static void drop_what_was_stored(struct engine *engine, struct job_run *run)
{
    struct error err = ERROR_INIT;

    if (store_drop_provisional(engine->repository.store, run->job_id, &err) < 0)
        job_run_log(run, "what the cancelled job has stored is left for gc: %s",
                    error_message(&err));
}

static void end_job(struct engine *engine, struct job_run *run, int result, const struct error *err)
{
    if (result == 0) {
        queue_tell_end(engine, run); // recorded with the last disk
        return;
    }
    if (result == -ECANCELED)
        drop_what_was_stored(engine, run);
    queue_end_job(engine, run, result, error_message(err));
}

void backup_job(struct engine *engine, struct job_run *run, const struct job_row *job)
{
    struct job_plan plan = {.engine = engine, .run = run, .job = job};
    struct error err = ERROR_INIT;
    int r = list_disks(&plan, &err);

    if (r == 0) {
        open_sources(&plan);
        r = run_disks(&plan, &err);
    }
    free_plan(&plan);
    end_job(engine, run, r, &err);
    if (r == 0 && plan.prune_id)
        prune_follow(engine, run, plan.prune_id);
    if (r == 0 && plan.verify_id)
        verify_follow(engine, plan.verify_id);
}

// --- the safety backup of a restore

static int record_safety(struct engine *engine, const struct job_row *restore, struct job_row *job,
                         struct disk_row *disk, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct job_new safety = {.kind = JOB_BACKUP,
                             .trigger = TRIGGER_PRE_RESTORE_SAFETY,
                             .mode = BACKUP_AUTO,
                             .context_id = restore->context_id,
                             .disk_id = restore->disk_id,
                             .tags = ""};
    int64_t job_id = 0;
    int r = catalog_write_begin(engine->repository.catalog, &conn, err);

    if (r == 0)
        r = job_insert(conn, &safety, &job_id, err);
    if (r == 0)
        r = job_start(conn, job_id, err);
    if (r == 0)
        r = snapshot_start(conn, job_id, restore->disk_id, err);
    if (r == 0)
        r = job_set_safety_job(conn, restore->id, job_id, err);
    if (r == 0)
        r = job_get(conn, job_id, job, err);
    if (r == 0)
        r = disk_get(conn, restore->disk_id, disk, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    return r;
}

static int read_snapshot(struct engine *engine, int64_t id, struct snapshot_row *ret_row,
                         struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(engine->repository.catalog, &conn, err);
    if (r < 0)
        return r;
    return snapshot_get(conn, id, ret_row, err);
}

static int run_safety(struct engine *engine, struct job_run *run, const struct job_row *job,
                      const struct job_row *restore, struct disk_row *disk, bool foreign,
                      struct snapshot_row *ret_snapshot, struct error *err)
{
    AUTO(source_close) struct source *source = NULL;
    const char *path = foreign ? restore->restore_target : disk->source;
    struct disk_backup backup = {.engine = engine,
                                 .run = run,
                                 .job = job,
                                 .disk = disk,
                                 .source_text = path,
                                 .foreign = foreign,
                                 .ends_job = true};
    uint64_t total = 0;
    int r = source_open(path, &source, err);

    if (r == 0)
        r = disk_read_total(source, disk->chunk_size, run, &total, err);
    if (r < 0)
        return r;
    atomic_store(&run->total_bytes, total);
    backup.source = source;
    r = disk_backup(&backup, err);
    if (r == 0)
        r = read_snapshot(engine, backup.snapshot_id, ret_snapshot, err);
    return r;
}

int backup_safety(struct engine *engine, struct job_run *restore_run, const struct job_row *restore,
                  const struct target *target, struct snapshot_row *ret_snapshot, struct error *err)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    AUTO_FREE struct disk_row *disk = calloc(1, sizeof(*disk));
    struct job_run *run = queue_new_inner(restore_run, err);
    int r = job && disk && run ? record_safety(engine, restore, job, disk, err)
                               : error_set(err, -ENOMEM, "out of memory");
    if (r < 0) {
        job_run_unref(run);
        return r;
    }

    bool foreign = !disk->source[0] || !target_is_source(target, disk->source);
    queue_begin_inner(engine, run, job->id);
    events_post(engine->events, ENGINE_JOB_STATE, job->id);
    r = run_safety(engine, run, job, restore, disk, foreign, ret_snapshot, err);
    end_job(engine, run, r, err);
    queue_end_inner(engine, run);
    if (r < 0)
        error_prefix(err, "safety backup (job %lld)", (long long)job->id);
    return r;
}
