// SPDX-License-Identifier: MIT
//
// Prune jobs. struct prune is the state of one; what it holds is released whatever happens.
#include "fs/job/prune.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "catalog/snapshot.h"
#include "fs/job/notes.h"
#include "fs/job/prune_plan.h"

#include <stdio.h>
#include <string.h>

#define TRIES_MAX 8
#define KEPT_LOGGED 100
#define IN_USE "in use, passed over this time"

struct prune {
    struct engine *engine;
    struct job_run *run;
    const struct job_row *job;
    struct prune_plan plan;
    bool *held;        // by item of the plan
    int64_t *restored; // ids of the snapshots that restores of the VM wait for
    size_t restore_count;
    int64_t kept, forgotten, skipped;
};

// --- deciding: what is to go is held, so that it stays as it was judged

static int note_restore(const struct job_row *row, void *arg, struct error *err)
{
    struct prune *prune = arg;

    if (row->restore_snapshot_id == 0)
        return 0;
    int64_t *grown =
        reallocarray(prune->restored, prune->restore_count + 1, sizeof(*prune->restored));
    if (!grown)
        return error_set(err, -ENOMEM, "out of memory");
    prune->restored = grown;
    prune->restored[prune->restore_count++] = row->restore_snapshot_id;
    return 0;
}

static int make_plan(struct prune *prune, struct catalog_conn *conn, struct error *err)
{
    const struct job_row *job = prune->job;
    struct job_filter restores = {
        .context_id = job->context_id, .kind = JOB_RESTORE, .active = true};
    int r = prune_plan_make(conn, job->context_id, job->disk_id, job->prune_policy, clock_now(),
                            &prune->plan, err);

    if (r == 0)
        r = job_each(conn, &restores, note_restore, prune, err);
    if (r < 0)
        return r;
    prune->held = calloc(prune->plan.count + 1, sizeof(*prune->held));
    return prune->held ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static bool is_awaited(const struct prune *prune, int64_t id)
{
    for (size_t n = 0; n < prune->restore_count; n++)
        if (prune->restored[n] == id)
            return true;
    return false;
}

// 1 when the snapshot is now held for us alone, 0 when somebody else uses it.
static int take(struct prune *prune, size_t i, struct error *err)
{
    int64_t id = prune->plan.items[i].snapshot.id;

    if (is_awaited(prune, id))
        return 0;
    int r = snapshot_hold_to_forget(&prune->engine->holds, id, true, NULL);
    if (r == -EBUSY)
        return 0;
    if (r < 0)
        return error_set(err, r, "out of memory");
    prune->held[i] = true;
    return 1;
}

static int decide(struct prune *prune, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(prune->engine->repository.catalog, &conn, err);

    if (r == 0)
        r = make_plan(prune, conn, err);
    for (size_t i = 0; r >= 0 && i < prune->plan.count; i++) {
        const struct prune_item *item = &prune->plan.items[i];
        r = item->verdict.keep ? 0 : take(prune, i, err);
        prune->forgotten += prune->held[i];
        prune->kept += item->verdict.keep;
        prune->skipped += !item->verdict.keep && !prune->held[i];
    }
    return r < 0 ? r : 0;
}

static int write_notes(struct prune *prune, struct note_pack *ret_pack, struct error *err)
{
    AUTO_FREE const char **uuids = calloc(prune->plan.count + 1, sizeof(*uuids));
    size_t count = 0;

    if (!uuids)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < prune->plan.count; i++)
        if (prune->held[i])
            uuids[count++] = prune->plan.items[i].uuid;
    return count ? notes_write(prune->engine, uuids, count, NOTE_FORGOTTEN, ret_pack, err) : 0;
}

// --- doing it: one transaction

// -EAGAIN when a restore was asked for since, of a snapshot that is to go.
static int forget(struct prune *prune, struct catalog_conn *conn, struct error *err)
{
    struct job_filter restores = {
        .context_id = prune->job->context_id, .kind = JOB_RESTORE, .active = true};
    int r = job_each(conn, &restores, note_restore, prune, err);

    for (size_t i = 0; r == 0 && i < prune->plan.count; i++) {
        const struct prune_item *item = &prune->plan.items[i];
        if (!prune->held[i])
            continue;
        if (is_awaited(prune, item->snapshot.id))
            return error_set(err, -EAGAIN, "a restore of %s was asked for meanwhile", item->path);
        r = snapshot_forget(conn, item->snapshot.id, err);
    }
    return r;
}

static void log_forgotten(struct prune *prune, const struct prune_item *item)
{
    if (snapshot_is_open(&prune->engine->holds, item->snapshot.id))
        job_run_log(prune->run, "forgotten %s; files of it are open, and read on until they close",
                    item->path);
    else
        job_run_log(prune->run, "forgotten %s", item->path);
}

// Each that is forgotten, but not each that is kept: a policy that keeps thousands would write as
// many lines every day, for ever.
static void log_verdicts(struct prune *prune)
{
    size_t kept = 0;

    job_run_log(prune->run, "policy: %s", prune->plan.policy);
    for (size_t i = 0; i < prune->plan.count; i++) {
        const struct prune_item *item = &prune->plan.items[i];
        if (prune->held[i])
            log_forgotten(prune, item);
        else if (!item->verdict.keep)
            job_run_log(prune->run, "kept %s: %s", item->path, IN_USE);
        else if (++kept <= KEPT_LOGGED)
            job_run_log(prune->run, "kept %s: %s", item->path, item->verdict.why);
    }
    if (kept > KEPT_LOGGED)
        job_run_log(prune->run, "kept %zu more, which are not listed", kept - KEPT_LOGGED);
}

