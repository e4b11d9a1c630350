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

int gc_rows_kept(struct catalog_conn *conn,
                 int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                 struct error *err)
{
    // As the partial index says it, so that it is used.
    static const struct query each = {"list what is always kept",
                                      "SELECT id FROM chunks WHERE kind > 2"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &each, &st, err);
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct digest id;
        statement_digest(st, &id);
        rc = statement_check_row(st, err);
        if (rc == 0)
            rc = fn(&id, arg, err);
    }
    return rc;
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
