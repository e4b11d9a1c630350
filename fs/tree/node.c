// SPDX-License-Identifier: MIT
//
// The shape of the tree, and names to nodes; see node.h.
#include "fs/tree/node.h"

#include "catalog/path.h"
#include "fs/store/qcow2.h"
#include "fs/tree/tree_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_BITS 48
#define ID_MAX ((INT64_C(1) << ID_BITS) - 1)

// clang-format off
static const struct node_info infos[NODE_KIND_COUNT] = {
    //                          in             name            of                 role          mode  others
    [NODE_ROOT]             = {NODE_UNKNOWN,  "",             NODE_OF_NOTHING,  NODE_FOLDER,  0500, 0555},
    [NODE_README]           = {NODE_ROOT,     "README",       NODE_OF_NOTHING,  NODE_TEXT,    0400, 0444},
    [NODE_STATUS]           = {NODE_ROOT,     "status",       NODE_OF_NOTHING,  NODE_TEXT,    0400, 0444},
    [NODE_METRICS]          = {NODE_ROOT,     "metrics",      NODE_OF_NOTHING,  NODE_TEXT,    0400, 0444},
    [NODE_REPORT]           = {NODE_ROOT,     "report.html",  NODE_OF_NOTHING,  NODE_TEXT,    0400, 0444},
    [NODE_LAST_ERROR]       = {NODE_ROOT,     "last_error",   NODE_OF_NOTHING,  NODE_TEXT,    0400, 0444},
    [NODE_JOBS]             = {NODE_ROOT,     "jobs",         NODE_OF_NOTHING,  NODE_FOLDER,  0500, 0555},
    [NODE_ACTIVE]           = {NODE_JOBS,     "active",       NODE_OF_NOTHING,  NODE_FOLDER,  0500, 0555},
    [NODE_VMS]              = {NODE_ROOT,     "vms",          NODE_OF_NOTHING,  NODE_FOLDER,  0700, 0755},
    [NODE_JOB]              = {NODE_JOBS,     NULL,           NODE_OF_JOB,      NODE_FOLDER,  0500, 0555},
    [NODE_JOB_INFO]         = {NODE_JOB,      "info.json",    NODE_OF_JOB,      NODE_TEXT,    0400, 0444},
    [NODE_JOB_STATE]        = {NODE_JOB,      "state",        NODE_OF_JOB,      NODE_LIVE,    0400, 0444},
    [NODE_JOB_PROGRESS]     = {NODE_JOB,      "progress",     NODE_OF_JOB,      NODE_LIVE,    0400, 0444},
    [NODE_JOB_LOG]          = {NODE_JOB,      "log",          NODE_OF_JOB,      NODE_LIVE,    0400, 0444},
    [NODE_JOB_CANCEL]       = {NODE_JOB,      "cancel",       NODE_OF_JOB,      NODE_TRIGGER, 0600, 0600},
    [NODE_JOB_WAIT]         = {NODE_JOB,      "wait",         NODE_OF_JOB,      NODE_LIVE,    0400, 0444},
    [NODE_JOB_SNAPSHOT]     = {NODE_JOB,      NULL,           NODE_OF_SNAPSHOT, NODE_LINK,    0777, 0777},
    [NODE_ACTIVE_JOB]       = {NODE_ACTIVE,   NULL,           NODE_OF_JOB,      NODE_LINK,    0777, 0777},
    [NODE_VM]               = {NODE_VMS,      NULL,           NODE_OF_CONTEXT,  NODE_FOLDER,  0700, 0755},
    [NODE_VM_BACKUP]        = {NODE_VM,       "backup",       NODE_OF_CONTEXT,  NODE_TRIGGER, 0600, 0600},
    [NODE_VM_INFO]          = {NODE_VM,       "info.json",    NODE_OF_CONTEXT,  NODE_TEXT,    0400, 0444},
    [NODE_DISK]             = {NODE_VM,       NULL,           NODE_OF_DISK,     NODE_FOLDER,  0500, 0555},
    [NODE_DISK_BACKUP]      = {NODE_DISK,     "backup",       NODE_OF_DISK,     NODE_TRIGGER, 0600, 0600},
    [NODE_DISK_SOURCE]      = {NODE_DISK,     "source",       NODE_OF_DISK,     NODE_TRIGGER, 0600, 0600},
    [NODE_DISK_INFO]        = {NODE_DISK,     "info.json",    NODE_OF_DISK,     NODE_TEXT,    0400, 0444},
    [NODE_DISK_LATEST]      = {NODE_DISK,     "latest",       NODE_OF_DISK,     NODE_LINK,    0777, 0777},
    [NODE_CHAIN]            = {NODE_DISK,     NULL,           NODE_OF_CHAIN,    NODE_FOLDER,  0700, 0755},
    [NODE_CHAIN_INFO]       = {NODE_CHAIN,    "info.json",    NODE_OF_CHAIN,    NODE_TEXT,    0400, 0444},
    [NODE_SNAPSHOT]         = {NODE_CHAIN,    NULL,           NODE_OF_SNAPSHOT, NODE_FOLDER,  0500, 0555},
    [NODE_SNAPSHOT_RAW]     = {NODE_SNAPSHOT, "disk.raw",     NODE_OF_SNAPSHOT, NODE_IMAGE,   0400, 0444},
    [NODE_SNAPSHOT_INFO]    = {NODE_SNAPSHOT, "info.json",    NODE_OF_SNAPSHOT, NODE_TEXT,    0400, 0444},
    [NODE_SNAPSHOT_RESTORE] = {NODE_SNAPSHOT, "restore",      NODE_OF_SNAPSHOT, NODE_TRIGGER, 0600, 0600},
    [NODE_SNAPSHOT_PROTECTED] = {NODE_SNAPSHOT, "protected",  NODE_OF_SNAPSHOT, NODE_TRIGGER, 0600, 0600},
    [NODE_CONTROL]          = {NODE_ROOT,     "control",      NODE_OF_NOTHING,  NODE_FOLDER,  0500, 0555},
    [NODE_CONTROL_PRUNE]    = {NODE_CONTROL,  "prune",        NODE_OF_NOTHING,  NODE_TRIGGER, 0600, 0600},
    [NODE_CONTROL_CHECK]    = {NODE_CONTROL,  "check",        NODE_OF_NOTHING,  NODE_TRIGGER, 0600, 0600},
    [NODE_CONTROL_VERIFY]   = {NODE_CONTROL,  "verify",       NODE_OF_NOTHING,  NODE_TRIGGER, 0600, 0600},
    [NODE_CONTROL_GC]       = {NODE_CONTROL,  "gc",           NODE_OF_NOTHING,  NODE_TRIGGER, 0600, 0600},
    [NODE_SNAPSHOT_VERIFY]  = {NODE_SNAPSHOT, "verify",       NODE_OF_SNAPSHOT, NODE_TRIGGER, 0600, 0600},
    [NODE_SNAPSHOT_DAMAGED] = {NODE_SNAPSHOT, "DAMAGED",      NODE_OF_SNAPSHOT, NODE_TEXT,    0400, 0444},
    [NODE_SNAPSHOT_CHANGES] = {NODE_SNAPSHOT, "changes",      NODE_OF_SNAPSHOT, NODE_EXTENTS, 0400, 0444},
    [NODE_SNAPSHOT_QCOW2]   = {NODE_SNAPSHOT, "disk.qcow2",   NODE_OF_SNAPSHOT, NODE_IMAGE,   0400, 0444},
    [NODE_VM_RETENTION]     = {NODE_VM,       "retention",    NODE_OF_CONTEXT,  NODE_TRIGGER, 0600, 0600},
};
// clang-format on

