// SPDX-License-Identifier: MIT
//
// What is asked at a glance: which failures stand, the figures of VMs, the newest rows of a disk,
// and that none of it costs more when there are more chunks.
#include "tests/unit/catalog_fixture.h"

#include "catalog/damage.h"
#include "catalog/report_rows.h"
#include "catalog/schema.h"
#include "catalog/stats.h"

#include <stdio.h>

struct ids {
    int64_t list[16];
    size_t count;
};

static int keep_id(int64_t id, void *arg, struct error *err)
{
    struct ids *ids = arg;
    (void)err;
    assert_true(ids->count < 16);
    ids->list[ids->count++] = id;
    return 0;
}

static void assert_failing(struct catalog_conn *conn, size_t count, int64_t first, int64_t second)
{
    struct ids ids = {0};
    struct catalog_stats stats;
    assert_ok(failing_job_each(conn, keep_id, &ids, err));
    assert_int_equal(ids.count, count);
    if (count > 0)
        assert_int_equal(ids.list[0], first);
    if (count > 1)
        assert_int_equal(ids.list[1], second);
    assert_ok(catalog_stats_get(conn, &stats, err));
    assert_int_equal(stats.failing_jobs, count);
}

static int64_t end_job(struct catalog_conn *conn, const struct job_new *job, enum job_state state)
{
    int64_t id = 0;
    assert_ok(job_insert(conn, job, &id, err));
    assert_ok(job_start(conn, id, err));
    assert_ok(job_end(conn, id, state, state == JOB_FAILED ? "it broke" : "", 0, 0, err));
    return id;
}

static int64_t backup(struct catalog_conn *conn, int64_t vm, enum job_state state,
                      enum job_trigger trigger)
{
    struct job_new job = {
        .kind = JOB_BACKUP, .trigger = trigger, .mode = BACKUP_AUTO, .context_id = vm, .tags = ""};
    if (state == JOB_COMPLETED) {
        // Whoever completes has completed its disks.
        int64_t id = 0;
        assert_ok(job_insert(conn, &job, &id, err));
        assert_ok(job_start(conn, id, err));
        char sql[128];
        snprintf(sql, sizeof(sql), "DELETE FROM backup_disks WHERE job_id = %lld", (long long)id);
        assert_ok(connection_exec(conn, "leave the disks out", sql, err));
        assert_ok(job_end(conn, id, state, "", 0, 0, err));
        return id;
    }
    return end_job(conn, &job, state);
}

static void test_failures_that_stand(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t a = fixture_vm(conn, "a"), b = fixture_vm(conn, "b");
    fixture_disk(conn, a, "vda");
    fixture_disk(conn, b, "vda");
    assert_failing(conn, 0, 0, 0);
    backup(conn, a, JOB_FAILED, TRIGGER_MANUAL);
    int64_t newest = backup(conn, a, JOB_FAILED, TRIGGER_SCHEDULED);
    assert_failing(conn, 1, newest, 0);
    int64_t other = backup(conn, b, JOB_FAILED, TRIGGER_MANUAL);
    assert_failing(conn, 2, other, newest);
    // A cancelled one makes nothing good, nor does another VM's, nor a safety backup.
    backup(conn, a, JOB_CANCELLED, TRIGGER_MANUAL);
    backup(conn, a, JOB_COMPLETED, TRIGGER_PRE_RESTORE_SAFETY);
    assert_failing(conn, 2, other, newest);
    backup(conn, a, JOB_COMPLETED, TRIGGER_MANUAL);
    assert_failing(conn, 1, other, 0);
    backup(conn, a, JOB_FAILED, TRIGGER_PRE_RESTORE_SAFETY);
    assert_failing(conn, 1, other, 0);
    backup(conn, b, JOB_COMPLETED, TRIGGER_MANUAL);
    assert_failing(conn, 0, 0, 0);
}

static void test_upkeep_that_fails(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "a");
    struct job_new verify = {.kind = JOB_VERIFY, .trigger = TRIGGER_MANUAL, .context_id = vm};
    struct job_new gc = {.kind = JOB_GC, .trigger = TRIGGER_MANUAL};
    struct catalog_stats stats;

    int64_t failed = end_job(conn, &verify, JOB_FAILED);
    assert_failing(conn, 1, failed, 0);
    end_job(conn, &gc, JOB_COMPLETED);
    assert_failing(conn, 1, failed, 0);
    // Of the whole repository, which the VM is a part of.
    verify.context_id = 0;
    end_job(conn, &verify, JOB_COMPLETED);
    assert_failing(conn, 0, 0, 0);
    assert_ok(catalog_stats_get(conn, &stats, err));
    assert_true(stats.last_gc_at > 0 && stats.last_verify_at >= stats.last_gc_at);
    assert_int_equal(stats.last_check_at, 0);
}

