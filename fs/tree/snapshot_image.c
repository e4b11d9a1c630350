// SPDX-License-Identifier: MIT
//
// Shared images; see snapshot_image.h.
#include "fs/tree/snapshot_image.h"

#include "base/log.h"
#include "fs/store/snapshot_record.h"
#include "fs/tree/tree_state.h"

#include <stdlib.h>
#include <utlist.h>

void disk_images_init(struct disk_images *images)
{
    pthread_mutex_init(&images->lock, NULL);
}

void disk_images_deinit(struct disk_images *images)
{
    pthread_mutex_destroy(&images->lock);
}

static struct disk_image *find_shared(struct disk_images *images, int64_t snapshot_id)
{
    struct disk_image *shared;

    pthread_mutex_lock(&images->lock);
    DL_SEARCH_SCALAR(images->list, shared, snapshot_id, snapshot_id);
    if (shared)
        shared->users++;
    pthread_mutex_unlock(&images->lock);
    return shared;
}

static int open_image(struct tree *tree, struct disk_image *shared, struct error *err)
{
    const struct node node = {NODE_SNAPSHOT, shared->snapshot_id};
    union node_row row;

    {
        AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
        int r = tree_read_begin(tree, &conn, err);
        if (r == 0)
            r = node_load(conn, node, &row, err);
        if (r == 0)
            r = snapshot_record_check(engine_store(tree->engine), conn, &row.snapshot, err);
        if (r < 0)
            return r;
    }
    shared->row = row.snapshot;
    return image_open(engine_store(tree->engine), &row.snapshot.digest, row.snapshot.capacity,
                      row.snapshot.chunk_size, &shared->image, err);
}

// Out of the list already, or never in it.
static void free_image(struct tree *tree, struct disk_image *shared)
{
    image_close(shared->image);
    engine_release_file(tree->engine, shared->snapshot_id);
    free(shared);
}

// The snapshot is held as by a reader until its image is open, so that it is not forgotten, and its
// content collected, before the store knows of the image. Opening reads the root of the map: not
// under the lock.
static int new_image(struct tree *tree, int64_t snapshot_id, struct disk_image **ret_image,
                     struct error *err)
{
    AUTO_FREE struct disk_image *image = calloc(1, sizeof(*image));
    int r = image ? engine_hold_snapshot(tree->engine, snapshot_id, err)
                  : error_set(err, -ENOMEM, "out of memory");

    if (r < 0)
        return r;
    image->snapshot_id = snapshot_id;
    image->users = 1;
    r = open_image(tree, image, err);
    if (r < 0) {
        log_error("cannot open the disk of snapshot %lld: %s", (long long)snapshot_id,
                  error_message(err));
        engine_release_snapshot(tree->engine, snapshot_id);
        return r;
    }
    engine_hold_by_file(tree->engine, snapshot_id);
    *ret_image = TAKE(image, NULL);
    return 0;
}

// Puts it into the list, unless somebody else has put one there meanwhile: that one is used then.
static struct disk_image *share_image(struct tree *tree, struct disk_image *image)
{
    struct disk_images *images = &tree->images;
    struct disk_image *other;

    pthread_mutex_lock(&images->lock);
    DL_SEARCH_SCALAR(images->list, other, snapshot_id, image->snapshot_id);
    if (other)
        other->users++;
    else
        DL_APPEND(images->list, image);
    pthread_mutex_unlock(&images->lock);
    if (!other)
        return image;
    free_image(tree, image);
    return other;
}

int snapshot_image_open(struct tree *tree, struct node node, struct disk_image **ret_image,
                        struct error *err)
{
    struct disk_image *image = find_shared(&tree->images, node.id);

    if (!image) {
        int r = new_image(tree, node.id, &image, err);
        if (r < 0)
            return r;
        image = share_image(tree, image);
    }
    *ret_image = image;
    return 0;
}

void snapshot_image_close(struct tree *tree, struct disk_image *image)
{
    struct disk_images *images = &tree->images;

    if (!image)
        return;
    pthread_mutex_lock(&images->lock);
    bool last = --image->users == 0;
    if (last)
        DL_DELETE(images->list, image);
    pthread_mutex_unlock(&images->lock);
    if (last)
        free_image(tree, image);
}

bool snapshot_image_row(struct tree *tree, int64_t snapshot_id, struct snapshot_row *ret_row)
{
    struct disk_images *images = &tree->images;
    struct disk_image *image;

    pthread_mutex_lock(&images->lock);
    DL_SEARCH_SCALAR(images->list, image, snapshot_id, snapshot_id);
    if (image)
        *ret_row = image->row;
    pthread_mutex_unlock(&images->lock);
    return image;
}

void snapshot_image_tell_damage(struct tree *tree, struct disk_image *image, struct node node,
                                const struct error *err)
{
    char path[NODE_PATH_SIZE];
    if (!atomic_exchange(&image->damage_told, true))
        log_error("%s: %s", node_path(tree, node, NULL, path), error_message(err));
}
