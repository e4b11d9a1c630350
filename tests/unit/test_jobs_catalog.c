// SPDX-License-Identifier: MIT
//
// Jobs: one record from pending to an end, its per-disk rows, the totals of its VM, the pending
// rule's questions, lists with filters, the log.
#include "tests/unit/catalog_fixture.h"

static struct job_row get_job(struct catalog_conn *conn, int64_t id)
{
    struct job_row row = {0};
    assert_ok(job_get(conn, id, &row, err));
    return row;
}

static struct context_row get_context(struct catalog_conn *conn, int64_t id)
{
    struct context_row row = {0};
    assert_ok(context_get(conn, id, &row, err));
    return row;
}

static int describe_disk(const struct snapshot_row *row, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%s:%s:%s ", row->disk_name, job_state_to_word(row->state),
            row->reason);
    return 0;
}

// "vda:running: vdb:pending: "
static const char *disks_of(struct catalog_conn *conn, int64_t job)
{
    static char text[512];
    struct snapshot_filter filter = {.job_id = job, .every_row = true};
    text[0] = '\0';
    assert_ok(snapshot_each(conn, &filter, describe_disk, text, err));
    return text;
}

static int append_id(const struct job_row *row, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%lld ", (long long)row->id);
    return 0;
}

static const char *list(struct catalog_conn *conn, const struct job_filter *filter)
{
    static char text[512];
    text[0] = '\0';
    assert_ok(job_each(conn, filter, append_id, text, err));
    return text;
}

static void complete_disk(struct catalog_conn *conn, int64_t job, int64_t disk)
{
    struct chain_row chain = {0};
    int64_t id;
    assert_ok(chain_highest_number(conn, disk, &chain.number, err));
    chain.number++;
    struct snapshot_completion completion = fixture_completion(job, disk, 0, &chain, 1);
    assert_ok(snapshot_start(conn, job, disk, err));
    assert_ok(snapshot_complete(conn, &completion, &id, err));
}

// --- one record

static void test_life_of_a_backup(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda");
    int64_t job = fixture_backup(conn, vm, 0);
    struct job_row row = get_job(conn, job);
    assert_int_equal(row.state, JOB_PENDING);
    assert_int_equal(row.kind, JOB_BACKUP);
    assert_int_equal(row.mode, BACKUP_AUTO);
    assert_string_equal(row.context_name, "web");
    assert_string_equal(row.disk_name, "");
    assert_int_equal(strlen(row.uuid), 36);
    assert_int_equal(row.started_at, 0);
    assert_string_equal(disks_of(conn, job), "vda:pending: ");

    assert_ok(job_start(conn, job, err));
    assert_ok(job_set_progress(conn, job, 10, 100, err));
    row = get_job(conn, job);
    assert_int_equal(row.state, JOB_RUNNING);
    assert_true(row.started_at >= row.created_at);
    assert_int_equal(row.done_bytes, 10);
    assert_int_equal(row.total_bytes, 100);

    complete_disk(conn, job, vda);
    assert_ok(job_end(conn, job, JOB_COMPLETED, "", 100, 100, err));
    row = get_job(conn, job);
    assert_int_equal(row.state, JOB_COMPLETED);
    assert_int_equal(row.done_bytes, 100);
    assert_true(row.finished_at >= row.started_at);
    struct context_row context = get_context(conn, vm);
    assert_int_equal(context.runs, 1);
    assert_int_equal(context.successes, 1);
    assert_int_equal(context.last_success_at, row.finished_at);
    assert_int_equal(context.last_run_at, row.finished_at);
}

static void test_wrong_transitions(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web");
    fixture_disk(conn, vm, "vda");
    int64_t job = fixture_backup(conn, vm, 0);
    assert_refused(job_end(conn, job, JOB_COMPLETED, "", 0, 0, err), -EPROTO, "its disk vda");
    assert_refused(job_set_progress(conn, job, 1, 1, err), -EPROTO, "pending, not running");
    assert_refused(job_end(conn, job, JOB_RUNNING, "", 0, 0, err), -EINVAL, "cannot end as");
    assert_ok(job_start(conn, job, err));
    assert_refused(job_start(conn, job, err), -EPROTO, "running, not pending");
    assert_refused(job_amend(conn, job, BACKUP_FULL, "", err), -EPROTO, "not a pending backup");
    assert_ok(job_end(conn, job, JOB_FAILED, "broken", 0, 0, err));
    for (int ended = JOB_COMPLETED; ended <= JOB_CANCELLED; ended++)
        assert_int_equal(job_end(conn, job, ended, "", 0, 0, NULL), -EPROTO);
    assert_refused(job_start(conn, job, err), -EPROTO, "failed, not pending");
    assert_int_equal(get_context(conn, vm).runs, 1);
    assert_refused(job_start(conn, 99, err), -ENOENT, "no job with the number 99");
    assert_refused(job_end(conn, 99, JOB_FAILED, "", 0, 0, err), -ENOENT, "no job");
    assert_refused(job_set_progress(conn, 99, 0, 0, err), -ENOENT, "no job");
}

