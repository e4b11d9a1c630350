// SPDX-License-Identifier: MIT
//
// stat(2) of nodes; see attr.h.
#include "fs/tree/attr.h"

#include "base/clock.h"
#include "fs/store/qcow2.h"
#include "fs/tree/changes_file.h"
#include "fs/tree/command.h"
#include "fs/tree/generated.h"
#include "fs/tree/tree_state.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_BLOCK 4096

static struct timespec to_timespec(int64_t when)
{
    return (struct timespec){.tv_sec = when / CLOCK_SECOND, .tv_nsec = when % CLOCK_SECOND};
}

static int64_t job_time(const struct job_row *job)
{
    return job->finished_at  ? job->finished_at
           : job->started_at ? job->started_at
                             : job->created_at;
}

static int newest_change(const struct context_row *row, void *arg, struct error *err)
{
    int64_t *newest = arg;
    (void)err;
    if (row->changed_at > *newest)
        *newest = row->changed_at;
    return 0;
}

static int newest_job(const struct job_row *row, void *arg, struct error *err)
{
    (void)err;
    *(int64_t *)arg = row->created_at;
    return 0;
}

// The mtime of nodes that belong to no row.
static int unowned_time(struct tree *tree, struct catalog_conn *conn, enum node_kind kind,
                        int64_t *ret_time, struct error *err)
{
    struct job_filter last = {.limit = 1};
    int64_t time = engine_repository(tree->engine)->config.created_at;
    int r = 0;

    switch (kind) {
    case NODE_VMS:
        r = context_each(conn, newest_change, &time, err);
        break;
    case NODE_JOBS:
    case NODE_ACTIVE:
        r = job_each(conn, &last, newest_job, &time, err);
        break;
    case NODE_STATUS:
    case NODE_METRICS:
    case NODE_REPORT:
        time = clock_now();
        break;
    case NODE_LAST_ERROR:
        time = refusal_time(tree);
        if (time == 0)
            time = tree->mounted_at;
        break;
    default:
        time = tree->mounted_at;
        break;
    }
    if (r < 0)
        return r;
    *ret_time = time;
    return 0;
}

static void fill_qcow2(const struct snapshot_row *row, struct stat *st)
{
    struct qcow2_layout layout;

    if (qcow2_layout_init(row->capacity, &layout, NULL) < 0)
        return; // not there: node_check_there()
    st->st_size = (off_t)layout.file_size;
    st->st_blocks = (blkcnt_t)(qcow2_allocated(&layout, row->data_bytes) / 512);
    st->st_blksize = (blksize_t)1 << layout.cluster_bits;
}

// What is in the folder of a snapshot.
static int fill_snapshot_file(struct tree *tree, struct catalog_conn *conn, enum node_kind kind,
                              const struct snapshot_row *row, struct stat *st, struct error *err)
{
    int r = 0;

    if (kind == NODE_SNAPSHOT_RAW) {
        st->st_size = (off_t)row->capacity;
        st->st_blocks = (blkcnt_t)((row->data_bytes + 511) / 512);
        st->st_blksize = (blksize_t)row->chunk_size;
    } else if (kind == NODE_SNAPSHOT_CHANGES) {
        r = changes_file_size(tree, conn, row, &st->st_size, err);
        st->st_blocks = (st->st_size + 511) / 512;
    } else if (kind == NODE_SNAPSHOT_QCOW2) {
        fill_qcow2(row, st);
    }
    return r;
}

// The folder of a VM or disk is as new as its newest snapshot, so that `ls -t` sorts by backups;
// without one, as old as itself.
static int64_t folder_time(int64_t newest_at, int64_t created_at)
{
    return newest_at ? newest_at : created_at;
}

static int64_t row_time(struct node node, const union node_row *row)
{
    switch (node_info(node.kind)->owner) {
    case NODE_OF_JOB:
        return job_time(&row->job);
    case NODE_OF_CONTEXT:
        if (node.kind == NODE_VM)
            return folder_time(row->context.newest_at, row->context.created_at);
        return node.kind == NODE_VM_BACKUP && row->context.last_run_at ? row->context.last_run_at
                                                                       : row->context.changed_at;
    case NODE_OF_DISK:
        if (node.kind == NODE_DISK)
            return folder_time(row->disk.newest_at, row->disk.created_at);
        return row->disk.changed_at;
    case NODE_OF_CHAIN:
        return row->chain.changed_at;
    case NODE_OF_SNAPSHOT:
        return row->snapshot.taken_at;
    case NODE_OF_NOTHING:
        break;
    }
    return 0;
}

