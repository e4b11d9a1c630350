// SPDX-License-Identifier: MIT
//
// What differs between two snapshots, told by their maps alone: two Merkle trees are walked beside
// each other and equal sub-trees, which have equal ids, are passed over. So the cost follows the
// difference and not the disks, and no chunk is read.
//
// The grain is a chunk: an extent holds at least one byte that differs in each of its chunks, and
// what no extent covers is equal. A chunk is a hole on both sides or on neither to be equal.
// Disks may differ in size, but not in chunk size: ids of chunks of different sizes say nothing
// about each other. Bytes past the end of the smaller disk count as changed, holes or not.
//
// Memory: two nodes a level. Threads: any, one walk each. Takes short read leases; the caller must
// hold none.
#ifndef FS_STORE_MAP_DIFF_H
#define FS_STORE_MAP_DIFF_H

#include "fs/store/store.h"

struct map_diff_side {
    const char *name; // for sentences; borrowed
    struct digest root;
    uint64_t capacity;
    uint32_t chunk_size;
};

struct map_diff_walk {
    // Told of each run of bytes that differs: ascending, disjoint, never adjacent, within the
    // larger disk. What it returns but 0 ends the walk.
    int (*extent)(uint64_t offset, uint64_t length, void *arg, struct error *err);
    // Called before each node is looked at, so that a long walk can be cancelled; NULL = never.
    int (*step)(void *arg, struct error *err);
    void *arg;
};

// `from` NULL: against a disk of holes of the same size, so all that holds data is told. 0 at the
// end; what a function of `walk` returned; -EINVAL for chunk sizes that differ; -ERROR_CORRUPT for
// a map node that is missing or damaged, after the extents before it were told.
int map_diff(struct store *store, const struct map_diff_side *from, const struct map_diff_side *to,
             const struct map_diff_walk *walk, struct error *err);

#endif
