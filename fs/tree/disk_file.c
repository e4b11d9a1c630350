// SPDX-License-Identifier: MIT
//
// disk.raw; see disk_file.h.
#include "fs/tree/disk_file.h"

#include "base/log.h"
#include "fs/store/image.h"
#include "fs/store/snapshot_record.h"
#include "fs/tree/tree_state.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

struct disk_image {
    int64_t snapshot_id;
    struct image *image;
    atomic_bool damage_told;
    // guarded by disk_images.lock
    unsigned users;
    struct disk_image *prev, *next;
};

struct disk_file {
    struct handle handle;
    struct disk_image *shared;
};

void disk_images_init(struct disk_images *images)
{
    pthread_mutex_init(&images->lock, NULL);
}

void disk_images_deinit(struct disk_images *images)
{
    pthread_mutex_destroy(&images->lock);
}

// --- shared images

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

// --- open files

static void disk_file_free(struct tree *tree, struct handle *handle)
{
    struct disk_file *file = (struct disk_file *)handle;
    if (file->shared)
        unshare_image(&tree->images, file->shared);
    engine_release_snapshot(tree->engine, file->handle.node.id);
    free(file);
}

void disk_file_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi)
{
    struct error err = ERROR_INIT;

    if ((fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, refusal_say(tree, node, NULL, -EROFS, "a snapshot can only be read"));
        return;
    }
    struct disk_file *file = calloc(1, sizeof(*file));
    if (!file) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    file->handle = (struct handle){.node = node, .free = disk_file_free};
    int r = engine_hold_snapshot(tree->engine, node.id, &err);
    if (r < 0) {
        free(file);
        fuse_reply_err(req, refusal_errno(r));
        return;
    }
    r = share_image(tree, node.id, &file->shared, &err);
    if (r < 0) {
        log_error("cannot open the disk of snapshot %lld: %s", (long long)node.id,
                  error_message(&err));
        disk_file_free(tree, &file->handle);
        fuse_reply_err(req, refusal_errno(r));
        return;
    }
    fi->keep_cache = 1; // a snapshot's bytes never change
    handle_reply_open(tree, req, fi, &file->handle);
}

// Once an image: a reader of a damaged disk may try every page of it.
static void tell_damage(struct tree *tree, const struct disk_file *file, const struct error *err)
{
    char path[NODE_PATH_SIZE];
    if (!atomic_exchange(&file->shared->damage_told, true))
        log_error("%s: %s", node_path(tree, file->handle.node, NULL, path), error_message(err));
}

void disk_file_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct disk_file *file = handle_get(fi);
    struct error err = ERROR_INIT;
    struct image_view view;

    if (offset < 0) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    int r = image_view(file->shared->image, size, (uint64_t)offset, &view, &err);
    if (r < 0) {
        tell_damage(tree, file, &err);
        fuse_reply_err(req, refusal_errno(r));
        return;
    }
    // Straight from where the bytes stand into the kernel's pages: its copy is the only one.
    fuse_reply_iov(req, view.iov, (int)view.count);
    image_view_release(&view);
}

void disk_file_seek(struct tree *tree, fuse_req_t req, off_t offset, int whence,
                    struct fuse_file_info *fi)
{
    struct disk_file *file = handle_get(fi);
    struct error err = ERROR_INIT;
    uint64_t found;

    if (offset < 0) {
        fuse_reply_err(req, ENXIO);
        return;
    }
    int r = whence == SEEK_HOLE
                ? image_seek_hole(file->shared->image, (uint64_t)offset, &found, &err)
                : image_seek_data(file->shared->image, (uint64_t)offset, &found, &err);
    if (r < 0) {
        if (r != -ENXIO)
            tell_damage(tree, file, &err);
        fuse_reply_err(req, refusal_errno(r));
    } else {
        fuse_reply_lseek(req, (off_t)found);
    }
}
