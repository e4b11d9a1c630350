// SPDX-License-Identifier: MIT
//
// The snapshots (and, when asked for by state, the per-disk rows that are none) that `backtree
// list` shows: collected from the catalog in one walk, filtered, cut to the newest N.
#ifndef TOOLS_SNAPSHOT_LISTING_H
#define TOOLS_SNAPSHOT_LISTING_H

#include "base/cleanup.h"
#include "tools/filter.h"

#include <jansson.h>

// What of a row is shown, small enough to keep a hundred thousand.
struct listed_snapshot {
    int64_t id, context_id, disk_id, chain_id, chain_number, number, job_id;
    int64_t when;                    // taken, or started or ended when it was never taken
    char name[SNAPSHOT_NAME_SIZE];   // "" when it is no snapshot
    char parent[SNAPSHOT_NAME_SIZE]; // "" = none
    enum snapshot_kind kind;
    uint64_t capacity, data_bytes, new_bytes;
    bool protected;
    bool bad;     // damaged, or failed
    char *state;  // all of the last column: "completed, scheduled [nightly]"
    json_t *json; // only when JSON is wanted
};

struct snapshot_listing {
    struct listed_snapshot *items; // as the catalog orders them, until sorted
    size_t count, room;
};

struct snapshot_listing *snapshot_listing_free(struct snapshot_listing *listing);

// Words of --kind and --state. -EINVAL.
int snapshot_listing_check(const struct filter *filter, struct error *err);

// `path` bounds the walk. The listing is malloc'ed.
int snapshot_listing_collect(struct catalog_conn *conn, const struct filter *filter,
                             const struct catalog_path *path, struct snapshot_listing **ret_listing,
                             struct error *err);

// Orders by disk id, chain, number; what belongs to no chain last.
void snapshot_listing_sort(struct snapshot_listing *listing);

// The items of one disk in a sorted listing; *ret_count may be 0.
const struct listed_snapshot *snapshot_listing_of_disk(const struct snapshot_listing *listing,
                                                       int64_t disk_id, size_t *ret_count);

DEFINE_CLEANUP(struct snapshot_listing *, snapshot_listing_free)

#endif
