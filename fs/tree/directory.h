// SPDX-License-Identifier: MIT
//
// Folders: listing them, and the few changes that are allowed: mkdir and rmdir of VMs and disks,
// rmdir of a snapshot (which forgets it). Everything else that would make, rename or remove a name
// is refused here.
//
// A listing is made when the folder is opened, and anew when it is read from the beginning again,
// so it is one consistent view however long the reader takes; offsets are indices into it. It holds
// the attributes of folders too, from the same rows, and the kernel gets them with the names, so
// that `ls -l` asks nothing more; unless the catalog has changed since, for what is told is
// believed for a while.
//
// Threads: any. A listing is guarded by its open folder's lock, which is held while a reply is put
// together and never over a question to the catalog.
#ifndef FS_TREE_DIRECTORY_H
#define FS_TREE_DIRECTORY_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

void directory_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi);
void directory_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                    struct fuse_file_info *fi);
void directory_read_plus(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                         struct fuse_file_info *fi);
void directory_lookup(struct tree *tree, fuse_req_t req, struct node parent, const char *name);
void directory_make(struct tree *tree, fuse_req_t req, struct node parent, const char *name);
void directory_remove(struct tree *tree, fuse_req_t req, struct node parent, const char *name);

// Says no to `what` ("created", "renamed", …) of `name`, and why; EPERM.
void directory_refuse(struct tree *tree, fuse_req_t req, struct node parent, const char *name,
                      const char *what);

#endif
