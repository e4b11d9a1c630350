// SPDX-License-Identifier: MIT
//
// How rows of backup_disks are read, found and listed, and the names of snapshots. What changes
// them is in completion.c.
#include "catalog/snapshot.h"

#include "base/clock.h"
#include "base/text.h"
#include "catalog/statement.h"

#include <stdio.h>
#include <string.h>

#define SELECT_SNAPSHOT                                                                            \
    "SELECT b.id, b.uuid, b.job_id, b.disk_id, b.context_id, c.name, d.name, c.uuid, d.uuid, "     \
    "       b.state, b.reason, "                                                                   \
    "       j.\"trigger\", coalesce(b.tags, j.tags), b.started_at, b.finished_at, b.chain_id, "    \
    "       h.number, h.uuid, b.parent_id, p.number, p.kind, p.taken_at, b.number, b.kind, "       \
    "b.taken_at, "                                                                                 \
    "       b.capacity, b.chunk_size, b.digest, b.record, b.change_id, b.data_bytes, "             \
    "b.read_bytes, "                                                                               \
    "       b.changed_bytes, b.new_bytes, b.protected, b.forgotten_at, b.verified_at, "            \
    "       EXISTS (SELECT 1 FROM snapshot_damage g WHERE g.snapshot_id = b.id) "                  \
    "  FROM backup_disks b JOIN vm_disks d ON d.id = b.disk_id "                                   \
    "       JOIN vm_backup_contexts c ON c.id = b.context_id "                                     \
    "       JOIN backup_jobs j ON j.id = b.job_id "                                                \
    "       LEFT JOIN backup_chains h ON h.id = b.chain_id AND h.disk_id = b.disk_id "             \
    "       LEFT JOIN backup_disks p ON p.id = b.parent_id "

#define IS_THERE "b.state = 'completed' AND b.forgotten_at IS NULL "

static char *format_name(int64_t number, enum snapshot_kind kind, int64_t taken_at,
                         char name[SNAPSHOT_NAME_SIZE])
{
    char when[CLOCK_ISO_SIZE];
    snprintf(name, SNAPSHOT_NAME_SIZE, "%04lld-%s-%s", (long long)number,
             kind == SNAPSHOT_FULL ? "full" : "incr", clock_to_compact(taken_at, when));
    return name;
}

char *snapshot_name(const struct snapshot_row *row, char name[SNAPSHOT_NAME_SIZE])
{
    return format_name(row->number, row->kind, row->taken_at, name);
}

static void read_parent(struct statement *st, struct snapshot_row *row)
{
    row->parent_id = statement_int(st);
    int64_t number = statement_int(st);
    enum snapshot_kind kind = snapshot_kind_from_word(statement_word(st));
    int64_t taken_at = statement_int(st);
    if (row->parent_id)
        format_name(number, kind, taken_at, row->parent_name);
}

static void read_identity(struct statement *st, struct snapshot_row *row)
{
    row->id = statement_int(st);
    statement_text(st, row->uuid, sizeof(row->uuid));
    row->job_id = statement_int(st);
    row->disk_id = statement_int(st);
    row->context_id = statement_int(st);
    statement_text(st, row->context_name, sizeof(row->context_name));
    statement_text(st, row->disk_name, sizeof(row->disk_name));
    statement_text(st, row->context_uuid, sizeof(row->context_uuid));
    statement_text(st, row->disk_uuid, sizeof(row->disk_uuid));
    row->state = job_state_from_word(statement_word(st));
    statement_text(st, row->reason, sizeof(row->reason));
    row->trigger = job_trigger_from_word(statement_word(st));
    statement_text(st, row->tags, sizeof(row->tags));
    row->started_at = statement_int(st);
    row->finished_at = statement_int(st);
    statement_expect(st, row->state && row->trigger);
}

