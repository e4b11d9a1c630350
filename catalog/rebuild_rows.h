// SPDX-License-Identifier: MIT
//
// Rows written with uuids, numbers and times that are given: for a catalog that is made anew from
// what the packs say. Nothing else may use them: they skip the life of a job on purpose.
//
// rebuild_insert_*() return -EEXIST when a name or number is taken by another row. Their rows' ids
// and joined fields are not read, but for what is said.
#ifndef CATALOG_REBUILD_ROWS_H
#define CATALOG_REBUILD_ROWS_H

#include "catalog/disk.h"
#include "catalog/job.h"
#include "catalog/snapshot.h"

// uuid, name, created_at.
int rebuild_insert_context(struct catalog_conn *conn, const struct context_row *row,
                           int64_t *ret_id, struct error *err);

// uuid, context_id, name, source, capacity, chunk_size, created_at.
int rebuild_insert_disk(struct catalog_conn *conn, const struct disk_row *row, int64_t *ret_id,
                        struct error *err);

// Writes source, capacity, change_id and changed_at of the row with that id.
int rebuild_update_disk(struct catalog_conn *conn, const struct disk_row *row, struct error *err);

// A completed backup job. With the id that is given, or a new one when that is taken.
int rebuild_insert_job(struct catalog_conn *conn, const struct job_row *row, int64_t *ret_id,
                       struct error *err);

int rebuild_insert_chain(struct catalog_conn *conn, const struct chain_row *row, int64_t *ret_id,
                         struct error *err);

// A completed row; its parent is set afterwards.
int rebuild_insert_snapshot(struct catalog_conn *conn, const struct snapshot_row *row,
                            int64_t *ret_id, struct error *err);
int rebuild_set_parent(struct catalog_conn *conn, int64_t id, int64_t parent_id, struct error *err);

// As snapshot_forget(), at that time, protected or not. Parents must have been set.
int rebuild_forget(struct catalog_conn *conn, int64_t id, int64_t at, struct error *err);

// Notes that a disk was removed from the VM at that time.
int rebuild_touch_context(struct catalog_conn *conn, int64_t id, int64_t at, struct error *err);

// Last: what jobs and VMs add up to.
int rebuild_add_up(struct catalog_conn *conn, struct error *err);

#endif
