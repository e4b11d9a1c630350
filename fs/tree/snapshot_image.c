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

static int open_image(struct tree *tree, int64_t snapshot_id, struct image **ret_image,
                      struct error *err)
{
    struct node node = {NODE_SNAPSHOT, snapshot_id};
    union node_row row;
    int r;

    {
        AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
        r = tree_read_begin(tree, &conn, err);
        if (r < 0)
            return r;
        r = node_load(conn, node, &row, err);
        if (r == 0)
            r = snapshot_record_check(engine_store(tree->engine), conn, &row.snapshot, err);
        if (r < 0)
            return r;
    }
    return image_open(engine_store(tree->engine), &row.snapshot.digest, row.snapshot.capacity,
                      row.snapshot.chunk_size, ret_image, err);
}

static int share_image(struct tree *tree, int64_t snapshot_id, struct disk_image **ret_shared,
                       struct error *err)
{
    struct disk_images *images = &tree->images;
    struct disk_image *shared = find_shared(images, snapshot_id), *other;

    if (shared) {
        *ret_shared = shared;
        return 0;
    }
    shared = calloc(1, sizeof(*shared));
    if (!shared)
        return error_set(err, -ENOMEM, "out of memory");
    shared->snapshot_id = snapshot_id;
    shared->users = 1;
    // Opening reads the root of the map: not under the lock.
    int r = open_image(tree, snapshot_id, &shared->image, err);
    if (r < 0) {
        free(shared);
        return r;
    }
    pthread_mutex_lock(&images->lock);
    DL_SEARCH_SCALAR(images->list, other, snapshot_id, snapshot_id);
    if (other)
        other->users++;
    else
        DL_APPEND(images->list, shared);
    pthread_mutex_unlock(&images->lock);
    if (other) {
        image_close(shared->image);
        free(shared);
    }
    *ret_shared = other ? other : shared;
    return 0;
}

static void unshare_image(struct disk_images *images, struct disk_image *shared)
{
    pthread_mutex_lock(&images->lock);
    bool last = --shared->users == 0;
    if (last)
        DL_DELETE(images->list, shared);
    pthread_mutex_unlock(&images->lock);
    if (last) {
        image_close(shared->image);
        free(shared);
    }
}

int snapshot_image_open(struct tree *tree, struct node node, struct disk_image **ret_image,
                        struct error *err)
{
    int r = engine_hold_snapshot(tree->engine, node.id, err);
    if (r < 0)
        return r;
    r = share_image(tree, node.id, ret_image, err);
    if (r < 0) {
        log_error("cannot open the disk of snapshot %lld: %s", (long long)node.id,
                  error_message(err));
        engine_release_snapshot(tree->engine, node.id);
    }
    return r;
}

void snapshot_image_close(struct tree *tree, struct disk_image *image)
{
    if (!image)
        return;
    int64_t snapshot_id = image->snapshot_id;
    unshare_image(&tree->images, image);
    engine_release_snapshot(tree->engine, snapshot_id);
}

void snapshot_image_tell_damage(struct tree *tree, struct disk_image *image, struct node node,
                                const struct error *err)
{
    char path[NODE_PATH_SIZE];
    if (!atomic_exchange(&image->damage_told, true))
        log_error("%s: %s", node_path(tree, node, NULL, path), error_message(err));
}
