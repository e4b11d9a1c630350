// SPDX-License-Identifier: MIT
//
// The images behind disk.raw and disk.qcow2. All open files of one snapshot share one image, which
// keeps it from being forgotten by hand; when a policy forgets it, they read on until the last one
// is closed, and can be opened once more through what is open (/proc/PID/fd).
//
// Threads: any. `lock` guards the list and the counts of users; nothing is opened, read or closed
// under it.
#ifndef FS_TREE_SNAPSHOT_IMAGE_H
#define FS_TREE_SNAPSHOT_IMAGE_H

#include "base/error.h"
#include "fs/store/image.h"
#include "fs/tree/node.h"

#include <pthread.h>
#include <stdatomic.h>

struct disk_image {
    int64_t snapshot_id;
    struct snapshot_row row; // as it was when the image was opened
    struct image *image;     // while there are users
    atomic_bool damage_told;
    // guarded by disk_images.lock
    unsigned users;
    struct disk_image *prev, *next;
};

struct disk_images {
    pthread_mutex_t lock;
    struct disk_image *list; // those open now: few
};

void disk_images_init(struct disk_images *images);
void disk_images_deinit(struct disk_images *images); // with no file open

// Gives the image of the snapshot of `node` to one more user. -ENOENT when it was forgotten and no
// file of it is open; what is wrong with an image that cannot be opened is logged.
int snapshot_image_open(struct tree *tree, struct node node, struct disk_image **ret_image,
                        struct error *err);

// Whether an image of the snapshot is open: then its row.
bool snapshot_image_row(struct tree *tree, int64_t snapshot_id, struct snapshot_row *ret_row);

// Ends one use. NULL is nothing.
void snapshot_image_close(struct tree *tree, struct disk_image *image);

// Logs why a read of `node` failed, once an image: a reader of a damaged disk may try every page.
void snapshot_image_tell_damage(struct tree *tree, struct disk_image *image, struct node node,
                                const struct error *err);

#endif
