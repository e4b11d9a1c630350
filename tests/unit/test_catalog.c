// SPDX-License-Identifier: MIT
//
// The catalog as a database: creating, opening and refusing it, its leases and what they promise,
// and errors.
#include "tests/unit/catalog_fixture.h"

#include "catalog/schema.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

static const char other_repository[] = "11111111-1111-4111-8111-111111111111";

static void close_catalog(struct fixture *fixture)
{
    fixture->catalog = catalog_close(fixture->catalog);
}

static void execute(struct fixture *fixture, const char *sql)
{
    struct catalog_conn *conn = NULL;
    assert_ok(catalog_write_begin(fixture->catalog, &conn, err));
    assert_ok(connection_exec(conn, "test", sql, err));
    assert_ok(catalog_write_commit(conn, err));
}

static void overwrite(const char *path, off_t offset, const char *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, offset), len);
    close(fd);
}

// --- the file

static void test_create_leaves_one_file(void **state)
{
    struct fixture *fixture = *state;
    close_catalog(fixture);
    assert_int_equal(access(fixture->path, F_OK), 0);
    assert_int_equal(access(scratch_path(&fixture->scratch, "catalog.db-wal"), F_OK), -1);
    assert_refused(catalog_create(fixture->path, FIXTURE_REPOSITORY, err), -EEXIST, "exists");
}

static void test_create_without_folder(void **state)
{
    struct fixture *fixture = *state;
    const char *path = scratch_path(&fixture->scratch, "no/catalog.db");
    assert_refused(catalog_create(path, FIXTURE_REPOSITORY, err), -ENOENT, "No such file");
}

static void test_open_refuses(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *catalog = NULL;
    execute(fixture, "PRAGMA user_version=7");
    close_catalog(fixture);
    for (int mode = CATALOG_READER; mode <= CATALOG_OWNER; mode++) {
        assert_refused(catalog_open(fixture->path, mode, FIXTURE_REPOSITORY, &catalog, err),
                       -EPROTONOSUPPORT, "catalog.db has schema 7, this program knows up to 2");
        assert_refused(catalog_open(scratch_path(&fixture->scratch, "gone.db"), mode,
                                    FIXTURE_REPOSITORY, &catalog, err),
                       -ENOENT, "cannot open");
    }
    assert_null(catalog);
}

static void test_open_refuses_other_repository(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *catalog = NULL;
    close_catalog(fixture);
    for (int mode = CATALOG_READER; mode <= CATALOG_OWNER; mode++)
        assert_refused(catalog_open(fixture->path, mode, other_repository, &catalog, err),
                       -ERROR_CORRUPT, "is of the repository " FIXTURE_REPOSITORY);
}

static void test_open_refuses_what_is_no_catalog(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *catalog = NULL;
    close_catalog(fixture);

    const char *empty = scratch_path(&fixture->scratch, "empty");
    overwrite(empty, 0, "", 0);
    for (int mode = CATALOG_READER; mode <= CATALOG_OWNER; mode++)
        assert_refused(catalog_open(empty, mode, FIXTURE_REPOSITORY, &catalog, err), -ERROR_CORRUPT,
                       "not a catalog");
    struct stat st;
    assert_int_equal(stat(empty, &st), 0);
    assert_int_equal(st.st_size, 0);

    overwrite(fixture->path, 0, "Not a database, no.", 19);
    for (int mode = CATALOG_READER; mode <= CATALOG_OWNER; mode++)
        assert_refused(catalog_open(fixture->path, mode, FIXTURE_REPOSITORY, &catalog, err),
                       -ERROR_CORRUPT, "not a database");
}

static void test_open_refuses_a_folder(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *catalog = NULL;
    struct error err = ERROR_INIT;
    assert_true(catalog_open(fixture->scratch.folder, CATALOG_OWNER, FIXTURE_REPOSITORY, &catalog,
                             &err) < 0);
    assert_non_null(strstr(err.message, "cannot open"));
}

