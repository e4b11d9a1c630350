// SPDX-License-Identifier: MIT
//
// Jobs (table backup_jobs), their details by kind (job_restores, job_prunes, job_upkeep), the
// figures some leave (job_figures) and their log (job_log).
//
// One accepted trigger makes exactly one row, walked pending → running → completed | failed |
// cancelled; a transition from any other state is refused with -EPROTO, so a job cannot end twice.
// Matching is by foreign keys alone, never by name or time.
#ifndef CATALOG_JOB_H
#define CATALOG_JOB_H

#include "catalog/context.h"

#include <stdbool.h>

struct job_row {
    int64_t id;
    char uuid[UUID_TEXT_SIZE];
    enum job_kind kind;
    enum job_state state;
    enum job_trigger trigger;
    enum backup_mode mode;        // backup jobs; unknown for others
    bool verify_after;            // backup jobs: their snapshots are verified next
    int64_t context_id;           // 0 = the whole repository (upkeep jobs only)
    char context_name[NAME_SIZE]; // joined, "" when context_id is 0
    int64_t disk_id;              // the one disk it was asked for, 0 = every disk of the VM
    char disk_name[NAME_SIZE];    // joined, "" when disk_id is 0
    char tags[TAGS_TEXT_SIZE];
    int64_t created_at, started_at, finished_at; // 0 = not yet
    uint64_t done_bytes, total_bytes;            // last recorded progress
    char reason[REASON_TEXT_SIZE];               // why it failed or was cancelled, ""
    bool damage;                                 // it met damage in the repository
    // restore jobs only
    int64_t restore_snapshot_id; // 0 when none or forgotten since
    char restore_snapshot[256];  // "web1/vda/chain-0001/0003-incr-…", as it was named then
    char restore_target[SOURCE_TEXT_SIZE];
    bool restore_safety;                                          // a safety backup was asked for
    int64_t restore_safety_job;                                   // its job, 0 = none
    uint64_t restore_compared, restore_written, restore_verified; // bytes
    // prune jobs only
    char prune_policy[RETENTION_TEXT_SIZE]; // asked for, then applied; "" = the VM's, not run yet
    int64_t prune_kept, prune_forgotten, prune_skipped; // snapshots
    // verify, gc and check jobs only
    int64_t upkeep_snapshot_id; // the one it is about; 0 when none, or forgotten since
    char upkeep_words[UPKEEP_WORDS_SIZE];
};

// What a new job is; all times and states are the catalog's to set.
struct job_new {
    enum job_kind kind;
    enum job_trigger trigger;
    enum backup_mode mode;
    bool verify_after;
    int64_t context_id;
    int64_t disk_id;  // 0 = every disk
    const char *tags; // "" or comma-separated
    // restore jobs only
    int64_t restore_snapshot_id;
    const char *restore_snapshot;
    const char *restore_target;
    bool restore_safety;
    // prune jobs only
    const char *prune_policy; // NULL or "" = that of the VM
    // verify, gc and check jobs only
    int64_t upkeep_snapshot_id; // 0 = none
    const char *upkeep_words;
};

// Writes the pending row (and job_restores, job_prunes or job_upkeep); backup jobs get their
// backup_disks rows in the same transaction, job row first. -ENOENT for a context without disks.
int job_insert(struct catalog_conn *conn, const struct job_new *job, int64_t *ret_id,
               struct error *err);

// The pending backup job that a request for (context, disk) may join: same disk, or every disk.
// -ENOENT when none.
int job_find_pending_backup(struct catalog_conn *conn, int64_t context_id, int64_t disk_id,
                            struct job_row *ret_row, struct error *err);

// Changes what a *pending* backup job will do when a second request joins it.
int job_amend(struct catalog_conn *conn, int64_t id, enum backup_mode mode, const char *tags,
              struct error *err);

// Has what a *pending* backup job makes verified after it.
int job_set_verify_after(struct catalog_conn *conn, int64_t id, struct error *err);