static void test_figures_of_vms(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t web = fixture_vm(conn, "web"), disk = fixture_disk(conn, web, "vda");
    fixture_vm(conn, "idle");
    int64_t full = fixture_snapshot(conn, web, disk, 0, 1, 1, 0);
    int64_t next = fixture_snapshot(conn, web, disk, fixture_get(conn, full).chain_id, 0, 2, full);
    struct damage_extent extents[2] = {{0, 4096, "lost"}, {8192, 4096, "lost"}};
    assert_ok(snapshot_set_protected(conn, full, true, err));
    assert_ok(damage_record(conn, next, extents, 2, err));
    backup(conn, web, JOB_FAILED, TRIGGER_MANUAL);
    int64_t pending = fixture_backup(conn, web, 0);

    AUTO_FREE struct vm_figures *rows = NULL;
    struct catalog_stats stats;
    size_t count = 0;
    assert_ok(vm_figures_load(conn, &rows, &count, err));
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].name, "idle");
    assert_int_equal(rows[0].snapshots + rows[0].failing + rows[0].active_job, 0);
    assert_string_equal(rows[1].name, "web");
    assert_int_equal(rows[1].context_id, web);
    assert_int_equal(rows[1].snapshots, 2);
    assert_int_equal(rows[1].protected_snapshots, 1);
    assert_int_equal(rows[1].damaged_snapshots, 1);
    assert_int_equal(rows[1].new_bytes, 200);
    assert_int_equal(rows[1].failures, 1);
    assert_true(rows[1].failing);
    assert_int_equal(rows[1].active_job, pending);
    assert_int_equal(rows[1].last_new_bytes, 100);
    assert_ok(catalog_stats_get(conn, &stats, err));
    assert_int_equal(stats.protected_snapshots, 1);
    assert_int_equal(stats.damaged_snapshots, 1);
}

static int keep_snapshot(const struct report_snapshot *row, void *arg, struct error *err)
{
    assert_true(row->kind == (row->number == 1 ? SNAPSHOT_FULL : SNAPSHOT_INCREMENTAL));
    assert_int_equal(row->chain_number, 7);
    assert_int_equal(row->data_bytes, 400);
    return keep_id(row->number * (row->protected ? -1 : 1), arg, err);
}

static int keep_attempt(const struct report_attempt *row, void *arg, struct error *err)
{
    assert_string_equal(row->reason, "it broke");
    return keep_id(row->job_id, arg, err);
}

static int keep_disk(const struct report_disk *row, void *arg, struct error *err)
{
    assert_string_equal(row->source, "/dev/vg0/disk");
    assert_int_equal(row->new_bytes, row->snapshots * 100);
    return keep_id(row->snapshots, arg, err);
}

static void test_newest_rows(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), disk = fixture_disk(conn, vm, "vda"), chain = 0, last = 0;
    fixture_disk(conn, vm, "vdb");
    for (int64_t number = 1; number <= 5; number++) {
        last = fixture_snapshot(conn, vm, disk, chain, 7, number, last);
        chain = fixture_get(conn, last).chain_id;
    }
    assert_ok(snapshot_forget(conn, last - 1, err));
    assert_ok(snapshot_set_protected(conn, last, true, err));
    struct ids ids = {0};
    assert_ok(report_snapshot_each(conn, disk, 3, keep_snapshot, &ids, err));
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.list[0], -5);
    assert_int_equal(ids.list[1], 3);
    assert_int_equal(ids.list[2], 2);

    int64_t first = backup(conn, vm, JOB_FAILED, TRIGGER_MANUAL);
    int64_t second = backup(conn, vm, JOB_FAILED, TRIGGER_MANUAL);
    ids.count = 0;
    assert_ok(report_attempt_each(conn, disk, 0, 9, keep_attempt, &ids, err));
    assert_int_equal(ids.count, 2);
    assert_true(ids.list[0] == second && ids.list[1] == first);
    assert_ok(report_attempt_each(conn, disk, clock_now(), 9, keep_attempt, &ids, err));
    assert_int_equal(ids.count, 2);

    ids.count = 0;
    assert_ok(report_disk_each(conn, 0, 9, keep_disk, &ids, err));
    assert_true(ids.count == 2 && ids.list[0] == 4 && ids.list[1] == 0);
    assert_ok(report_disk_each(conn, vm, 1, keep_disk, &ids, err));
    assert_int_equal(ids.count, 3);
    assert_ok(report_disk_each(conn, vm + 1, 9, keep_disk, &ids, err));
    assert_int_equal(ids.count, 3);
}

