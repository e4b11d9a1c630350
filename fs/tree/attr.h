// SPDX-License-Identifier: MIT
//
// What stat(2) says of a node, and for how long the kernel may believe it.
//
// Listing tells the story: a snapshot's folder has the moment it was taken as mtime and the bytes
// it added as size; a chain, disk or VM is as new as its newest snapshot, a job as its end (its
// start while it runs), so `ls -t` sorts each of these folders by time. Generated files report
// their true size (`changes` as changes_file.h says); disk.raw its capacity and, as blocks, what is
// allocated; disk.qcow2 its length, and as blocks its data and the least its tables take.
//
// Threads: any; the caller holds no lease.
#ifndef FS_TREE_ATTR_H
#define FS_TREE_ATTR_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

#include <sys/stat.h>

// What of a folder's attributes its row says; kind and mount say the rest.
struct attr_core {
    int64_t time; // nanoseconds since the epoch
    off_t size;   // 0: none is told
};

// Of a node of NODE_FOLDER, from the row it belongs to. stat(2) and a listing that brings the
// attributes along use this alone, so they say the same.
struct attr_core attr_core_of(struct node node, const union node_row *row);
void attr_fill_folder(struct tree *tree, struct node node, struct attr_core core,
                      struct stat *ret_stat);

// -ENOENT when what the node belongs to is gone.
int attr_get(struct tree *tree, struct node node, struct stat *ret_stat, struct error *err);

// Answer with a node's attributes, or with the error of getting them.
void attr_reply(struct tree *tree, fuse_req_t req, struct node node);
void attr_reply_entry(struct tree *tree, fuse_req_t req, struct node node);

// Handler: capacity and free space of the file system that holds the repository.
void attr_statfs(struct tree *tree, fuse_req_t req);

#endif