uint64_t node_to_ino(struct node node)
{
    if (node.kind == NODE_ROOT)
        return FUSE_ROOT_ID;
    return ((uint64_t)node.kind << ID_BITS) | (uint64_t)node.id;
}

struct node node_from_ino(uint64_t ino)
{
    static const struct node unknown = {NODE_UNKNOWN, 0};

    if (ino == FUSE_ROOT_ID)
        return (struct node){NODE_ROOT, 0};
    uint64_t kind = ino >> ID_BITS;
    if (kind <= NODE_ROOT || kind >= NODE_KIND_COUNT)
        return unknown;
    struct node node = {(enum node_kind)kind, (int64_t)(ino & (uint64_t)ID_MAX)};
    if ((infos[kind].owner == NODE_OF_NOTHING) != (node.id == 0))
        return unknown;
    return node;
}

const struct node_info *node_info(enum node_kind kind)
{
    return &infos[kind];
}

enum node_kind node_next_fixed(enum node_kind parent, enum node_kind previous)
{
    for (int kind = (int)previous + 1; kind < NODE_KIND_COUNT; kind++) {
        if (infos[kind].parent == parent && infos[kind].name && infos[kind].role)
            return (enum node_kind)kind;
    }
    return NODE_UNKNOWN;
}

int node_check_there(enum node_kind kind, const struct snapshot_row *row, struct error *err)
{
    struct qcow2_layout layout;

    if (kind == NODE_SNAPSHOT_DAMAGED && !row->damaged)
        return error_set(err, -ENOENT, "nothing is known to be damaged");
    if (kind == NODE_SNAPSHOT_QCOW2 && qcow2_layout_init(row->capacity, &layout, NULL) < 0)
        return error_set(err, -ENOENT, "the disk is too large for a qcow2 image");
    return 0;
}

