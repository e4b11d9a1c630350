// SPDX-License-Identifier: MIT
//
// The notifier thread.
#include "fs/job/events.h"

#include "base/clock.h"
#include "base/log.h"
#include "fs/job/engine_state.h"

#include <signal.h>
#include <utlist.h>

#define TICK_NS (CLOCK_SECOND / 10)
#define TICKS_PER_SAMPLE 5
#define TICKS_PER_RECORD 50

struct event {
    enum engine_event kind;
    int64_t job_id;
    struct event *prev, *next;
};

struct events {
    struct engine *engine;
    pthread_t thread;
    unsigned ticks; // the notifier's own

    pthread_mutex_t lock;
    // guarded by lock
    pthread_cond_t posted;
    pthread_cond_t told; // the listener has returned
    bool stopping, telling;
    struct event *queue;
    void (*fn)(enum engine_event event, int64_t job_id, void *arg);
    void *arg;
};

static void tell(struct events *events, enum engine_event kind, int64_t job_id)
{
    pthread_mutex_lock(&events->lock);
    void (*fn)(enum engine_event, int64_t, void *) = events->fn;
    void *arg = events->arg;
    events->telling = fn != NULL;
    pthread_mutex_unlock(&events->lock);

    if (!fn)
        return;
    fn(kind, job_id, arg);
    pthread_mutex_lock(&events->lock);
    events->telling = false;
    pthread_cond_broadcast(&events->told);
    pthread_mutex_unlock(&events->lock);
}

// Copies the runs out with references, so that nothing is done under the engine's lock.
static size_t copy_runs(struct engine *engine, struct job_run **runs, size_t max)
{
    struct job_run *run;
    size_t count = 0;

    pthread_mutex_lock(&engine->lock);
    DL_FOREACH(engine->runs, run)
    {
        if (count < max)
            runs[count++] = job_run_ref(run);
    }
    pthread_mutex_unlock(&engine->lock);
    return count;
}

static void record(struct engine *engine, struct job_run *run)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct job_run_line *lines = job_run_take_log(run);
    struct error err = ERROR_INIT;
    int r = catalog_write_begin(engine->repository.catalog, &conn, &err);

    if (r == 0)
        r = job_set_progress(conn, run->job_id, atomic_load(&run->done_bytes),
                             atomic_load(&run->total_bytes), &err);
    // It may have ended since its run was looked up; its lines are written all the same.
    if (r == -EPROTO) {
        error_clear(&err);
        r = 0;
    }
    if (r == 0)
        r = job_run_write_log(run, lines, conn, &err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), &err);
    job_run_settle_log(run, lines, r == 0);
    if (r < 0)
        log_warning("progress of job %lld is not recorded: %s", (long long)run->job_id,
                    error_message(&err));
}

static void look_at_run(struct events *events, struct job_run *run)
{
    uint64_t done = atomic_load(&run->done_bytes);

    if (events->ticks % TICKS_PER_SAMPLE == 0)
        job_run_sample(run);
    if (done != run->told_done) {
        run->told_done = done;
        tell(events, ENGINE_JOB_PROGRESS, run->job_id);
    }
    if (events->ticks % TICKS_PER_RECORD == TICKS_PER_RECORD - 1)
        record(events->engine, run);
}

static void tick(struct events *events)
{
    struct job_run *runs[64];
    size_t count = copy_runs(events->engine, runs, sizeof(runs) / sizeof(runs[0]));

    for (size_t i = 0; i < count; i++) {
        look_at_run(events, runs[i]);
        job_run_unref(runs[i]);
    }
    if (events->ticks % TICKS_PER_RECORD == 0)
        damage_notes_flush(events->engine);
    events->ticks++;
}

// The next event, or NULL when a tick has passed; waits without a time-out while no job runs is not
// worth the code: ten empty looks a second cost nothing that can be measured.
static struct event *next_event(struct events *events, bool *ret_stopping)
{
    struct timespec until;
    struct event *event;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_NS;
    if (until.tv_nsec >= CLOCK_SECOND) {
        until.tv_nsec -= CLOCK_SECOND;
        until.tv_sec++;
    }
    pthread_mutex_lock(&events->lock);
    while (!events->queue && !events->stopping)
        if (pthread_cond_timedwait(&events->posted, &events->lock, &until) == ETIMEDOUT)
            break;
    event = events->queue;
    if (event)
        DL_DELETE(events->queue, event);
    *ret_stopping = events->stopping;
    pthread_mutex_unlock(&events->lock);
    return event;
}

static void *notifier(void *arg)
{
    struct events *events = arg;
    int64_t last_tick = clock_monotonic();
    bool stopping = false;

    for (;;) {
        struct event *event = next_event(events, &stopping);
        if (event) {
            tell(events, event->kind, event->job_id);
            free(event);
        } else if (stopping) {
            return NULL;
        }
        if (clock_monotonic() - last_tick >= TICK_NS) {
            last_tick = clock_monotonic();
            tick(events);
        }
    }
}

static int start_thread(struct events *events, struct error *err)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int r = pthread_create(&events->thread, NULL, notifier, events);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0)
        return error_set_errno(err, -r, "cannot start the notifier thread");
    pthread_setname_np(events->thread, "bt-notify");
    return 0;
}

int events_start(struct engine *engine, struct events **ret_events, struct error *err)
{
    struct events *events = calloc(1, sizeof(*events));
    pthread_condattr_t attr;

    if (!events)
        return error_set(err, -ENOMEM, "out of memory");
    events->engine = engine;
    pthread_mutex_init(&events->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&events->posted, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&events->told, NULL);
    int r = start_thread(events, err);
    if (r < 0) {
        free(events);
        return r;
    }
    *ret_events = events;
    return 0;
}

struct events *events_stop(struct events *events)
{
    if (!events)
        return NULL;
    pthread_mutex_lock(&events->lock);
    events->stopping = true;
    pthread_cond_signal(&events->posted);
    pthread_mutex_unlock(&events->lock);
    pthread_join(events->thread, NULL);
    pthread_cond_destroy(&events->posted);
    pthread_cond_destroy(&events->told);
    pthread_mutex_destroy(&events->lock);
    free(events);
    return NULL;
}

void events_listen(struct events *events,
                   void (*fn)(enum engine_event event, int64_t job_id, void *arg), void *arg)
{
    pthread_mutex_lock(&events->lock);
    events->fn = fn;
    events->arg = arg;
    while (events->telling && !pthread_equal(pthread_self(), events->thread))
        pthread_cond_wait(&events->told, &events->lock);
    pthread_mutex_unlock(&events->lock);
}

void events_post(struct events *events, enum engine_event kind, int64_t job_id)
{
    struct event *event = calloc(1, sizeof(*event));

    if (!event) {
        log_warning("out of memory: a change of job %lld is not announced", (long long)job_id);
        return;
    }
    event->kind = kind;
    event->job_id = job_id;
    pthread_mutex_lock(&events->lock);
    DL_APPEND(events->queue, event);
    pthread_cond_signal(&events->posted);
    pthread_mutex_unlock(&events->lock);
}
