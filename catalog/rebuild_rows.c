// SPDX-License-Identifier: MIT
//
// Rows of a catalog that is made anew. Owns no rule of its own: what a row must be, the tables say.
#include "catalog/rebuild_rows.h"

#include "catalog/statement.h"

// Runs an insert whose parameters are bound.
static int insert(struct statement *st, int64_t *ret_id, struct error *err)
{
    int rc = statement_run(st, err);
    if (rc == 0)
        *ret_id = statement_inserted_id(st);
    return rc;
}

int rebuild_insert_context(struct catalog_conn *conn, const struct context_row *row,
                           int64_t *ret_id, struct error *err)
{
    static const struct query query = {
        "add a VM", "INSERT INTO vm_backup_contexts (uuid, name, created_at, changed_at) "
                    "VALUES (?1, ?2, ?3, ?3)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &query);
    statement_bind_text(st, 1, row->uuid, UUID_TEXT_SIZE);
    statement_bind_text(st, 2, row->name, NAME_SIZE);
    statement_bind_int(st, 3, row->created_at);
    return insert(st, ret_id, err);
}

int rebuild_insert_disk(struct catalog_conn *conn, const struct disk_row *row, int64_t *ret_id,
                        struct error *err)
{
    static const struct query query = {
        "add a disk", "INSERT INTO vm_disks (uuid, context_id, name, source, capacity, chunk_size, "
                      "                      created_at, changed_at) "
                      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &query);
    statement_bind_text(st, 1, row->uuid, UUID_TEXT_SIZE);
    statement_bind_int(st, 2, row->context_id);
    statement_bind_text(st, 3, row->name, NAME_SIZE);
    statement_bind_text(st, 4, row->source, SOURCE_TEXT_SIZE);
    statement_bind_size(st, 5, row->capacity);
    statement_bind_int(st, 6, row->chunk_size);
    statement_bind_int(st, 7, row->created_at);
    return insert(st, ret_id, err);
}

int rebuild_update_disk(struct catalog_conn *conn, const struct disk_row *row, struct error *err)
{
    static const struct query query = {
        "update a disk", "UPDATE vm_disks SET source = ?2, capacity = ?3, change_id = ?4, "
                         "                    changed_at = ?5 WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &query);
    statement_bind_int(st, 1, row->id);
    statement_bind_text(st, 2, row->source, SOURCE_TEXT_SIZE);
    statement_bind_size(st, 3, row->capacity);
    statement_bind_text(st, 4, row->change_id, CHANGE_ID_SIZE);
    statement_bind_int(st, 5, row->changed_at);
    return statement_run(st, err);
}

int rebuild_insert_job(struct catalog_conn *conn, const struct job_row *row, int64_t *ret_id,
                       struct error *err)
{
    static const struct query query = {
        "add a job",
        "INSERT INTO backup_jobs (id, uuid, kind, state, \"trigger\", mode, context_id, disk_id, "
        "                         tags, created_at, started_at, finished_at) "
        "VALUES ((SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM backup_jobs WHERE id = ?1)), "
        "        ?2, 'backup', 'completed', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &query);
    statement_bind_int(st, 1, row->id);
    statement_bind_text(st, 2, row->uuid, UUID_TEXT_SIZE);
    statement_bind_key(st, 3, job_trigger_to_word(row->trigger));
    statement_bind_key(st, 4, backup_mode_to_word(row->mode));
    statement_bind_int(st, 5, row->context_id);
    statement_bind_optional(st, 6, row->disk_id);
    statement_bind_text(st, 7, row->tags, TAGS_TEXT_SIZE);
    statement_bind_int(st, 8, row->created_at);
    statement_bind_int(st, 9, row->started_at);
    statement_bind_int(st, 10, row->finished_at);
    return insert(st, ret_id, err);
}

int rebuild_insert_chain(struct catalog_conn *conn, const struct chain_row *row, int64_t *ret_id,
                         struct error *err)
{
    static const struct query query = {
        "add a chain", "INSERT INTO backup_chains (uuid, disk_id, number, source, capacity, "
                       "                           chunk_size, is_foreign, created_at) "
                       "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &query);
    statement_bind_text(st, 1, row->uuid, UUID_TEXT_SIZE);
    statement_bind_int(st, 2, row->disk_id);
    statement_bind_int(st, 3, row->number);
    statement_bind_text(st, 4, row->source, SOURCE_TEXT_SIZE);
    statement_bind_size(st, 5, row->capacity);
    statement_bind_int(st, 6, row->chunk_size);
    statement_bind_int(st, 7, row->foreign);
    statement_bind_int(st, 8, row->created_at);
    return insert(st, ret_id, err);
}

static void bind_content(struct statement *st, const struct snapshot_row *row)
{
    statement_bind_int(st, 10, row->taken_at);
    statement_bind_size(st, 11, row->capacity);
    statement_bind_int(st, 12, row->chunk_size);
    statement_bind_blob(st, 13, row->digest.bytes, DIGEST_SIZE);
    statement_bind_text(st, 14, row->change_id, CHANGE_ID_SIZE);
    statement_bind_size(st, 15, row->data_bytes);
    statement_bind_size(st, 16, row->read_bytes);
    statement_bind_size(st, 17, row->changed_bytes);
    statement_bind_size(st, 18, row->new_bytes);
    statement_bind_blob(st, 19, row->record.bytes, DIGEST_SIZE);
}

int rebuild_insert_snapshot(struct catalog_conn *conn, const struct snapshot_row *row,
                            int64_t *ret_id, struct error *err)
{
    static const struct query query = {
        "add a snapshot",
        "INSERT INTO backup_disks (uuid, job_id, disk_id, context_id, state, tags, started_at, "
        "                          finished_at, chain_id, number, kind, taken_at, capacity, "
        "                          chunk_size, digest, change_id, data_bytes, read_bytes, "
        "                          changed_bytes, new_bytes, record) "
        "VALUES (?1, ?2, ?3, (SELECT context_id FROM vm_disks WHERE id = ?3), 'completed', ?4, ?5, "
        "        ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &query);
    statement_bind_text(st, 1, row->uuid, UUID_TEXT_SIZE);
    statement_bind_int(st, 2, row->job_id);
    statement_bind_int(st, 3, row->disk_id);
    statement_bind_text(st, 4, row->tags, TAGS_TEXT_SIZE);
    statement_bind_int(st, 5, row->started_at);
    statement_bind_int(st, 6, row->finished_at);
    statement_bind_int(st, 7, row->chain_id);
    statement_bind_int(st, 8, row->number);
    statement_bind_key(st, 9, snapshot_kind_to_word(row->kind));
    bind_content(st, row);
    return insert(st, ret_id, err);
}

static int set_two(struct catalog_conn *conn, const struct query *query, int64_t first,
                   int64_t second, struct error *err)
{
    AUTO(statement_end) struct statement *st = statement_begin(conn, query);
    statement_bind_int(st, 1, first);
    statement_bind_int(st, 2, second);
    return statement_run(st, err);
}

int rebuild_set_parent(struct catalog_conn *conn, int64_t id, int64_t parent_id, struct error *err)
{
    static const struct query query = {"set a snapshot's parent",
                                       "UPDATE backup_disks SET parent_id = ?2 WHERE id = ?1"};
    return set_two(conn, &query, id, parent_id, err);
}

int rebuild_forget(struct catalog_conn *conn, int64_t id, int64_t at, struct error *err)
{
    static const struct query adopt = {
        "link a snapshot's children to its parent",
        "UPDATE backup_disks SET parent_id = (SELECT parent_id FROM backup_disks WHERE id = ?1) "
        " WHERE parent_id = ?1 AND ?2 <> 0"};
    static const struct query forget = {
        "forget a snapshot",
        "UPDATE backup_disks SET forgotten_at = coalesce(forgotten_at, ?2), protected = 0 "
        " WHERE id = ?1"};
    int rc = set_two(conn, &adopt, id, at, err);
    return rc < 0 ? rc : set_two(conn, &forget, id, at, err);
}

int rebuild_touch_context(struct catalog_conn *conn, int64_t id, int64_t at, struct error *err)
{
    static const struct query query = {
        "note a change of a VM",
        "UPDATE vm_backup_contexts SET changed_at = max(changed_at, ?2) WHERE id = ?1"};
    return set_two(conn, &query, id, at, err);
}

int rebuild_add_up(struct catalog_conn *conn, struct error *err)
{
    static const char sql[] =
        "UPDATE backup_jobs SET "
        "  finished_at = coalesce((SELECT max(b.finished_at) FROM backup_disks b"
        "                           WHERE b.job_id = backup_jobs.id), finished_at),"
        "  done_bytes = coalesce((SELECT sum(b.read_bytes) FROM backup_disks b"
        "                          WHERE b.job_id = backup_jobs.id), 0);"
        "UPDATE backup_jobs SET total_bytes = done_bytes;"
        "UPDATE vm_backup_contexts SET "
        "  (runs, successes, last_success_at, last_run_at) ="
        "    (SELECT count(*), count(*), max(finished_at), max(finished_at) FROM backup_jobs j"
        "      WHERE j.context_id = vm_backup_contexts.id"
        "        AND j.\"trigger\" <> 'pre_restore_safety'),"
        "  changed_at = max(changed_at, coalesce((SELECT max(created_at) FROM vm_disks d"
        "                                          WHERE d.context_id = vm_backup_contexts.id), "
        "                                        0));";
    return connection_exec(conn, "add up jobs", sql, err);
}
