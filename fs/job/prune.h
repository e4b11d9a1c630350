// SPDX-License-Identifier: MIT
//
// Prune jobs: forget what a VM's retention policy does not keep. One transaction holds all that a
// job does, its own end included: after a crash either everything it says is true, or nothing was
// forgotten. The job's log names every snapshot with the rule that keeps it, or that it was
// forgotten. Space comes back with garbage collection, which is not done here.
//
// A snapshot that a restore reads or waits for is passed over this time; the log says so. Open
// files keep nothing from being forgotten: what they read stays until they are closed
// (engine_hold_by_file()).
#ifndef FS_JOB_PRUNE_H
#define FS_JOB_PRUNE_H

#include "fs/job/engine_state.h"

// Runs a started prune job to its recorded end. Called by a job thread, so no backup or restore of
// the VM runs beside it.
void prune_job(struct engine *engine, struct job_run *run, const struct job_row *job);

// What follows a scheduled backup that completes: a prune of what it backed up, as a job of its own
// (trigger scheduled). Its pending record is written by the transaction that completes the backup,
// so that neither is ever there without the other; *ret_job_id 0: none, for the VM's policy keeps
// everything.
int prune_record_follower(struct catalog_conn *conn, const struct job_row *backup,
                          int64_t *ret_job_id, struct error *err);

// Runs that job here and now on the backup's thread: a command that ends with its backup would
// otherwise leave it pending.
void prune_follow(struct engine *engine, struct job_run *backup_run, int64_t job_id);

#endif
