// SPDX-License-Identifier: MIT
//
// Folders; see directory.h.
#include "fs/tree/directory.h"

#include "base/grow.h"
#include "fs/tree/attr.h"
#include "fs/tree/tree_state.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct node node;
    bool known; // core is; only of folders, what else there is may change without a commit
    struct attr_core core;
    char name[NAME_SIZE];
};

struct listing {
    struct node node;
    uint64_t changes; // of the catalog, before it was read
    struct entry *entries;
    size_t count, room;
};

struct open_folder {
    struct handle handle;
    pthread_mutex_t lock;
    // guarded by lock
    struct listing listing;
    bool begun; // somebody has read from the beginning
};

_Static_assert(NAME_SIZE >= SNAPSHOT_NAME_SIZE, "an entry holds every kind of name");

static void folder_free(struct tree *tree, struct handle *handle)
{
    struct open_folder *folder = (struct open_folder *)handle;
    (void)tree;
    free(folder->listing.entries);
    pthread_mutex_destroy(&folder->lock);
    free(folder);
}

static int listing_add(struct listing *listing, struct node node, const char *name,
                       struct error *err)
{
    int r = GROW(listing->entries, listing->count, listing->room, "a listing", err);
    if (r < 0)
        return r;
    struct entry *entry = &listing->entries[listing->count++];
    entry->node = node;
    entry->known = false;
    snprintf(entry->name, sizeof(entry->name), "%s", name);
    return 0;
}

// --- the rows of a folder

// A folder with the row it stands for.
static int add_folder(struct listing *listing, struct node node, const char *name,
                      const union node_row *row, struct error *err)
{
    int r = listing_add(listing, node, name, err);
    if (r < 0)
        return r;
    struct entry *entry = &listing->entries[listing->count - 1];
    entry->known = true;
    entry->core = attr_core_of(node, row);
    return 0;
}

static int add_job(const struct job_row *row, void *arg, struct error *err)
{
    struct listing *listing = arg;
    const union node_row of = {.job = *row};
    char name[32];
    snprintf(name, sizeof(name), "%" PRId64, row->id);
    if (listing->node.kind == NODE_ACTIVE)
        return listing_add(listing, (struct node){NODE_ACTIVE_JOB, row->id}, name, err);
    return add_folder(listing, (struct node){NODE_JOB, row->id}, name, &of, err);
}

static int add_context(const struct context_row *row, void *arg, struct error *err)
{
    const union node_row of = {.context = *row};
    return add_folder(arg, (struct node){NODE_VM, row->id}, row->name, &of, err);
}

static int add_disk(const struct disk_row *row, void *arg, struct error *err)
{
    const union node_row of = {.disk = *row};
    return add_folder(arg, (struct node){NODE_DISK, row->id}, row->name, &of, err);
}

static int add_chain(const struct chain_row *row, void *arg, struct error *err)
{
    const union node_row of = {.chain = *row};
    char name[SNAPSHOT_NAME_SIZE];
    return add_folder(arg, (struct node){NODE_CHAIN, row->id}, chain_name(row->number, name), &of,
                      err);
}

static int add_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    const union node_row of = {.snapshot = *row};
    char name[SNAPSHOT_NAME_SIZE];
    return add_folder(arg, (struct node){NODE_SNAPSHOT, row->id}, snapshot_name(row, name), &of,
                      err);
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
    struct node node = listing->node;
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
    struct node folder = listing->node;
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
    r = node_load(conn, listing->node, &row, err);
    if (r < 0)
        return r;
    r = add_fixed(conn, listing, &row, err);
    if (r < 0)
        return r;
    return add_rows(conn, listing, err);
}

// On failure nothing is left to be released.
static int listing_make(struct tree *tree, struct node folder, struct listing *ret_listing,
                        struct error *err)
{
    struct listing listing = {.node = folder,
                              .changes = catalog_changes(engine_catalog(tree->engine))};
    struct node parent;

    int r = node_parent(tree, folder, &parent, err);
    if (r == 0)
        r = listing_add(&listing, folder, ".", err);
    if (r == 0)
        r = listing_add(&listing, parent, "..", err);
    if (r == 0)
        r = listing_fill(tree, &listing, err);
    if (r < 0)
        free(listing.entries);
    else
        *ret_listing = listing;
    return r;
}

void directory_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi)
{
    struct error err = ERROR_INIT;
    struct open_folder *folder = calloc(1, sizeof(*folder));

    if (!folder) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    folder->handle = (struct handle){.node = node, .free = folder_free};
    pthread_mutex_init(&folder->lock, NULL);
    int r = listing_make(tree, node, &folder->listing, &err);
    if (r < 0) {
        folder_free(tree, &folder->handle);
        fuse_reply_err(req, refusal_errno(r));
        return;
    }
    handle_reply_open(tree, req, fi, &folder->handle);
}

