// SPDX-License-Identifier: MIT
//
// Prune jobs: forget what a VM's retention policy does not keep. One transaction holds all that a
// job does, its own end included: after a crash either everything it says is true, or nothing was
// forgotten. The job's log names every snapshot with the rule that keeps it, or that it was
// forgotten. Space comes back with garbage collection, which is not done here.
//
// A snapshot that is in use (a file of it is open, a restore of it waits) is passed over this time;
// the log says so.
#ifndef FS_JOB_PRUNE_H
#define FS_JOB_PRUNE_H

#include "fs/job/engine_state.h"

// Runs a started prune job to its recorded end. Called by a job thread, so no backup or restore of
// the VM runs beside it.
void prune_job(struct engine *engine, struct job_run *run, const struct job_row *job);

// What follows a scheduled backup that completed: a prune of what it backed up, as a job of its own
// (trigger scheduled), run here and now by the backup's thread, so that a command that ends with
// its job does not leave it undone. Nothing when the policy keeps everything. A failure is that
// job's, or logged.
void prune_after_backup(struct engine *engine, struct job_run *backup_run,
                        const struct job_row *backup);

#endif
