// SPDX-License-Identifier: MIT
//
// Totals over the catalog's tables, added up when they are asked for. Reads only.
#include "catalog/stats.h"

#include "base/grow.h"
#include "catalog/statement.h"

// A query of exactly one row, and who takes its columns.
struct total {
    struct query query;
    void (*read)(struct statement *st, struct catalog_stats *stats);
};

static void read_counts(struct statement *st, struct catalog_stats *stats)
{
    stats->contexts = statement_int(st);
    stats->disks = statement_int(st);
    stats->chains = statement_int(st);
    stats->last_success_at = statement_int(st);
}

static void read_snapshots(struct statement *st, struct catalog_stats *stats)
{
    stats->snapshots = statement_int(st);
    stats->protected_snapshots = statement_int(st);
    stats->logical_bytes = statement_size(st);
    stats->data_bytes = statement_size(st);
    stats->unverified_snapshots = statement_int(st);
    stats->last_verified_at = statement_int(st);
}

// After read_snapshots().
static void read_packs(struct statement *st, struct catalog_stats *stats)
{
    stats->packs = statement_int(st);
    stats->records = statement_int(st);
    stats->deltas = statement_int(st);
    stats->unique_bytes = statement_size(st);
    stats->stored_bytes = statement_size(st);
    stats->unverified_bytes = statement_size(st);
    int64_t last = statement_int(st);
    if (last > stats->last_verified_at)
        stats->last_verified_at = last;
    stats->oldest_verified_at = statement_int(st);
}

static void read_damage(struct statement *st, struct catalog_stats *stats)
{
    stats->damaged_snapshots = statement_int(st);
    stats->lost_records = statement_int(st);
}

static void read_upkeep(struct statement *st, struct catalog_stats *stats)
{
    stats->last_verify_at = statement_int(st);
    stats->last_gc_at = statement_int(st);
    stats->last_check_at = statement_int(st);
}

static const struct total totals[] = {
    {{"count VMs and disks",
      "SELECT (SELECT count(*) FROM vm_backup_contexts), (SELECT count(*) FROM vm_disks), "
      "       (SELECT count(*) FROM backup_chains c WHERE EXISTS (SELECT 1 FROM backup_disks b "
      "         WHERE b.chain_id = c.id AND b.state = 'completed' AND b.forgotten_at IS NULL)), "
      "       (SELECT max(last_success_at) FROM vm_backup_contexts)"},
     read_counts},
    {{"add up snapshots", "SELECT count(*), sum(protected), sum(capacity), sum(data_bytes), "
                          "       count(*) - count(verified_at), max(verified_at) "
                          "  FROM backup_disks INDEXED BY backup_disks_at_a_glance "
                          " WHERE state = 'completed' AND forgotten_at IS NULL"},
     read_snapshots},
    {{"add up packs",
      "SELECT count(*), sum(record_count), sum(delta_count), sum(raw_bytes), sum(file_bytes), "
      "       sum(iif(verified_at IS NULL, file_bytes, 0)), max(verified_at), "
      "       iif(count(verified_at) = count(*), min(verified_at), 0) FROM packs"},
     read_packs},
    {{"count what is damaged",
      "SELECT (SELECT count(DISTINCT snapshot_id) FROM snapshot_damage), "
      "       (SELECT count(DISTINCT c.id) FROM chunks c INDEXED BY chunks_damaged "
      "         WHERE c.damaged_at IS NOT NULL AND NOT EXISTS "
      "               (SELECT 1 FROM chunks w CROSS JOIN packs p ON p.id = w.pack_id "
      "                 WHERE w.id = c.id AND w.damaged_at IS NULL AND p.job_id IS NULL))"},
     read_damage},
    {{"look when upkeep was done",
      "SELECT max(iif(j.kind = 'verify', j.finished_at, NULL)), "
      "       max(iif(j.kind = 'gc', j.finished_at, NULL)), "
      "       max(iif(j.kind = 'check', j.finished_at, NULL)) "
      "  FROM job_upkeep u CROSS JOIN backup_jobs j ON j.id = u.job_id "
      " WHERE j.state = 'completed'"},
     read_upkeep},
};

static int read_total(struct catalog_conn *conn, const struct total *total,
                      struct catalog_stats *stats, struct error *err)
{
    AUTO(statement_end) struct statement *st = statement_begin(conn, &total->query);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    total->read(st, stats);
    return statement_check_row(st, err);
}

static int read_jobs(struct catalog_conn *conn, struct catalog_stats *stats, struct error *err)
{
    static const struct query by_state = {"count jobs",
                                          "SELECT state, count(*) FROM backup_jobs GROUP BY state"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &by_state);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        enum job_state state = job_state_from_word(statement_word(st));
        statement_expect(st, state != JOB_STATE_UNKNOWN);
        stats->jobs_by_state[state] = statement_int(st);
        rc = statement_check_row(st, err);
    }
    return rc;
}

static int count_job(int64_t job_id, void *arg, struct error *err)
{
    (void)job_id;
    (void)err;
    ++*(int64_t *)arg;
    return 0;
}

