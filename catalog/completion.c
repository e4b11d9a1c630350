// SPDX-License-Identifier: MIT
//
// The life of a row of backup_disks, a disk's part of a job: pending, running, then an end, as a
// snapshot when it completed, until that is forgotten. Owns these transitions, the links between
// parents and children, and what a completion changes in vm_disks. No row is deleted here: it stays
// for its job's record and goes with its disk or VM.
#include "base/clock.h"
#include "catalog/damage.h"
#include "catalog/snapshot.h"
#include "catalog/statement.h"

#include <inttypes.h>

// --- from pending to an end

// The refusal of a transition that changed no row.
static int refuse(struct catalog_conn *conn, int64_t job_id, int64_t disk_id, const char *must_be,
                  struct error *err)
{
    static const struct query find = {
        "read a disk of a job",
        "SELECT d.name, b.state FROM backup_disks b JOIN vm_disks d ON d.id = b.disk_id "
        " WHERE b.job_id = ?1 AND b.disk_id = ?2"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_int(st, 1, job_id);
    statement_bind_int(st, 2, disk_id);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return error_set(err, -ENOENT, "job %lld has no disk with the number %lld",
                         (long long)job_id, (long long)disk_id);
    char name[NAME_SIZE];
    statement_text(st, name, sizeof(name));
    return error_set(err, -EPROTO, "disk %s of job %lld is %s, not %s", name, (long long)job_id,
                     statement_word(st), must_be);
}

int snapshot_start(struct catalog_conn *conn, int64_t job_id, int64_t disk_id, struct error *err)
{
    static const struct query start = {
        "start a disk of a job",
        "UPDATE backup_disks SET state = 'running', started_at = ?3 "
        " WHERE job_id = ?1 AND disk_id = ?2 AND state = 'pending' "
        "   AND EXISTS (SELECT 1 FROM backup_jobs WHERE id = ?1 AND state = 'running')"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &start);
    statement_bind_int(st, 1, job_id);
    statement_bind_int(st, 2, disk_id);
    statement_bind_int(st, 3, clock_now());
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = refuse(conn, job_id, disk_id, "pending in a running job", err);
    return rc;
}

int snapshot_fail(struct catalog_conn *conn, int64_t job_id, int64_t disk_id, enum job_state state,
                  const char *reason, struct error *err)
{
    static const struct query fail = {
        "end a disk of a job", "UPDATE backup_disks SET state = ?3, reason = ?4, finished_at = ?5 "
                               " WHERE job_id = ?1 AND disk_id = ?2 AND state = 'running'"};
    if (state != JOB_FAILED && state != JOB_CANCELLED)
        return error_set(err, -EINVAL, "a disk of job %lld cannot fail as %s", (long long)job_id,
                         job_state_to_word(state));
    AUTO(statement_end) struct statement *st = statement_begin(conn, &fail);
    statement_bind_int(st, 1, job_id);
    statement_bind_int(st, 2, disk_id);
    statement_bind_key(st, 3, job_state_to_word(state));
    statement_bind_sentence(st, 4, reason, REASON_TEXT_SIZE);
    statement_bind_int(st, 5, clock_now());
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = refuse(conn, job_id, disk_id, "running", err);
    return rc;
}

// --- completion

static int insert_chain(struct catalog_conn *conn, const struct snapshot_completion *completion,
                        int64_t *ret_id, struct error *err)
{
    static const struct query insert = {
        "add a chain",
        "INSERT INTO backup_chains (uuid, disk_id, number, source, capacity, chunk_size, "
        "                           is_foreign, created_at) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"};
    const struct chain_row *chain = completion->new_chain;
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_text(st, 1, chain->uuid, UUID_TEXT_SIZE);
    statement_bind_int(st, 2, completion->disk_id);
    statement_bind_int(st, 3, chain->number);
    statement_bind_text(st, 4, chain->source, SOURCE_TEXT_SIZE);
    statement_bind_size(st, 5, chain->capacity);
    statement_bind_int(st, 6, chain->chunk_size);
    statement_bind_int(st, 7, chain->foreign);
    statement_bind_int(st, 8, completion->taken_at);
    int rc = statement_run(st, err);
    if (rc == 0)
        *ret_id = statement_inserted_id(st);
    return rc;
}

// The chain the snapshot goes to, written first when it is new.
static int settle_chain(struct catalog_conn *conn, const struct snapshot_completion *completion,
                        struct chain_row *ret_chain, struct error *err)
{
    int64_t id = completion->chain_id;
    if (id == 0 && !completion->new_chain)
        return error_set(err, -EINVAL, "a snapshot needs a chain");
    int rc = id == 0 ? insert_chain(conn, completion, &id, err) : 0;
    struct chain_row chain;
    if (rc == 0)
        rc = chain_get(conn, id, &chain, err);
    if (rc < 0)
        return rc;
    if (chain.disk_id != completion->disk_id || chain.capacity != completion->capacity ||
        chain.chunk_size != completion->chunk_size)
        return error_set(err, -EINVAL,
                         "a snapshot of disk %lld with %" PRIu64 " bytes does not fit the chain "
                         "%lld of disk %lld with %" PRIu64 " bytes",
                         (long long)completion->disk_id, completion->capacity, (long long)chain.id,
                         (long long)chain.disk_id, chain.capacity);
    *ret_chain = chain;
    return 0;
}

// The parent as it is now: when it was forgotten while the job ran, its own parent stands in.
static int settle_parent(struct catalog_conn *conn, int64_t parent_id, int64_t chain_id,
                         int64_t *ret_parent_id, struct error *err)
{
    *ret_parent_id = 0;
    if (parent_id == 0)
        return 0;
    struct snapshot_row parent;
    int rc = snapshot_get(conn, parent_id, &parent, err);
    if (rc < 0)
        return rc;
    if (parent.chain_id != chain_id)
        return error_set(err, -EINVAL, "the parent %lld is not in the chain %lld",
                         (long long)parent_id, (long long)chain_id);
    *ret_parent_id = parent.forgotten_at ? parent.parent_id : parent_id;
    return 0;
}

// When the disk was done: what its snapshot record says, so that a rebuilt row says the same.
static int64_t finished_at(const struct snapshot_completion *completion)
{
    return completion->finished_at ? completion->finished_at : clock_now();
}

static void bind_completion(struct statement *st, const struct snapshot_completion *completion,
                            int64_t chain_id, int64_t parent_id)
{
    statement_bind_int(st, 1, completion->job_id);
    statement_bind_int(st, 2, completion->disk_id);
    statement_bind_int(st, 3, finished_at(completion));
    statement_bind_text(st, 4, completion->uuid, UUID_TEXT_SIZE);
    statement_bind_text(st, 5, completion->tags, TAGS_TEXT_SIZE);
    statement_bind_int(st, 6, chain_id);
    statement_bind_optional(st, 7, parent_id);
    statement_bind_int(st, 8, completion->number);
    statement_bind_key(st, 9, snapshot_kind_to_word(completion->kind));
    statement_bind_int(st, 10, completion->taken_at);
    statement_bind_size(st, 11, completion->capacity);
    statement_bind_int(st, 12, completion->chunk_size);
    statement_bind_blob(st, 13, completion->digest.bytes, DIGEST_SIZE);
    statement_bind_text(st, 14, completion->change_id, CHANGE_ID_SIZE);
    statement_bind_size(st, 15, completion->data_bytes);
    statement_bind_size(st, 16, completion->read_bytes);
    statement_bind_size(st, 17, completion->changed_bytes);
    statement_bind_size(st, 18, completion->new_bytes);
    statement_bind_blob(st, 19, completion->record.bytes, DIGEST_SIZE);
}

static int complete_row(struct catalog_conn *conn, const struct snapshot_completion *completion,
                        int64_t chain_id, int64_t parent_id, struct error *err)
{
    static const struct query complete = {
        "complete a disk of a job",
        "UPDATE backup_disks "
        "   SET state = 'completed', finished_at = ?3, uuid = ?4, tags = ?5, chain_id = ?6, "
        "       parent_id = ?7, number = ?8, kind = ?9, taken_at = ?10, capacity = ?11, "
        "       chunk_size = ?12, digest = ?13, change_id = ?14, data_bytes = ?15, "
        "       read_bytes = ?16, changed_bytes = ?17, new_bytes = ?18, record = ?19 "
        " WHERE job_id = ?1 AND disk_id = ?2 AND state = 'running'"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &complete);
    bind_completion(st, completion, chain_id, parent_id);
    int rc = statement_run(st, err);
    if (rc == 0 && statement_changes(st) == 0)
        rc = refuse(conn, completion->job_id, completion->disk_id, "running", err);
    return rc;
}

// A foreign chain holds what some restore's target was: the disk's next incremental does not build
// on it.
static int update_disk(struct catalog_conn *conn, const struct snapshot_completion *completion,
                       bool foreign, struct error *err)
{
    static const struct query update = {
        "note a disk's backup",
        "UPDATE vm_disks SET changed_at = ?2, "
        "                    change_id = CASE WHEN ?5 THEN change_id ELSE ?3 END, "
        "                    capacity = CASE WHEN ?5 THEN capacity ELSE ?4 END "
        " WHERE id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &update);
    statement_bind_int(st, 1, completion->disk_id);
    statement_bind_int(st, 2, finished_at(completion));
    statement_bind_text(st, 3, completion->change_id, CHANGE_ID_SIZE);
    statement_bind_size(st, 4, completion->capacity);
    statement_bind_int(st, 5, foreign);
    return statement_run(st, err);
}

static int find_row_id(struct catalog_conn *conn, int64_t job_id, int64_t disk_id, int64_t *ret_id,
                       struct error *err)
{
    static const struct query find = {
        "find a disk of a job", "SELECT id FROM backup_disks WHERE job_id = ?1 AND disk_id = ?2"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    statement_bind_int(st, 1, job_id);
    statement_bind_int(st, 2, disk_id);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return error_set(err, -ENOENT, "job %lld has no disk with the number %lld",
                         (long long)job_id, (long long)disk_id);
    *ret_id = statement_int(st);
    return 0;
}

int snapshot_complete(struct catalog_conn *conn, const struct snapshot_completion *completion,
                      int64_t *ret_snapshot_id, struct error *err)
{
    int64_t id = 0, parent_id = 0;
    struct chain_row chain = {0};
    int rc = find_row_id(conn, completion->job_id, completion->disk_id, &id, err);
    if (rc == 0)
        rc = settle_chain(conn, completion, &chain, err);
    if (rc == 0)
        rc = settle_parent(conn, completion->parent_id, chain.id, &parent_id, err);
    if (rc == 0)
        rc = complete_row(conn, completion, chain.id, parent_id, err);
    if (rc == 0)
        rc = update_disk(conn, completion, chain.foreign, err);
    if (rc == 0)
        *ret_snapshot_id = id;
    return rc;
}

// --- afterwards

// Fills the row of a snapshot that is there. -ENOENT for a row that is none, or none any more.
static int get_snapshot(struct catalog_conn *conn, int64_t id, struct snapshot_row *ret_row,
                        struct error *err)
{
    struct snapshot_row row;
    int rc = snapshot_get(conn, id, &row, err);
    if (rc < 0)
        return rc;
    if (row.state != JOB_COMPLETED || row.forgotten_at)
        return error_set(err, -ENOENT, "no snapshot with the number %lld", (long long)id);
    *ret_row = row;
    return 0;
}

static int adopt_children(struct catalog_conn *conn, int64_t id, int64_t parent_id,
                          struct error *err)
{
    static const struct query adopt = {
        "link a snapshot's children to its parent",
        "UPDATE backup_disks SET parent_id = ?2 WHERE parent_id = ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &adopt);
    statement_bind_int(st, 1, id);
    statement_bind_optional(st, 2, parent_id);
    return statement_run(st, err);
}

static int set_int(struct catalog_conn *conn, const struct query *query, int64_t id, int64_t value,
                   struct error *err)
{
    AUTO(statement_end) struct statement *st = statement_begin(conn, query);
    statement_bind_int(st, 1, id);
    statement_bind_int(st, 2, value);
    return statement_run(st, err);
}

int snapshot_forget(struct catalog_conn *conn, int64_t id, struct error *err)
{
    static const struct query forget = {"forget a snapshot",
                                        "UPDATE backup_disks SET forgotten_at = ?2 WHERE id = ?1"};
    struct snapshot_row row;
    int rc = get_snapshot(conn, id, &row, err);
    if (rc < 0)
        return rc;
    char name[SNAPSHOT_NAME_SIZE];
    if (row.protected)
        return error_set(err, -EPERM, "snapshot %s of %s/%s is protected",
                         snapshot_name(&row, name), row.context_name, row.disk_name);
    // Forgotten children move too: each row's parent is there, or is none.
    rc = adopt_children(conn, id, row.parent_id, err);
    if (rc == 0)
        rc = damage_record(conn, id, NULL, 0, err);
    return rc < 0 ? rc : set_int(conn, &forget, id, clock_now(), err);
}

int snapshot_set_protected(struct catalog_conn *conn, int64_t id, bool on, struct error *err)
{
    static const struct query protect = {"protect a snapshot",
                                         "UPDATE backup_disks SET protected = ?2 WHERE id = ?1"};
    struct snapshot_row row;
    int rc = get_snapshot(conn, id, &row, err);
    return rc < 0 ? rc : set_int(conn, &protect, id, on, err);
}
