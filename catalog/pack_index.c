// SPDX-License-Identifier: MIT
//
// Rows of packs and chunks: where each record is stored. Knows nothing of pack files; kind and
// codec are numbers here.
#include "catalog/pack_index.h"

#include "catalog/chunk_columns.h"

#include <string.h>

static size_t count_deltas(const struct chunk_row *records, size_t count)
{
    size_t deltas = 0;
    for (size_t i = 0; i < count; i++)
        deltas += !digest_is_zero(&records[i].base);
    return deltas;
}

static int insert_pack(struct catalog_conn *conn, const struct pack_row *pack,
                       const struct chunk_row *records, size_t count, int64_t *ret_id,
                       struct error *err)
{
    static const struct query insert = {
        "add a pack",
        "INSERT INTO packs (uuid, job_id, file_bytes, raw_bytes, record_count, delta_count, "
        "                   sealed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (uuid) DO "
        "NOTHING"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_text(st, 1, pack->uuid, UUID_TEXT_SIZE);
    statement_bind_optional(st, 2, pack->job_id);
    statement_bind_size(st, 3, pack->file_bytes);
    statement_bind_size(st, 4, pack->raw_bytes);
    statement_bind_size(st, 5, count);
    statement_bind_size(st, 6, count_deltas(records, count));
    statement_bind_int(st, 7, pack->sealed_at);
    int rc = statement_run(st, err);
    if (rc < 0)
        return rc;
    if (statement_changes(st) == 0)
        return error_set(err, -EEXIST, "catalog: pack %s is known already", pack->uuid);
    *ret_id = statement_inserted_id(st);
    return 0;
}

static int insert_records(struct catalog_conn *conn, int64_t pack_id,
                          const struct chunk_row *records, size_t count, struct error *err)
{
    static const struct query insert = {"add a record",
                                        "INSERT INTO chunks (id, pack_id, \"offset\", "
                                        "stored_length, raw_length, kind, codec, base) "
                                        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_int(st, 2, pack_id);
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        statement_rewind(st);
        statement_bind_blob(st, 1, records[i].id.bytes, DIGEST_SIZE);
        statement_bind_size(st, 3, records[i].offset);
        statement_bind_int(st, 4, records[i].stored_length);
        statement_bind_int(st, 5, records[i].raw_length);
        statement_bind_int(st, 6, records[i].kind);
        statement_bind_int(st, 7, records[i].codec);
        if (digest_is_zero(&records[i].base))
            statement_bind_optional(st, 8, 0);
        else
            statement_bind_blob(st, 8, records[i].base.bytes, DIGEST_SIZE);
        rc = statement_run(st, err);
    }
    return rc;
}

int pack_insert(struct catalog_conn *conn, const struct pack_row *pack,
                const struct chunk_row *records, size_t count, int64_t *ret_pack_id,
                struct error *err)
{
    int64_t id = 0;
    int rc = insert_pack(conn, pack, records, count, &id, err);
    if (rc == 0)
        rc = insert_records(conn, id, records, count, err);
    if (rc == 0)
        *ret_pack_id = id;
    return rc;
}

int pack_make_durable(struct catalog_conn *conn, int64_t job_id, struct error *err)
{
    static const struct query update = {"make packs durable",
                                        "UPDATE packs SET job_id = NULL WHERE job_id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &update);
    statement_bind_int(st, 1, job_id);
    return statement_run(st, err);
}

int pack_delete(struct catalog_conn *conn, int64_t pack_id, struct error *err)
{
    static const struct query delete = {"remove a pack", "DELETE FROM packs WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &delete);
    statement_bind_int(st, 1, pack_id);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = error_set(err, -ENOENT, "catalog: no pack with the number %lld", (long long)pack_id);
    return rc;
}

static int read_pack(struct statement *st, struct pack_row *ret_row, struct error *err)
{
    struct pack_row row = {0};
    row.id = statement_int(st);
    statement_text(st, row.uuid, sizeof(row.uuid));
    row.job_id = statement_int(st);
    row.file_bytes = statement_size(st);
    row.raw_bytes = statement_size(st);
    row.record_count = statement_size(st);
    row.sealed_at = statement_int(st);
    row.verified_at = statement_int(st);
    int rc = statement_check_row(st, err);
    if (rc == 0)
        *ret_row = row;
    return rc;
}

int pack_each(struct catalog_conn *conn, int64_t provisional_of,
              int (*fn)(const struct pack_row *row, void *arg, struct error *err), void *arg,
              struct error *err)
{
    static const char what[] = "list packs";
    static const struct query all = {
        what, "SELECT id, uuid, job_id, file_bytes, raw_bytes, record_count, sealed_at, "
              "       verified_at FROM packs ORDER BY id"};
    static const struct query of_job = {
        what, "SELECT id, uuid, job_id, file_bytes, raw_bytes, record_count, sealed_at, "
              "       verified_at FROM packs WHERE job_id = ?1 ORDER BY id"};
    AUTO(statement_end)
    struct statement *st = statement_begin(conn, provisional_of ? &of_job : &all);
    if (provisional_of)
        statement_bind_int(st, 1, provisional_of);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct pack_row row;
        rc = read_pack(st, &row, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}

int pack_total_bytes(struct catalog_conn *conn, uint64_t *ret_bytes, struct error *err)
{
    static const struct query total = {"add up packs",
                                       "SELECT ifnull(sum(file_bytes), 0) FROM packs"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &total);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    *ret_bytes = statement_size(st);
    return statement_check_row(st, err);
}

// Whether copy `a` is the better one. Rows come in no order.
static bool is_better(const struct chunk_location *a, const struct chunk_location *b)
{
    bool a_delta = !digest_is_zero(&a->record.base), b_delta = !digest_is_zero(&b->record.base);
    if (a->damaged != b->damaged)
        return b->damaged;
    if (a_delta != b_delta)
        return b_delta;
    return a->row < b->row;
}

// Into its place among `count` sorted ones; the worst of more than `max` falls out. Returns how
// many there are now.
static size_t sort_in(struct chunk_location *copies, size_t count, size_t max,
                      const struct chunk_location *copy)
{
    size_t place = count;
    while (place > 0 && is_better(copy, &copies[place - 1]))
        place--;
    if (place == max)
        return count;
    if (count < max)
        count++;
    memmove(&copies[place + 1], &copies[place], (count - 1 - place) * sizeof(*copies));
    copies[place] = *copy;
    return count;
}

int chunk_copies(struct catalog_conn *conn, const struct digest *id, int64_t job_id,
                 struct chunk_location *ret_copies, size_t max, struct error *err)
{
    // CROSS JOIN: the id is looked up first, whatever the planner believes of the tables' sizes.
    static const struct query find = {
        "look up a chunk",
        "SELECT " CHUNK_COLUMNS "  FROM chunks c CROSS JOIN packs p ON p.id = c.pack_id "
        " WHERE c.id = ?1 AND (p.job_id IS NULL OR p.job_id = ?2 OR ?2 = -1)"};
    size_t count = 0;
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_blob(st, 1, id->bytes, DIGEST_SIZE);
    statement_bind_int(st, 2, job_id);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct chunk_location copy;
        rc = chunk_columns_read(st, &copy, err);
        // SQLite takes what stands at the place of an id in its index for that id, as long as it is
        // not greater: one changed byte of an entry can make it that of another record.
        if (rc == 0 && digest_equal(&copy.record.id, id))
            count = sort_in(ret_copies, count, max, &copy);
    }
    return rc < 0 ? rc : (int)count;
}

int chunk_lookup(struct catalog_conn *conn, const struct digest *id, int64_t job_id,
                 struct chunk_location *ret_location, struct error *err)
{
    struct chunk_location copy;
    int rc = chunk_copies(conn, id, job_id, &copy, 1, err);
    if (rc == 1)
        *ret_location = copy;
    return rc;
}

int chunk_each_of_pack(struct catalog_conn *conn, int64_t pack_id,
                       int (*fn)(const struct chunk_location *location, void *arg,
                                 struct error *err),
                       void *arg, struct error *err)
{
    static const struct query each = {"list the records of a pack",
                                      "SELECT " CHUNK_COLUMNS
                                      "  FROM packs p CROSS JOIN chunks c ON c.pack_id = p.id "
                                      " WHERE p.id = ?1 ORDER BY c.\"offset\""};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    statement_bind_int(st, 1, pack_id);
    return chunk_columns_each(st, fn, arg, err);
}
