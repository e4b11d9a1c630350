// SPDX-License-Identifier: MIT
//
// What differs between two snapshots, whichever they are: the tree's `changes` and `backtree diff`
// both ask here. From maps alone (fs/store/map_diff.h); rows are compared with the snapshots' own
// records before they are believed.
//
// Nothing is held meanwhile, so nobody is kept from forgetting a snapshot because it is looked at.
//
// Threads: any. The caller holds no lease.
#ifndef FS_JOB_SNAPSHOT_DIFF_H
#define FS_JOB_SNAPSHOT_DIFF_H

#include "catalog/snapshot.h"
#include "fs/job/repository.h"
#include "fs/store/map_diff.h"

// As map_diff(), and -ENOENT when a map could not be read because its snapshot has been forgotten
// since the rows were read. `from` NULL: all of `to` that holds data.
int snapshot_diff(struct store *store, const struct snapshot_row *from,
                  const struct snapshot_row *to, const struct map_diff_walk *walk,
                  struct error *err);

// The same in a repository opened to look at, also beside its owner.
int repository_snapshot_diff(const struct repository *viewer, const struct snapshot_row *from,
                             const struct snapshot_row *to, const struct map_diff_walk *walk,
                             struct error *err);

#endif