static int read_row(struct statement *st, struct snapshot_row *ret_row, struct error *err)
{
    struct snapshot_row row = {0};
    read_identity(st, &row);
    row.chain_id = statement_int(st);
    row.chain_number = statement_int(st);
    statement_text(st, row.chain_uuid, sizeof(row.chain_uuid));
    read_parent(st, &row);
    row.number = statement_int(st);
    row.kind = snapshot_kind_from_word(statement_word(st));
    row.taken_at = statement_int(st);
    row.capacity = statement_size(st);
    row.chunk_size = statement_size32(st);
    statement_digest(st, &row.digest);
    statement_digest(st, &row.record);
    statement_text(st, row.change_id, sizeof(row.change_id));
    row.data_bytes = statement_size(st);
    row.read_bytes = statement_size(st);
    row.changed_bytes = statement_size(st);
    row.new_bytes = statement_size(st);
    row.protected = statement_int(st) != 0;
    row.forgotten_at = statement_int(st);
    row.verified_at = statement_int(st);
    row.damaged = statement_int(st) != 0;
    bool completed = row.state == JOB_COMPLETED;
    statement_expect(st, completed == (row.chain_number && row.number && row.kind));
    int rc = statement_check_row(st, err);
    if (rc == 0)
        *ret_row = row;
    return rc;
}

