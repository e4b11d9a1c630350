// SPDX-License-Identifier: MIT
//
// VMs and disks as rows, what goes with them when they are removed, totals, and the words the
// catalog stores.
#include "tests/unit/catalog_fixture.h"

#include "catalog/stats.h"

static void test_context_rows(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t before = clock_now(), id = fixture_vm(conn, "web1"), other = 0;
    struct context_row row;
    assert_ok(context_get(conn, id, &row, err));
    assert_string_equal(row.name, "web1");
    assert_int_equal(strlen(row.uuid), 36);
    assert_in_range(row.created_at, before, clock_now());
    assert_int_equal(row.runs + row.successes + row.failures + row.cancellations, 0);
    assert_int_equal(row.last_success_at, 0);
    assert_refused(context_insert(conn, "web1", &other, err), -EEXIST,
                   "there is a VM named web1 already");
    assert_refused(context_insert(conn, "-x", &other, err), -EINVAL, "VM name");
    assert_refused(context_get(conn, 99, &row, err), -ENOENT, "no VM with the number 99");
    assert_refused(context_delete(conn, 99, err), -ENOENT, "no VM with the number 99");
    assert_ok(context_delete(conn, id, err));
    // The number is not used again, the name may be.
    assert_true(fixture_vm(conn, "web1") > id);
}

static int collect_disk(const struct disk_row *row, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%s/%s ", row->context_name, row->name);
    return 0;
}

static void test_disk_rows(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t web = fixture_vm(conn, "web"), db = fixture_vm(conn, "db"), id = 0;
    struct context_row context;
    struct disk_row row;
    assert_ok(disk_insert(conn, web, "vdb", FIXTURE_CHUNK_SIZE, &id, err));
    assert_ok(disk_find(conn, web, "vdb", &row, err));
    assert_int_equal(row.id, id);
    assert_string_equal(row.context_name, "web");
    assert_string_equal(row.source, "");
    assert_int_equal(row.capacity, 0);
    assert_ok(disk_set_source(conn, id, "/dev/vg0/web", UINT64_C(5) << 40, err));
    assert_ok(disk_get(conn, id, &row, err));
    assert_string_equal(row.source, "/dev/vg0/web");
    assert_int_equal(row.capacity, UINT64_C(5) << 40);
    assert_int_equal(row.chunk_size, FIXTURE_CHUNK_SIZE);
    assert_ok(context_get(conn, web, &context, err));
    assert_int_equal(context.changed_at, row.created_at);

    fixture_disk(conn, web, "vda");
    fixture_disk(conn, db, "vda");
    char seen[100] = "";
    assert_ok(disk_each(conn, 0, collect_disk, seen, err));
    assert_string_equal(seen, "db/vda web/vda web/vdb ");
    seen[0] = '\0';
    assert_ok(disk_each(conn, web, collect_disk, seen, err));
    assert_string_equal(seen, "web/vda web/vdb ");

    assert_ok(disk_delete(conn, id, err));
    assert_refused(disk_get(conn, id, &row, err), -ENOENT, "no disk with the number");
    assert_refused(disk_delete(conn, id, err), -ENOENT, "no disk with the number");
}

static void test_disk_refusals(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), disk = fixture_disk(conn, vm, "vda"), id = 0;
    struct disk_row row;
    char source[SOURCE_TEXT_SIZE + 1];
    memset(source, 'x', SOURCE_TEXT_SIZE);
    source[SOURCE_TEXT_SIZE] = '\0';
    assert_refused(disk_insert(conn, vm, "vda", FIXTURE_CHUNK_SIZE, &id, err), -EEXIST,
                   "there is a disk named vda in VM web already");
    assert_refused(disk_insert(conn, 99, "vdb", FIXTURE_CHUNK_SIZE, &id, err), -ENOENT, "no VM");
    assert_refused(disk_insert(conn, vm, "..", FIXTURE_CHUNK_SIZE, &id, err), -EINVAL, "disk name");
    assert_refused(disk_insert(conn, vm, "vdb", 1000, &id, err), -EINVAL, "chunk_size");
    assert_refused(disk_find(conn, vm, "vdz", &row, err), -ENOENT, "no disk named vdz in VM web");
    assert_refused(disk_set_source(conn, 99, "/x", 1, err), -ENOENT, "no disk");
    assert_refused(disk_set_source(conn, disk, source, 1, err), -ENAMETOOLONG, "too long");
    assert_int_equal(id, 0);
}

