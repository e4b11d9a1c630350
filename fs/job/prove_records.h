// SPDX-License-Identifier: MIT
//
// Proving stored records: header, both checksums, decoding and SHA-256 of every record of a list of
// packs, or of some of them. The pass behind a check and a verification.
//
// Threads: the calling thread lists records and takes results, in the order of the packs and of
// their records; workers of the pool read and prove slices of some MiB beside each other, with a
// decoder each. Memory is bounded by the ring of slices. No read lease is held while anything is
// proved.
#ifndef FS_JOB_PROVE_RECORDS_H
#define FS_JOB_PROVE_RECORDS_H

#include "base/pool.h"
#include "catalog/damage.h"
#include "fs/store/pack_scan.h"
#include "fs/store/row_bitmap.h"

// Consecutive records of one pack, proved.
struct proved_slice {
    const struct pack_row *pack;
    const struct chunk_location *records;
    char *const *why; // by record: what is wrong with it, NULL = it is whole
    size_t count, damaged;
    uint64_t bytes;        // of headers and payloads
    bool last;             // of the pack; such a slice may hold no record
    const char *index_why; // last: what is wrong with the pack's own header, trailer or index, NULL
                           // = nothing, or it was not looked at
};

struct prove_pass {
    // borrowed
    struct store *store;
    struct catalog *catalog;
    struct pool *pool;
    const struct pack_row *packs;
    size_t pack_count;
    const struct row_bitmap *only; // NULL: every record. Else packs without any are not told of
    bool indexes;                  // look at each pack's index too

    // Asked between records by workers, and between packs by the caller's thread: 0, or what ends
    // the pass. May be NULL.
    int (*stop)(void *arg, struct error *err);
    // Takes results, on the calling thread: 0, or what ends the pass.
    int (*take)(const struct proved_slice *slice, void *arg, struct error *err);
    void *arg;
};

// Bytes of a record in its pack.
uint64_t prove_record_bytes(const struct chunk_row *record);

// 0 also when there is damage; a pack that gives EIO is damaged there. What cannot be read for
// another reason (no memory, too many files) ends the pass.
int prove_records(const struct prove_pass *pass, struct error *err);

#endif
