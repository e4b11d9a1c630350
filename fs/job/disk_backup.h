// SPDX-License-Identifier: MIT
//
// One disk of a backup job: decide what it continues, read it into the store, record it, complete
// it.
//
// Order of durability (docs/ARCHITECTURE.md): all packs sealed and in the catalog (1–3), the
// snapshot's record among them (4), then one transaction with chain, per-disk row, change_id and —
// for the last disk — the job's end and the context's totals (5).
#ifndef FS_JOB_DISK_BACKUP_H
#define FS_JOB_DISK_BACKUP_H

#include "catalog/snapshot.h"
#include "fs/job/engine_state.h"
#include "fs/source/source.h"

struct disk_backup {
    // given; borrowed
    struct engine *engine;
    struct job_run *run;
    const struct job_row *job;
    const struct disk_row *disk;
    struct source *source;
    const char *source_text;
    bool foreign;  // a safety backup of something that is not the disk's own source
    bool ends_job; // the last disk, and no other has failed: its completion ends the job

    // result
    int64_t snapshot_id;
    int64_t prune_id;  // the pending prune that follows a scheduled job this has ended; 0 = none
    int64_t verify_id; // the pending verification that follows it; 0 = none
};

// 0, or why the disk has no snapshot; nothing of it is visible then.
int disk_backup(struct disk_backup *backup, struct error *err);

// Whether the disk's newest chain can go on with `source_text` and `capacity` (0 = not known yet).
// Returns 1, 0 with the reason in *ret_why, or -errno. When 1, *ret_parent and *ret_chain are
// filled.
int disk_backup_can_go_on(struct catalog_conn *conn, const struct disk_row *disk,
                          const char *source_text, uint64_t capacity,
                          struct snapshot_row *ret_parent, struct chain_row *ret_chain,
                          const char **ret_why, struct error *err);

#endif
