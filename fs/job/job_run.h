// SPDX-License-Identifier: MIT
//
// The live state of a job under way: progress in bytes, the wish to cancel it, and log lines on
// their way to the catalog.
//
// Threads: the job's own thread and its pool tasks write; the notifier samples; requests read and
// cancel. Reference counted, because a request may still look at a run that has just ended. The log
// buffer has a lock of its own, the rest is atomic.
#ifndef FS_JOB_JOB_RUN_H
#define FS_JOB_JOB_RUN_H

#include "base/cleanup.h"
#include "catalog/job.h"

#include <pthread.h>
#include <stdatomic.h>

#define JOB_RUN_SAMPLES 8

struct job_use {
    struct job_use *next;
    int64_t job_id;
    char path[];
};

struct job_run {
    int64_t job_id;
    int64_t lane; // queue_lane()
    atomic_int refs;
    struct pool *pool;     // its own workers; borrowed by an inner job from the outer
    struct job_run *outer; // stops when that one does; outlives this one's work. NULL: none

    bool begun;              // its record says running; for its own thread
    atomic_bool cancel;      // somebody asked for it
    atomic_bool interrupted; // the repository is closing
    atomic_uint_fast64_t done_bytes, total_bytes;

    // written by the notifier alone, read by requests
    atomic_uint_fast64_t bytes_per_second;
    struct {
        int64_t at; // monotonic
        uint64_t done;
    } samples[JOB_RUN_SAMPLES];
    unsigned sample_count;
    uint64_t told_done; // what listeners have been told last

    pthread_mutex_t log_lock;
    struct job_run_line *lines; // guarded by log_lock: not yet in the catalog

    struct job_run *prev, *next; // in engine->runs, guarded by the engine's lock
    struct job_use *uses;        // guarded by the engine's lock: what the job reads or writes
};

struct job_run *job_run_new(int64_t job_id, int64_t lane); // NULL: out of memory
struct job_run *job_run_ref(struct job_run *run);
struct job_run *job_run_unref(struct job_run *run);

static inline void job_run_advance(struct job_run *run, uint64_t bytes)
{
    atomic_fetch_add_explicit(&run->done_bytes, bytes, memory_order_relaxed);
}

// 0, or -ECANCELED with the sentence that becomes the job's reason. Called between units of work of
// a few milliseconds.
int job_run_check(struct job_run *run, struct error *err);

// Adds a line to the job's log. Lines wait in memory until a transaction takes them along:
// job_run_take_log(), job_run_write_log() inside the transaction, and after it
// job_run_settle_log(), which frees them when they are committed and puts them back, in front, when
// they are not. A taken list may be NULL (nothing waits).
void job_run_log(struct job_run *run, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct job_run_line *job_run_take_log(struct job_run *run);
int job_run_write_log(struct job_run *run, const struct job_run_line *lines,
                      struct catalog_conn *conn, struct error *err);
void job_run_settle_log(struct job_run *run, struct job_run_line *lines, bool committed);

// Takes a sample for the rate; called about twice a second by one thread.
void job_run_sample(struct job_run *run);

DEFINE_CLEANUP(struct job_run *, job_run_unref)

#endif
