// SPDX-License-Identifier: MIT
//
// Opening and closing an engine, and the requests that make, join, cancel, watch and await jobs.
#include "fs/job/engine.h"

#include "base/clock.h"
#include "base/fault.h"
#include "catalog/snapshot.h"
#include "fs/job/backup.h"
#include "fs/job/engine_state.h"
#include "fs/job/retention.h"
#include "fs/source/source.h"
#include "fs/source/target.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define JOB_THREADS_DEFAULT 4

static int start(struct engine *engine, const struct engine_options *options, struct error *err)
{
    int r = source_forbid(engine->repository.dir, "it is in the repository itself", err);

    store_on_damage(engine->repository.store, damage_note, &engine->damage_notes);
    if (r == 0)
        r = events_start(engine, &engine->events, err);
    if (r == 0)
        r = reconcile(engine, err);
    if (r == 0)
        r = queue_start(engine, options->job_threads ? options->job_threads : JOB_THREADS_DEFAULT,
                        err);
    return r;
}

int engine_open(const char *repo_dir, const struct engine_options *options,
                struct engine **ret_engine, struct repo_lock_owner *ret_owner, struct error *err)
{
    struct store_options store_options = {.cache_bytes = options->cache_bytes};
    struct engine *engine = calloc(1, sizeof(*engine));
    pthread_mutexattr_t attr;

    if (!engine)
        return error_set(err, -ENOMEM, "out of memory");
    engine->repository.lock_fd = -1;
    engine->leave_pending = options->leave_pending;
    engine->workers = options->workers ? options->workers : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&engine->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    pthread_cond_init(&engine->work, NULL);
    pthread_cond_init(&engine->ended, NULL);
    damage_notes_init(&engine->damage_notes);
    snapshot_holds_init(&engine->holds);

    int r = repository_open_owner(repo_dir, options->command, options->mountpoint, &store_options,
                                  &engine->repository, ret_owner, err);
    if (r == 0)
        r = start(engine, options, err);
    if (r < 0) {
        engine_close(engine);
        return r;
    }
    *ret_engine = engine;
    return 0;
}

// Job threads first (they use everything), then the notifier (it tells of their ends), then the
// pool, then the repository.
struct engine *engine_close(struct engine *engine)
{
    if (!engine)
        return NULL;
    queue_stop(engine);
    engine->events = events_stop(engine->events);
    damage_notes_flush(engine);
    repository_close(&engine->repository);
    pthread_cond_destroy(&engine->work);
    pthread_cond_destroy(&engine->ended);
    damage_notes_deinit(&engine->damage_notes);
    snapshot_holds_deinit(&engine->holds);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
    return NULL;
}

struct catalog *engine_catalog(struct engine *engine)
{
    return engine->repository.catalog;
}

struct store *engine_store(struct engine *engine)
{
    return engine->repository.store;
}

const struct repository *engine_repository(struct engine *engine)
{
    return &engine->repository;
}

void engine_listen(struct engine *engine,
                   void (*fn)(enum engine_event event, int64_t job_id, void *arg), void *arg)
{
    events_listen(engine->events, fn, arg);
}

int engine_refuse_while_stopping(struct engine *engine, struct error *err)
{
    pthread_mutex_lock(&engine->lock);
    bool stopping = engine->stopping;
    pthread_mutex_unlock(&engine->lock);
    if (stopping)
        return error_set(err, -ESHUTDOWN, "the repository is being closed");
    return 0;
}

// --- requests

// Widens a pending job so that it also answers `request`. Returns 1, 0 when the wider job could not
// be done (another disk of it has no chain that could go on): the request then gets a record of its
// own.
static int join_pending(struct catalog_conn *conn, const struct job_row *pending,
                        const struct backup_request *request, struct error *err)
{
    struct backup_request wider = {
        .context_id = pending->context_id, .disk_id = pending->disk_id, .mode = pending->mode};
    int r;

    if (wider.mode == BACKUP_AUTO)
        wider.mode = request->mode;
    else if (request->mode != BACKUP_AUTO && request->mode != wider.mode)
        return error_set(err, -EBUSY, "job %lld is pending and asks for the other kind (%s)",
                         (long long)pending->id, backup_mode_to_word(wider.mode));
    memcpy(wider.tags, pending->tags, sizeof(wider.tags));
    r = tags_join(wider.tags, request->tags, err);
    if (r < 0)
        return r;
    if (wider.mode != pending->mode && backup_check_request(conn, &wider, NULL) < 0)
        return 0;
    if (request->verify_after && !pending->verify_after)
        r = job_set_verify_after(conn, pending->id, err);
    if (r < 0 || (wider.mode == pending->mode && strcmp(wider.tags, pending->tags) == 0))
        return r < 0 ? r : 1;
    r = job_amend(conn, pending->id, wider.mode, wider.tags, err);
    return r < 0 ? r : 1;
}

