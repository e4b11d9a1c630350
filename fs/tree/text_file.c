// SPDX-License-Identifier: MIT
//
// Open generated files; see text_file.h.
#include "fs/tree/text_file.h"

#include "fs/tree/generated.h"
#include "fs/tree/tree_state.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

struct text_file {
    struct handle handle;
    struct live_file live; // of NODE_LIVE nodes
    pthread_mutex_t lock;
    // guarded by lock
    char *text; // NULL for wait
    size_t len;
};

static bool is_live(const struct text_file *file)
{
    return node_info(file->handle.node.kind)->role == NODE_LIVE;
}

static void text_file_free(struct tree *tree, struct handle *handle)
{
    struct text_file *file = (struct text_file *)handle;
    if (is_live(file))
        live_file_remove(tree, &file->live);
    pthread_mutex_destroy(&file->lock);
    free(file->text);
    free(file);
}

// Caller holds file->lock, or has the file to itself.
static int make_text(struct tree *tree, struct text_file *file, struct error *err)
{
    char *text;
    size_t len;

    if (is_live(file))
        live_file_mark_read(tree, &file->live);
    int r = generated_text(tree, file->handle.node, &text, &len, err);
    if (r < 0)
        return r;
    free(file->text);
    file->text = text;
    file->len = len;
    return 0;
}

// A file that has not been read yet is readable to a poller: what open makes does not count.
static int first_text(struct tree *tree, struct text_file *file, struct error *err)
{
    if (file->handle.node.kind == NODE_JOB_WAIT || file->handle.node.kind == NODE_JOB_STATE ||
        file->handle.node.kind == NODE_JOB_PROGRESS)
        return 0; // made by the first read
    return generated_text(tree, file->handle.node, &file->text, &file->len, err);
}

void text_file_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi)
{
    struct error err = ERROR_INIT;

    if ((fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, refusal_say(tree, node, NULL, -EPERM, "this file can only be read"));
        return;
    }
    struct text_file *file = calloc(1, sizeof(*file));
    if (!file) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    file->handle = (struct handle){.node = node, .free = text_file_free};
    pthread_mutex_init(&file->lock, NULL);
    if (is_live(file))
        live_file_add(tree, &file->live, node);
    int r = first_text(tree, file, &err);
    if (r < 0) {
        text_file_free(tree, &file->handle);
        fuse_reply_err(req, refusal_errno(r));
        return;
    }
    // Past the page cache: the size may change between a stat and a read.
    fi->direct_io = 1;
    handle_reply_open(tree, req, fi, &file->handle);
}

static bool must_remake(const struct text_file *file, off_t offset)
{
    switch (file->handle.node.kind) {
    case NODE_JOB_STATE:
    case NODE_JOB_PROGRESS:
        return offset == 0 || !file->text;
    case NODE_JOB_LOG: // only ever grows
        return (size_t)offset >= file->len;
    default:
        return false;
    }
}

void text_file_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct text_file *file = handle_get(fi);
    struct error err = ERROR_INIT;
    int r = 0;

    if (file->handle.node.kind == NODE_JOB_WAIT) {
        live_wait_read(tree, req, file->handle.node.id, size, offset, fi->flags & O_NONBLOCK);
        return;
    }
    pthread_mutex_lock(&file->lock);
    if (must_remake(file, offset))
        r = make_text(tree, file, &err);
    if (r == 0) {
        handle_reply_text(req, &file->lock, file->text, file->len, size, offset);
        return;
    }
    pthread_mutex_unlock(&file->lock);
    fuse_reply_err(req, refusal_errno(r));
}

void text_file_seek(struct tree *tree, fuse_req_t req, off_t offset, int whence,
                    struct fuse_file_info *fi)
{
    struct text_file *file = handle_get(fi);
    (void)tree;
    pthread_mutex_lock(&file->lock);
    off_t end = (off_t)file->len;
    pthread_mutex_unlock(&file->lock);
    if (offset < 0 || offset >= end)
        fuse_reply_err(req, ENXIO);
    else
        fuse_reply_lseek(req, whence == SEEK_HOLE ? end : offset);
}

void text_file_poll(struct tree *tree, fuse_req_t req, struct fuse_file_info *fi,
                    struct fuse_pollhandle *poll_handle)
{
    struct text_file *file = handle_get(fi);

    if (is_live(file)) {
        live_file_poll(tree, req, &file->live, poll_handle);
        return;
    }
    if (poll_handle)
        fuse_pollhandle_destroy(poll_handle);
    fuse_reply_poll(req, POLLIN | POLLRDNORM);
}
