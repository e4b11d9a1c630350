// SPDX-License-Identifier: MIT
//
// Extended attributes: the most used fields of a record, on its folder, under "user.backtree.".
//   the root     repository (its uuid)
//   vms/VM       runs, successes, last_success
//   a disk       change_id, source, capacity
//   a snapshot   state, kind, number, parent, job, new_bytes, digest, change_id, taken_at
//   jobs/N       state, kind, trigger
// They can only be read. A field that is empty is still an attribute, of length 0.
//
// Threads: any; the caller holds no lease.
#ifndef FS_TREE_XATTR_H
#define FS_TREE_XATTR_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

void xattr_get(struct tree *tree, fuse_req_t req, struct node node, const char *name, size_t size);
void xattr_list(fuse_req_t req, struct node node, size_t size);

#endif