struct attr_core attr_core_of(struct node node, const union node_row *row)
{
    return (struct attr_core){
        .time = row_time(node, row),
        .size = node.kind == NODE_SNAPSHOT ? (off_t)row->snapshot.new_bytes : 0,
    };
}

static void fill_core(struct attr_core core, struct stat *st)
{
    st->st_size = core.size;
    st->st_mtim = st->st_ctim = st->st_atim = to_timespec(core.time);
}

// All but the size of what has a text.
static int fill_from_catalog(struct tree *tree, struct node node, struct stat *st,
                             struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct attr_core core = {0};
    union node_row row;

    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    if (node_info(node.kind)->owner == NODE_OF_NOTHING) {
        r = unowned_time(tree, conn, node.kind, &core.time, err);
    } else {
        r = node_load(conn, node, &row, err);
        if (r == -ENOENT && node_info(node.kind)->role == NODE_IMAGE &&
            snapshot_image_row(tree, node.id, &row.snapshot))
            r = 0; // forgotten, and still open
        if (r == 0)
            core = attr_core_of(node, &row);
    }
    if (r < 0)
        return r;
    fill_core(core, st);
    if (node_info(node.kind)->owner == NODE_OF_SNAPSHOT)
        r = fill_snapshot_file(tree, conn, node.kind, &row.snapshot, st, err);
    return r;
}

static int text_length(struct tree *tree, struct node node, off_t *ret_length, struct error *err)
{
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    int r;

    switch (node_info(node.kind)->role) {
    case NODE_LINK:
        r = generated_link(tree, node, &text, err);
        break;
    case NODE_TRIGGER:
        r = command_text(tree, node, 0, &text, err);
        break;
    default:
        r = generated_text(tree, node, &text, &len, err);
        break;
    }
    if (r < 0)
        return r;
    *ret_length = (off_t)strlen(text);
    return 0;
}

static mode_t file_type(enum node_role role)
{
    return role == NODE_FOLDER ? S_IFDIR : role == NODE_LINK ? S_IFLNK : S_IFREG;
}

// What is the same for all of a kind.
static struct stat attr_of_kind(const struct tree *tree, struct node node)
{
    const struct node_info *info = node_info(node.kind);

    return (struct stat){
        .st_ino = node_to_ino(node),
        .st_uid = tree->uid,
        .st_gid = tree->gid,
        .st_mode = file_type(info->role) | (tree->allow_other ? info->others_mode : info->mode),
        .st_nlink = info->role == NODE_FOLDER ? 2 : 1,
        .st_blksize = TEXT_BLOCK,
    };
}

void attr_fill_folder(struct tree *tree, struct node node, struct attr_core core,
                      struct stat *ret_stat)
{
    *ret_stat = attr_of_kind(tree, node);
    fill_core(core, ret_stat);
}

int attr_get(struct tree *tree, struct node node, struct stat *ret_stat, struct error *err)
{
    const struct node_info *info = node_info(node.kind);

    if (info->role == NODE_ROLE_UNKNOWN)
        return error_set(err, -ENOENT, "no such node");
    struct stat st = attr_of_kind(tree, node);
    int r = fill_from_catalog(tree, node, &st, err);
    if (r < 0)
        return r;
    if (info->role != NODE_FOLDER && info->role != NODE_IMAGE && info->role != NODE_EXTENTS) {
        r = text_length(tree, node, &st.st_size, err);
        if (r < 0)
            return r;
        st.st_blocks = (st.st_size + 511) / 512;
    }
    *ret_stat = st;
    return 0;
}

void attr_reply(struct tree *tree, fuse_req_t req, struct node node)
{
    struct error err = ERROR_INIT;
    struct stat st;
    int r = attr_get(tree, node, &st, &err);
    if (r < 0)
        fuse_reply_err(req, refusal_errno(r));
    else
        fuse_reply_attr(req, &st, kernel_cache_attr_timeout(node));
}

void attr_reply_entry(struct tree *tree, fuse_req_t req, struct node node)
{
    struct error err = ERROR_INIT;
    struct fuse_entry_param entry = {.ino = node_to_ino(node),
                                     .attr_timeout = kernel_cache_attr_timeout(node),
                                     .entry_timeout = kernel_cache_name_timeout(node)};
    int r = attr_get(tree, node, &entry.attr, &err);
    if (r < 0)
        fuse_reply_err(req, refusal_errno(r));
    else
        fuse_reply_entry(req, &entry);
}

void attr_statfs(struct tree *tree, fuse_req_t req)
{
    struct statvfs st;
    if (statvfs(engine_repository(tree->engine)->dir, &st) < 0) {
        fuse_reply_err(req, refusal_errno(-errno));
        return;
    }
    st.f_namemax = NAME_MAX;
    fuse_reply_statfs(req, &st);
}
