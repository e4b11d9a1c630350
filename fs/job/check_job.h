// SPDX-License-Identifier: MIT
//
// Check as a job: what `backtree check` prints goes to the job's log. Words: `full`. Damage fails
// the job and is noted with it.
#ifndef FS_JOB_CHECK_JOB_H
#define FS_JOB_CHECK_JOB_H

#include "fs/job/upkeep.h"

extern const struct upkeep_kind check_upkeep;

#endif
