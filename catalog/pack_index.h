// SPDX-License-Identifier: MIT
//
// Packs (table packs) and the records in them (table chunks): where each id is stored.
//
// A pack is *provisional* while `job_id` names the running job that wrote it: nothing but that job
// may refer to its records, so that the packs of a cancelled job can be dropped at once. It becomes
// durable in the transaction that completes the disk. The same id may stand in several packs (two
// jobs at once, a damaged chunk stored again): any durable copy serves.
//
// A copy that was found damaged is marked. The mark never keeps anybody from reading it (it may
// have been wrong, or the pack may be back): it puts the copy behind the others, and tells a writer
// that the id needs to be stored again when it has no other.
#ifndef CATALOG_PACK_INDEX_H
#define CATALOG_PACK_INDEX_H

#include "base/digest.h"
#include "catalog/catalog.h"
#include "catalog/types.h"

#include <stdbool.h>
#include <stdint.h>

struct pack_row {
    int64_t id;
    char uuid[UUID_TEXT_SIZE];
    int64_t job_id; // provisional owner, 0 = durable
    uint64_t file_bytes;
    uint64_t raw_bytes; // content of its chunk records, decoded
    uint64_t record_count;
    int64_t sealed_at;
    int64_t verified_at; // when every record was last read and proved, or marked; 0 = never
};

struct chunk_row { // one record of any kind
    struct digest id;
    uint8_t kind;    // as in pack_format.h
    uint8_t codec;   // as in pack_format.h
    uint64_t offset; // of the record header in the pack
    uint32_t stored_length;
    uint32_t raw_length;
    struct digest base; // of a delta: what it is made against; zero = none
};

struct chunk_location {
    struct chunk_row record;
    int64_t row; // its number in the table: never used twice, dense enough for bitmaps
    bool damaged;
    int64_t pack_id;
    char pack_uuid[UUID_TEXT_SIZE];
};

// Step 3 of the order of durability: pack and records, in the caller's transaction. -EEXIST for a
// known uuid. The pack's id and record_count are not read: the one is given, the other is `count`.
int pack_insert(struct catalog_conn *conn, const struct pack_row *pack,
                const struct chunk_row *records, size_t count, int64_t *ret_pack_id,
                struct error *err);

// Makes every provisional pack of `job_id` durable (part of step 5).
int pack_make_durable(struct catalog_conn *conn, int64_t job_id, struct error *err);

// Removes the row and its records. The file is the caller's to remove, after the commit.
int pack_delete(struct catalog_conn *conn, int64_t pack_id, struct error *err);

// Packs in id order; provisional_of: 0 = all, else only those of that job.
int pack_each(struct catalog_conn *conn, int64_t provisional_of,
              int (*fn)(const struct pack_row *row, void *arg, struct error *err), void *arg,
              struct error *err);

// Bytes of all packs' files.
int pack_total_bytes(struct catalog_conn *conn, uint64_t *ret_bytes, struct error *err);

// Where `id` is stored: in durable packs, or provisional ones of `job_id` (0 = durable only; -1 =
// any pack at all). Up to `max` copies, the best first: unmarked before damaged, plain before
// deltas, then the oldest. Returns their number (0: not found) or -errno. The hot path: one
// prepared statement.
int chunk_copies(struct catalog_conn *conn, const struct digest *id, int64_t job_id,
                 struct chunk_location *ret_copies, size_t max, struct error *err);

// The best copy: 1 found, 0 not found, -errno.
int chunk_lookup(struct catalog_conn *conn, const struct digest *id, int64_t job_id,
                 struct chunk_location *ret_location, struct error *err);

// Every record of a pack, by offset.
int chunk_each_of_pack(struct catalog_conn *conn, int64_t pack_id,
                       int (*fn)(const struct chunk_location *location, void *arg,
                                 struct error *err),
                       void *arg, struct error *err);

#endif