// pending → running. Disks added to the VM since get their rows.
int job_start(struct catalog_conn *conn, int64_t id, struct error *err);

// pending or running → an ended state, with the reason ("" when completed) and final progress. Rows
// of its disks that have not ended get the same state and reason. For backup jobs the context's
// totals change in this transaction; a
// pre_restore_safety job is nobody's backup and is not counted.
int job_end(struct catalog_conn *conn, int64_t id, enum job_state state, const char *reason,
            uint64_t done_bytes, uint64_t total_bytes, struct error *err);

int job_set_progress(struct catalog_conn *conn, int64_t id, uint64_t done_bytes,
                     uint64_t total_bytes, struct error *err);
// Notes that the job met damage in the repository: stored data that is not what was written.
int job_set_damage(struct catalog_conn *conn, int64_t id, struct error *err);
int job_set_safety_job(struct catalog_conn *conn, int64_t id, int64_t safety_job_id,
                       struct error *err);
int job_set_restore_result(struct catalog_conn *conn, int64_t id, uint64_t compared,
                           uint64_t written, uint64_t verified, struct error *err);

int job_set_prune_result(struct catalog_conn *conn, int64_t id, const char *policy, int64_t kept,
                         int64_t forgotten, int64_t skipped, struct error *err);

// The pending prune of exactly this: context, disk (0 = every disk) and policy ("" = the VM's).
// -ENOENT when none.
int job_find_pending_prune(struct catalog_conn *conn, int64_t context_id, int64_t disk_id,
                           const char *policy, struct job_row *ret_row, struct error *err);

// The pending upkeep job that was asked for exactly the same: kind, context and disk (0 = none),
// snapshot and words. -ENOENT when none.
int job_find_pending_upkeep(struct catalog_conn *conn, const struct job_new *job,
                            struct job_row *ret_row, struct error *err);

// What a job found out, as named numbers ("freed_bytes"): sets one, in the place of an older one.
// `fn` gets them by name.
int job_set_figure(struct catalog_conn *conn, int64_t job_id, const char *name, int64_t value,
                   struct error *err);
int job_figure_each(struct catalog_conn *conn, int64_t job_id,
                    int (*fn)(const char *name, int64_t value, void *arg, struct error *err),
                    void *arg, struct error *err);

int job_get(struct catalog_conn *conn, int64_t id, struct job_row *ret_row, struct error *err);

struct job_filter { // a zero or NULL field does not filter
    int64_t context_id;
    int64_t disk_id; // jobs that are of this disk, alone or among others
    enum job_kind kind;
    enum job_state state;
    enum job_trigger trigger;
    const char *tag;
    int64_t since, until; // created_at in [since, until)
    bool active;          // pending or running
    int64_t limit;        // newest N; 0 = all
};

// By id, oldest first (with limit: the newest N, oldest first).
int job_each(struct catalog_conn *conn, const struct job_filter *filter,
             int (*fn)(const struct job_row *row, void *arg, struct error *err), void *arg,
             struct error *err);

// The newest job of a context that stands for its trigger: of the disk when disk_id is set (or of
// every disk), else of every disk. -ENOENT when none.
int job_find_newest_backup(struct catalog_conn *conn, int64_t context_id, int64_t disk_id,
                           struct job_row *ret_row, struct error *err);

// The newest job of a kind that was asked for with a snapshot that is there: restores and upkeep.
// -ENOENT when none.
int job_find_newest_of_snapshot(struct catalog_conn *conn, enum job_kind kind, int64_t snapshot_id,
                                struct job_row *ret_row, struct error *err);

// The log: lines in the order they were written.
int job_log_append(struct catalog_conn *conn, int64_t job_id, int64_t at, const char *line,
                   struct error *err);
int job_log_each(struct catalog_conn *conn, int64_t job_id,
                 int (*fn)(int64_t at, const char *line, void *arg, struct error *err), void *arg,
                 struct error *err);

#endif
