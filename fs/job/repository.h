// SPDX-License-Identifier: MIT
//
// A repository on disk as a whole: REPO/{config,lock,catalog.db,packs/,cache/}. Opened as its owner
// (lock held, may change it) or as a viewer (catalog read-only, no lock; another process may own
// it).
#ifndef FS_JOB_REPOSITORY_H
#define FS_JOB_REPOSITORY_H

#include "base/cleanup.h"
#include "catalog/catalog.h"
#include "fs/store/repo_config.h"
#include "fs/store/repo_lock.h"
#include "fs/store/store.h"

struct repository_choices {
    uint32_t chunk_size;   // 0 = default
    int compression_level; // 0 = default
    const char *retention; // of VMs that have no policy of their own; NULL = RETENTION_DEFAULT
    bool no_deltas;        // no chunk is ever stored as a delta
};

// Makes a repository in `dir`, which must not exist or be an empty folder (-ENOTEMPTY). config is
// put in place last, so an interrupted init leaves no repository.
int repository_init(const char *dir, const struct repository_choices *choices, struct error *err);

struct repository {
    char *dir; // absolute, resolved
    struct repo_config config;
    struct reserve *reserve; // NULL for a viewer
    struct catalog *catalog;
    struct store *store; // NULL for a viewer
    int lock_fd;         // -1 for a viewer
    int64_t opened_at;   // when this was opened
};

// Both open into *repository, whose address must not change until repository_close() (the store
// borrows its config); after a failure it is closed already. `command` and `mountpoint` are told to
// others through the lock file. -EBUSY with the owner in *ret_owner (may be NULL).
int repository_open_owner(const char *dir, const char *command, const char *mountpoint,
                          const struct store_options *options, struct repository *repository,
                          struct repo_lock_owner *ret_owner, struct error *err);
int repository_open_viewer(const char *dir, struct repository *repository, struct error *err);

// Allocates the owner's reserve anew, when it was given up and there is room again, or grows it
// with the repository. Called when a job has ended. What goes wrong is logged.
void repository_refill_reserve(struct repository *repository);

// Closes everything and gives the lock back, last. Accepts a zeroed struct with lock_fd -1.
void repository_close(struct repository *repository);

#endif
