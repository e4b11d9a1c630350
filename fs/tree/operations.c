// SPDX-License-Identifier: MIT
//
// From FUSE requests to the modules of this room; see operations.h.
//
// There is no `access` handler: the mount has default_permissions, so the kernel checks modes
// itself and never asks. Forgetting needs nothing (node.h).
#include "fs/tree/operations.h"

#include "fs/tree/attr.h"
#include "fs/tree/changes_file.h"
#include "fs/tree/directory.h"
#include "fs/tree/disk_file.h"
#include "fs/tree/generated.h"
#include "fs/tree/qcow2_file.h"
#include "fs/tree/text_file.h"
#include "fs/tree/tree_state.h"
#include "fs/tree/xattr.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

// Enough requests in flight for the kernel to read well ahead of several readers.
#define BACKGROUND_REQUESTS 64

static struct tree *tree_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static enum node_role role_of(struct node node)
{
    return node_info(node.kind)->role;
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->max_background = BACKGROUND_REQUESTS;
    conn->congestion_threshold = BACKGROUND_REQUESTS * 3 / 4;
}

// --- names and attributes

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    directory_lookup(tree_of(req), req, node_from_ino(parent), name);
}

static void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    (void)ino;
    (void)count;
    fuse_reply_none(req);
}

static void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    (void)count;
    (void)forgets;
    fuse_reply_none(req);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    attr_reply(tree_of(req), req, node_from_ino(ino));
}

static void refuse_attr(fuse_req_t req, struct node node)
{
    int code = role_of(node) == NODE_IMAGE ? -EROFS : -EPERM;
    fuse_reply_err(req, refusal_say(tree_of(req), node, NULL, code,
                                    "times, modes, owners and sizes cannot be changed here"));
}

// On a trigger, a truncation is the opener's way of beginning to write and given times are a copy's
// way of ending it: both are nothing. "Now" is a touch.
static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
    const int owner_or_mode = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
    const int now = FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;
    struct node node = node_from_ino(ino);
    (void)attr;
    (void)fi;

    if (role_of(node) != NODE_TRIGGER || (to_set & owner_or_mode)) {
        refuse_attr(req, node);
        return;
    }
    if ((to_set & now) && !(to_set & FUSE_SET_ATTR_SIZE)) {
        int error = trigger_touch(tree_of(req), req, node);
        if (error) {
            fuse_reply_err(req, error);
            return;
        }
    }
    attr_reply(tree_of(req), req, node);
}

static void on_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *target = NULL;
    int r = generated_link(tree_of(req), node_from_ino(ino), &target, &err);
    if (r < 0)
        fuse_reply_err(req, refusal_errno(r));
    else
        fuse_reply_readlink(req, target);
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
    (void)ino;
    attr_statfs(tree_of(req), req);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    xattr_get(tree_of(req), req, node_from_ino(ino), name, size);
}

static void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    xattr_list(req, node_from_ino(ino), size);
}

static void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    (void)name;
    (void)value;
    (void)size;
    (void)flags;
    fuse_reply_err(req, refusal_say(tree_of(req), node_from_ino(ino), NULL, -EPERM,
                                    "extended attributes can only be read"));
}

static void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    on_setxattr(req, ino, name, NULL, 0, 0);
}

// --- folders

static void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    directory_open(tree_of(req), req, node_from_ino(ino), fi);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    (void)ino;
    directory_read(tree_of(req), req, size, offset, fi);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *fi)
{
    (void)ino;
    directory_read_plus(tree_of(req), req, size, offset, fi);
}

static void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    handle_close(tree_of(req), handle_get(fi));
    fuse_reply_err(req, 0);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    (void)mode;
    directory_make(tree_of(req), req, node_from_ino(parent), name);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    directory_remove(tree_of(req), req, node_from_ino(parent), name);
}

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    (void)mode;
    (void)rdev;
    directory_refuse(tree_of(req), req, node_from_ino(parent), name, "created");
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    (void)mode;
    (void)fi;
    directory_refuse(tree_of(req), req, node_from_ino(parent), name, "created");
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    (void)target;
    directory_refuse(tree_of(req), req, node_from_ino(parent), name, "created");
}

static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    (void)ino;
    directory_refuse(tree_of(req), req, node_from_ino(parent), name, "linked");
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    directory_refuse(tree_of(req), req, node_from_ino(parent), name, "removed");
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    (void)new_parent;
    (void)new_name;
    (void)flags;
    directory_refuse(tree_of(req), req, node_from_ino(parent), name, "renamed");
}

