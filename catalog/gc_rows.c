// SPDX-License-Identifier: MIT
//
// Questions of garbage collection to the catalog. Owns no rows; changes none.
#include "catalog/gc_rows.h"

#include "catalog/statement.h"

int gc_rows_of_pack(struct catalog_conn *conn, int64_t pack_id,
                    int (*fn)(const struct chunk_location *row, void *arg, struct error *err),
                    void *arg, struct error *err)
{
    static const struct query each = {
        "list the records of a pack",
        "SELECT \"row\", damaged_at IS NOT NULL, id, \"offset\", stored_length, raw_length, kind, "
        "       codec, base FROM chunks WHERE pack_id = ?1 ORDER BY \"offset\""};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &each, &st, err);
    if (rc < 0)
        return rc;
    statement_bind_int(st, 1, pack_id);
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct chunk_location row = {.pack_id = pack_id};
        row.row = statement_int(st);
        row.damaged = statement_int(st) != 0;
        statement_digest(st, &row.record.id);
        row.record.offset = statement_size(st);
        row.record.stored_length = statement_size32(st);
        row.record.raw_length = statement_size32(st);
        row.record.kind = (uint8_t)statement_size(st);
        row.record.codec = (uint8_t)statement_size(st);
        statement_digest(st, &row.record.base);
        rc = statement_check_row(st, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}

static int each_id(struct statement *st,
                   int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                   struct error *err)
{
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct digest id;
        statement_digest(st, &id);
        rc = statement_check_row(st, err);
        if (rc == 0)
            rc = fn(&id, arg, err);
    }
    return rc;
}

int gc_rows_kept(struct catalog_conn *conn,
                 int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                 struct error *err)
{
    // As the partial index says it, so that it is used.
    static const struct query each = {"list what is always kept",
                                      "SELECT id FROM chunks WHERE kind > 2"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &each, &st, err);
    return rc < 0 ? rc : each_id(st, fn, arg, err);
}

int gc_rows_of_kind(struct catalog_conn *conn, uint8_t kind,
                    int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                    struct error *err)
{
    static const struct query each = {
        "list the records of a kind",
        "SELECT DISTINCT c.id FROM chunks c JOIN packs p ON p.id = c.pack_id "
        " WHERE c.kind > 2 AND c.kind = ?1 AND p.job_id IS NULL"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &each, &st, err);
    if (rc < 0)
        return rc;
    statement_bind_int(st, 1, kind);
    return each_id(st, fn, arg, err);
}

int gc_rows_strangers(struct catalog_conn *conn,
                      int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                      struct error *err)
{
    static const struct query each = {
        "look for snapshots that are not in the catalog",
        "SELECT DISTINCT c.id FROM chunks c JOIN packs p ON p.id = c.pack_id "
        " WHERE c.kind > 2 AND c.kind = 3 AND p.job_id IS NULL "
        "   AND c.id NOT IN (SELECT record FROM backup_disks WHERE record IS NOT NULL)"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &each, &st, err);
    return rc < 0 ? rc : each_id(st, fn, arg, err);
}

static int know(struct catalog_conn *conn, const struct query *find, const char *uuid,
                struct error *err)
{
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, find, &st, err);
    if (rc < 0)
        return rc;
    statement_bind_key(st, 1, uuid);
    return statement_step(st, err);
}

int gc_rows_know_snapshot(struct catalog_conn *conn, const char *uuid, struct error *err)
{
    static const struct query find = {"find a snapshot",
                                      "SELECT 1 FROM backup_disks WHERE uuid = ?1"};
    return know(conn, &find, uuid, err);
}

int gc_rows_know_job(struct catalog_conn *conn, const char *uuid, struct error *err)
{
    static const struct query find = {"find a job", "SELECT 1 FROM backup_jobs WHERE uuid = ?1"};
    return know(conn, &find, uuid, err);
}

int gc_rows_know_successor(struct catalog_conn *conn, const char *disk_uuid, int64_t chain_number,
                           const char *chain_uuid, int64_t number, int64_t job_number,
                           struct error *err)
{
    static const struct query find = {
        "find who took a snapshot's place",
        "SELECT 1 FROM vm_disks d JOIN backup_chains c ON c.disk_id = d.id AND c.number = ?2 "
        "       JOIN backup_disks b ON b.chain_id = c.id "
        " WHERE d.uuid = ?1 AND b.job_id > ?5 AND (c.uuid <> ?3 OR b.number = ?4) LIMIT 1"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &find, &st, err);
    if (rc < 0)
        return rc;
    statement_bind_key(st, 1, disk_uuid);
    statement_bind_int(st, 2, chain_number);
    statement_bind_key(st, 3, chain_uuid);
    statement_bind_int(st, 4, number);
    statement_bind_int(st, 5, job_number);
    return statement_step(st, err);
}

int gc_rows_deltas(struct catalog_conn *conn,
                   int (*fn)(int64_t pack_id, const struct digest *base, void *arg,
                             struct error *err),
                   void *arg, struct error *err)
{
    static const struct query each = {"list deltas",
                                      "SELECT pack_id, base FROM chunks WHERE base IS NOT NULL"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &each, &st, err);
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        int64_t pack_id = statement_int(st);
        struct digest base;
        statement_digest(st, &base);
        rc = statement_check_row(st, err);
        if (rc == 0)
            rc = fn(pack_id, &base, arg, err);
    }
    return rc;
}