// Owner killed in the middle: what it committed is there, what it did not is not.
static void test_recovers_from_a_killed_owner(void **state)
{
    struct fixture *fixture = *state;
    close_catalog(fixture);
    pid_t pid = fork();
    if (pid == 0) {
        struct catalog_conn *conn;
        int64_t id;
        if (catalog_open(fixture->path, CATALOG_OWNER, FIXTURE_REPOSITORY, &fixture->catalog,
                         NULL) < 0 ||
            catalog_write_begin(fixture->catalog, &conn, NULL) < 0 ||
            context_insert(conn, "kept", &id, NULL) < 0 || catalog_write_commit(conn, NULL) < 0 ||
            catalog_write_begin(fixture->catalog, &conn, NULL) < 0 ||
            context_insert(conn, "lost", &id, NULL) < 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));

    // First a reader, while only the log left by the dead owner knows the row.
    for (int mode = CATALOG_READER; mode <= CATALOG_OWNER; mode++) {
        struct catalog_conn *conn = NULL;
        struct context_row row;
        assert_ok(catalog_open(fixture->path, mode, FIXTURE_REPOSITORY, &fixture->catalog, err));
        assert_ok(catalog_read_begin(fixture->catalog, &conn, err));
        assert_ok(context_find(conn, "kept", &row, err));
        assert_refused(context_find(conn, "lost", &row, err), -ENOENT, "no VM named lost");
        assert_ok(catalog_check(conn, false, err));
        catalog_read_end(conn);
        close_catalog(fixture);
    }
}

// --- schema

static void test_migrates_step_by_step(void **state)
{
    struct fixture *fixture = *state;
    size_t count;
    const struct schema_step *released = schema_steps(&count);
    assert_int_equal(count, 2);
    const struct schema_step steps[] = {
        released[0],
        released[1],
        {3, "CREATE TABLE extra (id INTEGER PRIMARY KEY) STRICT"},
        {4, "INSERT INTO extra VALUES (1); INSERT INTO nowhere VALUES (1)"},
    };
    close_catalog(fixture);
    AUTO(connection_close) struct catalog_conn *conn = NULL;
    assert_ok(connection_open(fixture->path, CONNECTION_WRITER, &conn, err));
    assert_refused(schema_migrate(conn, steps, 4, 2, err), -EIO, "from schema 3 to 4");
    // The step that was good is kept, the one that failed left nothing.
    assert_int_equal(fixture_count(conn, "PRAGMA user_version"), 3);
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM extra"), 0);
    assert_int_equal(fixture_count(conn, "PRAGMA foreign_keys"), 1);

    const struct schema_step dangling[] = {
        released[0],
        released[1],
        steps[2],
        {4, "INSERT INTO job_log (job_id, at, line) VALUES (99, 1, 'x')"},
    };
    assert_refused(schema_migrate(conn, dangling, 4, 3, err), -ERROR_CORRUPT, "job_log");
    assert_int_equal(fixture_count(conn, "PRAGMA user_version"), 3);
}

// Every child column of a foreign key begins some index: without one a cascade scans the table.
static void test_foreign_keys_are_indexed(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(
        fixture_count(fixture->conn,
                      "SELECT count(*) FROM sqlite_schema t, pragma_foreign_key_list(t.name) f "
                      " WHERE t.type = 'table' AND NOT EXISTS ("
                      "   SELECT 1 FROM pragma_index_list(t.name) l, pragma_index_info(l.name) i "
                      "    WHERE l.partial = 0 AND i.seqno = 0 AND i.name = f.\"from\") "
                      "   AND NOT EXISTS (SELECT 1 FROM pragma_table_info(t.name) c "
                      "    WHERE c.name = f.\"from\" AND c.pk = 1)"),
        0);
    assert_true(fixture_count(fixture->conn,
                              "SELECT count(*) FROM sqlite_schema t, "
                              "pragma_foreign_key_list(t.name) f WHERE t.type = 'table'") >= 13);
}

