// SPDX-License-Identifier: MIT
//
// disk.raw; see disk_file.h.
#include "fs/tree/disk_file.h"

#include "fs/tree/tree_state.h"

#include <stdlib.h>
#include <unistd.h>

struct disk_file {
    struct handle handle;
    struct disk_image *shared;
};

static void disk_file_free(struct tree *tree, struct handle *handle)
{
    struct disk_file *file = (struct disk_file *)handle;
    snapshot_image_close(tree, file->shared);
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
    int r = snapshot_image_open(tree, node, &file->shared, &err);
    if (r < 0) {
        free(file);
        fuse_reply_err(req, refusal_errno(r));
        return;
    }
    fi->keep_cache = 1; // a snapshot's bytes never change
    handle_reply_open(tree, req, fi, &file->handle);
}

static void tell_damage(struct tree *tree, const struct disk_file *file, const struct error *err)
{
    snapshot_image_tell_damage(tree, file->shared, file->handle.node, err);
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
