// SPDX-License-Identifier: MIT
//
// Verification as a job: reads packs, decodes, recomputes SHA-256 and the maps. Words: a name,
// verify_words.h. Damage fails the job and is noted with it; what it touches is recorded with
// snapshots (catalog/damage.h), and copies that are damaged get a mark, so that the next backup
// stores them again when it meets their content.
#ifndef FS_JOB_VERIFY_JOB_H
#define FS_JOB_VERIFY_JOB_H

#include "fs/job/upkeep.h"

extern const struct upkeep_kind verify_upkeep;

// The verification of what a backup job makes (its verify_after), recorded by the transaction that
// completes it, so that neither is ever there without the other.
int verify_record_follower(struct catalog_conn *conn, const struct job_row *backup,
                           int64_t *ret_job_id, struct error *err);

// Puts that job into the queue.
void verify_follow(struct engine *engine, int64_t job_id);

#endif
