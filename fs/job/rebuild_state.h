// SPDX-License-Identifier: MIT
//
// What the files of a rebuild share. Not for others.
#ifndef FS_JOB_REBUILD_STATE_H
#define FS_JOB_REBUILD_STATE_H

#include "catalog/catalog.h"
#include "fs/job/rebuild.h"
#include "fs/store/note.h"
#include "fs/store/store.h"

struct rebuild {
    const struct rebuild_options *options;
    struct rebuild_result result;
    struct catalog *catalog; // the new one
    struct store *store;     // on it
};

void rebuild_tell(struct rebuild *rebuild, bool damage, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void rebuild_progress(struct rebuild *rebuild, const char *step, uint64_t done, uint64_t total);

// rebuild_packs.c: every pack with its records into the new catalog.
int rebuild_take_packs(struct rebuild *rebuild, struct error *err);

// rebuild_replay.c: everything else, from the records.
int rebuild_replay(struct rebuild *rebuild, struct error *err);

// rebuild_notes.c: what a note says of a snapshot or a policy, in the caller's transaction.
int rebuild_carry_out(struct rebuild *rebuild, struct catalog_conn *conn, const struct note *note,
                      struct error *err);

// rebuild_maps.c: which snapshots cannot be read in full.
int rebuild_check_maps(struct rebuild *rebuild, struct error *err);

#endif
