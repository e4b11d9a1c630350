// SPDX-License-Identifier: MIT
//
// What pruning a VM or one of its disks would keep and forget: the snapshots that are there, judged
// by a retention policy, disk by disk. Changes nothing; a prune job and `prune --dry-run` both work
// from it.
#ifndef FS_JOB_PRUNE_PLAN_H
#define FS_JOB_PRUNE_PLAN_H

#include "base/cleanup.h"
#include "catalog/snapshot.h"
#include "fs/job/retention.h"

#define PRUNE_PATH_SIZE (2 * NAME_SIZE + 2 * SNAPSHOT_NAME_SIZE)

struct prune_item {
    struct retention_snapshot snapshot;
    struct retention_verdict verdict;
    int64_t disk_id;
    uint64_t new_bytes; // what it added to the repository
    char uuid[UUID_TEXT_SIZE];
    char path[PRUNE_PATH_SIZE]; // "web1/vda/chain-0001/0003-incr-20261121T065500Z"
};

struct prune_plan {
    char policy[RETENTION_TEXT_SIZE]; // that was applied
    struct prune_item *items;         // disk by disk, oldest first as the tree lists them
    size_t count;
};

// The whole VM, or one disk when disk_id is set. `policy`: the words to judge by, "" = those of the
// VM. `now` is the time that keep-within counts from.
int prune_plan_make(struct catalog_conn *conn, int64_t context_id, int64_t disk_id,
                    const char *policy, int64_t now, struct prune_plan *ret_plan,
                    struct error *err);

// Accepts a zeroed plan.
void prune_plan_deinit(struct prune_plan *plan);

#endif