// --- files

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tree *tree = tree_of(req);
    struct node node = node_from_ino(ino);

    switch (role_of(node)) {
    case NODE_TEXT:
    case NODE_LIVE:
        text_file_open(tree, req, node, fi);
        break;
    case NODE_TRIGGER:
        trigger_open(tree, req, node, fi);
        break;
    case NODE_IMAGE:
        if (node.kind == NODE_SNAPSHOT_QCOW2)
            qcow2_file_open(tree, req, node, fi);
        else
            disk_file_open(tree, req, node, fi);
        break;
    case NODE_EXTENTS:
        changes_file_open(tree, req, node, fi);
        break;
    default:
        fuse_reply_err(req, ENOENT);
        break;
    }
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct tree *tree = tree_of(req);
    struct node node = node_from_ino(ino);

    switch (role_of(node)) {
    case NODE_IMAGE:
        if (node.kind == NODE_SNAPSHOT_QCOW2)
            qcow2_file_read(tree, req, size, offset, fi);
        else
            disk_file_read(tree, req, size, offset, fi);
        break;
    case NODE_EXTENTS:
        changes_file_read(tree, req, size, offset, fi);
        break;
    case NODE_TRIGGER:
        trigger_read(tree, req, size, offset, fi);
        break;
    default:
        text_file_read(tree, req, size, offset, fi);
        break;
    }
}

// Only triggers can be opened for writing.
static void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    (void)ino;
    (void)offset; // a trigger is a stream, whatever O_APPEND or a reader made of the position
    trigger_write(tree_of(req), req, buf, size, fi);
}

static void on_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (role_of(node_from_ino(ino)) == NODE_TRIGGER)
        trigger_flush(tree_of(req), req, fi);
    else
        fuse_reply_err(req, 0);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (role_of(node_from_ino(ino)) == NODE_TRIGGER) {
        trigger_release(tree_of(req), req, fi);
        return;
    }
    handle_close(tree_of(req), handle_get(fi));
    fuse_reply_err(req, 0);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    // A command is durable before it is answered; what is not one yet (no newline) becomes one.
    (void)datasync;
    on_flush(req, ino, fi);
}

static void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                     struct fuse_file_info *fi)
{
    struct node node = node_from_ino(ino);

    switch (role_of(node)) {
    case NODE_IMAGE:
        if (node.kind == NODE_SNAPSHOT_QCOW2)
            qcow2_file_seek(tree_of(req), req, offset, whence, fi);
        else
            disk_file_seek(tree_of(req), req, offset, whence, fi);
        break;
    case NODE_EXTENTS:
        changes_file_seek(tree_of(req), req, offset, whence, fi);
        break;
    case NODE_TRIGGER: // no holes, and an end that moves: nothing can be said
        fuse_reply_err(req, EINVAL);
        break;
    default:
        text_file_seek(tree_of(req), req, offset, whence, fi);
        break;
    }
}

static void on_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                    struct fuse_pollhandle *poll_handle)
{
    enum node_role role = role_of(node_from_ino(ino));

    if (role == NODE_TEXT || role == NODE_LIVE) {
        text_file_poll(tree_of(req), req, fi, poll_handle);
        return;
    }
    if (poll_handle)
        fuse_pollhandle_destroy(poll_handle);
    fuse_reply_poll(req, POLLIN | POLLRDNORM | (role == NODE_TRIGGER ? POLLOUT | POLLWRNORM : 0));
}

const struct fuse_lowlevel_ops tree_operations = {
    .init = on_init,
    .lookup = on_lookup,
    .forget = on_forget,
    .forget_multi = on_forget_multi,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .readlink = on_readlink,
    .mknod = on_mknod,
    .mkdir = on_mkdir,
    .unlink = on_unlink,
    .rmdir = on_rmdir,
    .symlink = on_symlink,
    .rename = on_rename,
    .link = on_link,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .flush = on_flush,
    .release = on_release,
    .fsync = on_fsync,
    .opendir = on_opendir,
    .readdir = on_readdir,
    .readdirplus = on_readdirplus,
    .releasedir = on_releasedir,
    .statfs = on_statfs,
    .setxattr = on_setxattr,
    .getxattr = on_getxattr,
    .listxattr = on_listxattr,
    .removexattr = on_removexattr,
    .create = on_create,
    .poll = on_poll,
    .lseek = on_lseek,
};
