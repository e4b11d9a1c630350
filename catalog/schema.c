// SPDX-License-Identifier: MIT
//
// The catalog's tables as SQL, and their migration. Owns application_id and user_version. Rows are
// the business of the files named after them.
//
// Rules of the tables: every table is STRICT; ids that may become inode numbers are AUTOINCREMENT,
// so that none is used twice; times are nanoseconds since the epoch, NULL = not yet; sizes are
// bytes. Each column that is the child of a cascade, or is looked up by, has an index.
#include "catalog/schema.h"

#include "base/clock.h"
#include "catalog/statement.h"
#include "catalog/types.h"

#include <stdio.h>
#include <string.h>

// clang-format off
static const char version_1[] =
    "CREATE TABLE repository ("
    "  key TEXT PRIMARY KEY NOT NULL,"
    "  value TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"

    // A VM in this repository, with the totals of its ended backup jobs. retention NULL: that of
    // the repository.
    "CREATE TABLE vm_backup_contexts ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"
    "  name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),"
    "  created_at INTEGER NOT NULL,"
    "  changed_at INTEGER NOT NULL,"
    "  runs INTEGER NOT NULL DEFAULT 0,"
    "  successes INTEGER NOT NULL DEFAULT 0 CHECK (successes >= 0),"
    "  failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),"
    "  cancellations INTEGER NOT NULL DEFAULT 0 CHECK (cancellations >= 0),"
    "  last_success_at INTEGER,"
    "  last_run_at INTEGER,"
    "  retention TEXT CHECK (length(retention) BETWEEN 1 AND 255),"
    "  CHECK (runs = successes + failures + cancellations)"
    ") STRICT;"

    "CREATE TABLE vm_disks ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"
    "  context_id INTEGER NOT NULL REFERENCES vm_backup_contexts (id) ON DELETE CASCADE,"
    "  name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),"
    "  source TEXT NOT NULL DEFAULT '',"
    "  capacity INTEGER NOT NULL DEFAULT 0 CHECK (capacity >= 0),"
    "  chunk_size INTEGER NOT NULL CHECK (chunk_size > 0 AND chunk_size & (chunk_size - 1) = 0),"
    "  change_id TEXT NOT NULL DEFAULT '',"
    "  created_at INTEGER NOT NULL,"
    "  changed_at INTEGER NOT NULL,"
    "  UNIQUE (context_id, name)"
    ") STRICT;"

    // context_id NULL: of the whole repository. disk_id NULL: every disk of the VM.
    "CREATE TABLE backup_jobs ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"
    "  kind TEXT NOT NULL CHECK (kind IN ('backup', 'restore', 'prune', 'verify', 'gc', 'check')),"
    "  state TEXT NOT NULL DEFAULT 'pending'"
    "    CHECK (state IN ('pending', 'running', 'completed', 'failed', 'cancelled')),"
    "  \"trigger\" TEXT NOT NULL"
    "    CHECK (\"trigger\" IN ('manual', 'scheduled', 'pre_restore_safety')),"
    "  mode TEXT CHECK (mode IN ('auto', 'full', 'incremental')),"
    "  context_id INTEGER REFERENCES vm_backup_contexts (id) ON DELETE CASCADE,"
    "  disk_id INTEGER REFERENCES vm_disks (id) ON DELETE CASCADE,"
    "  tags TEXT NOT NULL DEFAULT '',"
    "  created_at INTEGER NOT NULL,"
    "  started_at INTEGER,"
    "  finished_at INTEGER,"
    "  done_bytes INTEGER NOT NULL DEFAULT 0 CHECK (done_bytes >= 0),"
    "  total_bytes INTEGER NOT NULL DEFAULT 0 CHECK (total_bytes >= 0),"
    "  reason TEXT NOT NULL DEFAULT '',"
    "  damage INTEGER NOT NULL DEFAULT 0 CHECK (damage IN (0, 1)),"
    // Its completion starts a verification of the snapshots it made.
    "  verify_after INTEGER NOT NULL DEFAULT 0 CHECK (verify_after IN (0, 1)),"
    "  CHECK ((kind = 'backup') = (mode IS NOT NULL)),"
    "  CHECK (context_id IS NOT NULL OR kind IN ('verify', 'gc', 'check')),"
    "  CHECK (state <> 'pending' OR started_at IS NULL),"
    "  CHECK (state NOT IN ('running', 'completed') OR started_at IS NOT NULL),"
    "  CHECK ((state IN ('pending', 'running')) = (finished_at IS NULL))"
    ") STRICT;"
    "CREATE INDEX backup_jobs_by_context ON backup_jobs (context_id);"
    "CREATE INDEX backup_jobs_by_disk ON backup_jobs (disk_id);"
    "CREATE INDEX backup_jobs_by_state ON backup_jobs (state);"
    "CREATE INDEX backup_jobs_by_creation ON backup_jobs (created_at);"

    "CREATE TABLE backup_chains ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"
    "  disk_id INTEGER NOT NULL REFERENCES vm_disks (id) ON DELETE CASCADE,"
    "  number INTEGER NOT NULL CHECK (number > 0),"
    "  source TEXT NOT NULL,"
    "  capacity INTEGER NOT NULL CHECK (capacity >= 0),"
    "  chunk_size INTEGER NOT NULL CHECK (chunk_size > 0 AND chunk_size & (chunk_size - 1) = 0),"
    "  is_foreign INTEGER NOT NULL DEFAULT 0 CHECK (is_foreign IN (0, 1)),"
    "  created_at INTEGER NOT NULL,"
    "  UNIQUE (disk_id, number)"
    ") STRICT;"

    // One row a job and disk. Completed and not forgotten: a snapshot.
    "CREATE TABLE backup_disks ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  uuid TEXT UNIQUE CHECK (length(uuid) = 36),"
    "  job_id INTEGER NOT NULL REFERENCES backup_jobs (id) ON DELETE CASCADE,"
    "  disk_id INTEGER NOT NULL REFERENCES vm_disks (id) ON DELETE CASCADE,"
    "  context_id INTEGER NOT NULL REFERENCES vm_backup_contexts (id) ON DELETE CASCADE,"
    "  state TEXT NOT NULL DEFAULT 'pending'"
    "    CHECK (state IN ('pending', 'running', 'completed', 'failed', 'cancelled')),"
    "  reason TEXT NOT NULL DEFAULT '',"
    "  tags TEXT,"
    "  started_at INTEGER,"
    "  finished_at INTEGER,"
    "  chain_id INTEGER REFERENCES backup_chains (id) ON DELETE CASCADE,"
    "  parent_id INTEGER REFERENCES backup_disks (id) ON DELETE SET NULL,"
    "  number INTEGER CHECK (number > 0),"
    "  kind TEXT CHECK (kind IN ('full', 'incremental')),"
    "  taken_at INTEGER,"
    "  capacity INTEGER CHECK (capacity >= 0),"
    "  chunk_size INTEGER CHECK (chunk_size > 0 AND chunk_size & (chunk_size - 1) = 0),"
    "  digest BLOB CHECK (length(digest) = 32),"
    // The id of the snapshot's own record: what this row says is checked against it.
    "  record BLOB CHECK (length(record) = 32),"
    "  change_id TEXT NOT NULL DEFAULT '',"
    "  data_bytes INTEGER NOT NULL DEFAULT 0 CHECK (data_bytes >= 0),"
    "  read_bytes INTEGER NOT NULL DEFAULT 0 CHECK (read_bytes >= 0),"
    "  changed_bytes INTEGER NOT NULL DEFAULT 0 CHECK (changed_bytes >= 0),"
    "  new_bytes INTEGER NOT NULL DEFAULT 0 CHECK (new_bytes >= 0),"
    "  protected INTEGER NOT NULL DEFAULT 0 CHECK (protected IN (0, 1)),"
    "  forgotten_at INTEGER,"
    "  verified_at INTEGER," // when its map was last found whole and all its content proved
    "  UNIQUE (job_id, disk_id),"
    "  CHECK (parent_id <> id),"
    "  CHECK (state <> 'pending' OR started_at IS NULL),"
    "  CHECK (state NOT IN ('running', 'completed') OR started_at IS NOT NULL),"
    "  CHECK ((state IN ('pending', 'running')) = (finished_at IS NULL)),"
    "  CHECK ((state = 'completed') = (uuid IS NOT NULL AND tags IS NOT NULL"
    "    AND chain_id IS NOT NULL AND number IS NOT NULL AND kind IS NOT NULL"
    "    AND taken_at IS NOT NULL AND capacity IS NOT NULL AND chunk_size IS NOT NULL"
    "    AND digest IS NOT NULL AND record IS NOT NULL)),"
    "  CHECK (state = 'completed' OR (forgotten_at IS NULL AND protected = 0)),"
    "  CHECK (forgotten_at IS NULL OR protected = 0)"
    ") STRICT;"
    "CREATE INDEX backup_disks_by_context ON backup_disks (context_id);"
    "CREATE INDEX backup_disks_by_parent ON backup_disks (parent_id);"
    "CREATE UNIQUE INDEX backup_disks_by_chain ON backup_disks (chain_id, number);"
    // These two answer "how many snapshots, how large, how new" without a look at the rows.
    "CREATE INDEX backup_disks_by_disk ON backup_disks (disk_id, state, forgotten_at);"
    "CREATE INDEX backup_disks_totals ON backup_disks"
    "  (chain_id, state, forgotten_at, taken_at, new_bytes);"

    "CREATE TABLE job_restores ("
    "  job_id INTEGER PRIMARY KEY REFERENCES backup_jobs (id) ON DELETE CASCADE,"
    "  snapshot_id INTEGER REFERENCES backup_disks (id) ON DELETE SET NULL,"
    "  snapshot_name TEXT NOT NULL,"
    "  target TEXT NOT NULL,"
    "  safety INTEGER NOT NULL CHECK (safety IN (0, 1)),"
    "  safety_job_id INTEGER REFERENCES backup_jobs (id) ON DELETE SET NULL,"
    "  compared_bytes INTEGER NOT NULL DEFAULT 0 CHECK (compared_bytes >= 0),"
    "  written_bytes INTEGER NOT NULL DEFAULT 0 CHECK (written_bytes >= 0),"
    "  verified_bytes INTEGER NOT NULL DEFAULT 0 CHECK (verified_bytes >= 0)"
    ") STRICT;"
    "CREATE INDEX job_restores_by_snapshot ON job_restores (snapshot_id);"
    "CREATE INDEX job_restores_by_safety_job ON job_restores (safety_job_id);"

    // policy NULL: that of the VM when the job runs, and that one once it has.
    "CREATE TABLE job_prunes ("
    "  job_id INTEGER PRIMARY KEY REFERENCES backup_jobs (id) ON DELETE CASCADE,"
    "  policy TEXT CHECK (length(policy) BETWEEN 1 AND 255),"
    "  kept INTEGER NOT NULL DEFAULT 0 CHECK (kept >= 0),"
    "  forgotten INTEGER NOT NULL DEFAULT 0 CHECK (forgotten >= 0),"
    "  skipped INTEGER NOT NULL DEFAULT 0 CHECK (skipped >= 0)"
    ") STRICT;"

    // What a job that cares for the repository (verify, gc, check) was asked for, and what it found
    // out, in numbers.
    "CREATE TABLE job_upkeep ("
    "  job_id INTEGER PRIMARY KEY REFERENCES backup_jobs (id) ON DELETE CASCADE,"
    "  snapshot_id INTEGER REFERENCES backup_disks (id) ON DELETE SET NULL,"
    "  words TEXT NOT NULL DEFAULT '' CHECK (length(words) <= 255)"
    ") STRICT;"
    "CREATE INDEX job_upkeep_by_snapshot ON job_upkeep (snapshot_id);"
    "CREATE TABLE job_figures ("
    "  job_id INTEGER NOT NULL REFERENCES backup_jobs (id) ON DELETE CASCADE,"
    "  name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 63),"
    "  value INTEGER NOT NULL,"
    "  PRIMARY KEY (job_id, name)"
    ") STRICT, WITHOUT ROWID;"

    // What of a snapshot cannot be read, in bytes of the disk: as the last verification found it.
    "CREATE TABLE snapshot_damage ("
    "  snapshot_id INTEGER NOT NULL REFERENCES backup_disks (id) ON DELETE CASCADE,"
    "  \"offset\" INTEGER NOT NULL CHECK (\"offset\" >= 0),"
    "  length INTEGER NOT NULL CHECK (length > 0),"
    "  why TEXT NOT NULL,"
    "  found_at INTEGER NOT NULL,"
    "  PRIMARY KEY (snapshot_id, \"offset\")"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE job_log ("
    "  id INTEGER PRIMARY KEY,"
    "  job_id INTEGER NOT NULL REFERENCES backup_jobs (id) ON DELETE CASCADE,"
    "  at INTEGER NOT NULL,"
    "  line TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX job_log_by_job ON job_log (job_id);"

    // job_id: the provisional owner, NULL = durable.
    "CREATE TABLE packs ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"
    "  job_id INTEGER REFERENCES backup_jobs (id) ON DELETE SET NULL,"
    "  file_bytes INTEGER NOT NULL CHECK (file_bytes >= 0),"
    "  raw_bytes INTEGER NOT NULL CHECK (raw_bytes >= 0),"
    "  record_count INTEGER NOT NULL CHECK (record_count >= 0),"
    "  sealed_at INTEGER NOT NULL,"
    "  verified_at INTEGER" // when every record of it was last read and proved, or marked
    ") STRICT;"
    "CREATE INDEX packs_by_job ON packs (job_id);"

    // Every record of every pack; base is the id a delta is made against. damaged_at: this copy was
    // found damaged then; it is not referred to any more when a backup meets the same content. Rows are
    // numbered anew when gc moves records, and no number is used twice: bitmaps over rows outlive read
    // leases.
    "CREATE TABLE chunks ("
    "  \"row\" INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  id BLOB NOT NULL CHECK (length(id) = 32),"
    "  pack_id INTEGER NOT NULL REFERENCES packs (id) ON DELETE CASCADE,"
    "  \"offset\" INTEGER NOT NULL CHECK (\"offset\" >= 0),"
    "  stored_length INTEGER NOT NULL CHECK (stored_length >= 0),"
    "  raw_length INTEGER NOT NULL CHECK (raw_length >= 0),"
    "  kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 255),"
    "  codec INTEGER NOT NULL CHECK (codec BETWEEN 0 AND 255),"
    "  base BLOB CHECK (length(base) = 32),"
    "  damaged_at INTEGER,"
    "  UNIQUE (id, pack_id)"
    ") STRICT;"
    "CREATE INDEX chunks_by_pack ON chunks (pack_id);"
    "CREATE INDEX chunks_by_base ON chunks (base) WHERE base IS NOT NULL;"
    "CREATE INDEX chunks_kept ON chunks (kind) WHERE kind > 2;" // snapshots, notes: a few
    "CREATE INDEX chunks_damaged ON chunks (id) WHERE damaged_at IS NOT NULL;";

// What is asked for at a glance costs no walk over chunks, nor over whole rows of snapshots and jobs.
static const char version_2[] =
    // Records of the pack that are stored as deltas.
    "ALTER TABLE packs ADD COLUMN delta_count INTEGER NOT NULL DEFAULT 0 CHECK (delta_count >= 0);"
    "UPDATE packs SET delta_count = d.deltas"
    "  FROM (SELECT pack_id, count(*) AS deltas FROM chunks WHERE base IS NOT NULL GROUP BY pack_id) d"
    "  WHERE d.pack_id = packs.id;"
    "CREATE INDEX backup_disks_at_a_glance ON backup_disks (state, forgotten_at, context_id, disk_id,"
    "  protected, verified_at, taken_at, capacity, data_bytes, new_bytes);"
    "CREATE INDEX backup_jobs_at_a_glance ON backup_jobs (state, kind, \"trigger\", context_id);";
// clang-format on

static const struct schema_step steps_of_this_program[] = {{1, version_1}, {2, version_2}};

const struct schema_step *schema_steps(size_t *ret_count)
{
    *ret_count = sizeof(steps_of_this_program) / sizeof(steps_of_this_program[0]);
    return steps_of_this_program;
}

static int set_pragma(struct catalog_conn *conn, const char *pragma, int value, struct error *err)
{
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA %s=%d", pragma, value);
    return connection_exec(conn, "set up the schema", sql, err);
}

static int take_step(struct catalog_conn *conn, const struct schema_step *step, struct error *err)
{
    int rc = connection_exec(conn, "change the schema", step->sql, err);
    if (rc == 0)
        rc = set_pragma(conn, "user_version", step->version, err);
    return rc;
}

static int insert_setting(struct catalog_conn *conn, const char *key, const char *value,
                          struct error *err)
{
    static const struct query insert = {"describe the repository",
                                        "INSERT INTO repository (key, value) VALUES (?1, ?2)"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &insert);
    statement_bind_text(st, 1, key, 64);
    statement_bind_text(st, 2, value, 64);
    return statement_run(st, err);
}

static int fill_empty_database(struct catalog_conn *conn, const char *repository_uuid,
                               struct error *err)
{
    size_t count;
    const struct schema_step *steps = schema_steps(&count);
    for (size_t i = 0; i < count; i++) {
        int rc = take_step(conn, &steps[i], err);
        if (rc < 0)
            return rc;
    }
    int rc = set_pragma(conn, "application_id", SCHEMA_APPLICATION_ID, err);
    if (rc < 0)
        return rc;
    rc = insert_setting(conn, "uuid", repository_uuid, err);
    if (rc < 0)
        return rc;
    char now[CLOCK_ISO_SIZE];
    rc = insert_setting(conn, "created", clock_to_iso(clock_now(), now), err);
    // Until somebody says otherwise nothing is forgotten.
    return rc < 0 ? rc : insert_setting(conn, "retention", "none", err);
}

// Runs the end of a transaction: COMMIT, or ROLLBACK when `rc` is an error or COMMIT fails.
static int end_transaction(struct catalog_conn *conn, int rc, struct error *err)
{
    if (rc == 0)
        rc = connection_exec(conn, "change the schema", "COMMIT", err);
    if (rc < 0)
        connection_exec(conn, "undo a change of the schema", "ROLLBACK", NULL);
    return rc;
}

int schema_create(struct catalog_conn *conn, const char *repository_uuid, struct error *err)
{
    int rc = connection_exec(conn, "create", "BEGIN IMMEDIATE", err);
    if (rc < 0)
        return rc;
    return end_transaction(conn, fill_empty_database(conn, repository_uuid, err), err);
}

static int check_repository(struct catalog_conn *conn, const char *repository_uuid,
                            struct error *err)
{
    static const struct query find = {"check whose catalog it is",
                                      "SELECT value FROM repository WHERE key = 'uuid'"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &find);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return error_set(err, -ERROR_CORRUPT, "catalog.db does not say whose catalog it is");
    const char *uuid = statement_word(st);
    if (strcmp(uuid, repository_uuid) != 0)
        return error_set(err, -ERROR_CORRUPT, "catalog.db is of the repository %s, this one is %s",
                         uuid, repository_uuid);
    return 0;
}

int schema_check(struct catalog_conn *conn, const struct schema_step *steps, size_t count,
                 const char *repository_uuid, int *ret_version, struct error *err)
{
    int64_t application_id, version;
    int rc = connection_query_int(conn, "open", "PRAGMA application_id", &application_id, err);
    if (rc == 0)
        rc = connection_query_int(conn, "open", "PRAGMA user_version", &version, err);
    if (rc < 0)
        return rc;
    if (application_id != SCHEMA_APPLICATION_ID || version < 1)
        return error_set(err, -ERROR_CORRUPT, "catalog.db is not a catalog");
    int newest = steps[count - 1].version;
    if (version > newest)
        return error_set(err, -EPROTONOSUPPORT,
                         "catalog.db has schema %d, this program knows up to %d", (int)version,
                         newest);
    rc = check_repository(conn, repository_uuid, err);
    if (rc < 0)
        return rc;
    *ret_version = (int)version;
    return 0;
}

static int migrate_one_step(struct catalog_conn *conn, const struct schema_step *step,
                            struct error *err)
{
    int rc = connection_exec(conn, "change the schema", "BEGIN IMMEDIATE", err);
    if (rc < 0)
        return rc;
    rc = take_step(conn, step, err);
    if (rc == 0)
        rc = schema_check_foreign_keys(conn, err);
    return end_transaction(conn, rc, err);
}

int schema_migrate(struct catalog_conn *conn, const struct schema_step *steps, size_t count,
                   int version, struct error *err)
{
    // A step that builds a table anew drops the old one, which must not cascade. Inside a
    // transaction the pragma would do nothing.
    int rc = set_pragma(conn, "foreign_keys", 0, err);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (steps[i].version <= version)
            continue;
        rc = migrate_one_step(conn, &steps[i], err);
        if (rc < 0)
            error_prefix(err, "from schema %d to %d", steps[i].version - 1, steps[i].version);
    }
    int back_on = set_pragma(conn, "foreign_keys", 1, err);
    return rc < 0 ? rc : back_on;
}

int schema_check_foreign_keys(struct catalog_conn *conn, struct error *err)
{
    static const struct query check = {"check foreign keys", "PRAGMA foreign_key_check"};
    AUTO(statement_end) struct statement *st = statement_begin(conn, &check);
    int rc = statement_step(st, err);
    if (rc <= 0)
        return rc;
    char table[64];
    statement_text(st, table, sizeof(table));
    int64_t row = statement_int(st);
    return error_set(err, -ERROR_CORRUPT,
                     "catalog: row %lld of %s refers to a row of %s that is "
                     "not there",
                     (long long)row, table, statement_word(st));
}
