// SPDX-License-Identifier: MIT
//
// SNAPSHOT/changes; see changes_file.h.
//
// Nothing is held while the maps are walked, so that `rmdir` of a snapshot does not meet EBUSY
// because somebody looks at what its child has changed. A parent whose map went away with a gc
// meanwhile is not damage: the rows are looked at again.
#include "fs/tree/changes_file.h"

#include "base/log.h"
#include "fs/job/snapshot_diff.h"
#include "fs/tree/spool.h"
#include "fs/tree/tree_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct changes_file {
    struct handle handle;
    struct spool *text;
};

// --- sizes

void changes_sizes_init(struct changes_sizes *sizes)
{
    pthread_mutex_init(&sizes->lock, NULL);
}

void changes_sizes_deinit(struct changes_sizes *sizes)
{
    pthread_mutex_destroy(&sizes->lock);
}

static struct changes_size *slot_of(struct changes_sizes *sizes, int64_t snapshot_id)
{
    return &sizes->slots[(uint64_t)snapshot_id % CHANGES_SIZES];
}

static void remember_size(struct changes_sizes *sizes, const struct changes_size *size)
{
    pthread_mutex_lock(&sizes->lock);
    *slot_of(sizes, size->snapshot_id) = *size;
    pthread_mutex_unlock(&sizes->lock);
}

static bool recall_size(struct changes_sizes *sizes, const struct snapshot_row *row,
                        off_t *ret_size)
{
    pthread_mutex_lock(&sizes->lock);
    struct changes_size size = *slot_of(sizes, row->id);
    pthread_mutex_unlock(&sizes->lock);
    if (size.snapshot_id != row->id || size.parent_id != row->parent_id)
        return false;
    *ret_size = (off_t)size.size;
    return true;
}

int changes_file_size(struct tree *tree, struct catalog_conn *conn, const struct snapshot_row *row,
                      off_t *ret_size, struct error *err)
{
    struct snapshot_row parent;

    if (recall_size(&tree->changes, row, ret_size))
        return 0;
    *ret_size = CHANGES_SIZE_UNKNOWN;
    if (row->parent_id == 0) {
        if (row->data_bytes == 0)
            *ret_size = 0;
        return 0;
    }
    int r = snapshot_get(conn, row->parent_id, &parent, err);
    if (r < 0)
        return r;
    if (digest_equal(&row->digest, &parent.digest) && row->capacity == parent.capacity)
        *ret_size = 0;
    return 0;
}

// --- the text

struct pair {
    struct snapshot_row snapshot, parent; // no parent: its id is 0
};

static int load_pair(struct tree *tree, int64_t snapshot_id, struct pair *pair, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    union node_row row;

    pair->parent.id = 0;
    int r = tree_read_begin(tree, &conn, err);
    if (r == 0)
        r = node_load(conn, (struct node){NODE_SNAPSHOT, snapshot_id}, &row, err);
    if (r < 0)
        return r;
    pair->snapshot = row.snapshot;
    if (pair->snapshot.parent_id)
        r = snapshot_get(conn, pair->snapshot.parent_id, &pair->parent, err);
    return r;
}

struct making {
    struct tree *tree;
    fuse_req_t req;
    struct spool *text;
};

static int add_extent(uint64_t offset, uint64_t length, void *arg, struct error *err)
{
    struct making *making = arg;
    char line[64];
    int len = snprintf(line, sizeof(line), "%" PRIu64 " %" PRIu64 "\n", offset, length);

    return spool_add(making->text, line, (size_t)len, err);
}

static int check_wanted(void *arg, struct error *err)
{
    const struct making *making = arg;

    if (fuse_req_interrupted(making->req) || atomic_load(&making->tree->closing))
        return error_set(err, -EINTR, "interrupted");
    return 0;
}

