// SPDX-License-Identifier: MIT
//
// One sentence about what of a snapshot cannot be read.
#ifndef FS_JOB_SNAPSHOT_GAPS_H
#define FS_JOB_SNAPSHOT_GAPS_H

#include "catalog/snapshot.h"
#include "fs/store/map_check.h"

#define SNAPSHOT_PATH_SIZE (2 * NAME_SIZE + 2 * SNAPSHOT_NAME_SIZE)

struct snapshot_gaps {
    uint64_t count, bytes;
    char sentence[ERROR_MESSAGE_MAX]; // "web1/vda/…: 65536 bytes in 1 extent are missing: 0+65536
                                      // (no pack holds …)"; the first extents are named
};

// "web1/vda/chain-0001/0003-incr-…", as it stands under vms/. Returns `path`.
char *snapshot_path(const struct snapshot_row *row, char path[SNAPSHOT_PATH_SIZE]);

// Fills *ret_gaps; count 0: everything is there.
int snapshot_gaps_find(struct map_check *check, struct catalog_conn *conn,
                       const struct snapshot_row *row, struct snapshot_gaps *ret_gaps,
                       struct error *err);

// The same of what is recorded (catalog/damage.h), without looking.
int snapshot_gaps_recorded(struct catalog_conn *conn, const struct snapshot_row *row,
                           struct snapshot_gaps *ret_gaps, struct error *err);

#endif