static int count_step(void *arg)
{
    ++*(int64_t *)arg;
    return 0;
}

// Steps of SQLite's machine that the totals take.
static int64_t steps_of_totals(struct catalog_conn *conn)
{
    AUTO_FREE struct vm_figures *rows = NULL;
    struct catalog_stats stats;
    size_t count = 0;
    int64_t steps = 0;
    sqlite3_progress_handler(conn->db, 1, count_step, &steps);
    assert_ok(catalog_stats_get(conn, &stats, err));
    assert_ok(vm_figures_load(conn, &rows, &count, err));
    sqlite3_progress_handler(conn->db, 0, NULL, NULL);
    return steps;
}

static void test_chunks_cost_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    fixture_disk(conn, fixture_vm(conn, "web"), "vda");
    struct chunk_row *records = calloc(3000, sizeof(*records));
    assert_non_null(records);
    for (uint32_t i = 0; i < 3000; i++) {
        records[i] = (struct chunk_row){.kind = 1, .codec = 1, .offset = i, .raw_length = 9};
        memcpy(records[i].id.bytes, &i, sizeof(i));
        records[i].base.bytes[0] = i % 2; // each other one is a delta
    }
    struct pack_row pack = {
        .uuid = "aaaaaaaa-0000-4000-8000-000000000000", .raw_bytes = 9, .sealed_at = 1};
    struct catalog_stats stats;
    int64_t id = 0;
    assert_ok(pack_insert(conn, &pack, records, 3, &id, err));
    int64_t few = steps_of_totals(conn);
    strcpy(pack.uuid, "bbbbbbbb-0000-4000-8000-000000000000");
    assert_ok(pack_insert(conn, &pack, records + 3, 2997, &id, err));
    int64_t many = steps_of_totals(conn);
    free(records);
    assert_true(many - few < 100);
    assert_ok(catalog_stats_get(conn, &stats, err));
    assert_int_equal(stats.records, 3000);
    assert_int_equal(stats.deltas, 1500);
}

// A catalog as version 1 left it counts the deltas that its packs hold.
static void test_migrates_from_version_1(void **state)
{
    struct fixture *fixture = *state;
    size_t count;
    const struct schema_step *released = schema_steps(&count);
    fixture->catalog = catalog_close(fixture->catalog);
    AUTO(connection_close) struct catalog_conn *conn = NULL;
    assert_ok(connection_open(fixture->path, CONNECTION_WRITER, &conn, err));
    assert_ok(connection_exec(
        conn, "go back to version 1",
        "DROP INDEX backup_disks_at_a_glance;"
        "DROP INDEX backup_jobs_at_a_glance;"
        "ALTER TABLE packs DROP COLUMN delta_count;"
        "INSERT INTO packs (uuid, file_bytes, raw_bytes, record_count, sealed_at) VALUES "
        "  ('aaaaaaaa-0000-4000-8000-000000000000', 9, 9, 3, 1),"
        "  ('bbbbbbbb-0000-4000-8000-000000000000', 9, 9, 1, 1);"
        "INSERT INTO chunks (id, pack_id, \"offset\", stored_length, raw_length, kind, codec, base)"
        "  VALUES (zeroblob(32), 1, 0, 1, 1, 1, 1, NULL),"
        "         (randomblob(32), 1, 1, 1, 1, 1, 2, zeroblob(32)),"
        "         (randomblob(32), 1, 2, 1, 1, 1, 2, zeroblob(32)),"
        "         (randomblob(32), 2, 0, 1, 1, 1, 1, NULL);",
        err));
    assert_ok(schema_migrate(conn, released, count, 1, err));
    assert_int_equal(fixture_count(conn, "SELECT delta_count FROM packs WHERE id = 1"), 2);
    assert_int_equal(fixture_count(conn, "SELECT delta_count FROM packs WHERE id = 2"), 0);
    assert_int_equal(fixture_count(conn, "PRAGMA user_version"), (int)count);
}

#define WRITING(test) cmocka_unit_test_setup_teardown(test, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITING(test_failures_that_stand),
        WRITING(test_upkeep_that_fails),
        WRITING(test_figures_of_vms),
        WRITING(test_newest_rows),
        WRITING(test_chunks_cost_nothing),
        cmocka_unit_test_setup_teardown(test_migrates_from_version_1, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests_name("report_rows", tests, NULL, NULL);
}
