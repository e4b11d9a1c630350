// SPDX-License-Identifier: MIT
//
// Folders; see directory.h.
#include "fs/tree/directory.h"

#include "fs/tree/attr.h"
#include "fs/tree/tree_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct node node;
    char name[NAME_SIZE];
};

struct listing {
    struct handle handle;
    struct entry *entries;
    size_t count, room;
};

_Static_assert(NAME_SIZE >= SNAPSHOT_NAME_SIZE, "an entry holds every kind of name");

static void listing_free(struct tree *tree, struct handle *handle)
{
    struct listing *listing = (struct listing *)handle;
    (void)tree;
    free(listing->entries);
    free(listing);
}

static int listing_add(struct listing *listing, struct node node, const char *name,
                       struct error *err)
{
    if (listing->count == listing->room) {
        size_t room = listing->room ? 2 * listing->room : 16;
        struct entry *grown = realloc(listing->entries, room * sizeof(*grown));
        if (!grown)
            return error_set(err, -ENOMEM, "out of memory");
        listing->entries = grown;
        listing->room = room;
    }
    struct entry *entry = &listing->entries[listing->count++];
    entry->node = node;
    snprintf(entry->name, sizeof(entry->name), "%s", name);
    return 0;
}

// --- the rows of a folder

static int add_job(const struct job_row *row, void *arg, struct error *err)
{
    struct listing *listing = arg;
    char name[32];
    enum node_kind kind = listing->handle.node.kind == NODE_ACTIVE ? NODE_ACTIVE_JOB : NODE_JOB;
    snprintf(name, sizeof(name), "%" PRId64, row->id);
    return listing_add(listing, (struct node){kind, row->id}, name, err);
}

static int add_context(const struct context_row *row, void *arg, struct error *err)
{
    return listing_add(arg, (struct node){NODE_VM, row->id}, row->name, err);
}

static int add_disk(const struct disk_row *row, void *arg, struct error *err)
{
    return listing_add(arg, (struct node){NODE_DISK, row->id}, row->name, err);
}

static int add_chain(const struct chain_row *row, void *arg, struct error *err)
{
    char name[SNAPSHOT_NAME_SIZE];
    return listing_add(arg, (struct node){NODE_CHAIN, row->id}, chain_name(row->number, name), err);
}

static int add_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    char name[SNAPSHOT_NAME_SIZE];
    return listing_add(arg, (struct node){NODE_SNAPSHOT, row->id}, snapshot_name(row, name), err);
}

static int add_job_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    // A disk may be called what a file of a job's folder is called; the file has the name then.
    enum node_kind kind = NODE_UNKNOWN;
    while ((kind = node_next_fixed(NODE_JOB, kind)) != NODE_UNKNOWN) {
        if (strcmp(node_info(kind)->name, row->disk_name) == 0)
            return 0;
    }
    return listing_add(arg, (struct node){NODE_JOB_SNAPSHOT, row->id}, row->disk_name, err);
}

static int add_rows(struct catalog_conn *conn, struct listing *listing, struct error *err)
{
    struct node node = listing->handle.node;
    struct job_filter jobs = {.active = node.kind == NODE_ACTIVE};
    struct snapshot_filter of_chain = {.chain_id = node.id}, of_job = {.job_id = node.id};

    switch (node.kind) {
    case NODE_JOBS:
    case NODE_ACTIVE:
        return job_each(conn, &jobs, add_job, listing, err);
    case NODE_JOB:
        return snapshot_each(conn, &of_job, add_job_snapshot, listing, err);
    case NODE_VMS:
        return context_each(conn, add_context, listing, err);
    case NODE_VM:
        return disk_each(conn, node.id, add_disk, listing, err);
    case NODE_DISK:
        return chain_each(conn, node.id, add_chain, listing, err);
    case NODE_CHAIN:
        return snapshot_each(conn, &of_chain, add_snapshot, listing, err);
    default:
        return 0;
    }
}

// --- listing

// `latest` is there only once there is a snapshot for it to name, `DAMAGED` while there is damage.
static int add_fixed(struct catalog_conn *conn, struct listing *listing, const union node_row *row,
                     struct error *err)
{
    struct node folder = listing->handle.node;
    enum node_kind kind = NODE_UNKNOWN;
    struct snapshot_row latest;

