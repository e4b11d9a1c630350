// SPDX-License-Identifier: MIT
//
// Rows of vm_backup_contexts. The totals are read here and written by job.c alone.
#include "catalog/context.h"

#include "base/clock.h"
#include "catalog/snapshot_time.h"
#include "catalog/statement.h"

#include <string.h>

#define SELECT_CONTEXT                                                                             \
    "SELECT id, uuid, name, created_at, changed_at, runs, successes, failures, cancellations, "    \
    "       last_success_at, last_run_at, "                                                        \
    "       coalesce(retention, (SELECT value FROM repository WHERE key = 'retention')), "         \
    "       retention IS NOT NULL, " SNAPSHOT_NEWEST_AT(                                           \
        "h.disk_id IN (SELECT n.id FROM vm_disks n "                                               \
        "               WHERE n.context_id = vm_backup_contexts.id)") "  FROM vm_backup_contexts "

static int read_row(struct statement *st, struct context_row *ret_row, struct error *err)
{
    struct context_row row = {0};
    row.id = statement_int(st);
    statement_text(st, row.uuid, sizeof(row.uuid));
    statement_text(st, row.name, sizeof(row.name));
    row.created_at = statement_int(st);
    row.changed_at = statement_int(st);
    row.runs = statement_int(st);
    row.successes = statement_int(st);
    row.failures = statement_int(st);
    row.cancellations = statement_int(st);
    row.last_success_at = statement_int(st);
    row.last_run_at = statement_int(st);
    statement_text(st, row.retention, sizeof(row.retention));
    row.own_retention = statement_int(st) != 0;
    row.newest_at = statement_int(st);
    int rc = statement_check_row(st, err);
    if (rc == 0)
        *ret_row = row;
    return rc;
}

int context_insert(struct catalog_conn *conn, const char *name, int64_t *ret_id, struct error *err)
{
    static const struct query insert = {
        "add a VM", "INSERT INTO vm_backup_contexts (uuid, name, created_at, changed_at) "
                    "VALUES (?1, ?2, ?3, ?3) ON CONFLICT (name) DO NOTHING"};
    int rc = name_check("VM", name, err);
    if (rc < 0)
        return rc;
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_new_uuid(st, 1);
    statement_bind_text(st, 2, name, NAME_SIZE);
    statement_bind_int(st, 3, clock_now());
    rc = statement_run(st, err);
    if (rc < 0)
        return rc;
    if (statement_changes(st) == 0)
        return error_set(err, -EEXIST, "there is a VM named %s already", name);
    *ret_id = statement_inserted_id(st);
    return 0;
}

int context_delete(struct catalog_conn *conn, int64_t id, struct error *err)
{
    static const struct query delete = {"remove a VM",
                                        "DELETE FROM vm_backup_contexts WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &delete);
    statement_bind_int(st, 1, id);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = error_set(err, -ENOENT, "no VM with the number %lld", (long long)id);
    return rc;
}

int context_set_retention(struct catalog_conn *conn, int64_t id, const char *words,
                          struct error *err)
{
    static const struct query set = {"set a VM's retention",
                                     "UPDATE vm_backup_contexts SET retention = nullif(?2, '') "
                                     " WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &set);
    statement_bind_int(st, 1, id);
    statement_bind_text(st, 2, words ? words : "", RETENTION_TEXT_SIZE);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = error_set(err, -ENOENT, "no VM with the number %lld", (long long)id);
    return rc;
}

int context_default_retention(struct catalog_conn *conn, char ret_words[RETENTION_TEXT_SIZE],
                              struct error *err)
{
    static const struct query get = {"read the repository's retention",
                                     "SELECT value FROM repository WHERE key = 'retention'"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &get);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return error_set(err, -ERROR_CORRUPT, "catalog.db does not say what the repository keeps");
    char words[RETENTION_TEXT_SIZE];
    statement_text(st, words, sizeof(words));
    rc = statement_check_row(st, err);
    if (rc == 0)
        memcpy(ret_words, words, sizeof(words));
    return rc;
}

int context_set_default_retention(struct catalog_conn *conn, const char *words, struct error *err)
{
    static const struct query set = {"set the repository's retention",
                                     "UPDATE repository SET value = ?1 WHERE key = 'retention'"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &set);
    statement_bind_text(st, 1, words, RETENTION_TEXT_SIZE);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = error_set(err, -ERROR_CORRUPT, "catalog.db does not say what the repository keeps");
    return rc;
}

int context_get(struct catalog_conn *conn, int64_t id, struct context_row *ret_row,
                struct error *err)
{
    static const struct query get = {"read a VM", SELECT_CONTEXT "WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &get);
    statement_bind_int(st, 1, id);
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no VM with the number %lld", (long long)id);
    return rc < 0 ? rc : read_row(st, ret_row, err);
}

int context_find(struct catalog_conn *conn, const char *name, struct context_row *ret_row,
                 struct error *err)
{
    static const struct query find = {"find a VM", SELECT_CONTEXT "WHERE name = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_key(st, 1, name);
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no VM named %s", name);
    struct context_row row;
    if (rc > 0)
        rc = read_row(st, &row, err);
    // A damaged index may lead to another row, and SQLite believes the index: the row is asked.
    if (rc == 0)
        rc = context_get(conn, row.id, &row, err);
    if (rc == 0 && strcmp(row.name, name) != 0)
        rc = error_set(err, -ERROR_CORRUPT, "catalog: find a VM: %s leads to %s", name, row.name);
    if (rc == 0)
        *ret_row = row;
    return rc;
}

int context_each(struct catalog_conn *conn,
                 int (*fn)(const struct context_row *row, void *arg, struct error *err), void *arg,
                 struct error *err)
{
    static const struct query each = {"list VMs", SELECT_CONTEXT "ORDER BY name"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct context_row row;
        rc = read_row(st, &row, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}
