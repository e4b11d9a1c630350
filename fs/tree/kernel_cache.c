// SPDX-License-Identifier: MIT
//
// The kernel's view of the tree; see kernel_cache.h.
#include "fs/tree/kernel_cache.h"

#include "base/grow.h"
#include "base/log.h"
#include "fs/tree/tree_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

#define LONG_TIMEOUT 3600.0
#define SHORT_TIMEOUT 1.0

struct kernel_cache_name {
    uint64_t parent_ino;
    char name[NAME_SIZE];
    struct kernel_cache_name *next;
};

int kernel_cache_init(struct kernel_cache *cache, struct error *err)
{
    cache->names = NULL;
    cache->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (cache->wake_fd < 0)
        return error_set_errno(err, -errno, "cannot make an event descriptor");
    pthread_mutex_init(&cache->lock, NULL);
    return 0;
}

static void free_names(struct kernel_cache_name *names)
{
    struct kernel_cache_name *name, *next;
    LL_FOREACH_SAFE(names, name, next)
    free(name);
}

void kernel_cache_deinit(struct kernel_cache *cache)
{
    free_names(cache->names);
    pthread_mutex_destroy(&cache->lock);
    close(cache->wake_fd);
}

static bool is_catalog_folder(enum node_kind kind)
{
    return kind == NODE_VM || kind == NODE_DISK || kind == NODE_CHAIN || kind == NODE_SNAPSHOT ||
           kind == NODE_JOB;
}

static bool is_fixed_folder(enum node_kind kind)
{
    return kind == NODE_ROOT || kind == NODE_JOBS || kind == NODE_ACTIVE || kind == NODE_VMS ||
           kind == NODE_CONTROL;
}

static bool is_disk(enum node_kind kind)
{
    return kind == NODE_SNAPSHOT_RAW || kind == NODE_SNAPSHOT_QCOW2;
}

double kernel_cache_name_timeout(struct node node)
{
    if (is_disk(node.kind) || is_fixed_folder(node.kind))
        return LONG_TIMEOUT;
    return is_catalog_folder(node.kind) ? SHORT_TIMEOUT : 0;
}

double kernel_cache_attr_timeout(struct node node)
{
    if (is_disk(node.kind))
        return LONG_TIMEOUT;
    return is_catalog_folder(node.kind) || is_fixed_folder(node.kind) ? SHORT_TIMEOUT : 0;
}

// --- names

// `name` "": the attributes of `parent` itself.
static void prepend_name(struct kernel_cache_name **names, struct node parent, const char *name)
{
    struct kernel_cache_name *entry = calloc(1, sizeof(*entry));
    if (!entry) {
        log_warning("out of memory: %s may be seen for a second more", name);
        return;
    }
    entry->parent_ino = node_to_ino(parent);
    snprintf(entry->name, sizeof(entry->name), "%s", name);
    LL_PREPEND(*names, entry);
}

// Takes them over.
static void queue_names(struct kernel_cache *cache, struct kernel_cache_name *names)
{
    if (!names)
        return;
    pthread_mutex_lock(&cache->lock);
    // The list that is there is emptied at once, so it is the short one.
    LL_CONCAT(cache->names, names);
    pthread_mutex_unlock(&cache->lock);
    eventfd_write(cache->wake_fd, 1);
}

static int note_job_name(const struct job_row *row, void *arg, struct error *err)
{
    char name[NAME_SIZE];
    (void)err;
    snprintf(name, sizeof(name), "%lld", (long long)row->id);
    prepend_name(arg, (struct node){NODE_JOBS, 0}, name);
    return 0;
}

struct kernel_cache_name *kernel_cache_jobs_of(struct tree *tree, struct node node)
{
    struct job_filter filter = {0};
    struct kernel_cache_name *names = NULL;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;

    if (node.kind == NODE_VM)
        filter.context_id = node.id;
    else
        filter.disk_id = node.id;
    if (tree_read_begin(tree, &conn, NULL) == 0)
        job_each(conn, &filter, note_job_name, &names, NULL);
    return names;
}

void kernel_cache_jobs_gone(struct tree *tree, struct kernel_cache_name *names, bool gone)
{
    if (gone)
        queue_names(&tree->kernel_cache, names);
    else
        free_names(names);
}

void kernel_cache_snapshot_forgotten(struct tree *tree, struct node chain)
{
    char name[SNAPSHOT_NAME_SIZE];
    struct kernel_cache_name *names = NULL;
    struct chain_row row;
    struct disk_row disk;
    int r;

    {
        AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
        r = tree_read_begin(tree, &conn, NULL);
        if (r == 0)
            r = chain_get(conn, chain.id, &row, NULL);
        if (r == 0)
            r = disk_get(conn, row.disk_id, &disk, NULL);
    }
    if (r < 0)
        return;
    if (row.snapshots == 0)
        prepend_name(&names, (struct node){NODE_DISK, row.disk_id}, chain_name(row.number, name));
    // They are as new as their newest snapshot, which may have been this one.
    prepend_name(&names, (struct node){NODE_DISK, row.disk_id}, "");
    prepend_name(&names, (struct node){NODE_VM, disk.context_id}, "");
    queue_names(&tree->kernel_cache, names);
}

