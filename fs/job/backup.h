// SPDX-License-Identifier: MIT
//
// Backup jobs: one job over one disk or all disks of a VM, disk after disk. A failed disk fails the
// job; disks that completed keep their snapshot. See disk_backup.h for what happens to one disk.
#ifndef FS_JOB_BACKUP_H
#define FS_JOB_BACKUP_H

#include "catalog/snapshot.h"
#include "fs/job/engine_state.h"
#include "fs/source/target.h"

// Runs a started backup job to its recorded end, and after a scheduled one that completed prunes
// what it backed up. Called by a job thread.
void backup_job(struct engine *engine, struct job_run *run, const struct job_row *job);

// What can be known when a backup is asked for: -ENOENT (no VM, no disks, a disk without a source),
// -EINVAL (an explicit incremental where no chain can go on).
int backup_check_request(struct catalog_conn *conn, const struct backup_request *request,
                         struct error *err);

// The safety backup before a restore over `target`: a job record of its own (trigger
// pre_restore_safety), run here and now by the restore's thread. Cancelling the restore cancels it.
// When the target is not the disk's own source, the snapshot goes to a new chain that is marked
// foreign. *ret_snapshot is what it made.
int backup_safety(struct engine *engine, struct job_run *restore_run, const struct job_row *restore,
                  const struct target *target, struct snapshot_row *ret_snapshot,
                  struct error *err);

#endif
