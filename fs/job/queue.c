// SPDX-License-Identifier: MIT
//
// The queue: which pending job runs next, and the threads that run them.
//
// The catalog is the truth about a job's state; the list here only says whom to ask next. A thread
// takes the oldest pending job whose lane has no running one. A job that was cancelled in between
// is found out by job_start(), which only moves pending jobs.
#include "fs/job/backup.h"
#include "fs/job/engine_state.h"
#include "fs/job/prune.h"
#include "fs/job/restore.h"
#include "fs/job/upkeep.h"

#include "base/fault.h"
#include "base/log.h"
#include "catalog/pack_index.h"
#include "fs/source/target.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

// Whether a job of the lane may not start now. Called with the lock held.
static bool must_wait(struct engine *engine, int64_t lane)
{
    struct job_run *run;
    unsigned vm_jobs = 0;

    DL_FOREACH(engine->runs, run)
    {
        if (run->lane == lane)
            return true;
        vm_jobs += run->lane > 0;
    }
    return lane > 0 && vm_jobs >= engine->vm_jobs_max;
}

// Takes the next job that may run and puts its run in place of it. Called with the lock held; NULL
// when there is none.
static struct job_run *claim(struct engine *engine)
{
    struct pending_job *job, *tmp;

    DL_FOREACH_SAFE(engine->pending, job, tmp)
    {
        if (must_wait(engine, job->lane))
            continue;
        struct job_run *run = job_run_new(job->job_id, job->lane);
        if (!run)
            return NULL; // memory is out: the job stays pending and is tried at the next change
        DL_DELETE(engine->pending, job);
        free(job);
        DL_APPEND(engine->runs, run);
        return run;
    }
    return NULL;
}

// pending → running in the catalog. A job that is pending no more (cancelled meanwhile) is left
// alone: -EPROTO.
static int begin(struct engine *engine, struct job_run *run, struct job_row *ret_job,
                 struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(engine->repository.catalog, &conn, err);

    if (r == 0)
        r = job_start(conn, run->job_id, err);
    if (r == 0)
        r = job_get(conn, run->job_id, ret_job, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r == 0)
        r = fault_hit(FAULT_JOB_STARTED, err);
    return r;
}

static void run_job(struct engine *engine, struct job_run *run)
{
    struct error err = ERROR_INIT;
    struct job_row *job = calloc(1, sizeof(*job));
    int r = job ? pool_new(engine->workers, &run->pool, &err)
                : error_set(&err, -ENOMEM, "out of memory");

    if (r == 0)
        r = begin(engine, run, job, &err);

    if (r == -EPROTO || r == -ENOENT) {
        log_info("job %lld is not started: %s", (long long)run->job_id, error_message(&err));
    } else if (r < 0) {
        queue_end_job(engine, run, r, error_message(&err));
    } else {
        run->begun = true;
        events_post(engine->events, ENGINE_JOB_STATE, run->job_id);
        if (job->kind == JOB_RESTORE)
            restore_job(engine, run, job);
        else if (job->kind == JOB_PRUNE)
            prune_job(engine, run, job);
        else if (job_kind_is_upkeep(job->kind))
            upkeep_job(engine, run, job);
        else
            backup_job(engine, run, job);
    }
    run->pool = pool_free(run->pool);
    free(job);
}

static void release(struct engine *engine, struct job_run *run)
{
    pthread_mutex_lock(&engine->lock);
    DL_DELETE(engine->runs, run);
    engine->end_count++;
    pthread_cond_broadcast(&engine->ended);
    pthread_cond_broadcast(&engine->work);
    pthread_mutex_unlock(&engine->lock);
    job_run_unref(run);
}

struct job_run *queue_new_inner(struct job_run *outer, struct error *err)
{
    struct job_run *run = job_run_new(0, outer->lane);

    if (!run) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    run->outer = outer;
    run->pool = outer->pool;
    return run;
}

void queue_begin_inner(struct engine *engine, struct job_run *run, int64_t job_id)
{
    run->job_id = job_id;
    pthread_mutex_lock(&engine->lock);
    DL_APPEND(engine->runs, run);
    pthread_mutex_unlock(&engine->lock);
}

void queue_end_inner(struct engine *engine, struct job_run *run)
{
    release(engine, run);
}