int snapshot_get(struct catalog_conn *conn, int64_t id, struct snapshot_row *ret_row,
                 struct error *err)
{
    static const struct query get = {"read a snapshot", SELECT_SNAPSHOT "WHERE b.id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &get);
    statement_bind_int(st, 1, id);
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no snapshot with the number %lld", (long long)id);
    return rc < 0 ? rc : read_row(st, ret_row, err);
}

static int no_such_name(struct catalog_conn *conn, int64_t chain_id, const char *name,
                        struct error *err)
{
    struct chain_row chain;
    struct disk_row disk;
    int rc = chain_get(conn, chain_id, &chain, err);
    if (rc == 0)
        rc = disk_get(conn, chain.disk_id, &disk, err);
    if (rc < 0)
        return rc;
    char folder[SNAPSHOT_NAME_SIZE];
    return error_set(err, -ENOENT, "no snapshot named %s in %s/%s/%s", name, disk.context_name,
                     disk.name, chain_name(chain.number, folder));
}

int snapshot_find(struct catalog_conn *conn, int64_t chain_id, const char *name,
                  struct snapshot_row *ret_row, struct error *err)
{
    static const struct query find = {"find a snapshot", SELECT_SNAPSHOT
                                      "WHERE b.chain_id = ?1 AND b.number = ?2 AND " IS_THERE};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    // What does not begin with a number is looked for as number 0, which nobody has.
    statement_bind_int(st, 1, chain_id);
    statement_bind_int(st, 2, strtoll(name, NULL, 10));
    int rc = statement_step(st, err);
    struct snapshot_row row;
    bool found = rc == 1;
    if (found)
        rc = read_row(st, &row, err);
    if (found && rc == 0 && row.chain_id != chain_id)
        rc = error_set(err, -ERROR_CORRUPT, "catalog: find a snapshot: %s is of another chain",
                       name);
    if (rc < 0)
        return rc;
    char exact[SNAPSHOT_NAME_SIZE];
    if (!found || strcmp(snapshot_name(&row, exact), name) != 0)
        return no_such_name(conn, chain_id, name, err);
    *ret_row = row;
    return 0;
}

// By numbers, not by time: a clock may have been set back.
#define NEWEST_OF_DISK(condition)                                                                  \
    SELECT_SNAPSHOT                                                                                \
    "WHERE b.id = (SELECT b.id FROM backup_chains h CROSS JOIN backup_disks b "                    \
    "               WHERE h.disk_id = ?1 AND h.is_foreign = 0 AND b.chain_id = h.id "              \
    "                 AND " IS_THERE condition                                                     \
    "               ORDER BY h.number DESC, b.number DESC LIMIT 1)"

static int find_of_disk(struct catalog_conn *conn, const struct query *query, int64_t disk_id,
                        struct snapshot_row *ret_row, struct error *err)
{
    AUTO(statement_end) struct statement *st = statement_begin(conn, query);
    statement_bind_int(st, 1, disk_id);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    if (rc == 1)
        return read_row(st, ret_row, err);
    struct disk_row disk;
    rc = disk_get(conn, disk_id, &disk, err);
    return rc < 0 ? rc
                  : error_set(err, -ENOENT, "%s/%s has no snapshot", disk.context_name, disk.name);
}

int snapshot_find_newest(struct catalog_conn *conn, int64_t disk_id, struct snapshot_row *ret_row,
                         struct error *err)
{
    static const struct query find = {"find the newest snapshot", NEWEST_OF_DISK("")};
    return find_of_disk(conn, &find, disk_id, ret_row, err);
}

int snapshot_find_latest(struct catalog_conn *conn, int64_t disk_id, struct snapshot_row *ret_row,
                         struct error *err)
{
    static const struct query find = {
        "find the latest snapshot",
        NEWEST_OF_DISK("AND NOT EXISTS (SELECT 1 FROM backup_jobs j WHERE j.id = b.job_id "
                       "                  AND j.\"trigger\" = 'pre_restore_safety') ")};
    return find_of_disk(conn, &find, disk_id, ret_row, err);
}

// Numbers and words of this program stand in the text; a tag is the user's and is bound as ?1.
static void print_filter(FILE *sql, const struct snapshot_filter *filter)
{
    fputs(filter->every_row ? "WHERE true" : "WHERE " IS_THERE, sql);
    if (filter->context_id)
        fprintf(sql, " AND b.context_id = %lld", (long long)filter->context_id);
    if (filter->disk_id)
        fprintf(sql, " AND b.disk_id = %lld", (long long)filter->disk_id);
    if (filter->chain_id)
        fprintf(sql, " AND b.chain_id = %lld", (long long)filter->chain_id);
    if (filter->job_id)
        fprintf(sql, " AND b.job_id = %lld", (long long)filter->job_id);
    if (filter->kind)
        fprintf(sql, " AND b.kind = '%s'", snapshot_kind_to_word(filter->kind));
    if (filter->trigger)
        fprintf(sql, " AND j.\"trigger\" = '%s'", job_trigger_to_word(filter->trigger));
    if (filter->tag)
        fputs(" AND instr(',' || coalesce(b.tags, j.tags) || ',', ',' || ?1 || ',') > 0", sql);
    if (filter->since)
        fprintf(sql, " AND b.taken_at >= %lld", (long long)filter->since);
    if (filter->until)
        fprintf(sql, " AND b.taken_at < %lld", (long long)filter->until);
}

// malloc'ed; NULL: out of memory.
static char *list_sql(const struct snapshot_filter *filter)
{
    AUTO(text_discard) struct text text = {0};
    FILE *sql = text_begin(&text);
    if (!sql)
        return NULL;
    fputs(SELECT_SNAPSHOT, sql);
    print_filter(sql, filter);
    fputs(" ORDER BY c.name, d.name, h.number IS NULL, h.number, b.number, b.job_id", sql);
    return text_end(&text) ? TAKE(text.data, NULL) : NULL;
}

int snapshot_each(struct catalog_conn *conn, const struct snapshot_filter *filter,
                  int (*fn)(const struct snapshot_row *row, void *arg, struct error *err),
                  void *arg, struct error *err)
{
    AUTO_FREE char *sql = list_sql(filter);
    if (!sql)
        return error_set(err, -ENOMEM, "catalog: list snapshots: out of memory");
    const struct query each = {"list snapshots", sql};
    AUTO(statement_end) struct statement *st = statement_begin_once(conn, &each);
    if (filter->tag)
        statement_bind_key(st, 1, filter->tag);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct snapshot_row row;
        rc = read_row(st, &row, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}
