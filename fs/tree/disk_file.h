// SPDX-License-Identifier: MIT
//
// disk.raw: a snapshot as a file, read-only, byte-exact and with its holes. Every open holds the
// snapshot against being forgotten; opens of one snapshot share an image. A damaged chunk is EIO
// for the reads that touch it, and for no others.
//
// Threads: any. `lock` guards the list of shared images; reading takes no lock.
#ifndef FS_TREE_DISK_FILE_H
#define FS_TREE_DISK_FILE_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

#include <pthread.h>

struct disk_image;

struct disk_images {
    pthread_mutex_t lock;
    struct disk_image *list; // those open now: few
};

void disk_images_init(struct disk_images *images);
void disk_images_deinit(struct disk_images *images); // with no file open

void disk_file_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi);
void disk_file_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                    struct fuse_file_info *fi);

// SEEK_DATA and SEEK_HOLE; ENXIO at the end, and for data when only holes follow.
void disk_file_seek(struct tree *tree, fuse_req_t req, off_t offset, int whence,
                    struct fuse_file_info *fi);

#endif