int node_load(struct catalog_conn *conn, struct node node, union node_row *ret_row,
              struct error *err)
{
    int r;

    switch (infos[node.kind].owner) {
    case NODE_OF_NOTHING:
        return 0;
    case NODE_OF_JOB:
        return job_get(conn, node.id, &ret_row->job, err);
    case NODE_OF_CONTEXT:
        return context_get(conn, node.id, &ret_row->context, err);
    case NODE_OF_DISK:
        return disk_get(conn, node.id, &ret_row->disk, err);
    case NODE_OF_CHAIN:
        r = chain_get(conn, node.id, &ret_row->chain, err);
        if (r == 0 && ret_row->chain.snapshots == 0)
            return error_set(err, -ENOENT, "the chain holds no snapshots any more");
        return r;
    case NODE_OF_SNAPSHOT:
        r = snapshot_get(conn, node.id, &ret_row->snapshot, err);
        if (r == 0 &&
            (ret_row->snapshot.state != JOB_COMPLETED || ret_row->snapshot.forgotten_at != 0))
            return error_set(err, -ENOENT, "the snapshot was forgotten");
        return r == 0 ? node_check_there(node.kind, &ret_row->snapshot, err) : r;
    }
    return error_set(err, -ENOENT, "no such node");
}

// --- names to nodes

// A job's number as folder name: digits without leading zeros, so that a job has one name.
static int64_t parse_job_number(const char *name)
{
    char again[32], *end;

    errno = 0;
    long long number = strtoll(name, &end, 10);
    if (errno || *end || number <= 0 || number > ID_MAX)
        return 0;
    snprintf(again, sizeof(again), "%lld", number);
    return strcmp(again, name) == 0 ? number : 0;
}

static int find_job(struct catalog_conn *conn, struct node parent, const char *name,
                    struct node *ret_node, struct error *err)
{
    struct job_row row;
    int64_t number = parse_job_number(name);

    if (number == 0)
        return error_set(err, -ENOENT, "no job named %s", name);
    int r = job_get(conn, number, &row, err);
    if (r < 0)
        return r;
    if (parent.kind == NODE_ACTIVE && job_state_is_ended(row.state))
        return error_set(err, -ENOENT, "job %s has ended", name);
    *ret_node = (struct node){parent.kind == NODE_ACTIVE ? NODE_ACTIVE_JOB : NODE_JOB, row.id};
    return 0;
}