static int make_text(struct making *making, const struct pair *pair, struct error *err)
{
    struct map_diff_walk walk = {.extent = add_extent, .step = check_wanted, .arg = making};
    const struct repository *repository = engine_repository(making->tree->engine);
    struct store *store = engine_store(making->tree->engine);
    int r = spool_new(store_cache_dir(store), repository->reserve, &making->text, err);

    if (r == 0)
        r = snapshot_diff(store, pair->parent.id ? &pair->parent : NULL, &pair->snapshot, &walk,
                          err);
    if (r == 0)
        r = spool_finish(making->text, err);
    if (r < 0)
        making->text = spool_free(making->text);
    return r;
}

// A parent may be forgotten meanwhile, as often as there are ancestors: each time the next one
// takes its place.
static int make_current(struct making *making, int64_t snapshot_id, struct error *err)
{
    AUTO_FREE struct pair *pair = calloc(1, sizeof(*pair));
    struct error local = ERROR_INIT;
    int64_t tried = -1; // parent
    int r = -ENOENT;

    if (!pair)
        return error_set(err, -ENOMEM, "out of memory");
    while (r == -ENOENT) {
        r = load_pair(making->tree, snapshot_id, pair, err);
        if (r < 0)
            return r;
        if (pair->snapshot.parent_id == tried)
            return error_set(err, local.code, "%s", error_message(&local));
        tried = pair->snapshot.parent_id;
        error_clear(&local);
        r = make_text(making, pair, &local);
    }
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    struct changes_size size = {snapshot_id, pair->snapshot.parent_id, spool_length(making->text)};
    remember_size(&making->tree->changes, &size);
    return 0;
}

// --- open files

static void changes_file_free(struct tree *tree, struct handle *handle)
{
    struct changes_file *file = (struct changes_file *)handle;
    (void)tree;
    spool_free(file->text);
    free(file);
}

static int refuse_open(struct tree *tree, struct node node, const struct error *err)
{
    char path[NODE_PATH_SIZE];

    if (err->code != -EINTR && err->code != -ENOENT)
        log_error("%s: %s", node_path(tree, node, NULL, path), error_message(err));
    return refusal_errno(err->code);
}

void changes_file_open(struct tree *tree, fuse_req_t req, struct node node,
                       struct fuse_file_info *fi)
{
    struct making making = {.tree = tree, .req = req};
    struct error err = ERROR_INIT;

    if ((fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, refusal_say(tree, node, NULL, -EPERM, "this file can only be read"));
        return;
    }
    struct changes_file *file = calloc(1, sizeof(*file));
    if (!file) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    file->handle = (struct handle){.node = node, .free = changes_file_free};
    if (make_current(&making, node.id, &err) < 0) {
        free(file);
        fuse_reply_err(req, refuse_open(tree, node, &err));
        return;
    }
    file->text = making.text;
    // Past the page cache: the size becomes known now, and another one when a parent is forgotten.
    fi->direct_io = 1;
    handle_reply_open(tree, req, fi, &file->handle);
}

void changes_file_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    const struct changes_file *file = handle_get(fi);
    AUTO_FREE char *buf = malloc(size ? size : 1);
    struct error err = ERROR_INIT;

    (void)tree;
    if (!buf || offset < 0) {
        fuse_reply_err(req, buf ? EINVAL : ENOMEM);
        return;
    }
    ssize_t n = spool_read(file->text, buf, size, (uint64_t)offset, &err);
    if (n < 0) {
        log_error("cannot read the changes of a snapshot: %s", error_message(&err));
        fuse_reply_err(req, refusal_errno((int)n));
    } else {
        fuse_reply_buf(req, buf, (size_t)n);
    }
}

void changes_file_seek(struct tree *tree, fuse_req_t req, off_t offset, int whence,
                       struct fuse_file_info *fi)
{
    const struct changes_file *file = handle_get(fi);
    off_t end = (off_t)spool_length(file->text);

    (void)tree;
    if (offset < 0 || offset >= end)
        fuse_reply_err(req, ENXIO);
    else
        fuse_reply_lseek(req, whence == SEEK_HOLE ? end : offset);
}
