// SPDX-License-Identifier: MIT
//
// Garbage collection as a job; the collection itself is store_gc(). Words: `dry-run`,
// `threshold=N%` (1 to 100). Damage that was met fails the job and is noted with it, after
// everything else was done.
#ifndef FS_JOB_GC_JOB_H
#define FS_JOB_GC_JOB_H

#include "fs/job/upkeep.h"
#include "fs/store/gc.h"

extern const struct upkeep_kind gc_upkeep;

// "20%" or "20" to 20. -EINVAL with the sentence.
int gc_threshold_parse(const char *text, unsigned *ret_percent, struct error *err);

// What was done, or with `dry_run` would be, in one line. Returns `text`.
char *gc_result_sentence(const struct gc_result *result, bool dry_run, char *text, size_t size);

#endif
