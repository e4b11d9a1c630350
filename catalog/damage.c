// SPDX-License-Identifier: MIT
//
// Marks, extents and times of proofs. The index chunks_damaged is partial: with no damage, which is
// nearly always, every question about it is answered at once.
#include "catalog/damage.h"

#include "base/clock.h"
#include "catalog/chunk_columns.h"
#include "catalog/snapshot.h"

#define WHY_SIZE 512

// --- copies

// A delta that no plain copy of its base is left for is as damaged as the base. ?1 is a pack or
// NULL, ?2 an id or NULL, ?3 now.
#define MARK_DELTAS                                                                                \
    "UPDATE chunks SET damaged_at = ?3 "                                                           \
    " WHERE damaged_at IS NULL AND NOT EXISTS "                                                    \
    "       (SELECT 1 FROM chunks w CROSS JOIN packs p ON p.id = w.pack_id "                       \
    "         WHERE w.id = chunks.base AND w.base IS NULL AND w.damaged_at IS NULL "               \
    "           AND p.job_id IS NULL) "                                                            \
    "   AND base "

static int mark_deltas(struct catalog_conn *conn, const struct query *query, int64_t pack_id,
                       const struct digest *id, struct error *err)
{
    AUTO(statement_end) struct statement *st = statement_begin(conn, query);
    statement_bind_int(st, 1, pack_id);
    if (id)
        statement_bind_blob(st, 2, id->bytes, DIGEST_SIZE);
    statement_bind_int(st, 3, clock_now());
    return statement_run(st, err);
}

int damage_mark(struct catalog_conn *conn, int64_t pack_id, const struct digest *id,
                int64_t *ret_copies, struct error *err)
{
    static const struct query mark = {"mark a damaged record",
                                      "UPDATE chunks SET damaged_at = coalesce(damaged_at, ?3) "
                                      " WHERE id = ?2 AND pack_id = ?1"};
    static const struct query deltas = {"mark deltas against a damaged record", MARK_DELTAS "= ?2"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &mark);
    statement_bind_int(st, 1, pack_id);
    statement_bind_blob(st, 2, id->bytes, DIGEST_SIZE);
    statement_bind_int(st, 3, clock_now());
    int rc = statement_run(st, err);
    int64_t copies = statement_changes(st);
    if (rc == 0 && copies > 0)
        rc = mark_deltas(conn, &deltas, pack_id, id, err);
    if (rc == 0 && ret_copies)
        *ret_copies = copies;
    return rc;
}