static int insert_backup(struct catalog_conn *conn, const struct backup_request *request,
                         int64_t *ret_job_id, struct error *err)
{
    struct job_new job = {.kind = JOB_BACKUP,
                          .trigger = request->trigger,
                          .mode = request->mode,
                          .context_id = request->context_id,
                          .disk_id = request->disk_id,
                          .tags = request->tags,
                          .verify_after = request->verify_after};
    return job_insert(conn, &job, ret_job_id, err);
}

// One transaction looks for a pending job and, when there is none, makes the record; the writer
// connection serialises it with job_start(), so a job found pending here will start after this
// request.
static int record_backup(struct engine *engine, const struct backup_request *request,
                         int64_t *ret_job_id, bool *ret_joined, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    AUTO_FREE struct job_row *pending = calloc(1, sizeof(*pending));
    int r = pending ? 0 : error_set(err, -ENOMEM, "out of memory");
    bool joined = false;
    int64_t job_id = 0;

    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = backup_check_request(conn, request, err);
    if (r < 0)
        return r;
    r = job_find_pending_backup(conn, request->context_id, request->disk_id, pending, NULL);
    if (r == 0) {
        r = join_pending(conn, pending, request, err);
        joined = r > 0;
        job_id = pending->id;
    } else if (r == -ENOENT) {
        r = 0;
    } else {
        r = error_set_errno(err, r, "cannot look for pending jobs");
    }
    if (r == 0)
        r = insert_backup(conn, request, &job_id, err);
    else if (r > 0)
        r = 0;
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r < 0)
        return r;
    *ret_job_id = job_id;
    *ret_joined = joined;
    return 0;
}

void engine_queue_recorded(struct engine *engine, struct pending_job *place, int64_t job_id,
                           int64_t lane, bool joined)
{
    if (!joined)
        fault_hit(FAULT_JOB_ENQUEUED, NULL);
    queue_add(engine, place, job_id, lane);
    if (!joined)
        events_post(engine->events, ENGINE_JOB_STATE, job_id);
}

int engine_request_backup(struct engine *engine, const struct backup_request *request,
                          int64_t *ret_job_id, bool *ret_joined, struct error *err)
{
    AUTO_FREE struct pending_job *place = queue_place(err);
    bool joined = false;
    int64_t job_id = 0;
    int r = place ? engine_refuse_while_stopping(engine, err) : -ENOMEM;

    if (r == 0)
        r = record_backup(engine, request, &job_id, &joined, err);
    if (r < 0)
        return r;
    engine_queue_recorded(engine, TAKE(place, NULL), job_id, request->context_id, joined);
    *ret_job_id = job_id;
    if (ret_joined)
        *ret_joined = joined;
    return 0;
}

static int insert_prune(struct catalog_conn *conn, const struct prune_request *request,
                        const char *policy, int64_t *ret_job_id, struct error *err)
{
    struct job_new job = {.kind = JOB_PRUNE,
                          .trigger = request->trigger,
                          .context_id = request->context_id,
                          .disk_id = request->disk_id,
                          .tags = "",
                          .prune_policy = policy};
    return job_insert(conn, &job, ret_job_id, err);
}

static int record_prune(struct engine *engine, const struct prune_request *request,
                        const char *policy, int64_t *ret_job_id, bool *ret_joined,
                        struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    AUTO_FREE struct job_row *pending = calloc(1, sizeof(*pending));
    int r = pending ? 0 : error_set(err, -ENOMEM, "out of memory");
    bool joined = false;

    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r < 0)
        return r;
    r = job_find_pending_prune(conn, request->context_id, request->disk_id, policy, pending, NULL);
    if (r == 0) {
        joined = true;
        *ret_job_id = pending->id;
    } else if (r == -ENOENT) {
        r = insert_prune(conn, request, policy, ret_job_id, err);
    } else {
        r = error_set_errno(err, r, "cannot look for pending jobs");
    }
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r == 0)
        *ret_joined = joined;
    return r;
}