// rewinddir(3): from the beginning once more, and as it is now. What cannot be listed any more is
// read as it was.
static void rewind_folder(struct tree *tree, struct open_folder *folder)
{
    struct listing fresh;

    pthread_mutex_lock(&folder->lock);
    bool again = folder->begun;
    folder->begun = true;
    pthread_mutex_unlock(&folder->lock);
    if (!again || listing_make(tree, folder->handle.node, &fresh, NULL) < 0)
        return;
    pthread_mutex_lock(&folder->lock);
    struct entry *old = folder->listing.entries;
    folder->listing = fresh;
    pthread_mutex_unlock(&folder->lock);
    free(old);
}

static mode_t entry_type(struct node node)
{
    enum node_role role = node_info(node.kind)->role;
    return role == NODE_FOLDER ? S_IFDIR : role == NODE_LINK ? S_IFLNK : S_IFREG;
}

// As fuse_add_direntry(): what the entry takes, which is more than `room` when it was not put
// there.
static size_t put_name(struct tree *tree, fuse_req_t req, const struct entry *entry, char *buf,
                       size_t room, off_t next)
{
    struct stat st = {.st_ino = node_to_ino(entry->node), .st_mode = entry_type(entry->node)};
    (void)tree;
    return fuse_add_direntry(req, buf, room, entry->name, &st, next);
}

// With the attributes, as a look-up would tell them. An ino of 0: the kernel is to ask when it
// wants to know.
static size_t put_known(struct tree *tree, fuse_req_t req, const struct entry *entry, char *buf,
                        size_t room, off_t next)
{
    struct fuse_entry_param param = {.ino = node_to_ino(entry->node),
                                     .attr_timeout = kernel_cache_attr_timeout(entry->node),
                                     .entry_timeout = kernel_cache_name_timeout(entry->node)};
    attr_fill_folder(tree, entry->node, entry->core, &param.attr);
    return fuse_add_direntry_plus(req, buf, room, entry->name, &param, next);
}

static size_t put_unknown(struct tree *tree, fuse_req_t req, const struct entry *entry, char *buf,
                          size_t room, off_t next)
{
    struct fuse_entry_param param = {
        .attr = {.st_ino = node_to_ino(entry->node), .st_mode = entry_type(entry->node)}};
    (void)tree;
    return fuse_add_direntry_plus(req, buf, room, entry->name, &param, next);
}

typedef size_t put_fn(struct tree *tree, fuse_req_t req, const struct entry *entry, char *buf,
                      size_t room, off_t next);

// `put_row` for the entries that brought their attributes, `put` for the others. Returns the bytes.
static size_t put_entries(struct tree *tree, fuse_req_t req, const struct listing *listing,
                          char *buf, size_t size, size_t first, put_fn *put_row, put_fn *put)
{
    size_t used = 0;

    for (size_t i = first; i < listing->count; i++) {
        const struct entry *entry = &listing->entries[i];
        size_t need = (entry->known ? put_row : put)(tree, req, entry, buf + used, size - used,
                                                     (off_t)(i + 1));
        if (need > size - used)
            break;
        used += need;
    }
    return used;
}

static void read_folder(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                        struct open_folder *folder, bool plus)
{
    struct listing *listing = &folder->listing;
    AUTO_FREE char *buf = malloc(size);
    put_fn *put = plus ? put_unknown : put_name, *put_row = put;

    if (!buf) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    if (offset == 0)
        rewind_folder(tree, folder);
    pthread_mutex_lock(&folder->lock);
    // What the kernel is told here it believes for a second, and it was told of all changes up to
    // now: once anything was committed, what the listing knows is too old to be told.
    if (plus && listing->changes == catalog_changes(engine_catalog(tree->engine)))
        put_row = put_known;
    size_t used = put_entries(tree, req, listing, buf, size,
                              offset < 0 ? listing->count : (size_t)offset, put_row, put);
    pthread_mutex_unlock(&folder->lock);
    fuse_reply_buf(req, buf, used);
}

void directory_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    read_folder(tree, req, size, offset, handle_get(fi), false);
}

void directory_read_plus(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                         struct fuse_file_info *fi)
{
    read_folder(tree, req, size, offset, handle_get(fi), true);
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

// A VM or a disk, and with it the jobs that were its alone.
static int remove_with_jobs(struct tree *tree, struct node node, struct error *err)
{
    struct kernel_cache_name *jobs = kernel_cache_jobs_of(tree, node);
    int r = node.kind == NODE_VM ? engine_remove_context(tree->engine, node.id, false, err)
                                 : engine_remove_disk(tree->engine, node.id, err);

    kernel_cache_jobs_gone(tree, jobs, r == 0);
    return r;
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
    case NODE_DISK:
        return remove_with_jobs(tree, node, err);
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
