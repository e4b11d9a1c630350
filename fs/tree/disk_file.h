// SPDX-License-Identifier: MIT
//
// disk.raw: a snapshot as a file, read-only, byte-exact and with its holes. A damaged chunk is EIO
// for the reads that touch it, and for no others.
//
// Threads: any; reading takes no lock.
#ifndef FS_TREE_DISK_FILE_H
#define FS_TREE_DISK_FILE_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

void disk_file_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi);
void disk_file_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                    struct fuse_file_info *fi);

// SEEK_DATA and SEEK_HOLE; ENXIO at the end, and for data when only holes follow.
void disk_file_seek(struct tree *tree, fuse_req_t req, off_t offset, int whence,
                    struct fuse_file_info *fi);

#endif
