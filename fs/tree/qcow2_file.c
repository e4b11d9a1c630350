// SPDX-License-Identifier: MIT
//
// disk.qcow2; see qcow2_file.h.
#include "fs/tree/qcow2_file.h"

#include "fs/store/qcow2.h"
#include "fs/tree/tree_state.h"

#include <stdlib.h>
#include <unistd.h>

struct qcow2_file {
    struct handle handle;
    struct disk_image *shared;
    struct qcow2_layout layout;
};

static void qcow2_file_free(struct tree *tree, struct handle *handle)
{
    struct qcow2_file *file = (struct qcow2_file *)handle;
    snapshot_image_close(tree, file->shared);
    free(file);
}

void qcow2_file_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi)
{
    struct error err = ERROR_INIT;

    if ((fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, refusal_say(tree, node, NULL, -EROFS,
                                        "a snapshot can only be read; make an overlay over it"));
        return;
    }
    struct qcow2_file *file = calloc(1, sizeof(*file));
    if (!file) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    file->handle = (struct handle){.node = node, .free = qcow2_file_free};
    int r = snapshot_image_open(tree, node, &file->shared, &err);
    if (r == 0)
        r = qcow2_layout_init(image_capacity(file->shared->image), &file->layout, &err);
    if (r < 0) {
        qcow2_file_free(tree, &file->handle);
        fuse_reply_err(req, refusal_errno(r));
        return;
    }
    fi->keep_cache = 1; // made of what never changes
    handle_reply_open(tree, req, fi, &file->handle);
}

static void reply_failed(struct tree *tree, fuse_req_t req, const struct qcow2_file *file, int code,
                         const struct error *err)
{
    snapshot_image_tell_damage(tree, file->shared, file->handle.node, err);
    fuse_reply_err(req, refusal_errno(code));
}

void qcow2_file_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    struct qcow2_file *file = handle_get(fi);
    struct error err = ERROR_INIT;
    AUTO_FREE char *buf = malloc(size ? size : 1);

    if (!buf || offset < 0) {
        fuse_reply_err(req, buf ? EINVAL : ENOMEM);
        return;
    }
    ssize_t n = qcow2_read(&file->layout, file->shared->image, buf, size, (uint64_t)offset, &err);
    if (n < 0)
        reply_failed(tree, req, file, (int)n, &err);
    else
        fuse_reply_buf(req, buf, (size_t)n);
}

void qcow2_file_seek(struct tree *tree, fuse_req_t req, off_t offset, int whence,
                     struct fuse_file_info *fi)
{
    struct qcow2_file *file = handle_get(fi);
    struct image *image = file->shared->image;
    struct error err = ERROR_INIT;
    uint64_t found;

    if (offset < 0) {
        fuse_reply_err(req, ENXIO);
        return;
    }
    int r = whence == SEEK_HOLE
                ? qcow2_seek_hole(&file->layout, image, (uint64_t)offset, &found, &err)
                : qcow2_seek_data(&file->layout, image, (uint64_t)offset, &found, &err);
    if (r == 0)
        fuse_reply_lseek(req, (off_t)found);
    else if (r == -ENXIO)
        fuse_reply_err(req, ENXIO);
    else
        reply_failed(tree, req, file, r, &err);
}
