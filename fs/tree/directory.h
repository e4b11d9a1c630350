// SPDX-License-Identifier: MIT
//
// Folders: listing them, and the few changes that are allowed: mkdir and rmdir of VMs and disks,
// rmdir of a snapshot (which forgets it). Everything else that would make, rename or remove a name
// is refused here.
//
// A listing is made once, when the folder is opened, so it is one consistent view however long the
// reader takes; offsets are indices into it.
//
// Threads: any. A listing is read-only once its open was answered.
#ifndef FS_TREE_DIRECTORY_H
#define FS_TREE_DIRECTORY_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

void directory_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi);
void directory_read(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi);
void directory_lookup(struct tree *tree, fuse_req_t req, struct node parent, const char *name);
void directory_make(struct tree *tree, fuse_req_t req, struct node parent, const char *name);
void directory_remove(struct tree *tree, fuse_req_t req, struct node parent, const char *name);

// Says no to `what` ("created", "renamed", …) of `name`, and why; EPERM.
void directory_refuse(struct tree *tree, fuse_req_t req, struct node parent, const char *name,
                      const char *what);

#endif
