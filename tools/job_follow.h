// SPDX-License-Identifier: MIT
//
// Following a job to its end: progress on the terminal while it runs, cancelled on SIGINT, SIGTERM
// or SIGHUP, and what came of it from the catalog's records.
#ifndef TOOLS_JOB_FOLLOW_H
#define TOOLS_JOB_FOLLOW_H

#include "tools/owner.h"

// Blocks the signals that cancel, in this thread and in every thread started later. Call before
// owner_open(), so that no engine thread takes them.
void job_follow_block_signals(void);

// Waits for the end of `job_id`, showing progress under `label` when stderr is a terminal. The
// first signal cancels the job, a second one ends the process as a crash would. Returns 0 with the
// job's record when it completed; else -ECANCELED, or -EIO with the reason the job recorded; then
// *ret_job is filled too.
int job_follow(struct owner *owner, int64_t job_id, const char *label, struct job_row *ret_job,
               struct error *err);

// A recorded reason without the "NAME: " it may begin with, where NAME is told already. Borrowed.
const char *job_follow_reason(const char *reason, const char *name);

#endif