static int find_context(struct catalog_conn *conn, const char *name, struct node *ret_node,
                        struct error *err)
{
    struct context_row row;
    int r = context_find(conn, name, &row, err);
    if (r == 0)
        *ret_node = (struct node){NODE_VM, row.id};
    return r;
}

static int find_disk(struct catalog_conn *conn, int64_t context_id, const char *name,
                     struct node *ret_node, struct error *err)
{
    struct disk_row row;
    int r = disk_find(conn, context_id, name, &row, err);
    if (r == 0)
        *ret_node = (struct node){NODE_DISK, row.id};
    return r;
}

static int find_chain(struct catalog_conn *conn, int64_t disk_id, const char *name,
                      struct node *ret_node, struct error *err)
{
    char again[SNAPSHOT_NAME_SIZE];
    struct chain_row row;
    int64_t number = chain_number_from_name(name);

    if (number == 0 || strcmp(chain_name(number, again), name) != 0)
        return error_set(err, -ENOENT, "no chain named %s", name);
    int r = chain_find(conn, disk_id, number, &row, err);
    if (r < 0)
        return r;
    if (row.snapshots == 0)
        return error_set(err, -ENOENT, "%s holds no snapshots any more", name);
    *ret_node = (struct node){NODE_CHAIN, row.id};
    return 0;
}

static int find_snapshot(struct catalog_conn *conn, int64_t chain_id, const char *name,
                         struct node *ret_node, struct error *err)
{
    struct snapshot_row row;
    int r = snapshot_find(conn, chain_id, name, &row, err);
    if (r == 0)
        *ret_node = (struct node){NODE_SNAPSHOT, row.id};
    return r;
}

struct wanted_link {
    const char *disk_name;
    int64_t snapshot_id;
};

static int match_link(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct wanted_link *wanted = arg;
    (void)err;
    if (strcmp(row->disk_name, wanted->disk_name) != 0)
        return 0;
    wanted->snapshot_id = row->id;
    return 1;
}

static int find_job_snapshot(struct catalog_conn *conn, int64_t job_id, const char *name,
                             struct node *ret_node, struct error *err)
{
    struct snapshot_filter filter = {.job_id = job_id};
    struct wanted_link wanted = {.disk_name = name};

    int r = snapshot_each(conn, &filter, match_link, &wanted, err);
    if (r < 0)
        return r;
    if (wanted.snapshot_id == 0)
        return error_set(err, -ENOENT, "job %" PRId64 " has no %s", job_id, name);
    *ret_node = (struct node){NODE_JOB_SNAPSHOT, wanted.snapshot_id};
    return 0;
}

static int find_by_row(struct catalog_conn *conn, struct node parent, const char *name,
                       struct node *ret_node, struct error *err)
{
    switch (parent.kind) {
    case NODE_JOBS:
    case NODE_ACTIVE:
        return find_job(conn, parent, name, ret_node, err);
    case NODE_VMS:
        return find_context(conn, name, ret_node, err);
    case NODE_VM:
        return find_disk(conn, parent.id, name, ret_node, err);
    case NODE_DISK:
        return find_chain(conn, parent.id, name, ret_node, err);
    case NODE_CHAIN:
        return find_snapshot(conn, parent.id, name, ret_node, err);
    case NODE_JOB:
        return find_job_snapshot(conn, parent.id, name, ret_node, err);
    default:
        return error_set(err, -ENOENT, "there is no %s here", name);
    }
}

int node_lookup(struct tree *tree, struct node parent, const char *name, struct node *ret_node,
                struct error *err)
{
    if (infos[parent.kind].role != NODE_FOLDER)
        return error_set(err, -ENOTDIR, "not a folder");

