// SPDX-License-Identifier: MIT
//
// disk.qcow2: a snapshot as a qcow2 image (fs/store/qcow2.h), read-only, made as it is read; the
// same bytes at every open. What disk.raw says of holding, sharing and damage holds here too.
//
// Threads: any; reading takes no lock.
#ifndef FS_TREE_QCOW2_FILE_H
#define FS_TREE_QCOW2_FILE_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

void qcow2_file_open(struct tree *tree, fuse_req_t req, struct node node,
                     struct fuse_file_info *fi);
void qcow2_file_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                     struct fuse_file_info *fi);

// SEEK_DATA and SEEK_HOLE; ENXIO at the end, and for data when only holes follow.
void qcow2_file_seek(struct tree *tree, fuse_req_t req, off_t offset, int whence,
                     struct fuse_file_info *fi);

#endif
