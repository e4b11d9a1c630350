// SPDX-License-Identifier: MIT
//
// One mounted tree: what every handler needs. Each part is owned by the module that defines it, and
// guarded by a lock of its own; no code holds two of these locks at once.
//
// Threads: handlers run on libfuse's threads, live_event() on the engine's, the watcher on its own.
// Everything in the first group is set before the session serves and never changes.
#ifndef FS_TREE_TREE_STATE_H
#define FS_TREE_TREE_STATE_H

#include "fs/job/engine.h"
#include "fs/tree/changes_file.h"
#include "fs/tree/fuse_api.h"
#include "fs/tree/handle.h"
#include "fs/tree/kernel_cache.h"
#include "fs/tree/live.h"
#include "fs/tree/refusal.h"
#include "fs/tree/snapshot_image.h"
#include "fs/tree/trigger.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tree {
    struct engine *engine;        // borrowed
    struct fuse_session *session; // borrowed
    uid_t uid;                    // owner of every node
    gid_t gid;
    bool allow_other;
    int64_t mounted_at;

    atomic_bool closing; // no command is accepted any more

    struct handles handles;
    struct refusals refusals;
    struct live live;
    struct triggers triggers;
    struct disk_images images;
    struct changes_sizes changes;
    struct kernel_cache kernel_cache;
};

// Prepares an empty tree over `engine`; tree_state_deinit() releases what clients left open.
int tree_state_init(struct tree *tree, struct engine *engine, bool allow_other, struct error *err);
void tree_state_deinit(struct tree *tree);

// Leases a reader of the engine's catalog.
static inline int tree_read_begin(struct tree *tree, struct catalog_conn **ret_conn,
                                  struct error *err)
{
    return catalog_read_begin(engine_catalog(tree->engine), ret_conn, err);
}

#endif
