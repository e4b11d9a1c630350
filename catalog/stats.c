// SPDX-License-Identifier: MIT
//
// Totals over the catalog's tables, added up when they are asked for. Reads only.
#include "catalog/stats.h"

#include "catalog/statement.h"

static int read_counts(struct catalog_conn *conn, struct catalog_stats *stats, struct error *err)
{
    static const struct query counts = {
        "count VMs and disks",
        "SELECT (SELECT count(*) FROM vm_backup_contexts), (SELECT count(*) FROM vm_disks), "
        "       (SELECT max(last_success_at) FROM vm_backup_contexts)"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &counts, &st, err);
    if (rc == 0)
        rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    stats->contexts = statement_int(st);
    stats->disks = statement_int(st);
    stats->last_success_at = statement_int(st);
    return 0;
}

static int read_snapshots(struct catalog_conn *conn, struct catalog_stats *stats, struct error *err)
{
    static const struct query totals = {
        "add up snapshots",
        "SELECT count(DISTINCT chain_id), count(*), sum(capacity), sum(data_bytes) "
        "  FROM backup_disks WHERE state = 'completed' AND forgotten_at IS NULL"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &totals, &st, err);
    if (rc == 0)
        rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    stats->chains = statement_int(st);
    stats->snapshots = statement_int(st);
    stats->logical_bytes = statement_size(st);
    stats->data_bytes = statement_size(st);
    return statement_check_row(st, err);
}

static int read_jobs(struct catalog_conn *conn, struct catalog_stats *stats, struct error *err)
{
    static const struct query by_state = {"count jobs",
                                          "SELECT state, count(*) FROM backup_jobs GROUP BY state"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &by_state, &st, err);
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        enum job_state state = job_state_from_word(statement_word(st));
        statement_expect(st, state != JOB_STATE_UNKNOWN);
        stats->jobs_by_state[state] = statement_int(st);
        rc = statement_check_row(st, err);
    }
    return rc;
}

static int read_packs(struct catalog_conn *conn, struct catalog_stats *stats, struct error *err)
{
    static const struct query totals = {
        "add up packs",
        "SELECT count(*), sum(record_count), sum(raw_bytes), sum(file_bytes) FROM packs"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &totals, &st, err);
    if (rc == 0)
        rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    stats->packs = statement_int(st);
    stats->records = statement_int(st);
    stats->unique_bytes = statement_size(st);
    stats->stored_bytes = statement_size(st);
    return statement_check_row(st, err);
}

static int read_damage(struct catalog_conn *conn, struct catalog_stats *stats, struct error *err)
{
    static const struct query counts = {
        "count what is damaged",
        "SELECT (SELECT count(DISTINCT snapshot_id) FROM snapshot_damage), "
        "       (SELECT count(DISTINCT c.id) FROM chunks c INDEXED BY chunks_damaged "
        "         WHERE c.damaged_at IS NOT NULL AND NOT EXISTS "
        "               (SELECT 1 FROM chunks w CROSS JOIN packs p ON p.id = w.pack_id "
        "                 WHERE w.id = c.id AND w.damaged_at IS NULL AND p.job_id IS NULL))"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &counts, &st, err);
    if (rc == 0)
        rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    stats->damaged_snapshots = statement_int(st);
    stats->lost_records = statement_int(st);
    return 0;
}

static int read_proofs(struct catalog_conn *conn, struct catalog_stats *stats, struct error *err)
{
    static const struct query times = {
        "look when what was verified",
        "SELECT p.unverified, max(p.last, s.last), p.oldest, s.unverified FROM "
        "  (SELECT coalesce(sum(iif(verified_at IS NULL, file_bytes, 0)), 0) AS unverified, "
        "          coalesce(max(verified_at), 0) AS last, "
        "          iif(count(verified_at) = count(*), min(verified_at), 0) AS oldest "
        "     FROM packs) p, "
        "  (SELECT coalesce(max(verified_at), 0) AS last, "
        "          count(*) - count(verified_at) AS unverified FROM backup_disks "
        "    WHERE state = 'completed' AND forgotten_at IS NULL) s"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &times, &st, err);
    if (rc == 0)
        rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    stats->unverified_bytes = statement_size(st);
    stats->last_verified_at = statement_int(st);
    stats->oldest_verified_at = statement_int(st);
    stats->unverified_snapshots = statement_int(st);
    return statement_check_row(st, err);
}

int catalog_stats_get(struct catalog_conn *conn, struct catalog_stats *ret_stats, struct error *err)
{
    struct catalog_stats stats = {0};
    int rc = read_counts(conn, &stats, err);
    if (rc == 0)
        rc = read_snapshots(conn, &stats, err);
    if (rc == 0)
        rc = read_jobs(conn, &stats, err);
    if (rc == 0)
        rc = read_packs(conn, &stats, err);
    if (rc == 0)
        rc = read_damage(conn, &stats, err);
    if (rc == 0)
        rc = read_proofs(conn, &stats, err);
    if (rc == 0)
        *ret_stats = stats;
    return rc;
}

int vm_figures_each(struct catalog_conn *conn,
                    int (*fn)(const struct vm_figures *row, void *arg, struct error *err),
                    void *arg, struct error *err)
{
    static const struct query each = {
        "add up VMs",
        "SELECT c.name, c.failures, "
        "       (SELECT count(*) FROM backup_disks b WHERE b.context_id = c.id "
        "          AND b.state = 'completed' AND b.forgotten_at IS NULL), "
        "       c.last_success_at, max(j.finished_at - j.started_at, 0), "
        "       (SELECT sum(b.read_bytes) FROM backup_disks b WHERE b.job_id = j.id), "
        "       (SELECT sum(b.new_bytes) FROM backup_disks b WHERE b.job_id = j.id) "
        "  FROM vm_backup_contexts c LEFT JOIN backup_jobs j ON j.id = "
        "       (SELECT max(n.id) FROM backup_jobs n WHERE n.context_id = c.id "
        "           AND n.kind = 'backup' AND n.state = 'completed' "
        "           AND n.\"trigger\" <> 'pre_restore_safety') "
        " ORDER BY c.name"};
    AUTO(statement_end) struct statement *st = NULL;
    int rc = statement_begin(conn, &each, &st, err);
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct vm_figures row = {0};
        statement_text(st, row.name, sizeof(row.name));
        row.failures = statement_int(st);
        row.snapshots = statement_int(st);
        row.last_success_at = statement_int(st);
        row.last_duration = statement_int(st);
        row.last_read_bytes = statement_size(st);
        row.last_new_bytes = statement_size(st);
        rc = statement_check_row(st, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}