int damage_mark_pack(struct catalog_conn *conn, int64_t pack_id, int64_t *ret_copies,
                     struct error *err)
{
    static const struct query mark = {"mark the records of a pack as damaged",
                                      "UPDATE chunks SET damaged_at = coalesce(damaged_at, ?2) "
                                      " WHERE pack_id = ?1"};
    static const struct query deltas = {
        "mark deltas against the records of a pack",
        MARK_DELTAS "IN (SELECT id FROM chunks WHERE pack_id = ?1 AND base IS NULL)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &mark);
    statement_bind_int(st, 1, pack_id);
    statement_bind_int(st, 2, clock_now());
    int rc = statement_run(st, err);
    int64_t copies = statement_changes(st);
    if (rc == 0)
        rc = mark_deltas(conn, &deltas, pack_id, NULL, err);
    if (rc == 0 && ret_copies)
        *ret_copies = copies;
    return rc;
}

int damage_clear(struct catalog_conn *conn, int64_t pack_id, const struct digest *id,
                 bool *ret_cleared, struct error *err)
{
    static const struct query clear = {
        "clear the mark of a record", "UPDATE chunks SET damaged_at = NULL "
                                      " WHERE id = ?2 AND pack_id = ?1 AND damaged_at IS NOT NULL"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &clear);
    statement_bind_int(st, 1, pack_id);
    statement_bind_blob(st, 2, id->bytes, DIGEST_SIZE);
    int rc = statement_run(st, err);
    if (rc == 0 && ret_cleared)
        *ret_cleared = statement_changes(st) > 0;
    return rc;
}

int damage_each_copy(struct catalog_conn *conn,
                     int (*fn)(const struct chunk_location *copy, void *arg, struct error *err),
                     void *arg, struct error *err)
{
    static const struct query each = {
        "list damaged records", "SELECT " CHUNK_COLUMNS "  FROM chunks c INDEXED BY chunks_damaged "
                                "       CROSS JOIN packs p ON p.id = c.pack_id "
                                " WHERE c.damaged_at IS NOT NULL ORDER BY c.id"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    return chunk_columns_each(st, fn, arg, err);
}

int damage_each_lost(struct catalog_conn *conn,
                     int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                     struct error *err)
{
    // INDEXED BY: it must never become a walk over the whole table.
    static const struct query each = {
        "list lost records",
        "SELECT DISTINCT c.id FROM chunks c INDEXED BY chunks_damaged "
        " WHERE c.damaged_at IS NOT NULL AND NOT EXISTS "
        "       (SELECT 1 FROM chunks w CROSS JOIN packs p ON p.id = w.pack_id "
        "         WHERE w.id = c.id AND w.damaged_at IS NULL AND p.job_id IS NULL) "
        " ORDER BY c.id"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    return chunk_ids_each(st, fn, arg, err);
}

// --- snapshots

static int clear_extents(struct catalog_conn *conn, int64_t snapshot_id, struct error *err)
{
    static const struct query clear = {"clear the damage of a snapshot",
                                       "DELETE FROM snapshot_damage WHERE snapshot_id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &clear);
    statement_bind_int(st, 1, snapshot_id);
    return statement_run(st, err);
}

static int insert_extents(struct catalog_conn *conn, int64_t snapshot_id,
                          const struct damage_extent *extents, size_t count, struct error *err)
{
    static const struct query insert = {
        "record the damage of a snapshot",
        "INSERT INTO snapshot_damage (snapshot_id, \"offset\", length, why, found_at) "
        "SELECT ?1, ?2, ?3, ?4, ?5 FROM backup_disks "
        " WHERE id = ?1 AND state = 'completed' AND forgotten_at IS NULL"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_int(st, 1, snapshot_id);
    statement_bind_int(st, 5, clock_now());
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        statement_rewind(st);
        statement_bind_size(st, 2, extents[i].offset);
        statement_bind_size(st, 3, extents[i].length);
        statement_bind_sentence(st, 4, extents[i].why, WHY_SIZE);
        rc = statement_run(st, err);
    }
    return rc;
}

int damage_record(struct catalog_conn *conn, int64_t snapshot_id,
                  const struct damage_extent *extents, size_t count, struct error *err)
{
    int rc = clear_extents(conn, snapshot_id, err);
    return rc < 0 || count == 0 ? rc : insert_extents(conn, snapshot_id, extents, count, err);
}

int damage_each(struct catalog_conn *conn, int64_t snapshot_id,
                int (*fn)(const struct damage_extent *extent, void *arg, struct error *err),
                void *arg, struct error *err)
{
    static const struct query each = {"list the damage of a snapshot",
                                      "SELECT \"offset\", length, why FROM snapshot_damage "
                                      " WHERE snapshot_id = ?1 ORDER BY \"offset\""};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    statement_bind_int(st, 1, snapshot_id);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct damage_extent extent = {0};
        extent.offset = statement_size(st);
        extent.length = statement_size(st);
        extent.why = statement_word(st);
        rc = statement_check_row(st, err);
        if (rc == 0)
            rc = fn(&extent, arg, err);
    }
    return rc;
}

int damage_each_snapshot(struct catalog_conn *conn,
                         int (*fn)(int64_t snapshot_id, void *arg, struct error *err), void *arg,
                         struct error *err)
{
    static const struct query each = {
        "list damaged snapshots", "SELECT DISTINCT snapshot_id FROM snapshot_damage ORDER BY 1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0)
        rc = fn(statement_int(st), arg, err);
    return rc;
}

// --- proofs

static int set_now(struct catalog_conn *conn, const struct query *query, int64_t id,
                   struct error *err)
{
    AUTO(statement_end) struct statement *st = statement_begin(conn, query);
    statement_bind_int(st, 1, id);
    statement_bind_int(st, 2, clock_now());
    return statement_run(st, err);
}

int pack_set_verified(struct catalog_conn *conn, int64_t pack_id, struct error *err)
{
    static const struct query set = {"note the proof of a pack",
                                     "UPDATE packs SET verified_at = ?2 WHERE id = ?1"};
    return set_now(conn, &set, pack_id, err);
}

int snapshot_set_verified(struct catalog_conn *conn, int64_t snapshot_id, struct error *err)
{
    static const struct query set = {"note the proof of a snapshot",
                                     "UPDATE backup_disks SET verified_at = ?2 WHERE id = ?1"};
    return set_now(conn, &set, snapshot_id, err);
}
