// SPDX-License-Identifier: MIT
//
// Questions of a check and a rebuild to the catalog. Owns no rows; changes none.
#include "catalog/check_rows.h"

#include "catalog/chunk_columns.h"

int pack_find_uuid(struct catalog_conn *conn, const char *uuid, struct pack_row *ret_row,
                   struct error *err)
{
    static const struct query find = {
        "find a pack", "SELECT id, uuid, job_id, file_bytes, raw_bytes, record_count, sealed_at, "
                       "       verified_at FROM packs WHERE uuid = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_key(st, 1, uuid);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return error_set(err, -ENOENT, "the catalog has no pack %s", uuid);
    struct pack_row row = {0};
    row.id = statement_int(st);
    statement_text(st, row.uuid, sizeof(row.uuid));
    row.job_id = statement_int(st);
    row.file_bytes = statement_size(st);
    row.raw_bytes = statement_size(st);
    row.record_count = statement_size(st);
    row.sealed_at = statement_int(st);
    row.verified_at = statement_int(st);
    rc = statement_check_row(st, err);
    if (rc == 0)
        *ret_row = row;
    return rc;
}

int snapshot_find_uuid(struct catalog_conn *conn, const char *uuid, struct snapshot_row *ret_row,
                       struct error *err)
{
    static const struct query find = {"find a snapshot",
                                      "SELECT id FROM backup_disks WHERE uuid = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_key(st, 1, uuid);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return error_set(err, -ENOENT, "the catalog has no snapshot %s", uuid);
    return snapshot_get(conn, statement_int(st), ret_row, err);
}

int chunk_each_of_kind(struct catalog_conn *conn, uint8_t kind,
                       int (*fn)(const struct chunk_location *location, void *arg,
                                 struct error *err),
                       void *arg, struct error *err)
{
    // The first condition is that of a partial index.
    static const struct query each = {"list the records of a kind",
                                      "SELECT " CHUNK_COLUMNS
                                      "  FROM chunks c CROSS JOIN packs p ON p.id = c.pack_id "
                                      " WHERE c.kind > 2 AND c.kind = ?1 GROUP BY c.id"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    statement_bind_int(st, 1, kind);
    return chunk_columns_each(st, fn, arg, err);
}

int row_find_uuid(struct catalog_conn *conn, enum row_table table, const char *uuid,
                  int64_t *ret_id, struct error *err)
{
    static const struct query finds[] = {
        [ROW_CONTEXTS] = {"find a VM", "SELECT id FROM vm_backup_contexts WHERE uuid = ?1"},
        [ROW_DISKS] = {"find a disk", "SELECT id FROM vm_disks WHERE uuid = ?1"},
        [ROW_JOBS] = {"find a job", "SELECT id FROM backup_jobs WHERE uuid = ?1"},
        [ROW_CHAINS] = {"find a chain", "SELECT id FROM backup_chains WHERE uuid = ?1"},
        [ROW_SNAPSHOTS] = {"find a snapshot", "SELECT id FROM backup_disks WHERE uuid = ?1"},
    };
    AUTO(statement_end) struct statement *st = statement_begin(conn, &finds[table]);
    statement_bind_text(st, 1, uuid, UUID_TEXT_SIZE);
    int rc = statement_step(st, err);
    if (rc == 1)
        *ret_id = statement_int(st);
    return rc;
}

int chunk_find_copy(struct catalog_conn *conn, const struct digest *id,
                    bool (*usable)(const struct chunk_copy *copy, const void *arg), const void *arg,
                    struct chunk_copy *ret_copy, struct error *err)
{
    static const struct query find = {"look for a copy",
                                      "SELECT \"row\", pack_id, kind, raw_length, base FROM chunks "
                                      " WHERE id = ?1 ORDER BY pack_id"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_blob(st, 1, id->bytes, DIGEST_SIZE);
    int rc = 0;
    while ((rc = statement_step(st, err)) > 0) {
        struct chunk_copy copy = {0};
        copy.row = statement_int(st);
        copy.pack_id = statement_int(st);
        copy.kind = (uint8_t)statement_size(st);
        copy.raw_length = statement_size32(st);
        statement_digest(st, &copy.base);
        rc = statement_check_row(st, err);
        if (rc < 0)
            return rc;
        if (usable && !usable(&copy, arg))
            continue;
        *ret_copy = copy;
        return 1;
    }
    return rc;
}

int chunk_count_baseless(struct catalog_conn *conn, uint64_t *ret_count, struct error *err)
{
    static const struct query count = {
        "count deltas without a base",
        "SELECT count(*) FROM chunks d WHERE d.base IS NOT NULL AND NOT EXISTS "
        "  (SELECT 1 FROM chunks b WHERE b.id = d.base AND b.base IS NULL AND b.kind = d.kind "
        "      AND b.raw_length = d.raw_length)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &count);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    *ret_count = statement_size(st);
    return statement_check_row(st, err);
}
