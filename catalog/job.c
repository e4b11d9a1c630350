// SPDX-License-Identifier: MIT
//
// A job's life in backup_jobs and the tables of its kind: one state machine. A transition is an
// UPDATE that names the state it comes from; when it changes no row, the job was elsewhere and the
// caller hears -EPROTO. Owns the totals in vm_backup_contexts. Per-disk rows are made here with
// their job and ended here with it; in between they belong to completion.c. Reading is in
// job_list.c.
#include "catalog/job.h"

#include "base/clock.h"
#include "catalog/statement.h"

// --- making a record

static int check_scope(struct catalog_conn *conn, const struct job_new *job, struct error *err)
{
    static const struct query find = {
        "look for a disk to back up",
        "SELECT 1 FROM vm_disks WHERE context_id = ?1 AND (?2 IS NULL OR id = ?2) LIMIT 1"};
    struct context_row context;
    if (job->context_id == 0 && job_kind_is_upkeep(job->kind))
        return 0;
    int rc = context_get(conn, job->context_id, &context, err);
    if (rc < 0)
        return rc;
    if (job->kind != JOB_BACKUP && job->disk_id == 0)
        return 0;
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_int(st, 1, job->context_id);
    statement_bind_optional(st, 2, job->disk_id);
    rc = statement_step(st, err);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    if (job->disk_id == 0)
        return error_set(err, -ENOENT, "VM %s has no disks", context.name);
    return error_set(err, -ENOENT, "no disk with the number %lld in VM %s", (long long)job->disk_id,
                     context.name);
}

