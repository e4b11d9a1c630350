// SPDX-License-Identifier: MIT
//
// What the kernel may keep of the tree, for how long, and telling it when that has changed.
//
//   disk.raw, disk.qcow2              name and attributes for an hour: it never changes
//   jobs, active, vms, control        the name for an hour, attributes for a second
//   VMs, disks, chains, snapshots,
//   jobs                              name and attributes for a second
//   all else                          nothing
//
// The second saves a walk down a long path from being a query for each of its parts. It is not
// seen, but for the moment the telling takes: the daemon owns the repository, so it knows of every
// change and has the kernel drop what that touched. What the kernel removes itself (the name given
// to rmdir, its parent's attributes) needs no telling. Names that are not there are never kept.
//
// Threads: the kernel must not be told from a handler, which may be what it waits for. A change
// made by a job is told from the engine's thread, one made by a handler is queued for the
// watcher's. Both hold no lock while they tell.
#ifndef FS_TREE_KERNEL_CACHE_H
#define FS_TREE_KERNEL_CACHE_H

#include "base/error.h"
#include "fs/tree/node.h"

#include <pthread.h>
#include <stdbool.h>

struct kernel_cache_name;

struct kernel_cache {
    int wake_fd; // eventfd: names are queued
    pthread_mutex_t lock;
    struct kernel_cache_name *names; // guarded by lock: to be dropped
};

int kernel_cache_init(struct kernel_cache *cache, struct error *err);
void kernel_cache_deinit(struct kernel_cache *cache);

// Seconds.
double kernel_cache_name_timeout(struct node node);
double kernel_cache_attr_timeout(struct node node);

// A snapshot of `chain` was forgotten by a handler: its last one takes the chain's name along,
// and disk and VM may be older now.
void kernel_cache_snapshot_forgotten(struct tree *tree, struct node chain);

// A handler is about to remove `node`, a VM or a disk, and its jobs go with it: gives the names of
// all that may (NULL: none), which kernel_cache_jobs_gone() takes over once it is known whether the
// removal was done.
struct kernel_cache_name *kernel_cache_jobs_of(struct tree *tree, struct node node);
void kernel_cache_jobs_gone(struct tree *tree, struct kernel_cache_name *names, bool gone);

// Drops the queued names. The watcher's part; wake_fd was readable.
void kernel_cache_drop_names(struct tree *tree);

// The state of a job has changed: so may have the attributes of the folders it belongs to. From the
// engine's thread.
void kernel_cache_job_changed(struct tree *tree, int64_t job_id);

#endif