int catalog_stats_get(struct catalog_conn *conn, struct catalog_stats *ret_stats, struct error *err)
{
    struct catalog_stats stats = {0};
    int rc = read_jobs(conn, &stats, err);
    for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]) && rc == 0; i++)
        rc = read_total(conn, &totals[i], &stats, err);
    if (rc == 0)
        rc = failing_job_each(conn, count_job, &stats.failing_jobs, err);
    if (rc == 0)
        *ret_stats = stats;
    return rc;
}

static void read_vm(struct statement *st, struct vm_figures *row)
{
    row->context_id = statement_int(st);
    statement_text(st, row->name, sizeof(row->name));
    row->failures = statement_int(st);
    row->snapshots = statement_int(st);
    row->protected_snapshots = statement_int(st);
    row->damaged_snapshots = statement_int(st);
    row->new_bytes = statement_size(st);
    row->failing = statement_int(st) != 0;
    row->active_job = statement_int(st);
    row->last_success_at = statement_int(st);
    row->last_duration = statement_int(st);
    row->last_read_bytes = statement_size(st);
    row->last_new_bytes = statement_size(st);
}

// Ids of the newest backups of the context c that were asked for.
#define BACKUPS_OF_C                                                                               \
    "SELECT max(n.id) FROM backup_jobs n INDEXED BY backup_jobs_by_context WHERE n.context_id = "  \
    "c.id AND n.kind = 'backup' "                                                                  \
    "   AND n.\"trigger\" <> 'pre_restore_safety' AND n.state "
#define NEWEST_COMPLETED "(" BACKUPS_OF_C "= 'completed') "
#define NEWEST_ENDED "(" BACKUPS_OF_C "IN ('completed', 'failed')) "

int vm_figures_load(struct catalog_conn *conn, struct vm_figures **ret_rows, size_t *ret_count,
                    struct error *err)
{
    static const struct query each = {
        "add up VMs",
        "SELECT c.id, c.name, c.failures, s.snapshots, s.protected, g.damaged, s.new_bytes, "
        "       e.state = 'failed', "
        "       (SELECT max(a.id) FROM backup_jobs a INDEXED BY backup_jobs_by_state "
        "         WHERE a.context_id = c.id AND a.state IN ('pending', 'running')), "
        "       c.last_success_at, max(j.finished_at - j.started_at, 0), "
        "       (SELECT sum(b.read_bytes) FROM backup_disks b WHERE b.job_id = j.id), "
        "       (SELECT sum(b.new_bytes) FROM backup_disks b WHERE b.job_id = j.id) "
        "  FROM vm_backup_contexts c "
        "  LEFT JOIN backup_jobs j ON j.id = " NEWEST_COMPLETED
        "  LEFT JOIN backup_jobs e ON e.id = " NEWEST_ENDED
        "  LEFT JOIN (SELECT context_id, count(*) AS snapshots, sum(protected) AS protected, "
        "                    sum(new_bytes) AS new_bytes "
        "               FROM backup_disks INDEXED BY backup_disks_at_a_glance "
        "              WHERE state = 'completed' AND forgotten_at IS NULL GROUP BY context_id) s "
        "         ON s.context_id = c.id "
        "  LEFT JOIN (SELECT b.context_id, count(*) AS damaged "
        "               FROM (SELECT DISTINCT snapshot_id FROM snapshot_damage) d "
        "                    CROSS JOIN backup_disks b ON b.id = d.snapshot_id "
        "              GROUP BY b.context_id) g ON g.context_id = c.id "
        " ORDER BY c.name"};
    AUTO_FREE struct vm_figures *rows = NULL;
    size_t count = 0, room = 0;
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        rc = GROW(rows, count, room, "VMs", err);
        if (rc < 0)
            break;
        rows[count] = (struct vm_figures){0};
        read_vm(st, &rows[count++]);
        rc = statement_check_row(st, err);
    }
    if (rc < 0)
        return rc;
    *ret_rows = TAKE(rows, NULL);
    *ret_count = count;
    return 0;
}

int failing_job_each(struct catalog_conn *conn,
                     int (*fn)(int64_t job_id, void *arg, struct error *err), void *arg,
                     struct error *err)
{
    static const struct query each = {
        "look which jobs fail",
        "WITH failed AS (SELECT max(id) AS id, kind, "
        "       iif(kind IN ('verify', 'gc', 'check'), NULL, context_id) AS whose "
        "  FROM backup_jobs INDEXED BY backup_jobs_at_a_glance WHERE state = 'failed' "
        "   AND kind <> 'restore' AND \"trigger\" <> 'pre_restore_safety' GROUP BY 2, 3) "
        "SELECT f.id FROM failed f WHERE iif(f.whose IS NULL, "
        "       NOT EXISTS (SELECT 1 FROM job_upkeep u CROSS JOIN backup_jobs n ON n.id = u.job_id "
        "                    WHERE u.job_id > f.id AND n.kind = f.kind "
        "                      AND n.state = 'completed'), "
        "       NOT EXISTS (SELECT 1 FROM backup_jobs n INDEXED BY backup_jobs_by_context "
        "                    WHERE n.context_id = f.whose AND n.id > f.id AND n.kind = f.kind "
        "                      AND n.state = 'completed' "
        "                      AND n.\"trigger\" <> 'pre_restore_safety')) "
        " ORDER BY f.id DESC"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0)
        rc = fn(statement_int(st), arg, err);
    return rc;
}