static int insert_job(struct catalog_conn *conn, const struct job_new *job, int64_t *ret_id,
                      struct error *err)
{
    static const struct query insert = {
        "add a job",
        "INSERT INTO backup_jobs (uuid, kind, \"trigger\", mode, context_id, disk_id, tags, "
        "                         created_at, verify_after) "
        "VALUES (?1, ?2, ?3, nullif(?4, 'unknown'), ?5, ?6, ?7, ?8, ?9)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_new_uuid(st, 1);
    statement_bind_key(st, 2, job_kind_to_word(job->kind));
    statement_bind_key(st, 3, job_trigger_to_word(job->trigger));
    statement_bind_key(st, 4, backup_mode_to_word(job->mode));
    statement_bind_optional(st, 5, job->context_id);
    statement_bind_optional(st, 6, job->disk_id);
    statement_bind_text(st, 7, job->tags ? job->tags : "", TAGS_TEXT_SIZE);
    statement_bind_int(st, 8, clock_now());
    statement_bind_int(st, 9, job->verify_after);
    int rc = statement_run(st, err);
    if (rc == 0)
        *ret_id = statement_inserted_id(st);
    return rc;
}

static int insert_restore(struct catalog_conn *conn, int64_t id, const struct job_new *job,
                          struct error *err)
{
    static const struct query insert = {
        "add a restore", "INSERT INTO job_restores (job_id, snapshot_id, snapshot_name, target, "
                         "                          safety) VALUES (?1, ?2, ?3, ?4, ?5)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_int(st, 1, id);
    statement_bind_optional(st, 2, job->restore_snapshot_id);
    statement_bind_text(st, 3, job->restore_snapshot ? job->restore_snapshot : "",
                        sizeof(((struct job_row *)0)->restore_snapshot));
    statement_bind_text(st, 4, job->restore_target ? job->restore_target : "", SOURCE_TEXT_SIZE);
    statement_bind_int(st, 5, job->restore_safety);
    return statement_run(st, err);
}

static int insert_prune(struct catalog_conn *conn, int64_t id, const struct job_new *job,
                        struct error *err)
{
    static const struct query insert = {
        "add a prune", "INSERT INTO job_prunes (job_id, policy) VALUES (?1, nullif(?2, ''))"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_int(st, 1, id);
    statement_bind_text(st, 2, job->prune_policy ? job->prune_policy : "", RETENTION_TEXT_SIZE);
    return statement_run(st, err);
}

static int insert_upkeep(struct catalog_conn *conn, int64_t id, const struct job_new *job,
                         struct error *err)
{
    static const struct query insert = {
        "add an upkeep job",
        "INSERT INTO job_upkeep (job_id, snapshot_id, words) VALUES (?1, ?2, ?3)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_int(st, 1, id);
    statement_bind_optional(st, 2, job->upkeep_snapshot_id);
    statement_bind_text(st, 3, job->upkeep_words ? job->upkeep_words : "", UPKEEP_WORDS_SIZE);
    return statement_run(st, err);
}

// A pending row for every disk in the job's scope that has none yet.
static int insert_disk_rows(struct catalog_conn *conn, int64_t job_id, struct error *err)
{
    static const struct query insert = {
        "add the disks of a job",
        "INSERT INTO backup_disks (job_id, disk_id, context_id) "
        "SELECT j.id, d.id, d.context_id "
        "  FROM backup_jobs j JOIN vm_disks d ON d.context_id = j.context_id "
        " WHERE j.id = ?1 AND j.kind = 'backup' AND (j.disk_id IS NULL OR j.disk_id = d.id) "
        "   AND NOT EXISTS (SELECT 1 FROM backup_disks b "
        "                    WHERE b.job_id = j.id AND b.disk_id = d.id) "
        " ORDER BY d.name"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_int(st, 1, job_id);
    return statement_run(st, err);
}

int job_insert(struct catalog_conn *conn, const struct job_new *job, int64_t *ret_id,
               struct error *err)
{
    int64_t id = 0;
    int rc = check_scope(conn, job, err);
    if (rc == 0)
        rc = insert_job(conn, job, &id, err);
    if (rc < 0)
        return rc;
    if (job->kind == JOB_BACKUP)
        rc = insert_disk_rows(conn, id, err);
    else if (job->kind == JOB_RESTORE)
        rc = insert_restore(conn, id, job, err);
    else if (job->kind == JOB_PRUNE)
        rc = insert_prune(conn, id, job, err);
    else
        rc = insert_upkeep(conn, id, job, err);
    if (rc == 0)
        *ret_id = id;
    return rc;
}

// --- its life

// The refusal of a transition that changed no row.
static int refuse(struct catalog_conn *conn, int64_t id, const char *must_be, struct error *err)
{
    struct job_row row;
    int rc = job_get(conn, id, &row, err);
    if (rc < 0)
        return rc;
    return error_set(err, -EPROTO, "job %lld is a %s job and %s, not %s", (long long)id,
                     job_kind_to_word(row.kind), job_state_to_word(row.state), must_be);
}

int job_amend(struct catalog_conn *conn, int64_t id, enum backup_mode mode, const char *tags,
              struct error *err)
{
    static const struct query amend = {"amend a job",
                                       "UPDATE backup_jobs SET mode = ?2, tags = ?3 "
                                       " WHERE id = ?1 AND state = 'pending' AND kind = 'backup'"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &amend);
    statement_bind_int(st, 1, id);
    statement_bind_key(st, 2, backup_mode_to_word(mode));
    statement_bind_text(st, 3, tags, TAGS_TEXT_SIZE);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = refuse(conn, id, "a pending backup", err);
    return rc;
}

int job_set_verify_after(struct catalog_conn *conn, int64_t id, struct error *err)
{
    static const struct query set = {"have a backup verified",
                                     "UPDATE backup_jobs SET verify_after = 1 "
                                     " WHERE id = ?1 AND state = 'pending' AND kind = 'backup'"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &set);
    statement_bind_int(st, 1, id);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = refuse(conn, id, "a pending backup", err);
    return rc;
}

int job_start(struct catalog_conn *conn, int64_t id, struct error *err)
{
    static const struct query start = {"start a job",
                                       "UPDATE backup_jobs SET state = 'running', started_at = ?2 "
                                       " WHERE id = ?1 AND state = 'pending'"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &start);
    statement_bind_int(st, 1, id);
    statement_bind_int(st, 2, clock_now());
    int rc = statement_run(st, err);
    if (rc < 0)
        return rc;
    if (statement_changes(st) == 0)
        return refuse(conn, id, "pending", err);
    return insert_disk_rows(conn, id, err);
}

static int check_disks_completed(struct catalog_conn *conn, int64_t id, struct error *err)
{
    static const struct query find = {
        "look for a disk that has not completed",
        "SELECT d.name, b.state FROM backup_disks b JOIN vm_disks d ON d.id = b.disk_id "
        " WHERE b.job_id = ?1 AND b.state <> 'completed' LIMIT 1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_int(st, 1, id);
    int rc = statement_step(st, err);
    if (rc <= 0)
        return rc;
    char name[NAME_SIZE];
    statement_text(st, name, sizeof(name));
    return error_set(err, -EPROTO, "job %lld cannot be completed: its disk %s is %s", (long long)id,
                     name, statement_word(st));
}

static int end_job_row(struct catalog_conn *conn, int64_t id, enum job_state state,
                       const char *reason, int64_t now, uint64_t done_bytes, uint64_t total_bytes,
                       struct error *err)
{
    static const struct query end = {
        "end a job",
        "UPDATE backup_jobs SET state = ?2, reason = ?3, finished_at = ?4, done_bytes = ?5, "
        "                       total_bytes = ?6 "
        " WHERE id = ?1 AND (state = 'running' OR (state = 'pending' AND ?2 <> 'completed'))"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &end);
    statement_bind_int(st, 1, id);
    statement_bind_key(st, 2, job_state_to_word(state));
    statement_bind_sentence(st, 3, reason, REASON_TEXT_SIZE);
    statement_bind_int(st, 4, now);
    statement_bind_size(st, 5, done_bytes);
    statement_bind_size(st, 6, total_bytes);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = refuse(conn, id, state == JOB_COMPLETED ? "running" : "pending or running", err);
    return rc;
}

static int end_disk_rows(struct catalog_conn *conn, int64_t id, enum job_state state,
                         const char *reason, int64_t now, struct error *err)
{
    static const struct query end = {
        "end the disks of a job",
        "UPDATE backup_disks SET state = ?2, reason = ?3, finished_at = ?4 "
        " WHERE job_id = ?1 AND state IN ('pending', 'running')"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &end);
    statement_bind_int(st, 1, id);
    statement_bind_key(st, 2, job_state_to_word(state));
    statement_bind_sentence(st, 3, reason, REASON_TEXT_SIZE);
    statement_bind_int(st, 4, now);
    return statement_run(st, err);
}

static int count_in_context(struct catalog_conn *conn, int64_t id, enum job_state state,
                            int64_t now, struct error *err)
{
    static const struct query count = {
        "count a job in its VM's totals",
        "UPDATE vm_backup_contexts "
        "   SET runs = runs + 1, successes = successes + (?2 = 'completed'), "
        "       failures = failures + (?2 = 'failed'), "
        "       cancellations = cancellations + (?2 = 'cancelled'), last_run_at = ?3, "
        "       last_success_at = CASE ?2 WHEN 'completed' THEN ?3 ELSE last_success_at END "
        " WHERE id = (SELECT context_id FROM backup_jobs WHERE id = ?1 AND kind = 'backup' "
        "              AND \"trigger\" <> 'pre_restore_safety')"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &count);
    statement_bind_int(st, 1, id);
    statement_bind_key(st, 2, job_state_to_word(state));
    statement_bind_int(st, 3, now);
    return statement_run(st, err);
}

int job_end(struct catalog_conn *conn, int64_t id, enum job_state state, const char *reason,
            uint64_t done_bytes, uint64_t total_bytes, struct error *err)
{
    if (!job_state_is_ended(state))
        return error_set(err, -EINVAL, "job %lld cannot end as %s", (long long)id,
                         job_state_to_word(state));
    int64_t now = clock_now();
    int rc = state == JOB_COMPLETED ? check_disks_completed(conn, id, err) : 0;
    if (rc == 0)
        rc = end_job_row(conn, id, state, reason, now, done_bytes, total_bytes, err);
    if (rc == 0)
        rc = end_disk_rows(conn, id, state, reason, now, err);
    if (rc == 0)
        rc = count_in_context(conn, id, state, now, err);
    return rc;
}

int job_set_progress(struct catalog_conn *conn, int64_t id, uint64_t done_bytes,
                     uint64_t total_bytes, struct error *err)
{
    static const struct query set = {"record a job's progress",
                                     "UPDATE backup_jobs SET done_bytes = ?2, total_bytes = ?3 "
                                     " WHERE id = ?1 AND state = 'running'"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &set);
    statement_bind_int(st, 1, id);
    statement_bind_size(st, 2, done_bytes);
    statement_bind_size(st, 3, total_bytes);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = refuse(conn, id, "running", err);
    return rc;
}

int job_set_damage(struct catalog_conn *conn, int64_t id, struct error *err)
{
    static const struct query set = {"note damage with a job",
                                     "UPDATE backup_jobs SET damage = 1 WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &set);
    statement_bind_int(st, 1, id);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = error_set(err, -ENOENT, "no job with the number %lld", (long long)id);
    return rc;
}

int job_set_safety_job(struct catalog_conn *conn, int64_t id, int64_t safety_job_id,
                       struct error *err)
{
    static const struct query set = {
        "link a safety backup", "UPDATE job_restores SET safety_job_id = ?2 WHERE job_id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &set);
    statement_bind_int(st, 1, id);
    statement_bind_optional(st, 2, safety_job_id);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = error_set(err, -ENOENT, "job %lld is no restore", (long long)id);
    return rc;
}

int job_set_restore_result(struct catalog_conn *conn, int64_t id, uint64_t compared,
                           uint64_t written, uint64_t verified, struct error *err)
{
    static const struct query set = {
        "record what a restore did",
        "UPDATE job_restores SET compared_bytes = ?2, written_bytes = ?3, verified_bytes = ?4 "
        " WHERE job_id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &set);
    statement_bind_int(st, 1, id);
    statement_bind_size(st, 2, compared);
    statement_bind_size(st, 3, written);
    statement_bind_size(st, 4, verified);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = error_set(err, -ENOENT, "job %lld is no restore", (long long)id);
    return rc;
}

int job_set_prune_result(struct catalog_conn *conn, int64_t id, const char *policy, int64_t kept,
                         int64_t forgotten, int64_t skipped, struct error *err)
{
    static const struct query set = {
        "record what a prune did",
        "UPDATE job_prunes SET policy = ?2, kept = ?3, forgotten = ?4, skipped = ?5 "
        " WHERE job_id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &set);
    statement_bind_int(st, 1, id);
    statement_bind_text(st, 2, policy, RETENTION_TEXT_SIZE);
    statement_bind_int(st, 3, kept);
    statement_bind_int(st, 4, forgotten);
    statement_bind_int(st, 5, skipped);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = error_set(err, -ENOENT, "job %lld is no prune", (long long)id);
    return rc;
}

int job_set_figure(struct catalog_conn *conn, int64_t job_id, const char *name, int64_t value,
                   struct error *err)
{
    static const struct query set = {
        "record a figure of a job",
        "INSERT OR REPLACE INTO job_figures (job_id, name, value) VALUES (?1, ?2, ?3)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &set);
    statement_bind_int(st, 1, job_id);
    statement_bind_key(st, 2, name);
    statement_bind_int(st, 3, value);
    return statement_run(st, err);
}