static void test_connections_are_set_up(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conns[2] = {NULL, NULL};
    assert_ok(catalog_write_begin(fixture->catalog, &conns[0], err));
    assert_ok(catalog_read_begin(fixture->catalog, &conns[1], err));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fixture_count(conns[i], "PRAGMA foreign_keys"), 1);
        assert_int_equal(fixture_count(conns[i], "PRAGMA synchronous"), 2);
        assert_int_equal(fixture_count(conns[i], "PRAGMA trusted_schema"), 0);
        assert_int_equal(fixture_count(conns[i], "PRAGMA cell_size_check"), 1);
        assert_int_equal(fixture_count(conns[i], "PRAGMA wal_autocheckpoint"), 0);
        assert_int_equal(fixture_count(conns[i], "SELECT journal_mode = 'wal' "
                                                 "FROM pragma_journal_mode"),
                         1);
    }
    assert_refused(connection_exec(conns[1], "test", "DELETE FROM packs", err), -EROFS, "readonly");
    catalog_read_end(conns[1]);
    catalog_write_rollback(conns[0]);
}

// --- leases

static void test_commit_and_rollback(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = NULL;
    struct context_row row;
    uint64_t changes = catalog_changes(fixture->catalog);
    assert_ok(catalog_write_begin(fixture->catalog, &conn, err));
    fixture_vm(conn, "kept");
    assert_true(catalog_changes(fixture->catalog) == changes);
    assert_ok(catalog_write_commit(conn, err));
    assert_true(catalog_changes(fixture->catalog) != changes);
    changes = catalog_changes(fixture->catalog);
    assert_ok(catalog_write_begin(fixture->catalog, &conn, err));
    fixture_vm(conn, "dropped");
    catalog_write_rollback(conn);
    assert_true(catalog_changes(fixture->catalog) == changes);

    assert_ok(catalog_read_begin(fixture->catalog, &conn, err));
    assert_ok(context_find(conn, "kept", &row, err));
    assert_refused(context_find(conn, "dropped", &row, err), -ENOENT, "no VM named dropped");
    catalog_read_end(conn);
}

static void test_a_reader_sees_one_moment(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *old = NULL, *writer = NULL, *young = NULL;
    struct context_row row;
    assert_ok(catalog_read_begin(fixture->catalog, &old, err));
    assert_int_equal(fixture_count(old, "SELECT count(*) FROM vm_backup_contexts"), 0);
    assert_ok(catalog_write_begin(fixture->catalog, &writer, err));
    fixture_vm(writer, "web1");
    assert_ok(catalog_write_commit(writer, err));

    assert_ok(catalog_read_begin(fixture->catalog, &young, err));
    assert_ok(context_find(young, "web1", &row, err));
    assert_refused(context_find(old, "web1", &row, err), -ENOENT, "no VM named web1");
    catalog_read_end(old);
    catalog_read_end(young);
    // The same connection, given out again, has moved on.
    assert_ok(catalog_read_begin(fixture->catalog, &old, err));
    assert_ok(context_find(old, "web1", &row, err));
    catalog_read_end(old);
}

static void test_many_readers_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conns[24];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 24; i++)
            assert_ok(catalog_read_begin(fixture->catalog, &conns[i], err));
        for (int i = 0; i < 24; i++)
            assert_int_equal(fixture_count(conns[i], "SELECT count(*) FROM packs"), 0);
        for (int i = 0; i < 24; i++)
            catalog_read_end(conns[i]);
    }
}

static void test_reader_mode_has_no_writer(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = NULL;
    close_catalog(fixture);
    assert_ok(
        catalog_open(fixture->path, CATALOG_READER, FIXTURE_REPOSITORY, &fixture->catalog, err));
    assert_refused(catalog_write_begin(fixture->catalog, &conn, err), -EROFS, "reading only");
    assert_null(conn);
    assert_ok(catalog_read_begin(fixture->catalog, &conn, err));
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM packs"), 0);
    catalog_read_end(conn);
}

struct hammer {
    struct catalog *catalog;
    int id;
    int failures;
};

