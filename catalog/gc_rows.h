// SPDX-License-Identifier: MIT
//
// What garbage collection asks of the catalog beside what everybody asks. Reads only; see
// catalog/context.h for the conventions of row functions.
#ifndef CATALOG_GC_ROWS_H
#define CATALOG_GC_ROWS_H

#include "catalog/pack_index.h"

// Every record of a pack, by offset. pack_uuid is not filled in.
int gc_rows_of_pack(struct catalog_conn *conn, int64_t pack_id,
                    int (*fn)(const struct chunk_location *row, void *arg, struct error *err),
                    void *arg, struct error *err);

// The ids of records that are no content of disks (snapshots, notes, kinds of a later program): one
// call a copy. Quick, however large the table is.
int gc_rows_kept(struct catalog_conn *conn,
                 int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                 struct error *err);

// Every delta: its pack and its base.
int gc_rows_deltas(struct catalog_conn *conn,
                   int (*fn)(int64_t pack_id, const struct digest *base, void *arg,
                             struct error *err),
                   void *arg, struct error *err);

#endif
