// SPDX-License-Identifier: MIT
//
// How a backup heals: it knows at its start which ids are lost and what of its parent cannot be
// read, stores again what it meets of them, and the records of whatever snapshots can be made anew
// (snapshot_record_remake()), and before its one commit looks which snapshots can be read again
// with that. Damage that became known while it ran, and that its own snapshot refers to, is
// recorded with that snapshot.
#ifndef FS_JOB_BACKUP_DAMAGE_H
#define FS_JOB_BACKUP_DAMAGE_H

#include "fs/job/damage_find.h"
#include "fs/job/lost_ids.h"

struct backup_damage { // zeroed = nothing known
    struct lost_ids lost;
    struct damage_list parent; // what is recorded of it: ids of which no pack has even a row
    struct damage_review review;
    struct damage_list own; // of the snapshot that is being made
};

// What is lost now; also what readers have met and nobody wrote down yet. `parent_id` 0: none.
int backup_damage_begin(struct backup_damage *damage, struct engine *engine, int64_t parent_id,
                        struct error *err);

// Stores the lost records of snapshots again, of every VM; tells the log. To be called without a
// read lease.
int backup_damage_heal_records(const struct backup_damage *damage, struct engine *engine,
                               struct job_run *run, struct store_writer *writer, struct error *err);

// After the last record of the disk is in the catalog, provisionally. Only a wish to cancel is an
// error: without this look, the next verification finds what it would have found.
int backup_damage_review(struct backup_damage *damage, struct engine *engine, struct job_run *run,
                         int64_t job_id, const struct digest *root, uint64_t capacity,
                         uint32_t chunk_size, struct error *err);

// In the transaction that completes the disk.
int backup_damage_apply(const struct backup_damage *damage, struct catalog_conn *conn,
                        int64_t snapshot_id, struct error *err);

void backup_damage_deinit(struct backup_damage *damage);

#endif