// Two rows in one transaction; a reader must never see an odd number of them.
static void *write_pairs(void *arg)
{
    struct hammer *hammer = arg;
    for (int i = 0; i < 100; i++) {
        struct catalog_conn *conn = NULL;
        char name[2][NAME_SIZE];
        int64_t id;
        snprintf(name[0], NAME_SIZE, "vm-%d-%d-a", hammer->id, i);
        snprintf(name[1], NAME_SIZE, "vm-%d-%d-b", hammer->id, i);
        if (catalog_write_begin(hammer->catalog, &conn, NULL) < 0) {
            hammer->failures++;
            continue;
        }
        bool good = context_insert(conn, name[0], &id, NULL) == 0 &&
                    context_insert(conn, name[1], &id, NULL) == 0;
        if (i % 7 == 0)
            catalog_write_rollback(conn);
        else
            good = catalog_write_commit(conn, NULL) == 0 && good;
        hammer->failures += !good;
    }
    return NULL;
}

static int count_row(const struct context_row *row, void *arg, struct error *err)
{
    (void)row;
    (void)err;
    ++*(int *)arg;
    return 0;
}

static void *read_pairs(void *arg)
{
    struct hammer *hammer = arg;
    for (int i = 0; i < 300; i++) {
        struct catalog_conn *conn = NULL;
        int first = 0, second = 0;
        if (catalog_read_begin(hammer->catalog, &conn, NULL) < 0) {
            hammer->failures++;
            continue;
        }
        bool good = context_each(conn, count_row, &first, NULL) == 0 &&
                    context_each(conn, count_row, &second, NULL) == 0;
        catalog_read_end(conn);
        hammer->failures += !good || first != second || first % 2 != 0;
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *fixture = *state;
    pthread_t threads[6];
    struct hammer hammers[6];
    for (int i = 0; i < 6; i++) {
        hammers[i] = (struct hammer){fixture->catalog, i, 0};
        pthread_create(&threads[i], NULL, i < 3 ? write_pairs : read_pairs, &hammers[i]);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(hammers[i].failures, 0);
    }
    struct catalog_conn *conn = NULL;
    assert_ok(catalog_read_begin(fixture->catalog, &conn, err));
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM vm_backup_contexts"), 3 * 85 * 2);
    assert_ok(catalog_check(conn, false, err));
    catalog_read_end(conn);
}

// The log is moved to the database as it grows, though nobody asks for it.
static void test_the_log_stays_small(void **state)
{
    struct fixture *fixture = *state;
    execute(fixture, "CREATE TABLE ballast (data BLOB)");
    for (int i = 0; i < 40; i++)
        execute(fixture, "INSERT INTO ballast VALUES (randomblob(1000000))");
    struct stat st;
    assert_int_equal(stat(scratch_path(&fixture->scratch, "catalog.db-wal"), &st), 0);
    assert_in_range(st.st_size, 1, 8 << 20);
    close_catalog(fixture);
    assert_int_equal(access(scratch_path(&fixture->scratch, "catalog.db-wal"), F_OK), -1);
}

// --- errors

static void test_errors_keep_apart(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    fixture_vm(conn, "web1");
    assert_refused(connection_exec(conn, "test",
                                   "INSERT INTO vm_backup_contexts (uuid, name, created_at, "
                                   "changed_at) SELECT hex(randomblob(18)), name, 1, 1 "
                                   "FROM vm_backup_contexts",
                                   err),
                   -EEXIST, "catalog: test: UNIQUE constraint failed: vm_backup_contexts.name");
    assert_refused(connection_exec(conn, "test", "UPDATE vm_backup_contexts SET runs = 1", err),
                   -EINVAL, "CHECK");
    assert_refused(connection_exec(conn, "test",
                                   "INSERT INTO job_log (job_id, at, line) VALUES (9, 9, '')", err),
                   -EINVAL, "FOREIGN KEY");
    assert_refused(connection_exec(conn, "test", "SELECT nonsense", err), -EIO, "no such column");
    assert_ok(connection_exec(conn, "test", "PRAGMA max_page_count=1", err));
    assert_refused(connection_exec(conn, "test",
                                   "CREATE TABLE t (a); "
                                   "INSERT INTO t VALUES (randomblob(9000))",
                                   err),
                   -ENOSPC, "full");
}

static void test_a_second_process_is_busy(void **state)
{
    struct fixture *fixture = *state;
    AUTO(connection_close) struct catalog_conn *other = NULL;
    assert_ok(connection_open(fixture->path, CONNECTION_WRITER, &other, err));
    sqlite3_busy_timeout(other->db, 10);
    assert_refused(connection_exec(other, "test", "BEGIN IMMEDIATE", err), -EBUSY, "locked");
}

static void test_quick_check_finds_damage(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = NULL;
    struct catalog *catalog = NULL;
    assert_ok(catalog_write_begin(fixture->catalog, &conn, err));
    for (int i = 0; i < 200; i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof(name), "vm-%d", i);
        fixture_vm(conn, name);
    }
    assert_ok(catalog_write_commit(conn, err));
    close_catalog(fixture);

    struct stat st;
    assert_int_equal(stat(fixture->path, &st), 0);
    static const char rubbish[512] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    // Past the page of the schema and short of the end: tables and indexes.
    for (off_t page = st.st_size / 4096 / 2; page < st.st_size / 4096; page++)
        overwrite(fixture->path, page * 4096, rubbish, sizeof(rubbish));
    struct error err = ERROR_INIT;
    int rc = catalog_open(fixture->path, CATALOG_OWNER, FIXTURE_REPOSITORY, &catalog, &err);
    if (rc == 0) {
        assert_int_equal(catalog_read_begin(catalog, &conn, &err), 0);
        rc = catalog_check(conn, false, &err);
        catalog_read_end(conn);
        catalog_close(catalog);
    }
    assert_int_equal(rc, -ERROR_CORRUPT);
    assert_true(err.message[0] != '\0');
}

