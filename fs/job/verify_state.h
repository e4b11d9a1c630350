// SPDX-License-Identifier: MIT
//
// What the files of a verification share. Not for others.
#ifndef FS_JOB_VERIFY_STATE_H
#define FS_JOB_VERIFY_STATE_H

#include "fs/job/damage_find.h"
#include "fs/job/prove_records.h"
#include "fs/job/verify_words.h"

#define VERIFY_STAMPS 64

struct verify_snapshot {
    int64_t id;
    bool wanted; // its proof is what was asked for: it gets verified_at
};

struct verify {
    struct engine *engine;
    struct job_run *run;
    const struct job_row *job;
    struct verify_words words;
    bool by_packs; // whole packs are proved, not what snapshots refer to

    struct pack_row *packs;
    size_t pack_count, pack_room;
    struct verify_snapshot *snapshots;
    size_t snapshot_count, snapshot_room;
    struct row_bitmap listed; // their ids

    // of snapshots: rows of the index that they refer to
    struct row_bitmap needed;   // ever
    struct row_bitmap seen;     // proved or marked
    struct row_bitmap moved;    // gone when they were to be proved
    struct row_bitmap round;    // to be proved in this round
    struct row_bitmap suspects; // packs with damage that was not known

    // Packs that were proved and are not stamped yet: many small ones share a transaction.
    int64_t stamps[VERIFY_STAMPS];
    size_t stamp_count;

    // the pack at hand
    uint64_t part;                 // bytes of it that were told as done
    uint64_t pack_new, pack_known; // damaged records

    // What came of it. A finding is damage that was not known, or what of the snapshots that are
    // verified cannot be read. A copy that was known to be damaged is none by itself: once its
    // content is stored again nobody needs it.
    uint64_t proved_packs, proved_records, proved_bytes;
    uint64_t damaged_records;    // that were not known
    uint64_t lost_records;       // that were known, and have no whole copy
    uint64_t superseded_records; // that were known, and have one
    uint64_t damaged_indexes;    // of packs
    uint64_t cleared_marks;
    uint64_t verified_snapshots, damaged_snapshots, damaged_bytes;
    uint64_t findings; // lines in the log
    char first[ERROR_MESSAGE_MAX];
};

// A finding goes to the log; the first one becomes part of the reason.
void verify_tell(struct verify *verify, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// verify_packs.c: every record of a share of the packs.
int verify_packs(struct verify *verify, struct error *err);

// verify_snapshots.c: every record that some snapshots refer to.
int verify_snapshots(struct verify *verify, struct error *err);

// verify_settle.c: which snapshots the damage touches, which are whole; records it.
int verify_settle(struct verify *verify, struct error *err);

// Takes what prove_records() gives: marks what is damaged, clears marks of what is whole.
int verify_take_slice(const struct proved_slice *slice, void *arg, struct error *err);
// prove_records() with that, and stamps what was proved, also when it was ended early.
int verify_prove(struct verify *verify, const struct prove_pass *pass, struct error *err);
int verify_stop(void *arg, struct error *err);
// Fills verify->packs with all packs there are.
int verify_list_packs(struct verify *verify, struct error *err);
// Fills verify->snapshots with those that the filter lets through and that are asked for.
int verify_list_snapshots(struct verify *verify, const struct snapshot_filter *filter,
                          struct error *err);

#endif
