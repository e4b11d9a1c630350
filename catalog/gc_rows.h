// SPDX-License-Identifier: MIT
//
// What garbage collection asks of the catalog beside what everybody asks. Reads only; see
// catalog/context.h for the conventions of row functions.
#ifndef CATALOG_GC_ROWS_H
#define CATALOG_GC_ROWS_H

#include "catalog/pack_index.h"

// The ids of records that are no content of disks (snapshots, notes, kinds of a later program): one
// call a copy. Quick, however large the table is.
int gc_rows_kept(struct catalog_conn *conn,
                 int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                 struct error *err);

// The ids of snapshots' records in durable packs that no row of a snapshot names, forgotten ones
// counted.
int gc_rows_strangers(struct catalog_conn *conn,
                      int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                      struct error *err);

// Whether a later job than this one has a snapshot at the same place: the chain number of the disk
// with another chain, or the number in the chain.
int gc_rows_know_successor(struct catalog_conn *conn, const char *disk_uuid, int64_t chain_number,
                           const char *chain_uuid, int64_t number, int64_t job_number,
                           struct error *err);

// Every delta: its pack and its base.
int gc_rows_deltas(struct catalog_conn *conn,
                   int (*fn)(int64_t pack_id, const struct digest *base, void *arg,
                             struct error *err),
                   void *arg, struct error *err);

#endif