static void test_pending_cannot_complete(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web");
    struct job_new restore = {.kind = JOB_RESTORE, .trigger = TRIGGER_MANUAL, .context_id = vm};
    int64_t job = 0;
    assert_ok(job_insert(conn, &restore, &job, err));
    assert_refused(job_end(conn, job, JOB_COMPLETED, "", 0, 0, err), -EPROTO,
                   "pending, not running");
}

static void test_job_scope(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), other = fixture_vm(conn, "db"), id = 0;
    struct job_new job = {.kind = JOB_BACKUP,
                          .trigger = TRIGGER_SCHEDULED,
                          .mode = BACKUP_FULL,
                          .context_id = vm,
                          .tags = "a,b"};
    assert_refused(job_insert(conn, &job, &id, err), -ENOENT, "VM web has no disks");
    int64_t vdb = fixture_disk(conn, vm, "vdb");
    fixture_disk(conn, vm, "vda");
    int64_t foreign = fixture_disk(conn, other, "vda");
    job.disk_id = foreign;
    assert_refused(job_insert(conn, &job, &id, err), -ENOENT, "in VM web");
    job.context_id = 99;
    assert_refused(job_insert(conn, &job, &id, err), -ENOENT, "no VM with the number 99");
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM backup_jobs"), 0);

    job.context_id = vm;
    job.disk_id = vdb;
    assert_ok(job_insert(conn, &job, &id, err));
    assert_string_equal(disks_of(conn, id), "vdb:pending: ");
    struct job_row row = get_job(conn, id);
    assert_string_equal(row.disk_name, "vdb");
    assert_string_equal(row.tags, "a,b");
    assert_int_equal(row.trigger, TRIGGER_SCHEDULED);
    job.disk_id = 0;
    assert_ok(job_insert(conn, &job, &id, err));
    assert_string_equal(disks_of(conn, id), "vda:pending: vdb:pending: ");
    job.mode = BACKUP_MODE_UNKNOWN;
    assert_refused(job_insert(conn, &job, &id, err), -EINVAL, "CHECK");
}

static void test_start_adds_new_disks(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda");
    int64_t all = fixture_backup(conn, vm, 0), one = fixture_backup(conn, vm, vda);
    fixture_disk(conn, vm, "vdb");
    assert_ok(job_start(conn, all, err));
    assert_ok(job_start(conn, one, err));
    assert_string_equal(disks_of(conn, all), "vda:pending: vdb:pending: ");
    assert_string_equal(disks_of(conn, one), "vda:pending: ");
}

static void test_end_ends_the_disks(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda");
    int64_t vdb = fixture_disk(conn, vm, "vdb"), vdc = fixture_disk(conn, vm, "vdc");
    fixture_disk(conn, vm, "vdd");
    int64_t job = fixture_backup(conn, vm, 0);
    assert_ok(job_start(conn, job, err));
    complete_disk(conn, job, vda);
    assert_ok(snapshot_start(conn, job, vdb, err));
    assert_ok(snapshot_start(conn, job, vdc, err));
    assert_ok(snapshot_fail(conn, job, vdc, JOB_FAILED, "gone", err));
    assert_refused(job_end(conn, job, JOB_COMPLETED, "", 0, 0, err), -EPROTO, "is");
    assert_ok(job_end(conn, job, JOB_CANCELLED, "by the user", 0, 0, err));
    assert_string_equal(disks_of(conn, job), "vda:completed: vdb:cancelled:by the user "
                                             "vdc:failed:gone vdd:cancelled:by the user ");
    struct context_row context = get_context(conn, vm);
    assert_int_equal(context.runs, 1);
    assert_int_equal(context.cancellations, 1);
    assert_int_equal(context.last_success_at, 0);
    assert_true(context.last_run_at > 0);
}

