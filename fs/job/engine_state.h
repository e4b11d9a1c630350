// SPDX-License-Identifier: MIT
//
// What the files of this room share of an engine. Not for other rooms.
//
// Lock order: engine->lock, then nothing. It is never held across catalog, store or file I/O, nor
// while a listener runs.
//
// Invariant: whenever engine->lock is not held, every job that is pending in the catalog and may
// run is in `pending` or about to be put there by the thread that wrote its record; every job that
// is running has its job_run in `runs`; and no two runs are of the same lane (queue_lane()).
#ifndef FS_JOB_ENGINE_STATE_H
#define FS_JOB_ENGINE_STATE_H

#include "base/pool.h"
#include "fs/job/damage_notes.h"
#include "fs/job/engine.h"
#include "fs/job/events.h"
#include "fs/job/job_run.h"
#include "fs/job/snapshot_holds.h"

struct pending_job {
    int64_t job_id, lane;
    struct pending_job *prev, *next;
};

struct engine {
    struct repository repository;
    bool leave_pending; // as in engine_options
    unsigned workers;   // of each job's own pool: a source that hangs holds up its own job alone
    _Atomic int64_t last_note_at;
    struct events *events;
    pthread_t *threads;
    unsigned thread_count;
    unsigned vm_jobs_max; // that run at once; there are more threads, so that upkeep has one too

    struct damage_notes damage_notes; // has a lock of its own
    struct snapshot_holds holds;      // likewise

    pthread_mutex_t lock;
    // guarded by lock
    pthread_cond_t work;  // pending, runs or stopping changed
    pthread_cond_t ended; // a job has ended: end_count changed
    uint64_t end_count;
    bool stopping;
    struct pending_job *pending; // oldest first
    struct job_run *runs;
    // The last job whose end a command gave up recording, and why; 0: none.
    int64_t unrecorded_job;
    struct error unrecorded;
};

// engine.c: -ESHUTDOWN once the engine is being closed.
int engine_refuse_while_stopping(struct engine *engine, struct error *err);
// engine.c: after the commit of a request's record, or of what it joined, which may be of an
// earlier owner and not queued. Takes over `place`; listeners are told of what is new.
void engine_queue_recorded(struct engine *engine, struct pending_job *place, int64_t job_id,
                           int64_t lane, bool joined);

// queue.c: the threads that run jobs.
int queue_start(struct engine *engine, unsigned vm_jobs_max, struct error *err);
void queue_stop(struct engine *engine);
// Puts a pending job in the queue unless it is there. The place is got before the record is
// committed (queue_place(): NULL and the error when memory is out), so that no committed job is
// left without one; queue_add() takes it over.
struct pending_job *queue_place(struct error *err);
void queue_add(struct engine *engine, struct pending_job *place, int64_t job_id, int64_t lane);
// Jobs of one lane run one after another, whatever else runs: a VM's backups, restores and prunes
// are of one, each kind of upkeep has its own.
static inline int64_t queue_lane(enum job_kind kind, int64_t context_id)
{
    return job_kind_is_upkeep(kind) ? -(int64_t)kind : context_id;
}
void queue_forget(struct engine *engine, int64_t job_id);
// The run of a job under way, referenced; NULL when it is not running.
struct job_run *queue_find_run(struct engine *engine, int64_t job_id);
// Says that a run reads or writes what `path` leads to, until it ends. -ENOMEM.
int queue_note_use(struct engine *engine, struct job_run *run, const char *path, struct error *err);
// -EBUSY when a running job other than `self` (NULL: any) reads or writes what `path` leads to.
int queue_refuse_used(struct engine *engine, const struct job_run *self, const char *path,
                      struct error *err);
// Writes a job's end and its log in one transaction, then tells everybody. While the catalog cannot
// be written (no space) it tries again every two seconds: the job is not over before its record
// says so. It gives up only when the engine stops; the next start then ends the job as interrupted.
// A command, behind which somebody waits, gives up after some tries; engine_wait_job() then fails.
// `result` is how the work ended (0 or -errno): it decides the state, and notes damage with the
// job.
void queue_end_job(struct engine *engine, struct job_run *run, int result, const char *reason);

// The second half of queue_end_job(), for an end that was recorded with the job's last disk.
void queue_tell_end(struct engine *engine, struct job_run *run);

// A job that the thread of another one runs (the safety backup of a restore, the prune
// after a backup): its run is visible
// like any other, and stops with the outer one. It is made before the job's record is (NULL and the
// error: out of memory; job_run_unref() when it is not begun), and queue_end_inner() takes it away
// again.
struct job_run *queue_new_inner(struct job_run *outer, struct error *err);
void queue_begin_inner(struct engine *engine, struct job_run *run, int64_t job_id);
void queue_end_inner(struct engine *engine, struct job_run *run);

// reconcile.c
int reconcile(struct engine *engine, struct error *err);

// A job's state for how its work ended: 0 completed, -ECANCELED cancelled, anything else failed.
static inline enum job_state job_state_of_result(int result)
{
    return result == 0 ? JOB_COMPLETED : result == -ECANCELED ? JOB_CANCELLED : JOB_FAILED;
}

#endif