static void test_quick_check_finds_dangling_keys(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    assert_ok(catalog_check(conn, false, err));
    assert_ok(connection_exec(conn, "test",
                              "COMMIT; PRAGMA foreign_keys=OFF; BEGIN IMMEDIATE; "
                              "INSERT INTO job_log (job_id, at, line) "
                              "VALUES (77, 1, 'x')",
                              err));
    assert_refused(catalog_check(conn, false, err), -ERROR_CORRUPT,
                   "row 1 of job_log refers to a row of backup_jobs that is not there");
}

// A word that no program wrote is damage, not "unknown".
static void test_rows_are_not_believed(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web1"), disk = fixture_disk(conn, vm, "vda");
    int64_t job = fixture_backup(conn, vm, 0);
    assert_ok(connection_exec(conn, "test",
                              "PRAGMA ignore_check_constraints=ON;"
                              "UPDATE backup_jobs SET state = 'dreaming';"
                              "UPDATE vm_disks SET change_id = hex(randomblob(50))",
                              err));
    struct job_row job_row = {.id = -1};
    struct disk_row disk_row = {.id = -1};
    assert_refused(job_get(conn, job, &job_row, err), -ERROR_CORRUPT, "read a job");
    assert_refused(disk_get(conn, disk, &disk_row, err), -ERROR_CORRUPT, "read a disk");
    assert_int_equal(job_row.id, -1);
    assert_int_equal(disk_row.id, -1);
}

#define PLAIN(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define WRITING(test) cmocka_unit_test_setup_teardown(test, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAIN(test_create_leaves_one_file),
        PLAIN(test_create_without_folder),
        PLAIN(test_open_refuses),
        PLAIN(test_open_refuses_other_repository),
        PLAIN(test_open_refuses_what_is_no_catalog),
        PLAIN(test_open_refuses_a_folder),
        PLAIN(test_recovers_from_a_killed_owner),
        PLAIN(test_migrates_step_by_step),
        WRITING(test_foreign_keys_are_indexed),
        PLAIN(test_connections_are_set_up),
        PLAIN(test_commit_and_rollback),
        PLAIN(test_a_reader_sees_one_moment),
        PLAIN(test_many_readers_at_once),
        PLAIN(test_reader_mode_has_no_writer),
        PLAIN(test_threads),
        PLAIN(test_the_log_stays_small),
        WRITING(test_errors_keep_apart),
        WRITING(test_a_second_process_is_busy),
        PLAIN(test_quick_check_finds_damage),
        WRITING(test_quick_check_finds_dangling_keys),
        WRITING(test_rows_are_not_believed),
    };
    return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