static void test_totals_count_backups_only(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda"), job = 0;
    struct job_new restore = {.kind = JOB_RESTORE, .trigger = TRIGGER_MANUAL, .context_id = vm};
    assert_ok(job_insert(conn, &restore, &job, err));
    assert_ok(job_start(conn, job, err));
    assert_ok(job_end(conn, job, JOB_COMPLETED, "", 0, 0, err));
    assert_int_equal(get_context(conn, vm).runs, 0);
    fixture_snapshot(conn, vm, vda, 0, 1, 1, 0);
    int64_t success = get_context(conn, vm).last_success_at;
    assert_ok(job_end(conn, fixture_backup(conn, vm, 0), JOB_CANCELLED, "", 0, 0, err));
    job = fixture_backup(conn, vm, 0);
    assert_ok(job_start(conn, job, err));
    assert_ok(job_end(conn, job, JOB_FAILED, "no", 0, 0, err));
    struct context_row context = get_context(conn, vm);
    assert_int_equal(context.runs, 3);
    assert_int_equal(context.successes, 1);
    assert_int_equal(context.failures, 1);
    assert_int_equal(context.cancellations, 1);
    assert_int_equal(context.last_success_at, success);
    assert_true(context.last_run_at > success);
}

static void test_a_long_reason_is_cut(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web");
    fixture_disk(conn, vm, "vda");
    int64_t job = fixture_backup(conn, vm, 0);
    char reason[2 * REASON_TEXT_SIZE];
    memset(reason, 'x', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    assert_ok(job_end(conn, job, JOB_FAILED, reason, 0, 0, err));
    assert_int_equal(strlen(get_job(conn, job).reason), REASON_TEXT_SIZE - 1);
}

// --- restores

static void test_newest_job_of_a_snapshot(void **state)
{
    struct catalog_conn *conn = ((struct fixture *)*state)->conn;
    int64_t vm = fixture_vm(conn, "web"), disk = fixture_disk(conn, vm, "vda");
    int64_t full = fixture_snapshot(conn, vm, disk, 0, 1, 1, 0);
    int64_t chain = fixture_get(conn, full).chain_id;
    int64_t other = fixture_snapshot(conn, vm, disk, chain, 0, 2, full);
    struct job_new restore = {.kind = JOB_RESTORE,
                              .trigger = TRIGGER_MANUAL,
                              .context_id = vm,
                              .restore_snapshot = "x",
                              .restore_target = "/dev/null"};
    struct job_new verify = {.kind = JOB_VERIFY, .trigger = TRIGGER_MANUAL, .context_id = vm};
    int64_t jobs[5];
    struct job_row row;

    assert_refused(job_find_newest_of_snapshot(conn, JOB_RESTORE, full, &row, err), -ENOENT,
                   "no such restore job");
    restore.restore_snapshot_id = verify.upkeep_snapshot_id = full;
    assert_ok(job_insert(conn, &restore, &jobs[0], err));
    assert_ok(job_insert(conn, &restore, &jobs[1], err));
    assert_ok(job_insert(conn, &verify, &jobs[2], err));
    restore.restore_snapshot_id = verify.upkeep_snapshot_id = other;
    assert_ok(job_insert(conn, &restore, &jobs[3], err));
    assert_ok(job_insert(conn, &verify, &jobs[4], err));

    assert_ok(job_find_newest_of_snapshot(conn, JOB_RESTORE, full, &row, err));
    assert_int_equal(row.id, jobs[1]);
    assert_int_equal(row.kind, JOB_RESTORE);
    assert_ok(job_find_newest_of_snapshot(conn, JOB_VERIFY, full, &row, err));
    assert_int_equal(row.id, jobs[2]);
    assert_ok(job_find_newest_of_snapshot(conn, JOB_VERIFY, other, &row, err));
    assert_int_equal(row.id, jobs[4]);
    assert_refused(job_find_newest_of_snapshot(conn, JOB_GC, full, &row, err), -ENOENT,
                   "no such gc job");
}

static void test_restore_details(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda"), job = 0;
    int64_t snapshot = fixture_snapshot(conn, vm, vda, 0, 1, 1, 0);
    int64_t safety = fixture_backup(conn, vm, vda);
    struct job_new restore = {.kind = JOB_RESTORE,
                              .trigger = TRIGGER_MANUAL,
                              .context_id = vm,
                              .disk_id = vda,
                              .restore_snapshot_id = snapshot,
                              .restore_snapshot = "web/vda/chain-0001/0001-full",
                              .restore_target = "/dev/vg0/web",
                              .restore_safety = true};
    assert_ok(job_insert(conn, &restore, &job, err));
    assert_string_equal(disks_of(conn, job), "");
    assert_ok(job_set_safety_job(conn, job, safety, err));
    assert_ok(job_set_restore_result(conn, job, 3000, 2000, 1000, err));
    struct job_row row = get_job(conn, job);
    assert_int_equal(row.kind, JOB_RESTORE);
    assert_int_equal(row.mode, BACKUP_MODE_UNKNOWN);
    assert_int_equal(row.restore_snapshot_id, snapshot);
    assert_string_equal(row.restore_snapshot, "web/vda/chain-0001/0001-full");
    assert_string_equal(row.restore_target, "/dev/vg0/web");
    assert_true(row.restore_safety);
    assert_int_equal(row.restore_safety_job, safety);
    assert_int_equal(row.restore_compared, 3000);
    assert_int_equal(row.restore_written, 2000);
    assert_int_equal(row.restore_verified, 1000);

    assert_ok(snapshot_forget(conn, snapshot, err));
    row = get_job(conn, job);
    assert_int_equal(row.restore_snapshot_id, 0);
    assert_string_equal(row.restore_snapshot, "web/vda/chain-0001/0001-full");
    assert_refused(job_set_safety_job(conn, safety, 0, err), -ENOENT, "is no restore");
    assert_refused(job_set_restore_result(conn, safety, 0, 0, 0, err), -ENOENT, "is no restore");
}

// --- what a trigger asks

static int64_t pending_for(struct catalog_conn *conn, int64_t vm, int64_t disk)
{
    struct job_row row = {0};
    int rc = job_find_pending_backup(conn, vm, disk, &row, NULL);
    assert_true(rc == 0 || rc == -ENOENT);
    return row.id;
}

static int64_t newest_for(struct catalog_conn *conn, int64_t vm, int64_t disk)
{
    struct job_row row = {0};
    int rc = job_find_newest_backup(conn, vm, disk, &row, NULL);
    assert_true(rc == 0 || rc == -ENOENT);
    return row.id;
}

static void test_pending_backup_to_join(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda");
    int64_t vdb = fixture_disk(conn, vm, "vdb"), other = fixture_vm(conn, "db");
    fixture_disk(conn, other, "vda");
    assert_int_equal(pending_for(conn, vm, 0), 0);

    int64_t of_vda = fixture_backup(conn, vm, vda);
    assert_int_equal(pending_for(conn, vm, vda), of_vda);
    assert_int_equal(pending_for(conn, vm, vdb), 0);
    assert_int_equal(pending_for(conn, vm, 0), 0);
    assert_int_equal(pending_for(conn, other, 0), 0);

    int64_t of_all = fixture_backup(conn, vm, 0);
    assert_int_equal(pending_for(conn, vm, 0), of_all);
    assert_int_equal(pending_for(conn, vm, vdb), of_all);
    assert_int_equal(pending_for(conn, vm, vda), of_vda);
    assert_ok(job_start(conn, of_all, err));
    assert_int_equal(pending_for(conn, vm, 0), 0);
    assert_int_equal(newest_for(conn, vm, 0), of_all);
    assert_int_equal(newest_for(conn, other, 0), 0);
}

static void test_safety_backups_stand_for_no_trigger(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda"), id = 0;
    struct job_new safety = {.kind = JOB_BACKUP,
                             .trigger = TRIGGER_PRE_RESTORE_SAFETY,
                             .mode = BACKUP_FULL,
                             .context_id = vm,
                             .disk_id = vda};
    assert_ok(job_insert(conn, &safety, &id, err));
    assert_int_equal(pending_for(conn, vm, vda), 0);
    assert_int_equal(newest_for(conn, vm, vda), 0);
    int64_t asked = fixture_backup(conn, vm, vda);
    assert_ok(job_insert(conn, &safety, &id, err));
    assert_int_equal(newest_for(conn, vm, vda), asked);
}

static void test_newest_backup(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda");
    int64_t vdb = fixture_disk(conn, vm, "vdb");
    int64_t all = fixture_backup(conn, vm, 0), one = fixture_backup(conn, vm, vda);
    assert_int_equal(newest_for(conn, vm, 0), all);
    assert_int_equal(newest_for(conn, vm, vda), one);
    assert_int_equal(newest_for(conn, vm, vdb), all);
}

static void test_amend(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web");
    fixture_disk(conn, vm, "vda");
    int64_t job = fixture_backup(conn, vm, 0);
    assert_ok(job_amend(conn, job, BACKUP_FULL, "nightly,before-upgrade", err));
    struct job_row row = get_job(conn, job);
    assert_int_equal(row.mode, BACKUP_FULL);
    assert_string_equal(row.tags, "nightly,before-upgrade");
    char tags[TAGS_TEXT_SIZE + 1];
    memset(tags, 'x', TAGS_TEXT_SIZE);
    tags[TAGS_TEXT_SIZE] = '\0';
    assert_refused(job_amend(conn, job, BACKUP_FULL, tags, err), -ENAMETOOLONG, "too long");
    assert_refused(job_amend(conn, job, BACKUP_MODE_UNKNOWN, "", err), -EINVAL, "CHECK");
}

// --- lists

static void test_list_filters(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t web = fixture_vm(conn, "web"), db = fixture_vm(conn, "db");
    int64_t vda = fixture_disk(conn, web, "vda"), vdb = fixture_disk(conn, web, "vdb");
    fixture_disk(conn, db, "vda");
    struct job_new restore = {.kind = JOB_RESTORE, .trigger = TRIGGER_MANUAL, .context_id = db};
    int64_t id = 0;
    fixture_backup(conn, web, 0);                    // 1
    fixture_backup(conn, web, vda);                  // 2
    fixture_backup(conn, db, 0);                     // 3
    assert_ok(job_insert(conn, &restore, &id, err)); // 4
    assert_ok(job_amend(conn, 1, BACKUP_AUTO, "nightly", err));
    assert_ok(job_amend(conn, 2, BACKUP_AUTO, "night,x", err));
    assert_ok(job_start(conn, 2, err));
    assert_ok(job_end(conn, 3, JOB_CANCELLED, "", 0, 0, err));

#define LIST(...) list(conn, &(struct job_filter){__VA_ARGS__})
    assert_string_equal(LIST(0), "1 2 3 4 ");
    assert_string_equal(LIST(.context_id = web), "1 2 ");
    assert_string_equal(LIST(.disk_id = vda), "1 2 ");
    assert_string_equal(LIST(.disk_id = vdb), "1 ");
    assert_string_equal(LIST(.kind = JOB_RESTORE), "4 ");
    assert_string_equal(LIST(.state = JOB_RUNNING), "2 ");
    assert_string_equal(LIST(.state = JOB_PENDING), "1 4 ");
    assert_string_equal(LIST(.active = true), "1 2 4 ");
    assert_string_equal(LIST(.trigger = TRIGGER_SCHEDULED), "");
    assert_string_equal(LIST(.trigger = TRIGGER_MANUAL, .context_id = db), "3 4 ");
    assert_string_equal(LIST(.tag = "nightly"), "1 ");
    assert_string_equal(LIST(.tag = "night"), "2 ");
    assert_string_equal(LIST(.tag = "x' OR 1"), "");
    assert_string_equal(LIST(.limit = 2), "3 4 ");
    assert_string_equal(LIST(.limit = 2, .active = true), "2 4 ");
    int64_t second = get_job(conn, 2).created_at, third = get_job(conn, 3).created_at;
    assert_string_equal(LIST(.since = second), "2 3 4 ");
    assert_string_equal(LIST(.until = third), "1 2 ");
    assert_string_equal(LIST(.since = second, .until = third), "2 ");
#undef LIST
}

static int refuse_third(const struct job_row *row, void *arg, struct error *err)
{
    (void)arg;
    return row->id < 3 ? 0 : error_set(err, -ECANCELED, "enough");
}

static int nest(const struct job_row *row, void *arg, struct error *err)
{
    struct catalog_conn *conn = arg;
    struct job_row again;
    char text[64] = "";
    int rc = job_get(conn, row->id, &again, err);
    if (rc == 0)
        rc = job_each(conn, &(struct job_filter){.limit = 1}, append_id, text, err);
    return rc == 0 && strcmp(text, "3 ") != 0 ? -EPROTO : rc;
}

static void test_walk(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web");
    fixture_disk(conn, vm, "vda");
    for (int i = 0; i < 3; i++)
        fixture_backup(conn, vm, 0);
    assert_refused(job_each(conn, &(struct job_filter){0}, refuse_third, NULL, err), -ECANCELED,
                   "enough");
    assert_ok(job_each(conn, &(struct job_filter){0}, nest, conn, err));
}

// --- log

static int append_line(int64_t at, const char *line, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%lld %s|", (long long)at, line);
    return 0;
}

static void test_log(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web");
    fixture_disk(conn, vm, "vda");
    int64_t one = fixture_backup(conn, vm, 0), two = fixture_backup(conn, vm, 0);
    assert_ok(job_log_append(conn, one, 20, "first", err));
    assert_ok(job_log_append(conn, two, 15, "other", err));
    assert_ok(job_log_append(conn, one, 10, "second", err));
    char text[128] = "";
    assert_ok(job_log_each(conn, one, append_line, text, err));
    assert_string_equal(text, "20 first|10 second|");
    assert_refused(job_log_append(conn, 99, 1, "x", err), -EINVAL, "FOREIGN KEY");
}

static void test_disk_deletion(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda");
    fixture_disk(conn, vm, "vdb");
    int64_t all = fixture_backup(conn, vm, 0), one = fixture_backup(conn, vm, vda);
    assert_ok(disk_delete(conn, vda, err));
    assert_string_equal(disks_of(conn, all), "vdb:pending: ");
    struct job_row row;
    assert_refused(job_get(conn, one, &row, err), -ENOENT, "no job");
}

static int64_t add_prune(struct catalog_conn *conn, int64_t vm, int64_t disk, const char *policy)
{
    struct job_new new = {.kind = JOB_PRUNE,
                          .trigger = TRIGGER_MANUAL,
                          .context_id = vm,
                          .disk_id = disk,
                          .prune_policy = policy};
    int64_t id = 0;
    assert_ok(job_insert(conn, &new, &id, err));
    return id;
}

static void test_prunes(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web"), vda = fixture_disk(conn, vm, "vda");
    int64_t whole = add_prune(conn, vm, 0, NULL), one = add_prune(conn, vm, vda, NULL);
    int64_t other = add_prune(conn, vm, 0, "keep-last=1");
    struct job_row row;
    assert_string_equal(disks_of(conn, whole), "");
    assert_ok(job_find_pending_prune(conn, vm, 0, "", &row, err));
    assert_int_equal(row.id, whole);
    assert_string_equal(row.prune_policy, "");
    assert_ok(job_find_pending_prune(conn, vm, vda, "", &row, err));
    assert_int_equal(row.id, one);
    assert_ok(job_find_pending_prune(conn, vm, 0, "keep-last=1", &row, err));
    assert_int_equal(row.id, other);
    assert_refused(job_find_pending_prune(conn, vm, vda, "keep-last=1", &row, err), -ENOENT, "no ");

    assert_ok(job_start(conn, whole, err));
    assert_refused(job_find_pending_prune(conn, vm, 0, "", &row, err), -ENOENT, "no such");
    assert_ok(job_set_prune_result(conn, whole, "keep-last=2", 2, 3, 1, err));
    assert_ok(job_end(conn, whole, JOB_COMPLETED, "", 0, 0, err));
    row = get_job(conn, whole);
    assert_string_equal(row.prune_policy, "keep-last=2");
    assert_int_equal(row.prune_kept, 2);
    assert_int_equal(row.prune_forgotten, 3);
    assert_int_equal(row.prune_skipped, 1);
    assert_int_equal(get_context(conn, vm).runs, 0);
    int64_t backup = fixture_backup(conn, vm, 0);
    assert_refused(job_set_prune_result(conn, backup, "none", 0, 0, 0, err), -ENOENT, "no prune");
}

#define WRITING(test) cmocka_unit_test_setup_teardown(test, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITING(test_life_of_a_backup),
        WRITING(test_wrong_transitions),
        WRITING(test_pending_cannot_complete),
        WRITING(test_job_scope),
        WRITING(test_start_adds_new_disks),
        WRITING(test_end_ends_the_disks),
        WRITING(test_totals_count_backups_only),
        WRITING(test_a_long_reason_is_cut),
        WRITING(test_newest_job_of_a_snapshot),
        WRITING(test_restore_details),
        WRITING(test_pending_backup_to_join),
        WRITING(test_safety_backups_stand_for_no_trigger),
        WRITING(test_newest_backup),
        WRITING(test_amend),
        WRITING(test_list_filters),
        WRITING(test_walk),
        WRITING(test_log),
        WRITING(test_disk_deletion),
        WRITING(test_prunes),
    };
    return cmocka_run_group_tests_name("jobs_catalog", tests, NULL, NULL);
}