void kernel_cache_drop_names(struct tree *tree)
{
    struct kernel_cache *cache = &tree->kernel_cache;
    struct kernel_cache_name *names, *name;
    eventfd_t count;

    eventfd_read(cache->wake_fd, &count);
    pthread_mutex_lock(&cache->lock);
    names = TAKE(cache->names, NULL);
    pthread_mutex_unlock(&cache->lock);
    LL_FOREACH(names, name)
    {
        if (name->name[0])
            fuse_lowlevel_notify_inval_entry(tree->session, name->parent_ino, name->name,
                                             strlen(name->name));
        else
            fuse_lowlevel_notify_inval_inode(tree->session, name->parent_ino, -1, 0);
    }
    free_names(names);
}

// --- attributes

// One that the kernel does not know is no loss.
static void drop_attributes(struct tree *tree, enum node_kind kind, int64_t id)
{
    struct node node = {kind, id};
    fuse_lowlevel_notify_inval_inode(tree->session, node_to_ino(node), -1, 0);
}

struct touched {
    size_t count;
    struct node nodes[64];
};

static int note_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct touched *touched = arg;
    (void)err;
    // A VM with more disks than that has them seen a second later.
    if (touched->count + 3 > sizeof(touched->nodes) / sizeof(touched->nodes[0]))
        return 1;
    touched->nodes[touched->count++] = (struct node){NODE_CHAIN, row->chain_id};
    touched->nodes[touched->count++] = (struct node){NODE_DISK, row->disk_id};
    touched->nodes[touched->count++] = (struct node){NODE_VM, row->context_id};
    return 0;
}

// --- what a prune has forgotten

struct dropped {
    uint64_t parent_ino;
    char name[SNAPSHOT_NAME_SIZE];
};

struct dropped_names {
    struct catalog_conn *conn;
    int64_t since;
    struct dropped *list;
    size_t count, room;
    int64_t last_chain_id; // whose own name has been looked at
};

static int add_dropped(struct dropped_names *names, struct node parent, const char *name)
{
    if (GROW(names->list, names->count, names->room, "names", NULL) < 0)
        return -ENOMEM; // seen for a second more
    struct dropped *dropped = &names->list[names->count++];
    dropped->parent_ino = node_to_ino(parent);
    snprintf(dropped->name, sizeof(dropped->name), "%s", name);
    return 0;
}

// Rows of a chain come one after another. A name dropped in vain costs the kernel one look-up.
static int note_forgotten(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct dropped_names *names = arg;
    char name[SNAPSHOT_NAME_SIZE];
    struct chain_row chain;
    (void)err;

    if (row->forgotten_at == 0 || row->forgotten_at < names->since)
        return 0;
    int r = add_dropped(names, (struct node){NODE_CHAIN, row->chain_id}, snapshot_name(row, name));
    if (r < 0 || row->chain_id == names->last_chain_id)
        return r;
    names->last_chain_id = row->chain_id;
    if (chain_get(names->conn, row->chain_id, &chain, NULL) == 0 && chain.snapshots == 0)
        r = add_dropped(names, (struct node){NODE_DISK, row->disk_id},
                        chain_name(chain.number, name));
    return r;
}

static void prune_ended(struct tree *tree, const struct job_row *job)
{
    struct dropped_names names = {.since = job->started_at};
    struct snapshot_filter filter = {
        .context_id = job->context_id, .disk_id = job->disk_id, .every_row = true};

    {
        AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
        if (tree_read_begin(tree, &conn, NULL) == 0) {
            names.conn = conn;
            snapshot_each(conn, &filter, note_forgotten, &names, NULL);
        }
    }
    for (size_t i = 0; i < names.count; i++) {
        const struct dropped *dropped = &names.list[i];
        fuse_lowlevel_notify_inval_entry(tree->session, dropped->parent_ino, dropped->name,
                                         strlen(dropped->name));
        fuse_lowlevel_notify_inval_inode(tree->session, dropped->parent_ino, -1, 0);
    }
    free(names.list);
    drop_attributes(tree, NODE_VM, job->context_id);
}

static bool is_ended_prune(struct tree *tree, int64_t job_id, struct job_row *ret_job)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    return tree_read_begin(tree, &conn, NULL) == 0 && job_get(conn, job_id, ret_job, NULL) == 0 &&
           ret_job->kind == JOB_PRUNE && ret_job->prune_forgotten > 0;
}

void kernel_cache_job_changed(struct tree *tree, int64_t job_id)
{
    struct snapshot_filter filter = {.job_id = job_id};
    struct touched touched = {0};
    struct job_row job;

    {
        AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
        if (tree_read_begin(tree, &conn, NULL) == 0)
            snapshot_each(conn, &filter, note_snapshot, &touched, NULL);
    }
    for (size_t i = 0; i < touched.count; i++)
        drop_attributes(tree, touched.nodes[i].kind, touched.nodes[i].id);
    if (is_ended_prune(tree, job_id, &job))
        prune_ended(tree, &job);
    drop_attributes(tree, NODE_JOB, job_id);
    drop_attributes(tree, NODE_JOBS, 0);
    drop_attributes(tree, NODE_ACTIVE, 0);
}
