// SPDX-License-Identifier: MIT
//
// Reading a disk into the store: the pipeline source → fingerprint → id → dedup → compress → append
// → map.
//
// The calling (job) thread walks the extents that hold data, hands batches of consecutive chunks of
// one leaf to the pool, and takes the results back in order; workers read, compute and look ids up;
// only the calling thread appends and builds the map. Memory is bounded by the ring, whatever the
// disk's size. The map does not depend on the number of workers.
//
// A chunk whose fingerprint equals the one recorded with the parent is believed unchanged; a random
// share of those is proved by SHA-256 all the same, and one failed proof makes the run start again
// without the cache (-EAGAIN).
#ifndef FS_JOB_DISK_READER_H
#define FS_JOB_DISK_READER_H

#include "base/pool.h"
#include "fs/job/damage_find.h"
#include "fs/job/job_run.h"
#include "fs/job/lost_ids.h"
#include "fs/source/source.h"
#include "fs/store/fingerprint_cache.h"
#include "fs/store/map.h"

struct disk_read {
    // what to read; all borrowed
    struct store *store;
    struct pool *pool;
    struct job_run *run; // progress and cancellation
    struct source *source;
    struct store_writer *writer;
    uint32_t chunk_size;
    const struct digest *parent_root;               // NULL: no parent
    struct fingerprint_reader *parent_fingerprints; // NULL: hash everything
    struct fingerprint_writer *fingerprints;        // NULL: write no cache
    const struct lost_ids *lost; // stored again where they are met, also when they are the parent's
    const struct damage_list *parent_damage; // nothing there is believed for being the parent's
    void (*parent_lost)(void *arg);          // its map cannot be read; NULL: nobody wants to know
    void *arg;

    // what was found
    struct digest root;
    uint64_t data_bytes, read_bytes, changed_bytes;
    uint64_t believed_chunks, proved_chunks; // unchanged by fingerprint; of these, proved
    uint64_t delta_chunks;                   // stored against the parent's
};

// Fills the results. -EAGAIN: a fingerprint was wrong. The run's done_bytes grow by what is read.
int disk_read(struct disk_read *read, struct error *err);

// Bytes disk_read() will count for this source: extents with data, rounded to chunks.
int disk_read_total(struct source *source, uint32_t chunk_size, struct job_run *run,
                    uint64_t *ret_bytes, struct error *err);

#endif
