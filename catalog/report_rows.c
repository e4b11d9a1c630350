// SPDX-License-Identifier: MIT
//
// Rows of the report page. The newest of a disk are found from the end of backup_disks_by_disk: ids
// grow with time, also those that a rebuild gives out.
#include "catalog/report_rows.h"

#include "catalog/statement.h"

int report_disk_each(struct catalog_conn *conn, int64_t context_id, int64_t limit,
                     int (*fn)(const struct report_disk *row, void *arg, struct error *err),
                     void *arg, struct error *err)
{
    static const struct query each = {
        "list disks for the report",
        "SELECT d.id, d.context_id, c.name, d.name, d.capacity, count(b.id), sum(b.new_bytes), "
        "       max(b.taken_at), d.source "
        "  FROM vm_backup_contexts c JOIN vm_disks d ON d.context_id = c.id "
        "  LEFT JOIN backup_disks b INDEXED BY backup_disks_at_a_glance "
        "         ON b.context_id = c.id AND b.disk_id = d.id "
        "        AND b.state = 'completed' AND b.forgotten_at IS NULL "
        " WHERE ?1 = 0 OR c.id = ?1 GROUP BY c.name, d.name LIMIT ?2"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    statement_bind_int(st, 1, context_id);
    statement_bind_int(st, 2, limit);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct report_disk row = {0};
        row.id = statement_int(st);
        row.context_id = statement_int(st);
        statement_text(st, row.context_name, sizeof(row.context_name));
        statement_text(st, row.name, sizeof(row.name));
        row.capacity = statement_size(st);
        row.snapshots = statement_int(st);
        row.new_bytes = statement_size(st);
        row.newest_at = statement_int(st);
        row.source = statement_word(st);
        rc = statement_check_row(st, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}

static int read_snapshot(struct statement *st, struct report_snapshot *row, struct error *err)
{
    *row = (struct report_snapshot){0};
    row->id = statement_int(st);
    row->job_id = statement_int(st);
    row->chain_number = statement_int(st);
    row->number = statement_int(st);
    row->kind = snapshot_kind_from_word(statement_word(st));
    enum job_trigger trigger = job_trigger_from_word(statement_word(st));
    row->safety = trigger == TRIGGER_PRE_RESTORE_SAFETY;
    row->protected = statement_int(st) != 0;
    row->damaged = statement_int(st) != 0;
    row->taken_at = statement_int(st);
    row->verified_at = statement_int(st);
    row->data_bytes = statement_size(st);
    row->new_bytes = statement_size(st);
    statement_expect(st, row->kind && trigger);
    return statement_check_row(st, err);
}

int report_snapshot_each(struct catalog_conn *conn, int64_t disk_id, int64_t limit,
                         int (*fn)(const struct report_snapshot *row, void *arg, struct error *err),
                         void *arg, struct error *err)
{
    static const struct query each = {
        "list snapshots for the report",
        "SELECT b.id, b.job_id, h.number, b.number, b.kind, j.\"trigger\", b.protected, "
        "       EXISTS (SELECT 1 FROM snapshot_damage g WHERE g.snapshot_id = b.id), "
        "       b.taken_at, b.verified_at, b.data_bytes, b.new_bytes "
        "  FROM backup_disks b INDEXED BY backup_disks_by_disk "
        "       CROSS JOIN backup_jobs j ON j.id = b.job_id "
        "       CROSS JOIN backup_chains h ON h.id = b.chain_id "
        " WHERE b.disk_id = ?1 AND b.state = 'completed' AND b.forgotten_at IS NULL "
        " ORDER BY b.id DESC LIMIT ?2"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    statement_bind_int(st, 1, disk_id);
    statement_bind_int(st, 2, limit);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct report_snapshot row;
        rc = read_snapshot(st, &row, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}

int report_attempt_each(struct catalog_conn *conn, int64_t disk_id, int64_t since, int64_t limit,
                        int (*fn)(const struct report_attempt *row, void *arg, struct error *err),
                        void *arg, struct error *err)
{
    static const struct query each = {
        "list failed attempts for the report",
        "SELECT job_id, finished_at, reason FROM "
        "       (SELECT id, job_id, finished_at, reason "
        "          FROM backup_disks INDEXED BY backup_disks_by_disk "
        "         WHERE disk_id = ?1 AND state = 'failed' AND forgotten_at IS NULL "
        "         ORDER BY id DESC LIMIT ?3) WHERE finished_at > ?2 ORDER BY id DESC"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    statement_bind_int(st, 1, disk_id);
    statement_bind_int(st, 2, since);
    statement_bind_int(st, 3, limit);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct report_attempt row = {0};
        row.job_id = statement_int(st);
        row.finished_at = statement_int(st);
        row.reason = statement_word(st);
        rc = statement_check_row(st, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}
