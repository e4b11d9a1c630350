// SPDX-License-Identifier: MIT
//
// How a row of chunks is read, for every query of catalog/ that gives whole rows or ids. Private to
// this room.
#ifndef CATALOG_CHUNK_COLUMNS_H
#define CATALOG_CHUNK_COLUMNS_H

#include "catalog/pack_index.h"
#include "catalog/statement.h"

// The columns of a chunk_location, of `chunks c` joined with `packs p`.
#define CHUNK_COLUMNS                                                                              \
    "c.id, c.kind, c.codec, c.\"offset\", c.stored_length, c.raw_length, c.base, c.\"row\", "      \
    "c.damaged_at IS NOT NULL, p.id, p.uuid "

// The row at hand, of a query that selects exactly those.
int chunk_columns_read(struct statement *st, struct chunk_location *ret_location,
                       struct error *err);

// Every row that is still to come.
int chunk_columns_each(struct statement *st,
                       int (*fn)(const struct chunk_location *location, void *arg,
                                 struct error *err),
                       void *arg, struct error *err);

// The same of a query that selects ids alone.
int chunk_ids_each(struct statement *st,
                   int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                   struct error *err);

#endif