    while ((kind = node_next_fixed(folder.kind, kind)) != NODE_UNKNOWN) {
        if (kind == NODE_DISK_LATEST) {
            int r = snapshot_find_latest(conn, folder.id, &latest, NULL);
            if (r == -ENOENT)
                continue;
            if (r < 0)
                return error_set_errno(err, r, "cannot find the newest snapshot");
        }
        if (folder.kind == NODE_SNAPSHOT && node_check_there(kind, &row->snapshot, NULL) < 0)
            continue;
        int r = listing_add(listing, (struct node){kind, folder.id}, node_info(kind)->name, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int listing_fill(struct tree *tree, struct listing *listing, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    union node_row row;

    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    r = node_load(conn, listing->handle.node, &row, err);
    if (r < 0)
        return r;
    r = add_fixed(conn, listing, &row, err);
    if (r < 0)
        return r;
    return add_rows(conn, listing, err);
}

static int listing_make(struct tree *tree, struct listing *listing, struct error *err)
{
    struct node parent;

    int r = node_parent(tree, listing->handle.node, &parent, err);
    if (r < 0)
        return r;
    r = listing_add(listing, listing->handle.node, ".", err);
    if (r < 0)
        return r;
    r = listing_add(listing, parent, "..", err);
    if (r < 0)
        return r;
    return listing_fill(tree, listing, err);
}

void directory_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi)
{
    struct error err = ERROR_INIT;
    struct listing *listing = calloc(1, sizeof(*listing));

    if (!listing) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    listing->handle = (struct handle){.node = node, .free = listing_free};
    int r = listing_make(tree, listing, &err);
    if (r < 0) {
        listing_free(tree, &listing->handle);
        fuse_reply_err(req, refusal_errno(r));
        return;
    }
    handle_reply_open(tree, req, fi, &listing->handle);
}

static mode_t entry_type(struct node node)
{
    enum node_role role = node_info(node.kind)->role;
    return role == NODE_FOLDER ? S_IFDIR : role == NODE_LINK ? S_IFLNK : S_IFREG;
}

void directory_read(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi)
{
    const struct listing *listing = handle_get(fi);
    AUTO_FREE char *buf = malloc(size);
    size_t used = 0;

    if (!buf) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    for (size_t i = offset < 0 ? listing->count : (size_t)offset; i < listing->count; i++) {
        const struct entry *entry = &listing->entries[i];
        struct stat st = {.st_ino = node_to_ino(entry->node), .st_mode = entry_type(entry->node)};
        size_t need =
            fuse_add_direntry(req, buf + used, size - used, entry->name, &st, (off_t)(i + 1));
        if (need > size - used)
            break;
        used += need;
    }
    fuse_reply_buf(req, buf, used);
}

void directory_lookup(struct tree *tree, fuse_req_t req, struct node parent, const char *name)
{
    struct error err = ERROR_INIT;
    struct node node;
    int r = node_lookup(tree, parent, name, &node, &err);
    if (r < 0)
        fuse_reply_err(req, refusal_errno(r));
    else
        attr_reply_entry(tree, req, node);
}

// --- changing

void directory_refuse(struct tree *tree, fuse_req_t req, struct node parent, const char *name,
                      const char *what)
{
    struct error err = ERROR_INIT;
    error_set(&err, -EPERM,
              "nothing can be %s here; mkdir in vms/ adds a VM, mkdir in vms/VM/ a disk, rmdir "
              "removes them or forgets a snapshot",
              what);
    fuse_reply_err(req, refusal_record(tree, parent, name, &err));
}

static int check_open(struct tree *tree, struct error *err)
{
    if (atomic_load(&tree->closing))
        return error_set(err, -EROFS, "the repository is being unmounted");
    return 0;
}

static int make(struct tree *tree, struct node parent, const char *name, struct node *ret_node,
                struct error *err)
{
    int64_t id;

    int r = check_open(tree, err);
    if (r < 0)
        return r;
    if (parent.kind == NODE_VMS) {
        r = engine_add_context(tree->engine, name, &id, err);
        if (r == 0)
            *ret_node = (struct node){NODE_VM, id};
    } else {
        r = engine_add_disk(tree->engine, parent.id, name, &id, err);
        if (r == 0)
            *ret_node = (struct node){NODE_DISK, id};
    }
    return r;
}

void directory_make(struct tree *tree, fuse_req_t req, struct node parent, const char *name)
{
    struct error err = ERROR_INIT;
    struct node node;

    if (parent.kind != NODE_VMS && parent.kind != NODE_VM) {
        directory_refuse(tree, req, parent, name, "created");
        return;
    }
    if (make(tree, parent, name, &node, &err) < 0)
        fuse_reply_err(req, refusal_record(tree, parent, name, &err));
    else
        attr_reply_entry(tree, req, node);
}

static int remove_node(struct tree *tree, struct node parent, const char *name, struct error *err)
{
    struct node node;

    int r = check_open(tree, err);
    if (r < 0)
        return r;
    r = node_lookup(tree, parent, name, &node, err);
    if (r < 0)
        return r;
    switch (node.kind) {
    case NODE_VM:
        return engine_remove_context(tree->engine, node.id, false, err);
    case NODE_DISK:
        return engine_remove_disk(tree->engine, node.id, err);
    case NODE_SNAPSHOT:
        r = engine_forget_snapshot(tree->engine, node.id, err);
        if (r == 0)
            kernel_cache_snapshot_forgotten(tree, parent);
        return r;
    default:
        return error_set(err, -EPERM, "only a VM, a disk or a snapshot can be removed");
    }
}

void directory_remove(struct tree *tree, fuse_req_t req, struct node parent, const char *name)
{
    struct error err = ERROR_INIT;
    if (remove_node(tree, parent, name, &err) < 0)
        fuse_reply_err(req, refusal_record(tree, parent, name, &err));
    else
        fuse_reply_err(req, 0);
}
