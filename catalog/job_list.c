// SPDX-License-Identifier: MIT
//
// How jobs are read, found and listed, and their log. What changes a job is in job.c.
#include "base/text.h"
#include "catalog/job.h"
#include "catalog/statement.h"

#include <stdio.h>

// A snapshot that was forgotten cannot be restored again: its number is not told any more.
#define SELECT_JOB                                                                                 \
    "SELECT j.id, j.uuid, j.kind, j.state, j.\"trigger\", j.mode, j.context_id, c.name, "          \
    "       j.disk_id, d.name, j.tags, j.created_at, j.started_at, j.finished_at, j.done_bytes, "  \
    "       j.total_bytes, j.reason, j.damage, CASE WHEN s.forgotten_at IS NULL THEN s.id END, "   \
    "       r.snapshot_name, r.target, r.safety, r.safety_job_id, r.compared_bytes, "              \
    "       r.written_bytes, r.verified_bytes, p.policy, p.kept, p.forgotten, p.skipped, "         \
    "       CASE WHEN us.forgotten_at IS NULL THEN us.id END, u.words, j.verify_after "            \
    "  FROM backup_jobs j LEFT JOIN vm_backup_contexts c ON c.id = j.context_id "                  \
    "       LEFT JOIN vm_disks d ON d.id = j.disk_id "                                             \
    "       LEFT JOIN job_restores r ON r.job_id = j.id "                                          \
    "       LEFT JOIN job_prunes p ON p.job_id = j.id "                                            \
    "       LEFT JOIN backup_disks s ON s.id = r.snapshot_id "                                     \
    "       LEFT JOIN job_upkeep u ON u.job_id = j.id "                                            \
    "       LEFT JOIN backup_disks us ON us.id = u.snapshot_id "

// A backup job that stands for a trigger: a safety backup was nobody's request.
#define IS_REQUESTED_BACKUP "j.kind = 'backup' AND j.\"trigger\" <> 'pre_restore_safety' "

static int read_row(struct statement *st, struct job_row *ret_row, struct error *err)
{
    struct job_row row = {0};
    row.id = statement_int(st);
    statement_text(st, row.uuid, sizeof(row.uuid));
    row.kind = job_kind_from_word(statement_word(st));
    row.state = job_state_from_word(statement_word(st));
    row.trigger = job_trigger_from_word(statement_word(st));
    row.mode = backup_mode_from_word(statement_word(st));
    row.context_id = statement_int(st);
    statement_text(st, row.context_name, sizeof(row.context_name));
    row.disk_id = statement_int(st);
    statement_text(st, row.disk_name, sizeof(row.disk_name));
    statement_text(st, row.tags, sizeof(row.tags));
    row.created_at = statement_int(st);
    row.started_at = statement_int(st);
    row.finished_at = statement_int(st);
    row.done_bytes = statement_size(st);
    row.total_bytes = statement_size(st);
    statement_text(st, row.reason, sizeof(row.reason));
    row.damage = statement_int(st) != 0;
    row.restore_snapshot_id = statement_int(st);
    statement_text(st, row.restore_snapshot, sizeof(row.restore_snapshot));
    statement_text(st, row.restore_target, sizeof(row.restore_target));
    row.restore_safety = statement_int(st) != 0;
    row.restore_safety_job = statement_int(st);
    row.restore_compared = statement_size(st);
    row.restore_written = statement_size(st);
    row.restore_verified = statement_size(st);
    statement_text(st, row.prune_policy, sizeof(row.prune_policy));
    row.prune_kept = statement_int(st);
    row.prune_forgotten = statement_int(st);
    row.prune_skipped = statement_int(st);
    row.upkeep_snapshot_id = statement_int(st);
    statement_text(st, row.upkeep_words, sizeof(row.upkeep_words));
    row.verify_after = statement_int(st) != 0;
    statement_expect(st, row.kind && row.state && row.trigger);
    statement_expect(st, (row.kind == JOB_BACKUP) == (row.mode != BACKUP_MODE_UNKNOWN));
    statement_expect(st, row.context_id != 0 || job_kind_is_upkeep(row.kind));
    int rc = statement_check_row(st, err);
    if (rc == 0)
        *ret_row = row;
    return rc;
}