static void *job_thread(void *arg)
{
    struct engine *engine = arg;

    pthread_mutex_lock(&engine->lock);
    while (!engine->stopping) {
        struct job_run *run = claim(engine);
        if (!run) {
            pthread_cond_wait(&engine->work, &engine->lock);
            continue;
        }
        pthread_mutex_unlock(&engine->lock);
        run_job(engine, run);
        repository_refill_reserve(&engine->repository);
        release(engine, run);
        pthread_mutex_lock(&engine->lock);
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

int queue_start(struct engine *engine, unsigned vm_jobs_max, struct error *err)
{
    unsigned threads = vm_jobs_max + UPKEEP_KINDS;
    sigset_t all, old;
    int r = 0;

    engine->vm_jobs_max = vm_jobs_max;
    engine->threads = calloc(threads, sizeof(*engine->threads));
    if (!engine->threads)
        return error_set(err, -ENOMEM, "out of memory");
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    for (unsigned i = 0; i < threads && r == 0; i++) {
        r = pthread_create(&engine->threads[i], NULL, job_thread, engine);
        if (r == 0) {
            char name[16];
            snprintf(name, sizeof(name), "bt-job-%u", i % 10000);
            pthread_setname_np(engine->threads[i], name);
            engine->thread_count++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0) {
        queue_stop(engine);
        return error_set_errno(err, -r, "cannot start a job thread");
    }
    return 0;
}

void queue_stop(struct engine *engine)
{
    struct pending_job *job, *tmp;
    struct job_run *run;

    pthread_mutex_lock(&engine->lock);
    engine->stopping = true;
    DL_FOREACH(engine->runs, run)
    {
        atomic_store(&run->interrupted, true);
    }
    pthread_cond_broadcast(&engine->work);
    pthread_cond_broadcast(&engine->ended);
    pthread_mutex_unlock(&engine->lock);

    for (unsigned i = 0; i < engine->thread_count; i++)
        pthread_join(engine->threads[i], NULL);
    engine->thread_count = 0;
    free(engine->threads);
    engine->threads = NULL;
    DL_FOREACH_SAFE(engine->pending, job, tmp)
    {
        DL_DELETE(engine->pending, job);
        free(job);
    }
}

// In the list, or taken from it and about to start. Called with the lock held.
static bool is_queued(struct engine *engine, int64_t job_id)
{
    struct pending_job *job;
    struct job_run *run;

    DL_FOREACH(engine->pending, job)
    {
        if (job->job_id == job_id)
            return true;
    }
    DL_FOREACH(engine->runs, run)
    {
        if (run->job_id == job_id)
            return true;
    }
    return false;
}

struct pending_job *queue_place(struct error *err)
{
    struct pending_job *place = calloc(1, sizeof(*place));

    if (!place)
        error_set(err, -ENOMEM, "out of memory");
    return place;
}

void queue_add(struct engine *engine, struct pending_job *place, int64_t job_id, int64_t lane)
{
    place->job_id = job_id;
    place->lane = lane;
    pthread_mutex_lock(&engine->lock);
    bool there = is_queued(engine, job_id);
    if (!there)
        DL_APPEND(engine->pending, place);
    pthread_cond_broadcast(&engine->work);
    pthread_mutex_unlock(&engine->lock);
    if (there)
        free(place);
}

void queue_forget(struct engine *engine, int64_t job_id)
{
    struct pending_job *job, *tmp;

    pthread_mutex_lock(&engine->lock);
    DL_FOREACH_SAFE(engine->pending, job, tmp)
    {
        if (job->job_id == job_id) {
            DL_DELETE(engine->pending, job);
            free(job);
        }
    }
    engine->end_count++;
    pthread_cond_broadcast(&engine->ended);
    pthread_mutex_unlock(&engine->lock);
}

struct job_run *queue_find_run(struct engine *engine, int64_t job_id)
{
    struct job_run *run, *found = NULL;

    pthread_mutex_lock(&engine->lock);
    DL_FOREACH(engine->runs, run)
    {
        if (run->job_id == job_id)
            found = job_run_ref(run);
    }
    pthread_mutex_unlock(&engine->lock);
    return found;
}

int queue_note_use(struct engine *engine, struct job_run *run, const char *path, struct error *err)
{
    struct job_use *use = malloc(sizeof(*use) + strlen(path) + 1);

    if (!use)
        return error_set(err, -ENOMEM, "out of memory");
    use->job_id = run->job_id;
    strcpy(use->path, path);
    pthread_mutex_lock(&engine->lock);
    LL_PREPEND(run->uses, use);
    pthread_mutex_unlock(&engine->lock);
    return 0;
}

// Copies what other runs use out from under the lock, because looking at a path is file I/O.
static int copy_uses(struct engine *engine, const struct job_run *self, struct job_use **ret_uses)
{
    struct job_run *run;
    struct job_use *use, *copy;
    int r = 0;

    pthread_mutex_lock(&engine->lock);
    DL_FOREACH(engine->runs, run)
    {
        LL_FOREACH(run->uses, use)
        {
            size_t size = sizeof(*copy) + strlen(use->path) + 1;
            if (run == self || r < 0)
                continue;
            copy = malloc(size);
            if (copy) {
                memcpy(copy, use, size);
                LL_PREPEND(*ret_uses, copy);
            } else {
                r = -ENOMEM;
            }
        }
    }
    pthread_mutex_unlock(&engine->lock);
    return r;
}

// A run is there for a moment after its job's end is recorded; whoever has seen the end may go on.
static bool has_ended(struct engine *engine, int64_t job_id)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));

    return job && catalog_read_begin(engine->repository.catalog, &conn, NULL) == 0 &&
           job_get(conn, job_id, job, NULL) == 0 && job_state_is_ended(job->state);
}

