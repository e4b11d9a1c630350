// SPDX-License-Identifier: MIT
//
// What is known to be damaged, and when what was last proved whole: marks on copies of records
// (chunks.damaged_at), what of a snapshot cannot be read (table snapshot_damage), and the times of
// proofs (packs.verified_at, backup_disks.verified_at).
//
// An id is *lost* when it stands in the index and every durable copy of it is marked. Marks are put
// and taken by (pack, id): a copy that moved or was dropped meanwhile is left alone.
#ifndef CATALOG_DAMAGE_H
#define CATALOG_DAMAGE_H

#include "catalog/pack_index.h"

// --- copies

// Marks a copy, or every copy in a pack; the time of an older mark stays. *ret_copies (may be NULL)
// is the number of copies that are there, marked before or not. Where a base loses its last whole
// plain copy, the deltas against it are marked too: they are not counted, and their marks go when
// they are proved again.
int damage_mark(struct catalog_conn *conn, int64_t pack_id, const struct digest *id,
                int64_t *ret_copies, struct error *err);
int damage_mark_pack(struct catalog_conn *conn, int64_t pack_id, int64_t *ret_copies,
                     struct error *err);

// A copy was found whole: its mark goes. *ret_cleared (may be NULL) tells whether it had one.
int damage_clear(struct catalog_conn *conn, int64_t pack_id, const struct digest *id,
                 bool *ret_cleared, struct error *err);

// Each marked copy, by id.
int damage_each_copy(struct catalog_conn *conn,
                     int (*fn)(const struct chunk_location *copy, void *arg, struct error *err),
                     void *arg, struct error *err);

// Each lost id once, ascending.
int damage_each_lost(struct catalog_conn *conn,
                     int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                     struct error *err);

// --- snapshots

struct damage_extent {
    uint64_t offset, length; // bytes of the disk
    const char *why;         // borrowed
};

// Puts these in the place of what was recorded of the snapshot; ascending, disjoint; count 0: it is
// whole. Nothing is recorded of a snapshot that is not there any more.
int damage_record(struct catalog_conn *conn, int64_t snapshot_id,
                  const struct damage_extent *extents, size_t count, struct error *err);

// What is recorded of one snapshot, ascending.
int damage_each(struct catalog_conn *conn, int64_t snapshot_id,
                int (*fn)(const struct damage_extent *extent, void *arg, struct error *err),
                void *arg, struct error *err);

// Each snapshot that has some.
int damage_each_snapshot(struct catalog_conn *conn,
                         int (*fn)(int64_t snapshot_id, void *arg, struct error *err), void *arg,
                         struct error *err);

// --- proofs

// Every record of the pack was read and is proved or marked.
int pack_set_verified(struct catalog_conn *conn, int64_t pack_id, struct error *err);

// The snapshot's map and all its content were found whole.
int snapshot_set_verified(struct catalog_conn *conn, int64_t snapshot_id, struct error *err);

#endif
