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

struct repository_status {
    struct catalog_stats totals;
    uint64_t capacity_bytes,
        free_bytes; // of the repository's file system; free as for an ordinary user
    char retention[RETENTION_TEXT_SIZE]; // the policy of VMs that have none of their own
};

int repository_status_get(const struct repository *repository, struct repository_status *ret_status,
                          struct error *err);

// The same with the caller's lease.
int repository_status_fill(const struct repository *repository, struct catalog_conn *conn,
                           struct repository_status *ret_status, struct error *err);

// `key value` a line, malloc'ed: repository, format, chunk_size, contexts, disks, chains,
// snapshots, jobs_STATE …, logical_bytes, data_bytes, unique_bytes, stored_bytes, capacity_bytes,
// free_bytes, retention, damaged_snapshots, lost_records, unverified_snapshots,
// unverified_bytes, last_verified, oldest_verified (the oldest proof of a pack), last_success, and
// `last_success.VM TIME` for each VM ("never" when there is none).
int repository_status_text(const struct repository *repository, char **ret_text, struct error *err);

// The same as an object; "vms" maps each name to its latest success and totals.
int repository_status_json(const struct repository *repository, json_t **ret_json,
                           struct error *err);

#endif