int queue_refuse_used(struct engine *engine, const struct job_run *self, const char *path,
                      struct error *err)
{
    struct job_use *uses = NULL, *use, *next;
    int r = copy_uses(engine, self, &uses);

    if (r < 0)
        error_set(err, r, "out of memory");
    LL_FOREACH_SAFE(uses, use, next)
    {
        if (r == 0 && target_paths_meet(path, use->path) && !has_ended(engine, use->job_id))
            r = error_set(err, -EBUSY, "%s is in use by job %lld", path, (long long)use->job_id);
        free(use);
    }
    return r;
}

static int write_end(struct engine *engine, struct job_run *run, int result, const char *reason,
                     struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct job_run_line *lines = job_run_take_log(run);
    int r = catalog_write_begin(engine->repository.catalog, &conn, err);

    if (r == 0)
        r = job_run_write_log(run, lines, conn, err);
    if (r == 0)
        r = result == -ERROR_CORRUPT ? job_set_damage(conn, run->job_id, err) : 0;
    if (r == 0)
        r = result < 0 && result != -ECANCELED ? pack_make_durable(conn, run->job_id, err) : 0;
    if (r == 0)
        r = job_end(conn, run->job_id, job_state_of_result(result), reason,
                    atomic_load(&run->done_bytes), atomic_load(&run->total_bytes), err);
    if (r == 0)
        r = fault_hit(FAULT_JOB_COMMIT, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    job_run_settle_log(run, lines, r == 0);
    return r;
}

// Waits two seconds, or until the engine stops: then false. A command tries three times in all, and
// does not wait as long.
static bool wait_to_try_again(struct engine *engine, int tries)
{
    struct timespec until;
    bool stopping;

    if (engine->leave_pending && tries >= 3)
        return false;
    clock_gettime(CLOCK_REALTIME, &until);
    if (!engine->leave_pending) {
        until.tv_sec += 2;
    } else if ((until.tv_nsec += 300000000) >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&engine->lock);
    while (!engine->stopping &&
           pthread_cond_timedwait(&engine->work, &engine->lock, &until) != ETIMEDOUT)
        continue;
    stopping = engine->stopping;
    pthread_mutex_unlock(&engine->lock);
    return !stopping;
}

void queue_tell_end(struct engine *engine, struct job_run *run)
{
    fault_hit(FAULT_JOB_COMMITTED, NULL);
    pthread_mutex_lock(&engine->lock);
    engine->end_count++;
    pthread_cond_broadcast(&engine->ended);
    pthread_mutex_unlock(&engine->lock);
    events_post(engine->events, ENGINE_JOB_STATE, run->job_id);
}

// Wakes those who wait for the end of a job that will have none before the next start.
static void note_unrecorded(struct engine *engine, struct job_run *run, const char *state,
                            const char *reason, const struct error *why)
{
    // What has not begun is pending in its record (see sort_job() in reconcile.c).
    static const char not_begun[] =
        "; a pending one runs with the next mount, unless it is a restore";

    pthread_mutex_lock(&engine->lock);
    engine->unrecorded_job = run->job_id;
    error_clear(&engine->unrecorded);
    error_set(&engine->unrecorded, why->code,
              "%.500s%sit is %s, but that is not recorded: %.300s%s", reason, *reason ? "; " : "",
              state, error_message(why), run->begun ? "" : not_begun);
    engine->end_count++;
    pthread_cond_broadcast(&engine->ended);
    pthread_mutex_unlock(&engine->lock);
}

void queue_end_job(struct engine *engine, struct job_run *run, int result, const char *reason)
{
    struct error err = ERROR_INIT;
    int r;

    for (int tries = 1; (r = write_end(engine, run, result, reason, &err)) < 0; tries++) {
        const char *state = job_state_to_word(job_state_of_result(result));

        // Somebody waits for a command and is told at its end.
        if (!engine->leave_pending)
            log_error("the end of job %lld (%s) is not recorded: %s", (long long)run->job_id, state,
                      error_message(&err));
        // Ended already, or its VM is gone: no trying will change that.
        if (r == -EPROTO || r == -ENOENT)
            break;
        if (!wait_to_try_again(engine, tries)) {
            note_unrecorded(engine, run, state, reason, &err);
            return;
        }
        error_clear(&err);
    }
    queue_tell_end(engine, run);
}
