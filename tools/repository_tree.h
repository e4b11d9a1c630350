// SPDX-License-Identifier: MIT
//
// The lines of a snapshot_tree from a listing: VMs, their disks, chains and snapshots, and what
// they add up to. What `backtree list` prints and `backtree show` draws below a record.
#ifndef TOOLS_REPOSITORY_TREE_H
#define TOOLS_REPOSITORY_TREE_H

#include "tools/snapshot_listing.h"
#include "tools/snapshot_tree.h"

struct repository_tree {
    const struct catalog_path *path;        // bounds it
    const struct snapshot_listing *listing; // sorted, of that path
    bool matching;                          // VMs and disks without a snapshot are left out
    int64_t here;                           // a snapshot to point at; 0 = none
};

int repository_tree_make(struct catalog_conn *conn, const struct repository_tree *what,
                         struct snapshot_tree **ret_tree, struct error *err);

// Drawn on a terminal, else plain.
int repository_tree_print(const struct snapshot_tree *tree, FILE *out, struct error *err);

#endif