int engine_request_prune(struct engine *engine, const struct prune_request *request,
                         int64_t *ret_job_id, bool *ret_joined, struct error *err)
{
    AUTO_FREE struct pending_job *place = queue_place(err);
    struct retention_policy policy;
    char text[RETENTION_TEXT_SIZE] = "";
    bool joined = false;
    int64_t job_id = 0;
    int r = place ? engine_refuse_while_stopping(engine, err) : -ENOMEM;

    if (r == 0 && request->policy[0])
        r = retention_parse(request->policy, strlen(request->policy), &policy, err);
    if (r == 0 && request->policy[0])
        retention_format(&policy, text);
    if (r == 0)
        r = record_prune(engine, request, text, &job_id, &joined, err);
    if (r < 0)
        return r;
    engine_queue_recorded(engine, TAKE(place, NULL), job_id, request->context_id, joined);
    *ret_job_id = job_id;
    if (ret_joined)
        *ret_joined = joined;
    return 0;
}

// Reads the snapshot's row and checks the target against it, before anything is written.
static int check_restore(struct engine *engine, const struct restore_request *request,
                         struct snapshot_row *ret_row, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(engine->repository.catalog, &conn, err);

    if (r == 0)
        r = snapshot_get(conn, request->snapshot_id, ret_row, err);
    if (r == 0 && (ret_row->state != JOB_COMPLETED || ret_row->forgotten_at))
        r = error_set(err, -ENOENT, "the snapshot has been forgotten");
    if (r < 0)
        return r;
    r = queue_refuse_used(engine, NULL, request->target, err);
    return r < 0 ? r : target_check(request->target, ret_row->capacity, err);
}

