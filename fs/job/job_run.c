// SPDX-License-Identifier: MIT
//
// Live state of a job under way. See job_run.h for who touches what.
#include "fs/job/job_run.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

struct job_run_line {
    int64_t at;
    struct job_run_line *prev, *next;
    char text[];
};

static void free_lines(struct job_run_line *lines)
{
    struct job_run_line *line, *tmp;

    DL_FOREACH_SAFE(lines, line, tmp)
    {
        free(line);
    }
}

struct job_run *job_run_new(int64_t job_id, int64_t lane)
{
    struct job_run *run = calloc(1, sizeof(*run));

    if (!run)
        return NULL;
    run->job_id = job_id;
    run->lane = lane;
    atomic_init(&run->refs, 1);
    pthread_mutex_init(&run->log_lock, NULL);
    return run;
}

struct job_run *job_run_ref(struct job_run *run)
{
    atomic_fetch_add(&run->refs, 1);
    return run;
}

struct job_run *job_run_unref(struct job_run *run)
{
    struct job_use *use, *next;

    if (!run || atomic_fetch_sub(&run->refs, 1) != 1)
        return NULL;
    free_lines(run->lines);
    LL_FOREACH_SAFE(run->uses, use, next)
    {
        free(use);
    }
    pthread_mutex_destroy(&run->log_lock);
    free(run);
    return NULL;
}

int job_run_check(struct job_run *run, struct error *err)
{
    for (; run; run = run->outer) {
        if (atomic_load_explicit(&run->cancel, memory_order_relaxed))
            return error_set(err, -ECANCELED, "cancelled");
        if (atomic_load_explicit(&run->interrupted, memory_order_relaxed))
            return error_set(err, -EINTR, "interrupted: the repository was closed");
    }
    return 0;
}

void job_run_log(struct job_run *run, const char *fmt, ...)
{
    char text[ERROR_MESSAGE_MAX + 256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    size_t len = strlen(text) + 1;
    struct job_run_line *line = malloc(sizeof(*line) + len);
    if (!line) {
        log_warning("job %lld: %s", (long long)run->job_id, text); // not lost, only elsewhere
        return;
    }
    line->at = clock_now();
    memcpy(line->text, text, len);
    pthread_mutex_lock(&run->log_lock);
    DL_APPEND(run->lines, line);
    pthread_mutex_unlock(&run->log_lock);
}

struct job_run_line *job_run_take_log(struct job_run *run)
{
    pthread_mutex_lock(&run->log_lock);
    struct job_run_line *lines = run->lines;
    run->lines = NULL;
    pthread_mutex_unlock(&run->log_lock);
    return lines;
}

int job_run_write_log(struct job_run *run, const struct job_run_line *lines,
                      struct catalog_conn *conn, struct error *err)
{
    int r = 0;

    for (const struct job_run_line *line = lines; line && r == 0; line = line->next)
        r = job_log_append(conn, run->job_id, line->at, line->text, err);
    return r;
}

void job_run_settle_log(struct job_run *run, struct job_run_line *lines, bool committed)
{
    if (committed) {
        free_lines(lines);
        return;
    }
    pthread_mutex_lock(&run->log_lock);
    DL_CONCAT(lines, run->lines);
    run->lines = lines;
    pthread_mutex_unlock(&run->log_lock);
}

void job_run_sample(struct job_run *run)
{
    unsigned slot = run->sample_count % JOB_RUN_SAMPLES;
    int64_t now = clock_monotonic();
    uint64_t done = atomic_load(&run->done_bytes);

    if (run->sample_count > 0) {
        unsigned oldest = run->sample_count < JOB_RUN_SAMPLES ? 0 : slot;
        int64_t elapsed = now - run->samples[oldest].at;
        uint64_t bytes = done - run->samples[oldest].done;
        if (elapsed > 0)
            atomic_store(&run->bytes_per_second,
                         (uint64_t)((double)bytes * (double)CLOCK_SECOND / (double)elapsed));
    }
    run->samples[slot].at = now;
    run->samples[slot].done = done;
    run->sample_count++;
}
