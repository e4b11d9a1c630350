// SPDX-License-Identifier: MIT
//
// The engine: a repository opened by its owner with its queue and workers running. The tree and the
// commands both work through it, so a touch and `backtree backup` are one code path with the same
// records.
//
// Threads: all functions may be called from any thread. Requests validate and enqueue in one
// catalog transaction and return; job threads work. Of the backups, restores and prunes of a VM one
// runs at a time; those of several VMs, and upkeep (upkeep.h), run at once (up to `job_threads`,
// and one more for each kind of upkeep). Listeners are called from engine threads that hold no
// lock.
#ifndef FS_JOB_ENGINE_H
#define FS_JOB_ENGINE_H

#include "base/cleanup.h"
#include "fs/job/repository.h"
#include "fs/job/request.h"

struct engine;

struct engine_options {
    const char *command;    // for the lock file: "mount", "backup", …
    const char *mountpoint; // NULL when not mounted
    uint64_t cache_bytes;   // decoded-chunk cache, 0 = default
    unsigned workers;       // pool threads of each job; 0 = number of CPUs
    unsigned job_threads;   // jobs at once; 0 = default (4)
    bool leave_pending;     // jobs found pending stay so, unless a request joins them: for
                            // commands, which end with their own job
};

// Takes the lock, opens the repository, reconciles what a crash left (running jobs of the dead
// owner become failed "interrupted: …", leftovers are dealt with and logged) and starts the
// threads; pending jobs start to run. -EBUSY with the owner in *ret_owner (may be NULL).
int engine_open(const char *repo_dir, const struct engine_options *options,
                struct engine **ret_engine, struct repo_lock_owner *ret_owner, struct error *err);

// Stops: running jobs end as failed "interrupted: the repository was closed"; pending ones stay
// pending. Accepts NULL.
struct engine *engine_close(struct engine *engine);

struct catalog *engine_catalog(struct engine *engine);             // borrowed
struct store *engine_store(struct engine *engine);                 // borrowed
const struct repository *engine_repository(struct engine *engine); // borrowed

// --- VMs and disks

int engine_add_context(struct engine *engine, const char *name, int64_t *ret_id, struct error *err);
int engine_add_disk(struct engine *engine, int64_t context_id, const char *name, int64_t *ret_id,
                    struct error *err);

// Opens the source, records path and capacity. -EBUSY while a job of the disk runs.
int engine_set_source(struct engine *engine, int64_t disk_id, const char *source,
                      struct error *err);

// Sets a VM's retention policy from its words (retention.h); "default" gives the VM that of the
// repository again. -EINVAL with a sentence.
int engine_set_retention(struct engine *engine, int64_t context_id, const char *words, size_t len,
                         struct error *err);

struct engine_disk_spec {
    const char *name;
    const char *source;
};

// All or nothing: the VM (made when it is not there) and these disks with their sources. -EEXIST
// for a disk that is there.
int engine_add_vm(struct engine *engine, const char *name, const struct engine_disk_spec *disks,
                  size_t count, struct error *err);

// -ENOTEMPTY while it holds snapshots (or, for a VM, disks when `with_disks` is false); -EBUSY
// while a job of it is pending or running. Removing a VM with `with_disks` removes its empty disks
// too.
int engine_remove_context(struct engine *engine, int64_t context_id, bool with_disks,
                          struct error *err);
int engine_remove_disk(struct engine *engine, int64_t disk_id, struct error *err);

// --- snapshots

// Keeps a snapshot from being forgotten while it is read. -ENOENT when it is forgotten already,
// -EBUSY while that happens. Pair with engine_release_snapshot().
int engine_hold_snapshot(struct engine *engine, int64_t snapshot_id, struct error *err);
void engine_release_snapshot(struct engine *engine, int64_t snapshot_id);

// What engine_hold_snapshot() began is from now on the hold of an open file, which has an image of
// the snapshot open (image_open()): engine_forget_snapshot() is refused, a policy forgets it all
// the same, and its content stays as long as the image does. Pair with engine_release_file(), after
// the image was closed.
void engine_hold_by_file(struct engine *engine, int64_t snapshot_id);
void engine_release_file(struct engine *engine, int64_t snapshot_id);

// -EPERM while protected, -EBUSY while held or used by a job that is pending or running.
int engine_forget_snapshot(struct engine *engine, int64_t snapshot_id, struct error *err);

// Keeps the snapshot from being forgotten, or allows it again.
int engine_set_protected(struct engine *engine, int64_t snapshot_id, bool on, struct error *err);

// --- jobs

// Exactly one record a request, except under the pending rule: a backup job of the VM that is
// pending and covers the request (same disk, or every disk) stands for it; its mode and tags are
// widened (auto gives way to full or incremental; tags are joined). -EBUSY when one says full and
// the other incremental; -EINVAL for an explicit incremental where no chain can go on; -ENOENT when
// the VM has no disks or a disk no source. *ret_joined (may be NULL) tells whether an older record
// stands for it.
int engine_request_backup(struct engine *engine, const struct backup_request *request,
                          int64_t *ret_job_id, bool *ret_joined, struct error *err);

// One record, except that a prune that is pending and is asked for exactly the same stands for it.
// -ENOENT when there is no such VM or disk; -EINVAL for a policy that is none.
int engine_request_prune(struct engine *engine, const struct prune_request *request,
                         int64_t *ret_job_id, bool *ret_joined, struct error *err);

// Checks the target (target_check) before it makes a record.
int engine_request_restore(struct engine *engine, const struct restore_request *request,
                           int64_t *ret_job_id, struct error *err);

// A verify, gc or check (upkeep.h has the words). `snapshot_id` 0: what the words name, or
// everything. One record, except that one that is pending and is asked for exactly the same stands
// for it. -EINVAL for words that are none, -ENOENT for a name that is none.
int engine_request_upkeep(struct engine *engine, enum job_kind kind, const char *words, size_t len,
                          int64_t snapshot_id, int64_t *ret_job_id, bool *ret_joined,
                          struct error *err);

// A pending job is cancelled at once, a running one within a second. -EALREADY when it has ended.
int engine_cancel_job(struct engine *engine, int64_t job_id, struct error *err);

struct job_progress {
    enum job_state state;
    uint64_t done_bytes, total_bytes;
    uint64_t bytes_per_second; // over the last seconds; 0 unless running
    int64_t eta_seconds;       // -1 = not known
};

int engine_job_progress(struct engine *engine, int64_t job_id, struct job_progress *ret_progress,
                        struct error *err);

// Blocks until the job has ended; *ret_state is its last state. timeout_ms < 0: no limit;
// -ETIMEDOUT. With leave_pending a job's end may be given up (the catalog cannot be written):
// -ENOTRECOVERABLE, and the error says how it ended and why that is not recorded.
int engine_wait_job(struct engine *engine, int64_t job_id, int timeout_ms,
                    enum job_state *ret_state, struct error *err);

enum engine_event { ENGINE_JOB_STATE = 1, ENGINE_JOB_PROGRESS, ENGINE_TREE_CHANGED };

// `fn` is called after every committed change of a job's state, at most ten times a second for its
// progress, and when names in the tree may have changed (job_id 0). It must not block. One
// listener. Set before requests are made; NULL ends it (and waits for a call under way).
void engine_listen(struct engine *engine,
                   void (*fn)(enum engine_event event, int64_t job_id, void *arg), void *arg);

DEFINE_CLEANUP(struct engine *, engine_close)

#endif