int job_get(struct catalog_conn *conn, int64_t id, struct job_row *ret_row, struct error *err)
{
    static const struct query get = {"read a job", SELECT_JOB "WHERE j.id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &get);
    statement_bind_int(st, 1, id);
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no job with the number %lld", (long long)id);
    return rc < 0 ? rc : read_row(st, ret_row, err);
}

static int find_backup(struct catalog_conn *conn, const struct query *query, int64_t context_id,
                       int64_t disk_id, struct job_row *ret_row, struct error *err)
{
    AUTO(statement_end) struct statement *st = statement_begin(conn, query);
    statement_bind_int(st, 1, context_id);
    statement_bind_optional(st, 2, disk_id);
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no such backup job");
    return rc < 0 ? rc : read_row(st, ret_row, err);
}

int job_find_pending_backup(struct catalog_conn *conn, int64_t context_id, int64_t disk_id,
                            struct job_row *ret_row, struct error *err)
{
    static const struct query find = {
        "find a pending backup",
        SELECT_JOB "WHERE j.context_id = ?1 AND (j.disk_id IS NULL OR j.disk_id = ?2) "
                   "  AND j.state = 'pending' AND " IS_REQUESTED_BACKUP "ORDER BY j.id LIMIT 1"};
    return find_backup(conn, &find, context_id, disk_id, ret_row, err);
}

int job_find_newest_backup(struct catalog_conn *conn, int64_t context_id, int64_t disk_id,
                           struct job_row *ret_row, struct error *err)
{
    static const struct query find = {
        "find the newest backup",
        SELECT_JOB "WHERE j.context_id = ?1 AND (j.disk_id IS NULL OR j.disk_id = ?2) "
                   "  AND " IS_REQUESTED_BACKUP "ORDER BY j.id DESC LIMIT 1"};
    return find_backup(conn, &find, context_id, disk_id, ret_row, err);
}

int job_find_newest_of_snapshot(struct catalog_conn *conn, enum job_kind kind, int64_t snapshot_id,
                                struct job_row *ret_row, struct error *err)
{
    static const struct query restore = {
        "find the newest restore of a snapshot",
        SELECT_JOB "WHERE j.id = (SELECT max(job_id) FROM job_restores WHERE snapshot_id = ?1)"};
    static const struct query upkeep = {
        "find the newest job of a snapshot",
        SELECT_JOB "WHERE j.id = (SELECT max(n.job_id) FROM job_upkeep n CROSS JOIN backup_jobs o "
                   "                ON o.id = n.job_id "
                   "               WHERE n.snapshot_id = ?1 AND o.kind = ?2)"};
    AUTO(statement_end)
    struct statement *st = statement_begin(conn, kind == JOB_RESTORE ? &restore : &upkeep);
    statement_bind_int(st, 1, snapshot_id);
    if (kind != JOB_RESTORE)
        statement_bind_key(st, 2, job_kind_to_word(kind));
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no such %s job", job_kind_to_word(kind));
    return rc < 0 ? rc : read_row(st, ret_row, err);
}

int job_find_pending_prune(struct catalog_conn *conn, int64_t context_id, int64_t disk_id,
                           const char *policy, struct job_row *ret_row, struct error *err)
{
    static const struct query find = {
        "find a pending prune",
        SELECT_JOB "WHERE j.context_id = ?1 AND j.kind = 'prune' AND j.state = 'pending' "
                   "  AND j.disk_id IS ?2 AND p.policy IS nullif(?3, '') ORDER BY j.id LIMIT 1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_int(st, 1, context_id);
    statement_bind_optional(st, 2, disk_id);
    statement_bind_key(st, 3, policy);
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no such prune job");
    return rc < 0 ? rc : read_row(st, ret_row, err);
}

int job_find_pending_upkeep(struct catalog_conn *conn, const struct job_new *job,
                            struct job_row *ret_row, struct error *err)
{
    static const struct query find = {
        "find a pending upkeep job",
        SELECT_JOB "WHERE j.kind = ?1 AND j.state = 'pending' AND j.context_id IS ?2 "
                   "  AND j.disk_id IS ?3 AND u.snapshot_id IS ?4 AND u.words = ?5 "
                   "ORDER BY j.id LIMIT 1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_key(st, 1, job_kind_to_word(job->kind));
    statement_bind_optional(st, 2, job->context_id);
    statement_bind_optional(st, 3, job->disk_id);
    statement_bind_optional(st, 4, job->upkeep_snapshot_id);
    statement_bind_key(st, 5, job->upkeep_words ? job->upkeep_words : "");
    int rc = statement_step(st, err);
    if (rc == 0)
        return error_set(err, -ENOENT, "no such %s job", job_kind_to_word(job->kind));
    return rc < 0 ? rc : read_row(st, ret_row, err);
}

// Numbers and words of this program stand in the text; a tag is the user's and is bound as ?1.
static void print_filter(FILE *sql, const struct job_filter *filter)
{
    fputs("WHERE true", sql);
    if (filter->context_id)
        fprintf(sql, " AND j.context_id = %lld", (long long)filter->context_id);
    if (filter->disk_id)
        fprintf(sql,
                " AND j.id IN (SELECT id FROM backup_jobs WHERE disk_id = %lld UNION ALL "
                "SELECT job_id FROM backup_disks WHERE disk_id = %lld)",
                (long long)filter->disk_id, (long long)filter->disk_id);
    if (filter->kind)
        fprintf(sql, " AND j.kind = '%s'", job_kind_to_word(filter->kind));
    if (filter->state)
        fprintf(sql, " AND j.state = '%s'", job_state_to_word(filter->state));
    if (filter->trigger)
        fprintf(sql, " AND j.\"trigger\" = '%s'", job_trigger_to_word(filter->trigger));
    if (filter->tag)
        fputs(" AND instr(',' || j.tags || ',', ',' || ?1 || ',') > 0", sql);
    if (filter->since)
        fprintf(sql, " AND j.created_at >= %lld", (long long)filter->since);
    if (filter->until)
        fprintf(sql, " AND j.created_at < %lld", (long long)filter->until);
    if (filter->active)
        fputs(" AND j.state IN ('pending', 'running')", sql);
}

// malloc'ed; NULL: out of memory.
static char *list_sql(const struct job_filter *filter)
{
    AUTO(text_discard) struct text text = {0};
    FILE *sql = text_begin(&text);
    if (!sql)
        return NULL;
    if (filter->limit) {
        // The newest are found first and then turned round.
        fputs(SELECT_JOB "WHERE j.id IN (SELECT j.id FROM backup_jobs j ", sql);
        print_filter(sql, filter);
        fprintf(sql, " ORDER BY j.id DESC LIMIT %lld)", (long long)filter->limit);
    } else {
        fputs(SELECT_JOB, sql);
        print_filter(sql, filter);
    }
    fputs(" ORDER BY j.id", sql);
    return text_end(&text) ? TAKE(text.data, NULL) : NULL;
}

int job_each(struct catalog_conn *conn, const struct job_filter *filter,
             int (*fn)(const struct job_row *row, void *arg, struct error *err), void *arg,
             struct error *err)
{
    AUTO_FREE char *sql = list_sql(filter);
    if (!sql)
        return error_set(err, -ENOMEM, "catalog: list jobs: out of memory");
    const struct query each = {"list jobs", sql};
    AUTO(statement_end) struct statement *st = statement_begin_once(conn, &each);
    if (filter->tag)
        statement_bind_key(st, 1, filter->tag);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct job_row row;
        rc = read_row(st, &row, err);
        if (rc == 0)
            rc = fn(&row, arg, err);
    }
    return rc;
}

// --- its figures and its log

int job_figure_each(struct catalog_conn *conn, int64_t job_id,
                    int (*fn)(const char *name, int64_t value, void *arg, struct error *err),
                    void *arg, struct error *err)
{
    static const struct query each = {
        "read a job's figures",
        "SELECT value, name FROM job_figures WHERE job_id = ?1 ORDER BY name"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    statement_bind_int(st, 1, job_id);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        int64_t value = statement_int(st);
        rc = fn(statement_word(st), value, arg, err);
    }
    return rc;
}

int job_log_append(struct catalog_conn *conn, int64_t job_id, int64_t at, const char *line,
                   struct error *err)
{
    static const struct query insert = {
        "add to a job's log", "INSERT INTO job_log (job_id, at, line) VALUES (?1, ?2, ?3)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_int(st, 1, job_id);
    statement_bind_int(st, 2, at);
    statement_bind_key(st, 3, line);
    return statement_run(st, err);
}

int job_log_each(struct catalog_conn *conn, int64_t job_id,
                 int (*fn)(int64_t at, const char *line, void *arg, struct error *err), void *arg,
                 struct error *err)
{
    static const struct query each = {"read a job's log",
                                      "SELECT at, line FROM job_log WHERE job_id = ?1 ORDER BY id"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &each);
    statement_bind_int(st, 1, job_id);
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        int64_t at = statement_int(st);
        rc = fn(at, statement_word(st), arg, err);
    }
    return rc;
}
