// SPDX-License-Identifier: MIT
//
// Rows of backup_chains: how they are read, and their names. completion.c writes a chain with its
// first snapshot. What a chain holds is counted from the snapshots that are there, never stored.
#include "catalog/path.h"
#include "catalog/snapshot.h"
#include "catalog/statement.h"

#include <stdio.h>
#include <string.h>

#define SELECT_CHAIN                                                                               \
    "SELECT h.id, h.uuid, h.disk_id, h.number, h.source, h.capacity, h.chunk_size, h.is_foreign, " \
    "       h.created_at, coalesce(max(s.taken_at), h.created_at), count(s.id), "                  \
    "       coalesce(sum(s.new_bytes), 0) "                                                        \
    "  FROM backup_chains h LEFT JOIN backup_disks s "                                             \
    "       ON s.chain_id = h.id AND s.state = 'completed' AND s.forgotten_at IS NULL "

char *chain_name(int64_t number, char name[SNAPSHOT_NAME_SIZE])
{
    snprintf(name, SNAPSHOT_NAME_SIZE, "chain-%04lld", (long long)number);
    return name;
}

int64_t chain_number_from_name(const char *name)
{
    static const char prefix[] = "chain-";
    const size_t prefix_len = sizeof(prefix) - 1;
    if (strncmp(name, prefix, prefix_len) != 0)
        return 0;
    errno = 0;
    long long number = strtoll(name + prefix_len, NULL, 10);
    // Written back it must be the same: "chain-2" and "chain-00002" are nobody's name.
    char again[SNAPSHOT_NAME_SIZE];
    if (errno != 0 || number < 1 || strcmp(chain_name(number, again), name) != 0)
        return 0;
    return number;
}

static int read_row(struct statement *st, struct chain_row *ret_row, struct error *err)
{
    struct chain_row row = {0};
    row.id = statement_int(st);
    statement_text(st, row.uuid, sizeof(row.uuid));
    row.disk_id = statement_int(st);
    row.number = statement_int(st);
    statement_text(st, row.source, sizeof(row.source));
    row.capacity = statement_size(st);
    row.chunk_size = statement_size32(st);
    row.foreign = statement_int(st) != 0;
    row.created_at = statement_int(st);
    row.changed_at = statement_int(st);
    row.snapshots = statement_int(st);
    row.new_bytes = statement_size(st);
    int rc = statement_check_row(st, err);
    if (rc == 0)
        *ret_row = row;
    return rc;
}

int chain_get(struct catalog_conn *conn, int64_t id, struct chain_row *ret_row, struct error *err)
{
    static const struct query get = {"read a chain", SELECT_CHAIN "WHERE h.id = ?1 GROUP BY h.id"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &get);
    statement_bind_int(st, 1, id);
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no chain with the number %lld", (long long)id);
    return rc < 0 ? rc : read_row(st, ret_row, err);
}

// A damaged index may lead to another row, and SQLite believes the index: the row is asked.
static int ask_row(struct catalog_conn *conn, int64_t id, int64_t disk_id, int64_t number,
                   struct error *err)
{
    static const struct query ask = {
        "read a chain", "SELECT disk_id, number FROM backup_chains NOT INDEXED WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &ask);
    statement_bind_int(st, 1, id);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    if (rc == 1 && statement_int(st) == disk_id && statement_int(st) == number)
        return 0;
    return error_set(err, -ERROR_CORRUPT, "catalog: chain %lld of a disk leads to another one",
                     (long long)number);
}

int chain_find(struct catalog_conn *conn, int64_t disk_id, int64_t number,
               struct chain_row *ret_row, struct error *err)
{
    static const struct query find = {"find a chain", SELECT_CHAIN
                                      "WHERE h.disk_id = ?1 AND h.number = ?2 GROUP BY h.id"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_int(st, 1, disk_id);
    statement_bind_int(st, 2, number);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    struct chain_row row;
    if (rc == 1) {
        rc = read_row(st, &row, err);
        if (rc == 0)
            rc = ask_row(conn, row.id, disk_id, number, err);
        if (rc == 0)
            *ret_row = row;
        return rc;
    }
    struct disk_row disk;
    rc = disk_get(conn, disk_id, &disk, err);
    if (rc < 0)
        return rc;
    char name[SNAPSHOT_NAME_SIZE];
    return error_set(err, -ENOENT, "no chain named %s in %s/%s", chain_name(number, name),
                     disk.context_name, disk.name);
}

static int find_highest(struct catalog_conn *conn, const struct query *query, int64_t id,
                        int64_t *ret_number, struct error *err)
{
    AUTO(statement_end) struct statement *st = statement_begin(conn, query);
    statement_bind_int(st, 1, id);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    *ret_number = statement_int(st);
    return 0;
}

int chain_highest_number(struct catalog_conn *conn, int64_t disk_id, int64_t *ret_number,
                         struct error *err)
{
    static const struct query find = {"find a disk's last chain",
                                      "SELECT max(number) FROM backup_chains WHERE disk_id = ?1"};
    return find_highest(conn, &find, disk_id, ret_number, err);
}

int chain_highest_snapshot(struct catalog_conn *conn, int64_t chain_id, int64_t *ret_number,
                           struct error *err)
{
    static const struct query find = {"find a chain's last snapshot",
                                      "SELECT max(number) FROM backup_disks WHERE chain_id = ?1"};
    return find_highest(conn, &find, chain_id, ret_number, err);
}

int chain_each(struct catalog_conn *conn, int64_t disk_id,
               int (*fn)(const struct chain_row *row, void *arg, struct error *err), void *arg,
               struct error *err)
{
    static const struct query each = {
        "list chains",
        SELECT_CHAIN "WHERE h.disk_id = ?1 GROUP BY h.id HAVING count(s.id) > 0 ORDER BY h.number"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    statement_bind_int(st, 1, disk_id);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct chain_row row;
        rc = read_row(st, &row, err);
        if (rc == 0)
            rc = ask_row(conn, row.id, disk_id, row.number, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}