static int record_result(struct prune *prune, struct catalog_conn *conn,
                         const struct job_run_line *lines, struct error *err)
{
    int r = job_run_write_log(prune->run, lines, conn, err);

    if (r == 0)
        r = job_set_prune_result(conn, prune->job->id, prune->plan.policy, prune->kept,
                                 prune->forgotten, prune->skipped, err);
    if (r == 0)
        r = job_end(conn, prune->job->id, JOB_COMPLETED, "", 0, 0, err);
    return r == 0 ? fault_hit(FAULT_JOB_COMMIT, err) : r;
}

static int commit(struct prune *prune, const struct note_pack *pack, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(prune->engine->repository.catalog, &conn, err);

    if (r == 0)
        r = forget(prune, conn, err);
    if (r == 0)
        r = note_pack_insert(conn, pack, err);
    if (r < 0) {
        note_pack_discard(prune->engine->repository.store, pack);
        return r;
    }
    log_verdicts(prune);
    struct job_run_line *lines = job_run_take_log(prune->run);
    r = record_result(prune, conn, lines, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    // Not put back when it failed: they would tell of what was undone.
    job_run_settle_log(prune->run, lines, true);
    return r;
}

static void release(struct prune *prune)
{
    for (size_t i = 0; prune->held && i < prune->plan.count; i++)
        if (prune->held[i])
            snapshot_release(&prune->engine->holds, prune->plan.items[i].snapshot.id,
                             HOLD_FORGETTING);
    free(prune->held);
    free(prune->restored);
    prune_plan_deinit(&prune->plan);
    *prune = (struct prune){.engine = prune->engine, .run = prune->run, .job = prune->job};
}

// Notes are sealed before the transaction that does what they say (notes.h), so that is prepared
// first.
static int run_steps(struct prune *prune, struct error *err)
{
    struct note_pack pack = {0};
    int r = decide(prune, err);

    if (r == 0)
        r = write_notes(prune, &pack, err);
    if (r == 0)
        r = commit(prune, &pack, err);
    note_pack_deinit(&pack);
    return r;
}

// --- the job

void prune_job(struct engine *engine, struct job_run *run, const struct job_row *job)
{
    struct prune prune = {.engine = engine, .run = run, .job = job};
    struct error err = ERROR_INIT;
    int64_t forgotten;
    int r = run_steps(&prune, &err);

    for (int tries = 1; r == -EAGAIN && tries < TRIES_MAX; tries++) {
        release(&prune);
        error_clear(&err);
        r = run_steps(&prune, &err);
    }
    forgotten = prune.forgotten;
    release(&prune);
    if (r < 0) {
        queue_end_job(engine, run, r, error_message(&err));
        return;
    }
    queue_tell_end(engine, run);
    if (forgotten > 0)
        events_post(engine->events, ENGINE_TREE_CHANGED, 0);
}

// --- after a backup

int prune_record_follower(struct catalog_conn *conn, const struct job_row *backup,
                          int64_t *ret_job_id, struct error *err)
{
    struct job_new follower = {.kind = JOB_PRUNE,
                               .trigger = TRIGGER_SCHEDULED,
                               .context_id = backup->context_id,
                               .disk_id = backup->disk_id,
                               .tags = ""};
    struct context_row context;
    int r = context_get(conn, backup->context_id, &context, err);

    if (r < 0)
        return r;
    if (strcmp(context.retention, RETENTION_NONE) == 0) {
        *ret_job_id = 0;
        return 0;
    }
    return job_insert(conn, &follower, ret_job_id, err);
}

static int start(struct engine *engine, int64_t job_id, struct job_row *ret_job, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(engine->repository.catalog, &conn, err);

    if (r == 0)
        r = job_start(conn, job_id, err);
    if (r == 0)
        r = job_get(conn, job_id, ret_job, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static int run_follower(struct engine *engine, struct job_run *run, struct error *err)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    int r = job ? start(engine, run->job_id, job, err) : error_set(err, -ENOMEM, "out of memory");

    if (r < 0)
        return r;
    events_post(engine->events, ENGINE_JOB_STATE, run->job_id);
    prune_job(engine, run, job);
    return 0;
}

void prune_follow(struct engine *engine, struct job_run *backup_run, int64_t job_id)
{
    struct error err = ERROR_INIT;
    struct job_run *run = queue_new_inner(backup_run, &err);
    int r = run ? 0 : -ENOMEM;

    if (r == 0) {
        queue_begin_inner(engine, run, job_id);
        r = run_follower(engine, run, &err);
        queue_end_inner(engine, run);
    }
    if (r == 0 || r == -EPROTO) // done, or cancelled before it began
        return;
    log_warning("job %lld is not started with its backup, but queued: %s", (long long)job_id,
                error_message(&err));
    struct pending_job *place = queue_place(&err);
    if (place)
        queue_add(engine, place, job_id, backup_run->lane);
}