static void test_delete_takes_everything(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), disk = fixture_disk(conn, vm, "vda");
    int64_t stays = fixture_vm(conn, "db"), its_disk = fixture_disk(conn, stays, "vda");
    int64_t kept = fixture_snapshot(conn, stays, its_disk, 0, 1, 1, 0);
    int64_t full = fixture_snapshot(conn, vm, disk, 0, 1, 1, 0);
    int64_t chain = fixture_get(conn, full).chain_id;
    fixture_snapshot(conn, vm, disk, chain, 0, 2, full);
    struct job_new restore = {.kind = JOB_RESTORE,
                              .trigger = TRIGGER_MANUAL,
                              .context_id = vm,
                              .disk_id = disk,
                              .restore_snapshot_id = full,
                              .restore_snapshot = "web/vda/chain-0001/x",
                              .restore_target = "/dev/null"};
    int64_t job = 0;
    assert_ok(job_insert(conn, &restore, &job, err));
    assert_ok(job_log_append(conn, job, clock_now(), "line", err));
    assert_ok(context_delete(conn, vm, err));
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM vm_backup_contexts"), 1);
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM vm_disks"), 1);
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM backup_jobs"), 1);
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM backup_chains"), 1);
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM backup_disks"), 1);
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM job_restores"), 0);
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM job_log"), 0);
    assert_int_equal(fixture_get(conn, kept).context_id, stays);
    assert_ok(catalog_check(conn, false, err));
}

static void test_stats(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    struct catalog_stats stats;
    assert_ok(catalog_stats_get(conn, &stats, err));
    assert_int_equal(stats.contexts + stats.snapshots + stats.packs, 0);
    assert_int_equal(stats.last_success_at, 0);

    int64_t vm = fixture_vm(conn, "web"), disk = fixture_disk(conn, vm, "vda");
    fixture_disk(conn, vm, "vdb");
    int64_t full = fixture_snapshot(conn, vm, disk, 0, 1, 1, 0);
    int64_t chain = fixture_get(conn, full).chain_id;
    int64_t forgotten = fixture_snapshot(conn, vm, disk, chain, 0, 2, full);
    fixture_snapshot(conn, vm, disk, chain, 0, 3, forgotten);
    assert_ok(snapshot_forget(conn, forgotten, err));
    fixture_backup(conn, vm, 0);
    assert_ok(catalog_stats_get(conn, &stats, err));
    assert_int_equal(stats.contexts, 1);
    assert_int_equal(stats.disks, 2);
    assert_int_equal(stats.chains, 1);
    assert_int_equal(stats.snapshots, 2);
    assert_int_equal(stats.jobs_by_state[JOB_COMPLETED], 3);
    assert_int_equal(stats.jobs_by_state[JOB_PENDING], 1);
    assert_int_equal(stats.jobs_by_state[JOB_FAILED], 0);
    assert_int_equal(stats.logical_bytes, 2 << 20);
    assert_int_equal(stats.data_bytes, 800);
    assert_true(stats.last_success_at > 0);
}

static void test_words(void **state)
{
    (void)state;
    assert_int_equal(job_state_from_word("cancelled"), JOB_CANCELLED);
    assert_string_equal(job_state_to_word(JOB_RUNNING), "running");
    assert_string_equal(job_state_to_word(JOB_STATE_UNKNOWN), "unknown");
    assert_string_equal(job_state_to_word((enum job_state)99), "unknown");
    assert_int_equal(job_state_from_word("unknown"), JOB_STATE_UNKNOWN);
    assert_int_equal(job_state_from_word(""), JOB_STATE_UNKNOWN);
    assert_int_equal(job_kind_from_word("restore"), JOB_RESTORE);
    assert_int_equal(job_kind_from_word("prune"), JOB_PRUNE);
    assert_int_equal(job_trigger_from_word("pre_restore_safety"), TRIGGER_PRE_RESTORE_SAFETY);
    assert_int_equal(backup_mode_from_word("incremental"), BACKUP_INCREMENTAL);
    assert_int_equal(snapshot_kind_from_word("full"), SNAPSHOT_FULL);
}

static void test_retention(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t web = fixture_vm(conn, "web"), db = fixture_vm(conn, "db");
    char words[RETENTION_TEXT_SIZE], long_words[RETENTION_TEXT_SIZE + 1];
    struct context_row row;
    assert_ok(context_default_retention(conn, words, err));
    assert_string_equal(words, "none");
    assert_ok(context_set_default_retention(conn, "keep-last=3", err));
    assert_ok(context_set_retention(conn, db, "keep-daily=1", err));
    assert_ok(context_get(conn, web, &row, err));
    assert_string_equal(row.retention, "keep-last=3");
    assert_false(row.own_retention);
    assert_ok(context_find(conn, "db", &row, err));
    assert_string_equal(row.retention, "keep-daily=1");
    assert_true(row.own_retention);
    assert_ok(context_set_retention(conn, db, NULL, err));
    assert_ok(context_get(conn, db, &row, err));
    assert_string_equal(row.retention, "keep-last=3");
    assert_false(row.own_retention);
    memset(long_words, 'x', RETENTION_TEXT_SIZE);
    long_words[RETENTION_TEXT_SIZE] = '\0';
    assert_refused(context_set_retention(conn, db, long_words, err), -ENAMETOOLONG, "too long");
    assert_refused(context_set_retention(conn, 99, "none", err), -ENOENT, "no VM");
}

#define WRITING(test) cmocka_unit_test_setup_teardown(test, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITING(test_context_rows),   WRITING(test_disk_rows),
        WRITING(test_disk_refusals),  WRITING(test_delete_takes_everything),
        WRITING(test_stats),          WRITING(test_retention),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests_name("vms_catalog", tests, NULL, NULL);
}
