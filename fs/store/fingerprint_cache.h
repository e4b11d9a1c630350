// SPDX-License-Identifier: MIT
//
// The fingerprint cache of a disk (REPO/cache/DISK-UUID.fingerprints): for every leaf that holds
// data, the 256 fingerprints of its chunks, in ascending order, read and written as a stream beside
// the disk, so its cost follows the data and its memory is constant. It is bound to one snapshot by
// uuid. It is a cache: anything that does not fit (other snapshot, other sizes, bad checksum) makes
// it "not there", never an error.
//
// Each leaf record: u64 leaf number, 256 × 16 bytes, XXH3-64 of both. Byte tables are in
// docs/FORMAT.md.
#ifndef FS_STORE_FINGERPRINT_CACHE_H
#define FS_STORE_FINGERPRINT_CACHE_H

#include "fs/store/map.h"

struct fingerprint_leaf {
    uint64_t leaf;
    struct fingerprint chunk[MAP_FANOUT]; // all-zero = no fingerprint (hole)
};

struct fingerprint_reader; // one thread

// NULL in *ret_reader (and 0) when there is no cache that fits; -errno only for out of memory.
int fingerprint_reader_open(struct store *store, const char *disk_uuid, const char *snapshot_uuid,
                            uint64_t capacity, uint32_t chunk_size,
                            struct fingerprint_reader **ret_reader, struct error *err);
// Leaves must be asked for in ascending order. True and filled when the cache holds an intact
// record of `leaf`. Once a damaged record is met the reader is spent: everything after it is false.
bool fingerprint_reader_leaf(struct fingerprint_reader *reader, uint64_t leaf,
                             struct fingerprint_leaf *ret_leaf);
struct fingerprint_reader *fingerprint_reader_close(struct fingerprint_reader *reader);

struct fingerprint_writer; // one thread

// Writes to a temporary; _commit() binds it to the snapshot and puts it in place atomically;
// _close() without commit leaves nothing. Errors are for the caller to log: a backup does not fail
// for want of a cache.
int fingerprint_writer_open(struct store *store, const char *disk_uuid,
                            struct fingerprint_writer **ret_writer, struct error *err);
int fingerprint_writer_leaf(struct fingerprint_writer *writer, const struct fingerprint_leaf *leaf,
                            struct error *err);
int fingerprint_writer_commit(struct fingerprint_writer *writer, const char *snapshot_uuid,
                              uint64_t capacity, uint32_t chunk_size, struct error *err);
struct fingerprint_writer *fingerprint_writer_close(struct fingerprint_writer *writer);

// Forgets the cache of a disk (after a failed proof, or when the disk is removed).
void fingerprint_cache_remove(struct store *store, const char *disk_uuid);

DEFINE_CLEANUP(struct fingerprint_reader *, fingerprint_reader_close)
DEFINE_CLEANUP(struct fingerprint_writer *, fingerprint_writer_close)

#endif
