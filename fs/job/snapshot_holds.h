// SPDX-License-Identifier: MIT
//
// Who uses which snapshot: what keeps one from being forgotten while something reads it.
//
// A snapshot may be read by jobs and open in files at the same time; being forgotten excludes the
// readers and, when it is asked for by hand, the files. A policy need not wait for files: what they
// read stays until they are closed (image.h). No other hold begins while a snapshot is being
// forgotten; whether it has been is the catalog's to say, to whoever holds it by then.
//
// Threads: any; the lock is a leaf.
#ifndef FS_JOB_SNAPSHOT_HOLDS_H
#define FS_JOB_SNAPSHOT_HOLDS_H

#include "base/error.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct held_snapshot;

struct snapshot_holds {
    pthread_mutex_t lock;
    struct held_snapshot *list; // uthash by snapshot id; guarded by lock
};

enum snapshot_hold {
    HOLD_READER,     // a job reads it, or a file is being opened
    HOLD_FILE,       // a file of it is open
    HOLD_FORGETTING, // it is about to be forgotten
    HOLD_KINDS
};

void snapshot_holds_init(struct snapshot_holds *holds);
void snapshot_holds_deinit(struct snapshot_holds *holds); // with no hold left

// -EBUSY while the snapshot is being forgotten, -ENOMEM.
int snapshot_hold_to_read(struct snapshot_holds *holds, int64_t snapshot_id, struct error *err);

// -EBUSY while it is being read or forgotten, and while a file is open unless `though_open`;
// -ENOMEM.
int snapshot_hold_to_forget(struct snapshot_holds *holds, int64_t snapshot_id, bool though_open,
                            struct error *err);

// A reader's hold becomes that of an open file.
void snapshot_hold_by_file(struct snapshot_holds *holds, int64_t snapshot_id);

// Whether a file of it is open.
bool snapshot_is_open(struct snapshot_holds *holds, int64_t snapshot_id);

// Ends one hold of the kind.
void snapshot_release(struct snapshot_holds *holds, int64_t snapshot_id, enum snapshot_hold kind);

#endif
