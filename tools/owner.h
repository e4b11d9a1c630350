// SPDX-License-Identifier: MIT
//
// Whoever may change a repository: this process, which then holds its lock and runs its engine, or
// a daemon that has it mounted, which is then asked through its tree. Commands speak to an owner
// and need not know which it is; the records made are the same.
//
// Jobs that an earlier owner left pending stay so, unless a request joins them: the next mount runs
// them.
#ifndef TOOLS_OWNER_H
#define TOOLS_OWNER_H

#include "base/cleanup.h"
#include "catalog/path.h"
#include "fs/job/engine.h"

struct owner;

// Returns 0, -errno, or COMMAND_BUSY when another process owns the repository and has no tree that
// could be used.
int owner_open(const char *repo_dir, const char *command, struct owner **ret_owner,
               struct error *err);
struct owner *owner_close(struct owner *owner);

// Read leases on the repository's catalog. Borrowed.
struct catalog *owner_catalog(struct owner *owner);

// True when a daemon does the work, so that a job goes on when this process ends.
bool owner_is_daemon(const struct owner *owner);

// catalog_path_resolve() with a lease of its own.
int owner_resolve(struct owner *owner, const char *name, struct catalog_path *ret_path,
                  struct error *err);

int owner_add_vm(struct owner *owner, const char *vm, const struct engine_disk_spec *disks,
                 size_t count, struct error *err);

// Removes what `path` names: a VM (with its disks when `with_disks`), a disk, or a snapshot.
int owner_remove(struct owner *owner, const struct catalog_path *path, bool with_disks,
                 struct error *err);

// `words` are those of the backup trigger of the VM or disk at `path`.
int owner_request_backup(struct owner *owner, const struct catalog_path *path, const char *words,
                         int64_t *ret_job_id, struct error *err);

// `line` is that of the restore trigger of the snapshot at `path`.
int owner_request_restore(struct owner *owner, const struct catalog_path *path, const char *line,
                          int64_t *ret_job_id, struct error *err);

// Prunes the VM or disk that `path` names, by the words of `policy` or, when that is "", by those
// of the VM.
int owner_request_prune(struct owner *owner, const struct catalog_path *path, const char *policy,
                        int64_t *ret_job_id, struct error *err);

// A verify, gc or check of what the words say (fs/job/upkeep.h).
int owner_request_upkeep(struct owner *owner, enum job_kind kind, const char *words,
                         int64_t *ret_job_id, struct error *err);

// Sets the policy of the VM that `path` names; "default" takes it away.
int owner_set_retention(struct owner *owner, const struct catalog_path *path, const char *policy,
                        struct error *err);

int owner_job_progress(struct owner *owner, int64_t job_id, struct job_progress *ret_progress,
                       struct error *err);
int owner_wait_job(struct owner *owner, int64_t job_id, int timeout_ms, enum job_state *ret_state,
                   struct error *err); // -ETIMEDOUT
int owner_cancel_job(struct owner *owner, int64_t job_id, struct error *err);

DEFINE_CLEANUP(struct owner *, owner_close)

#endif
