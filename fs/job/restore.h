// SPDX-License-Identifier: MIT
//
// Restore jobs: target checked and opened, safety backup, only differing chunks written, flushed,
// read back past the page cache and compared; on any failure what was written is put back as it
// was, and the job says why. A new file is written beside its name and renamed when it is whole.
#ifndef FS_JOB_RESTORE_H
#define FS_JOB_RESTORE_H

#include "fs/job/engine_state.h"

// Runs a started restore job to its recorded end. Called by a job thread.
void restore_job(struct engine *engine, struct job_run *run, const struct job_row *job);

#endif
