// SPDX-License-Identifier: MIT
//
// Rows of vm_disks. Keeps changed_at of the context true when a disk comes or goes. What a
// completed backup changes in a disk's row is written by completion.c.
#include "catalog/disk.h"

#include "base/clock.h"
#include "catalog/snapshot_time.h"
#include "catalog/statement.h"

#define SELECT_DISK                                                                                \
    "SELECT d.id, d.uuid, d.context_id, c.name, d.name, d.source, d.capacity, d.chunk_size, "      \
    "       d.change_id, d.created_at, d.changed_at, "                                             \
    "       (SELECT count(*) FROM backup_disks s "                                                 \
    "         WHERE s.disk_id = d.id AND s.state = 'completed' AND s.forgotten_at IS "             \
    "NULL), " SNAPSHOT_NEWEST_AT(                                                                  \
        "h.disk_id = d.id") "  FROM vm_disks d JOIN vm_backup_contexts c ON c.id = d.context_id "

static int read_row(struct statement *st, struct disk_row *ret_row, struct error *err)
{
    struct disk_row row = {0};
    row.id = statement_int(st);
    statement_text(st, row.uuid, sizeof(row.uuid));
    row.context_id = statement_int(st);
    statement_text(st, row.context_name, sizeof(row.context_name));
    statement_text(st, row.name, sizeof(row.name));
    statement_text(st, row.source, sizeof(row.source));
    row.capacity = statement_size(st);
    row.chunk_size = statement_size32(st);
    statement_text(st, row.change_id, sizeof(row.change_id));
    row.created_at = statement_int(st);
    row.changed_at = statement_int(st);
    row.snapshots = statement_int(st);
    row.newest_at = statement_int(st);
    int rc = statement_check_row(st, err);
    if (rc == 0)
        *ret_row = row;
    return rc;
}

static int touch_context(struct catalog_conn *conn, int64_t context_id, int64_t now,
                         struct error *err)
{
    static const struct query touch = {
        "note a change of a VM", "UPDATE vm_backup_contexts SET changed_at = ?2 WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &touch);
    statement_bind_int(st, 1, context_id);
    statement_bind_int(st, 2, now);
    return statement_run(st, err);
}

// 1 when the row was written, 0 when the name is taken.
static int insert_row(struct catalog_conn *conn, int64_t context_id, const char *name,
                      uint32_t chunk_size, int64_t now, int64_t *ret_id, struct error *err)
{
    static const struct query insert = {
        "add a disk",
        "INSERT INTO vm_disks (uuid, context_id, name, chunk_size, created_at, changed_at) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (context_id, name) DO NOTHING"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_new_uuid(st, 1);
    statement_bind_int(st, 2, context_id);
    statement_bind_text(st, 3, name, NAME_SIZE);
    statement_bind_int(st, 4, chunk_size);
    statement_bind_int(st, 5, now);
    int rc = statement_run(st, err);
    if (rc < 0 || statement_changes(st) == 0)
        return rc;
    *ret_id = statement_inserted_id(st);
    return 1;
}

int disk_insert(struct catalog_conn *conn, int64_t context_id, const char *name,
                uint32_t chunk_size, int64_t *ret_id, struct error *err)
{
    int rc = name_check("disk", name, err);
    if (rc < 0)
        return rc;
    struct context_row context;
    rc = context_get(conn, context_id, &context, err);
    if (rc < 0)
        return rc;
    int64_t now = clock_now(), id = 0;
    rc = insert_row(conn, context_id, name, chunk_size, now, &id, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return error_set(err, -EEXIST, "there is a disk named %s in VM %s already", name,
                         context.name);
    rc = touch_context(conn, context_id, now, err);
    if (rc == 0)
        *ret_id = id;
    return rc;
}

int disk_set_source(struct catalog_conn *conn, int64_t id, const char *source, uint64_t capacity,
                    struct error *err)
{
    static const struct query update = {
        "set a disk's source", "UPDATE vm_disks SET source = ?2, capacity = ?3 WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &update);
    statement_bind_int(st, 1, id);
    statement_bind_text(st, 2, source, SOURCE_TEXT_SIZE);
    statement_bind_size(st, 3, capacity);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = error_set(err, -ENOENT, "no disk with the number %lld", (long long)id);
    return rc;
}

int disk_delete(struct catalog_conn *conn, int64_t id, struct error *err)
{
    static const struct query delete = {"remove a disk", "DELETE FROM vm_disks WHERE id = ?1"};
    struct disk_row disk;
    int rc = disk_get(conn, id, &disk, err);
    if (rc < 0)
        return rc;
    AUTO(statement_end) struct statement *st = statement_begin(conn, &delete);
    statement_bind_int(st, 1, id);
    rc = statement_run(st, err);
    return rc < 0 ? rc : touch_context(conn, disk.context_id, clock_now(), err);
}

int disk_get(struct catalog_conn *conn, int64_t id, struct disk_row *ret_row, struct error *err)
{
    static const struct query get = {"read a disk", SELECT_DISK "WHERE d.id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &get);
    statement_bind_int(st, 1, id);
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no disk with the number %lld", (long long)id);
    return rc < 0 ? rc : read_row(st, ret_row, err);
}

int disk_find(struct catalog_conn *conn, int64_t context_id, const char *name,
              struct disk_row *ret_row, struct error *err)
{
    static const struct query find = {"find a disk",
                                      SELECT_DISK "WHERE d.context_id = ?1 AND d.name = ?2"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_int(st, 1, context_id);
    statement_bind_key(st, 2, name);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    struct disk_row row;
    if (rc == 1) {
        rc = read_row(st, &row, err);
        // A damaged index may lead to another row, and SQLite believes the index: the row is asked.
        if (rc == 0)
            rc = disk_get(conn, row.id, &row, err);
        if (rc == 0 && (row.context_id != context_id || strcmp(row.name, name) != 0))
            rc = error_set(err, -ERROR_CORRUPT, "catalog: find a disk: %s leads to %s/%s", name,
                           row.context_name, row.name);
        if (rc == 0)
            *ret_row = row;
        return rc;
    }
    struct context_row context;
    rc = context_get(conn, context_id, &context, err);
    return rc < 0 ? rc : error_set(err, -ENOENT, "no disk named %s in VM %s", name, context.name);
}

int disk_each(struct catalog_conn *conn, int64_t context_id,
              int (*fn)(const struct disk_row *row, void *arg, struct error *err), void *arg,
              struct error *err)
{
    static const struct query of_context = {"list disks",
                                            SELECT_DISK "WHERE d.context_id = ?1 ORDER BY d.name"};
    static const struct query of_all = {"list disks", SELECT_DISK "ORDER BY c.name, d.name"};
    AUTO(statement_end)
    struct statement *st = statement_begin(conn, context_id ? &of_context : &of_all);
    if (context_id)
        statement_bind_int(st, 1, context_id);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct disk_row row;
        rc = read_row(st, &row, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}
