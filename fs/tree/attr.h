// SPDX-License-Identifier: MIT
//
// What stat(2) says of a node, and for how long the kernel may believe it.
//
// Listing tells the story: a snapshot's folder has the moment it was taken as mtime and the bytes
// it added as size. Generated files report their true size; disk.raw its capacity and, as blocks,
// what is allocated; disk.qcow2 its length, and as blocks its data and the least its tables take.
//
// Threads: any; the caller holds no lease.
#ifndef FS_TREE_ATTR_H
#define FS_TREE_ATTR_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

#include <sys/stat.h>

// -ENOENT when what the node belongs to is gone.
int attr_get(struct tree *tree, struct node node, struct stat *ret_stat, struct error *err);

// Answer with a node's attributes, or with the error of getting them.
void attr_reply(struct tree *tree, fuse_req_t req, struct node node);
void attr_reply_entry(struct tree *tree, fuse_req_t req, struct node node);

// Handler: capacity and free space of the file system that holds the repository.
void attr_statfs(struct tree *tree, fuse_req_t req);

#endif