static int record_restore(struct engine *engine, const struct restore_request *request,
                          const struct snapshot_row *row, int64_t *ret_job_id, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    char folder[SNAPSHOT_NAME_SIZE], chain[SNAPSHOT_NAME_SIZE], path[256 + 2 * NAME_SIZE];
    int r = catalog_write_begin(engine->repository.catalog, &conn, err);

    snprintf(path, sizeof(path), "%s/%s/%s/%s", row->context_name, row->disk_name,
             chain_name(row->chain_number, chain), snapshot_name(row, folder));
    struct job_new job = {.kind = JOB_RESTORE,
                          .trigger = TRIGGER_MANUAL,
                          .context_id = row->context_id,
                          .disk_id = row->disk_id,
                          .tags = "",
                          .restore_snapshot_id = row->id,
                          .restore_snapshot = path,
                          .restore_target = request->target,
                          .restore_safety = request->safety};
    if (r == 0)
        r = job_insert(conn, &job, ret_job_id, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    return r;
}

int engine_request_restore(struct engine *engine, const struct restore_request *request,
                           int64_t *ret_job_id, struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    AUTO_FREE struct pending_job *place = queue_place(err);
    int64_t job_id = 0;
    int r = row && place ? engine_refuse_while_stopping(engine, err)
                         : error_set(err, -ENOMEM, "out of memory");

    // Held while the record is written, so that the snapshot cannot be forgotten in between.
    if (r == 0)
        r = engine_hold_snapshot(engine, request->snapshot_id, err);
    if (r < 0)
        return r;
    r = check_restore(engine, request, row, err);
    if (r == 0)
        r = record_restore(engine, request, row, &job_id, err);
    engine_release_snapshot(engine, request->snapshot_id);
    if (r < 0)
        return r;
    engine_queue_recorded(engine, TAKE(place, NULL), job_id, row->context_id, false);
    *ret_job_id = job_id;
    return 0;
}

// pending → cancelled at once. -EPROTO when the job is pending no more.
static int cancel_pending(struct engine *engine, int64_t job_id, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    int r = job ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = job_get(conn, job_id, job, err);
    if (r < 0)
        return r;
    if (job_state_is_ended(job->state))
        return error_set(err, -EALREADY, "job %lld has ended: %s", (long long)job_id,
                         job_state_to_word(job->state));
    if (job->state != JOB_PENDING)
        return -EPROTO;
    r = job_end(conn, job_id, JOB_CANCELLED, "cancelled before it started", 0, 0, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    return r;
}

int engine_cancel_job(struct engine *engine, int64_t job_id, struct error *err)
{
    int r = cancel_pending(engine, job_id, err);

    if (r == 0) {
        queue_forget(engine, job_id);
        events_post(engine->events, ENGINE_JOB_STATE, job_id);
        return 0;
    }
    if (r == -EALREADY || r == -ENOENT)
        return r;
    // One that runs can be told to stop also while the catalog cannot be used.
    AUTO(job_run_unref) struct job_run *run = queue_find_run(engine, job_id);
    if (!run && r != -EPROTO)
        return r;
    if (!run)
        return error_set(err, -EALREADY, "job %lld has just ended", (long long)job_id);
    atomic_store(&run->cancel, true);
    return 0;
}

// --- watching

static int recorded_progress(struct engine *engine, int64_t job_id,
                             struct job_progress *ret_progress, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    int r = job ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = catalog_read_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = job_get(conn, job_id, job, err);
    if (r < 0)
        return r;
    *ret_progress = (struct job_progress){.state = job->state,
                                          .done_bytes = job->done_bytes,
                                          .total_bytes = job->total_bytes,
                                          .eta_seconds = -1};
    return 0;
}

int engine_job_progress(struct engine *engine, int64_t job_id, struct job_progress *ret_progress,
                        struct error *err)
{
    int r = recorded_progress(engine, job_id, ret_progress, err);
    if (r < 0)
        return r;
    if (job_state_is_ended(ret_progress->state)) {
        ret_progress->eta_seconds = 0;
        return 0;
    }
    AUTO(job_run_unref) struct job_run *run = queue_find_run(engine, job_id);
    if (!run)
        return 0;
    uint64_t done = atomic_load(&run->done_bytes), total = atomic_load(&run->total_bytes);
    uint64_t rate = atomic_load(&run->bytes_per_second);
    ret_progress->done_bytes = done;
    ret_progress->total_bytes = total;
    ret_progress->bytes_per_second = rate;
    if (rate > 0 && total >= done)
        ret_progress->eta_seconds = (int64_t)((total - done + rate - 1) / rate);
    return 0;
}

static void deadline_in(int timeout_ms, struct timespec *ret_until)
{
    clock_gettime(CLOCK_REALTIME, ret_until);
    ret_until->tv_sec += timeout_ms / 1000;
    ret_until->tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (ret_until->tv_nsec >= CLOCK_SECOND) {
        ret_until->tv_nsec -= CLOCK_SECOND;
        ret_until->tv_sec++;
    }
}

// Blocks until any job has ended since `seen`. 0, -ETIMEDOUT, or -ESHUTDOWN.
static int wait_for_an_end(struct engine *engine, uint64_t *seen, const struct timespec *until)
{
    int r = 0;

    pthread_mutex_lock(&engine->lock);
    while (engine->end_count == *seen && !engine->stopping && r == 0)
        r = until ? pthread_cond_timedwait(&engine->ended, &engine->lock, until)
                  : pthread_cond_wait(&engine->ended, &engine->lock);
    bool same = engine->end_count == *seen;
    *seen = engine->end_count;
    if (r == 0 && same && engine->stopping)
        r = ESHUTDOWN;
    pthread_mutex_unlock(&engine->lock);
    return -r;
}

static int end_is_unrecorded(struct engine *engine, int64_t job_id, struct error *err)
{
    struct error why = ERROR_INIT;

    pthread_mutex_lock(&engine->lock);
    if (engine->unrecorded_job == job_id)
        why = engine->unrecorded;
    pthread_mutex_unlock(&engine->lock);
    return why.code == 0 ? 0 : error_set(err, -ENOTRECOVERABLE, "%s", error_message(&why));
}

int engine_wait_job(struct engine *engine, int64_t job_id, int timeout_ms,
                    enum job_state *ret_state, struct error *err)
{
    struct timespec until;
    struct job_progress progress;

    if (timeout_ms >= 0)
        deadline_in(timeout_ms, &until);
    pthread_mutex_lock(&engine->lock);
    uint64_t seen = engine->end_count;
    pthread_mutex_unlock(&engine->lock);
    for (;;) {
        int r = recorded_progress(engine, job_id, &progress, err);
        if (r < 0)
            return r;
        if (job_state_is_ended(progress.state)) {
            *ret_state = progress.state;
            return 0;
        }
        r = end_is_unrecorded(engine, job_id, err);
        if (r < 0)
            return r;
        r = wait_for_an_end(engine, &seen, timeout_ms >= 0 ? &until : NULL);
        if (r < 0)
            return error_set(err, r, "job %lld has not ended: it is %s", (long long)job_id,
                             job_state_to_word(progress.state));
    }
}
