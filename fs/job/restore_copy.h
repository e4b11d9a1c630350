// SPDX-License-Identifier: MIT
//
// The passes of a restore over a target: write what differs, verify what was written, put back what
// was there.
//
// Each pass goes over the disk leaf by leaf with batches on the pool. Which chunks were touched is
// kept in a bitmap (one bit a chunk, in memory that is only taken where bits are set), marked
// *before* a chunk is written, so that a roll-back covers partial writes.
#ifndef FS_JOB_RESTORE_COPY_H
#define FS_JOB_RESTORE_COPY_H

#include "base/pool.h"
#include "fs/job/job_run.h"
#include "fs/source/target.h"
#include "fs/store/image.h"

struct restore_copy {
    // given; borrowed
    struct store *store;
    struct pool *pool;
    struct job_run *run;
    struct target *target;
    struct digest root; // of the snapshot to write
    uint64_t capacity;
    uint32_t chunk_size;
    struct image *before; // what the target held, or
    int undo_fd; // where it is saved chunk by chunk before it is overwritten; -1: a new target

    // found; bytes
    atomic_uint_fast64_t compared, written, verified;

    uint8_t *touched; // the bitmap
    size_t touched_size;
};

int restore_copy_init(struct restore_copy *copy,
                      struct error *err); // the bitmap; the rest is the caller's
void restore_copy_deinit(struct restore_copy *copy);

// Writes every chunk whose SHA-256 is not the wanted one; holes are made holes. Not flushed.
int restore_copy_write(struct restore_copy *copy, struct error *err);

// Reads every touched chunk back past the page cache and proves its SHA-256. -EIO when one is not
// what it should be.
int restore_copy_verify(struct restore_copy *copy, struct error *err);

// restore_undo.c: writes what was there before to every touched chunk, flushes, reads back and
// compares. Goes on after a failed chunk and returns the first failure. Not to be cancelled.
int restore_copy_roll_back(struct restore_copy *copy, struct error *err);

// Bytes of `count` chunks from `first` on, the disk's end considered; the number of chunks; the
// first touched chunk at or after `chunk` (the number of chunks when there is none).
size_t restore_copy_bytes(const struct restore_copy *copy, uint64_t first, uint32_t count);
uint64_t restore_copy_chunks(const struct restore_copy *copy);
uint64_t restore_copy_next_touched(const struct restore_copy *copy, uint64_t chunk);

#endif