    enum node_kind kind = NODE_UNKNOWN;
    while ((kind = node_next_fixed(parent.kind, kind)) != NODE_UNKNOWN) {
        if (strcmp(infos[kind].name, name) == 0) {
            // Whether its row is still there is the attributes' business.
            *ret_node = (struct node){kind, parent.id};
            return 0;
        }
    }

    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    return find_by_row(conn, parent, name, ret_node, err);
}

// --- nodes to names

int node_parent(struct tree *tree, struct node node, struct node *ret_parent, struct error *err)
{
    const struct node_info *info = &infos[node.kind];

    if (node.kind == NODE_ROOT) {
        *ret_parent = node;
        return 0;
    }
    if (info->name && infos[info->parent].owner == info->owner) {
        *ret_parent = (struct node){info->parent, node.id};
        return 0;
    }
    if (infos[info->parent].owner == NODE_OF_NOTHING) {
        *ret_parent = (struct node){info->parent, 0};
        return 0;
    }

    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    union node_row row;
    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    r = node_load(conn, node, &row, err);
    if (r < 0)
        return r;
    int64_t id = node.kind == NODE_DISK       ? row.disk.context_id
                 : node.kind == NODE_CHAIN    ? row.chain.disk_id
                 : node.kind == NODE_SNAPSHOT ? row.snapshot.chain_id
                                              : row.snapshot.job_id;
    *ret_parent = (struct node){info->parent, id};
    return 0;
}

static void chain_path(struct catalog_conn *conn, const struct chain_row *chain, char *text,
                       size_t size)
{
    struct disk_row disk;
    char name[SNAPSHOT_NAME_SIZE];
    if (disk_get(conn, chain->disk_id, &disk, NULL) == 0)
        snprintf(text, size, "vms/%s/%s/%s", disk.context_name, disk.name,
                 chain_name(chain->number, name));
}

// The path of the folder that `node`'s row stands for.
static void row_path(struct catalog_conn *conn, struct node node, char *text, size_t size)
{
    char chain[SNAPSHOT_NAME_SIZE], snapshot[SNAPSHOT_NAME_SIZE];
    union node_row row;

    if (node_load(conn, node, &row, NULL) < 0) {
        snprintf(text, size, "(removed)");
        return;
    }
    switch (infos[node.kind].owner) {
    case NODE_OF_NOTHING:
        break;
    case NODE_OF_JOB:
        snprintf(text, size, "jobs/%" PRId64, row.job.id);
        break;
    case NODE_OF_CONTEXT:
        snprintf(text, size, "vms/%s", row.context.name);
        break;
    case NODE_OF_DISK:
        snprintf(text, size, "vms/%s/%s", row.disk.context_name, row.disk.name);
        break;
    case NODE_OF_CHAIN:
        chain_path(conn, &row.chain, text, size);
        break;
    case NODE_OF_SNAPSHOT:
        snprintf(text, size, "vms/%s/%s/%s/%s", row.snapshot.context_name, row.snapshot.disk_name,
                 chain_name(row.snapshot.chain_number, chain),
                 snapshot_name(&row.snapshot, snapshot));
        break;
    }
}

char *node_path(struct tree *tree, struct node node, const char *name, char path[NODE_PATH_SIZE])
{
    const struct node_info *info = &infos[node.kind];
    char folder[NODE_PATH_SIZE / 2 + 80] = "";
    const char *fixed = NULL;

    if (info->owner != NODE_OF_NOTHING) {
        AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
        if (tree_read_begin(tree, &conn, NULL) == 0)
            row_path(conn, node, folder, sizeof(folder));
        fixed = info->name;
    } else if (info->name && *info->name) {
        const char *above = infos[info->parent].name; // "" of the root
        snprintf(folder, sizeof(folder), "%s%s%s", above, *above ? "/" : "", info->name);
    }

    // A name from a client is cut rather than the path refused: it is only told, never used.
    snprintf(path, NODE_PATH_SIZE, "%s%s%s%s%.*s", folder, fixed ? "/" : "", fixed ? fixed : "",
             name && *folder ? "/" : "", 160, name ? name : "");
    return path;
}
