// SPDX-License-Identifier: MIT
//
// The changing requests of engine.h made through the mounted tree of the daemon that owns the
// repository: plain mkdir, rmdir, open, read and write on its files, as a user would. Nothing here
// looks into the repository.
//
// An error carries the tree's own sentence (MNT/last_error) when the tree refused, else errno's.
// Names are "VM", "VM/DISK" or "VM/DISK/CHAIN/SNAPSHOT", as they stand under MNT/vms.
#ifndef TOOLS_VIA_TREE_H
#define TOOLS_VIA_TREE_H

#include "fs/job/engine.h"

// 0 when a tree is mounted on `mountpoint` and answers, else -ENOTCONN.
int via_tree_check(const char *mountpoint, struct error *err);

// As engine_add_vm(): what was made is taken away again when a later step fails.
int via_tree_add_vm(const char *mountpoint, const char *vm, const struct engine_disk_spec *disks,
                    size_t count, struct error *err);

int via_tree_remove(const char *mountpoint, const char *name, struct error *err);

// Writes `words` to the trigger `trigger` ("backup", "restore") of `name` and reads which job it
// stands for.
int via_tree_request(const char *mountpoint, const char *name, const char *trigger,
                     const char *words, int64_t *ret_job_id, struct error *err);

// The same with a trigger of the whole repository ("prune").
int via_tree_control(const char *mountpoint, const char *trigger, const char *words,
                     int64_t *ret_job_id, struct error *err);

// Writes a value to a file of `name` that makes no job ("retention").
int via_tree_set(const char *mountpoint, const char *name, const char *file, const char *value,
                 struct error *err);

int via_tree_job_progress(const char *mountpoint, int64_t job_id, struct job_progress *ret_progress,
                          struct error *err);

// Waits until the job has ended. -ETIMEDOUT (without a sentence) when it has not within
// `timeout_ms`.
int via_tree_wait_job(const char *mountpoint, int64_t job_id, int timeout_ms,
                      enum job_state *ret_state, struct error *err);

int via_tree_cancel_job(const char *mountpoint, int64_t job_id, struct error *err);

#endif
