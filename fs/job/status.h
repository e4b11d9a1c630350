// SPDX-License-Identifier: MIT
//
// The repository at a glance, for `status` in the tree, `backtree stats` and statfs: catalog
// totals, the latest success of every VM, and the capacity of the file system that holds the
// repository.
#ifndef FS_JOB_STATUS_H
#define FS_JOB_STATUS_H

#include "catalog/stats.h"
#include "fs/job/repository.h"

#include <jansson.h>

enum repository_health { // "healthy failing damaged": the worst that holds
    HEALTH_UNKNOWN,
    HEALTH_GOOD,
    HEALTH_FAILING, // some job's failure stands (catalog/stats.h), or nothing is left of the disk
    HEALTH_DAMAGED, // some snapshot or record is known to be damaged
};

const char *repository_health_to_word(enum repository_health health);

struct repository_status {
    struct catalog_stats totals;
    enum repository_health health;
    uint64_t capacity_bytes,
        free_bytes;         // of the repository's file system; free as for an ordinary user
    uint64_t reserve_bytes; // kept for forgetting and gc on a full disk (fs/store/reserve.h)
    char retention[RETENTION_TEXT_SIZE]; // the policy of VMs that have none of their own
    // of an owner; zeros for a viewer
    int64_t up_since; // when it was opened
    struct chunk_cache_counts cache;
};

// Content of all snapshots by content that is stored, and that by the files of packs. 1 where there
// is nothing yet.
double repository_dedup_ratio(const struct catalog_stats *totals);
double repository_compression_ratio(const struct catalog_stats *totals);

int repository_status_get(const struct repository *repository, struct repository_status *ret_status,
                          struct error *err);

// The same with the caller's lease.
int repository_status_fill(const struct repository *repository, struct catalog_conn *conn,
                           struct repository_status *ret_status, struct error *err);

// `key value` a line, malloc'ed: state, repository, path, version, format, chunk_size, contexts,
// disks, chains, snapshots, protected_snapshots, jobs_STATE …, failing_jobs, logical_bytes,
// data_bytes, unique_bytes, stored_bytes, dedup_ratio, compression_ratio, records, deltas, packs,
// capacity_bytes, free_bytes, reserve_bytes, retention, damaged_snapshots, lost_records,
// unverified_snapshots, unverified_bytes, last_verified, oldest_verified (the oldest proof of a
// pack), last_verify, last_gc, last_check (the newest of those jobs that completed); of an owner
// cache_hits, cache_misses, cache_bytes, up_since; last_success, and
// `last_success.VM TIME` for each VM. Times are "never" when there is none.
int repository_status_text(const struct repository *repository, char **ret_text, struct error *err);

// The same as an object; "vms" maps each name to its latest success and totals.
int repository_status_json(const struct repository *repository, json_t **ret_json,
                           struct error *err);

#endif
