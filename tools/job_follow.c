// SPDX-License-Identifier: MIT
//
// Following a job to its end.
#include "tools/job_follow.h"

#include "tools/progress_bar.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define TICK_MS 100
#define LOOKS_MAX 5 // that fail

static void job_follow_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGINT);
    sigaddset(ret_set, SIGTERM);
    sigaddset(ret_set, SIGHUP);
}

void job_follow_block_signals(void)
{
    sigset_t set;
    job_follow_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

// Takes a signal that has arrived. After the first they have their default effect again.
static bool job_follow_interrupted(void)
{
    sigset_t set;
    job_follow_signals(&set);
    if (sigtimedwait(&set, NULL, &(struct timespec){0}) < 0)
        return false;
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return true;
}

static int job_follow_cancel(struct owner *owner, int64_t job_id, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = owner_cancel_job(owner, job_id, &local);
    if (r == 0 || r == -EALREADY) // it ended just before
        return 0;
    return error_set(err, r, "cannot cancel job %" PRId64 ": %s", job_id, error_message(&local));
}

static int job_follow_draw(struct owner *owner, int64_t job_id, const char *label,
                           struct progress_bar *bar, struct error *err)
{
    struct job_progress progress;
    if (!bar->active)
        return 0;
    int r = owner_job_progress(owner, job_id, &progress, err);
    if (r < 0)
        return r;
    struct progress_view view = {
        .label = label,
        .state = job_state_to_word(progress.state),
        .done_bytes = progress.done_bytes,
        .total_bytes = progress.total_bytes,
        .bytes_per_second = progress.bytes_per_second,
        .eta_seconds = progress.eta_seconds,
    };
    progress_bar_update(bar, &view);
    return 0;
}

static void job_follow_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000000L}, NULL);
}

// One look that fails says nothing about the job, which goes on. When none succeeds the job must
// not do its work behind the back of somebody who is told of a failure.
static int job_follow_lose(struct owner *owner, int64_t job_id, int result, struct error *why,
                           struct error *err)
{
    struct error ignored = ERROR_INIT;
    owner_cancel_job(owner, job_id, &ignored);
    return error_set(err, result,
                     "lost sight of job %" PRId64 ": %s; its record says how it ended, a pending "
                     "one runs with the next mount",
                     job_id, error_message(why));
}

static int job_follow_wait(struct owner *owner, int64_t job_id, const char *label,
                           struct progress_bar *bar, struct error *err)
{
    bool cancelled = false;
    int failed = 0;
    for (;;) {
        enum job_state state;
        struct error local = ERROR_INIT;
        int r = owner_wait_job(owner, job_id, TICK_MS, &state, &local);
        if (r == 0)
            return 0;
        if (r == -ENOTRECOVERABLE)
            return error_set(err, r, "%s", error_message(&local));
        if (r != -ETIMEDOUT && ++failed == LOOKS_MAX)
            return job_follow_lose(owner, job_id, r, &local, err);
        if (r != -ETIMEDOUT)
            job_follow_pause();
        if (!cancelled && job_follow_interrupted()) {
            cancelled = true;
            r = job_follow_cancel(owner, job_id, err);
            if (r < 0)
                return r;
        }
        r = job_follow_draw(owner, job_id, label, bar, err);
        if (r < 0)
            return r;
    }
}

const char *job_follow_reason(const char *reason, const char *name)
{
    size_t len = strlen(name);
    bool named = strncmp(reason, name, len) == 0 && strncmp(reason + len, ": ", 2) == 0;
    return named ? reason + len + 2 : reason;
}

static int job_follow_read(struct owner *owner, int64_t job_id, struct job_row *ret_job,
                           struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    return r < 0 ? r : job_get(conn, job_id, ret_job, err);
}

static int job_follow_outcome(struct owner *owner, int64_t job_id, const char *label,
                              struct job_row *ret_job, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = job_follow_read(owner, job_id, ret_job, &local);
    for (int failed = 1; r < 0 && failed < LOOKS_MAX; failed++) {
        job_follow_pause();
        error_clear(&local);
        r = job_follow_read(owner, job_id, ret_job, &local);
    }
    if (r < 0)
        return error_set(err, r, "job %" PRId64 " has ended, but how cannot be seen: %s", job_id,
                         error_message(&local));
    if (ret_job->state == JOB_COMPLETED)
        return 0;
    if (ret_job->state == JOB_CANCELLED)
        return error_set(err, -ECANCELED, "cancelled");
    return error_set(err, ret_job->damage ? -ERROR_CORRUPT : -EIO, "%s",
                     job_follow_reason(ret_job->reason, label));
}

int job_follow(struct owner *owner, int64_t job_id, const char *label, struct job_row *ret_job,
               struct error *err)
{
    struct progress_bar bar;
    progress_bar_init(&bar, stderr);
    int r = job_follow_wait(owner, job_id, label, &bar, err);
    progress_bar_clear(&bar);
    return r < 0 ? r : job_follow_outcome(owner, job_id, label, ret_job, err);
}
