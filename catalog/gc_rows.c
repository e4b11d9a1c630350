// SPDX-License-Identifier: MIT
//
// Questions of garbage collection to the catalog. Owns no rows; changes none.
#include "catalog/gc_rows.h"

#include "catalog/chunk_columns.h"

int gc_rows_kept(struct catalog_conn *conn,
                 int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                 struct error *err)
{
    // As the partial index says it, so that it is used.
    static const struct query each = {"list what is always kept",
                                      "SELECT id FROM chunks WHERE kind > 2"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    return chunk_ids_each(st, fn, arg, err);
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
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    return chunk_ids_each(st, fn, arg, err);
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
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
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
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    int rc = 0;
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
