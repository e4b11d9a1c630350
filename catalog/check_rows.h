// SPDX-License-Identifier: MIT
//
// What a check and a rebuild ask of the catalog beside what everybody asks: rows by uuid, the
// records of one pack or of one kind, and every copy of an id. Reads only; see catalog/context.h
// for the conventions of row functions.
#ifndef CATALOG_CHECK_ROWS_H
#define CATALOG_CHECK_ROWS_H

#include "catalog/pack_index.h"
#include "catalog/snapshot.h"

// -ENOENT when there is none. A snapshot may be forgotten.
int pack_find_uuid(struct catalog_conn *conn, const char *uuid, struct pack_row *ret_row,
                   struct error *err);
int snapshot_find_uuid(struct catalog_conn *conn, const char *uuid, struct snapshot_row *ret_row,
                       struct error *err);

enum row_table { ROW_CONTEXTS = 1, ROW_DISKS, ROW_JOBS, ROW_CHAINS, ROW_SNAPSHOTS };

// The id of the row with that uuid: 1 found, 0 not found, -errno.
int row_find_uuid(struct catalog_conn *conn, enum row_table table, const char *uuid,
                  int64_t *ret_id, struct error *err);

// Each snapshot's record or note (no other kind) once, with one of its places, in no order.
int chunk_each_of_kind(struct catalog_conn *conn, uint8_t kind,
                       int (*fn)(const struct chunk_location *location, void *arg,
                                 struct error *err),
                       void *arg, struct error *err);

struct chunk_copy {
    int64_t row; // its number in the table: never used twice, dense enough for bitmaps
    int64_t pack_id;
    uint8_t kind;
    uint32_t raw_length;
    struct digest base; // of a delta, else zero
};

// The first copy of `id`, by pack, that `usable` accepts (NULL: any). 1 found, 0 not found, -errno.
int chunk_find_copy(struct catalog_conn *conn, const struct digest *id,
                    bool (*usable)(const struct chunk_copy *copy, const void *arg), const void *arg,
                    struct chunk_copy *ret_copy, struct error *err);

// How many deltas stand in no pack with a base that they could be read with. Walks all of them.
int chunk_count_baseless(struct catalog_conn *conn, uint64_t *ret_count, struct error *err);

#endif
