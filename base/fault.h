// SPDX-License-Identifier: MIT
//
// Named fault points: places in the order of durability where a test may stop, kill or fail the
// program.
//
// The list below is the whole list; a point is hit by fault_hit(FAULT_x, err) in the code. The
// environment variable BACKTREE_FAULT arms points when the process starts: "NAME[:N]=ACTION[,...]",
// acting on the Nth hit (1 by default) of that name. ACTION is
//   kill         SIGKILL to the own process: what a power cut leaves, but for the page cache
//   pause        stop (SIGSTOP) until the test continues the process
//   hold         the thread that passes waits, the others go on: it makes the file
//                "$BACKTREE_FAULT_HOLD.NAME" and goes on when the test has removed it
//   sleep-MS     sleep that many milliseconds at this hit and every later one (a slow disk)
//   ERRNO-NAME   (EIO, ENOSPC, ...) fault_hit() returns that error once, as the system call behind
//   it would
// An unarmed program pays one load and a predicted branch a point. The idea of numbered failure
// points in the durable path is from SQLite's and nbdkit's test practice.
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/error.h"

// clang-format off
#define FAULT_POINTS(X) \
    /* backup, in the order of durability */ \
    X(JOB_ENQUEUED,         "job-enqueued")          /* the pending record is committed */ \
    X(JOB_STARTED,          "job-started")           /* the running state is committed */ \
    X(SOURCE_READ,          "source-read")           /* before each read of the source */ \
    X(PACK_CREATE,          "pack-create")           /* before an open pack is created */ \
    X(PACK_APPEND,          "1-pack-append")         /* before records are written to the open pack */ \
    X(PACK_INDEX,           "2-pack-index")          /* seal: before the index is written */ \
    X(PACK_SYNC,            "2-pack-sync")           /* seal: before fdatasync */ \
    X(PACK_RENAME,          "2-pack-rename")         /* seal: before the final name */ \
    X(PACK_DIRSYNC,         "2-pack-dirsync")        /* seal: before fsync of the folder */ \
    X(PACK_SEALED,          "2-pack-sealed")         /* sealed, not yet in the catalog */ \
    X(PACK_COMMIT,          "3-pack-commit")         /* before the commit that adds pack and chunks */ \
    X(PACK_COMMITTED,       "3-pack-committed")      /* after it */ \
    X(SNAPSHOT_RECORD,      "4-snapshot-record")     /* before the snapshot's record is appended */ \
    X(SNAPSHOT_SEALED,      "4-snapshot-sealed")     /* its pack is sealed and committed */ \
    X(SNAPSHOT_COMMIT,      "5-snapshot-commit")     /* before the commit that completes the disk */ \
    X(SNAPSHOT_COMMITTED,   "5-snapshot-committed")  /* after it */ \
    X(CACHE_WRITE,          "cache-write")           /* before the fingerprint cache is put in place */ \
    X(JOB_COMMIT,           "job-commit")            /* before the commit that ends a job */ \
    X(JOB_COMMITTED,        "job-committed")         /* after it */ \
    /* restore */ \
    X(RESTORE_READ,         "restore-read")          /* before each read of the target */ \
    X(RESTORE_WRITE,        "restore-write")         /* before each write to the target */ \
    X(RESTORE_SYNC,         "restore-sync")          /* before the target is flushed */ \
    X(RESTORE_VERIFY,       "restore-verify")        /* before each read back */ \
    X(RESTORE_RENAME,       "restore-rename")        /* before a new target gets its name */ \
    X(RESTORE_ROLLBACK,     "restore-rollback")      /* before each write of the roll-back */ \
    /* reading */ \
    X(PACK_READ,            "pack-read")             /* before each read of a record */ \
    /* life of the repository */ \
    X(INIT_CONFIG,          "init-config")           /* init: before config, its last step, is put in place */ \
    X(RECONCILE,            "reconcile")             /* start-up: before leftovers are dealt with */ \
    X(PACK_REMOVE,          "pack-remove")           /* before a pack file is removed */ \
    X(GC_MARK,              "gc-mark")               /* gc: before it marks what is live */ \
    X(GC_COPIED,            "gc-copied")             /* gc: a new pack is sealed, not yet in the catalog */ \
    X(GC_COMMIT,            "gc-commit")             /* gc: before the commit that drops packs */ \
    X(GC_COMMITTED,         "gc-committed")          /* gc: after it, before their files go */ \
    X(NOTE_SEALED,          "note-sealed")           /* a note is in a sealed pack, nothing is done yet */ \
    X(REBUILD_ASIDE,        "rebuild-aside")         /* rebuild: before the old catalog gets a second name */ \
    X(REBUILD_RENAME,       "rebuild-rename")        /* rebuild: before the new catalog is put in place */
// clang-format on

#define FAULT_ENUM(id, name) FAULT_##id,
enum fault_point { FAULT_POINTS(FAULT_ENUM) FAULT_POINT_COUNT };
#undef FAULT_ENUM

// Parses BACKTREE_FAULT. Call once in main before threads start. -EINVAL for an unknown name or
// action.
int fault_init(struct error *err);

// Disarms every point, also while other threads hit them.
void fault_disarm(void);

// The name of a point, for listings. NULL when out of range.
const char *fault_name(enum fault_point point);

extern int fault_armed; // private to fault_hit()

int fault_hit_armed(enum fault_point point, struct error *err);

// 0, or the armed error as -errno with its sentence. Thread-safe.
static inline int fault_hit(enum fault_point point, struct error *err)
{
    if (__builtin_expect(__atomic_load_n(&fault_armed, __ATOMIC_RELAXED) == 0, 1))
        return 0;
    return fault_hit_armed(point, err);
}

#endif
