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

// By offset.
int chunk_each_of_pack(struct catalog_conn *conn, int64_t pack_id,
                       int (*fn)(const struct chunk_row *row, void *arg, struct error *err),
                       void *arg, struct error *err);

// Each id of the kind once, with one of its places, in no order. Walks the whole table.
int chunk_each_of_kind(struct catalog_conn *conn, uint8_t kind,
                       int (*fn)(const struct chunk_row *row, void *arg, struct error *err),
                       void *arg, struct error *err);

struct chunk_copy {
    int64_t row; // its number in the table: never used twice, dense enough for bitmaps
    int64_t pack_id;
    uint8_t kind;
    uint32_t raw_length;
};

// The first copy of `id` whose pack `usable` accepts (NULL: any). 1 found, 0 not found, -errno.
int chunk_find_copy(struct catalog_conn *conn, const struct digest *id,
                    bool (*usable)(int64_t pack_id, const void *arg), const void *arg,
                    struct chunk_copy *ret_copy, struct error *err);

#endif
