// SPDX-License-Identifier: MIT
//
// Prune jobs in an engine without a mount: what they forget, pass over and record, who may join
// them, and what follows a scheduled backup. Runs under ThreadSanitizer too.
#include "tests/unit/engine_fixture.h"

static int64_t back_up_changed(struct fixture *f, enum job_trigger trigger)
{
    change_disk(f, 100 * KIB, 3 * KIB);
    int64_t job_id = request_backup(f, (struct backup_request){.trigger = trigger});

    assert_int_equal(end_of(f, job_id), JOB_COMPLETED);
    return job_id;
}

static int setup(void **state)
{
    struct fixture *f =
        fixture_make(&(struct repository_choices){.retention = "keep-last=2"},
                     &(struct engine_options){.command = "test", .workers = 1}, 500 * KIB);
    struct context_row context;
    struct catalog_conn *conn;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(context_get(conn, f->context_id, &context, NULL), 0);
    catalog_read_end(conn);
    assert_string_equal(context.retention, "keep-last=2");
    assert_false(context.own_retention);
    for (int i = 0; i < 4; i++)
        back_up_changed(f, TRIGGER_MANUAL);
    assert_int_equal(list_snapshots(f), 4);
    *state = f;
    return 0;
}

static int64_t prune(struct fixture *f, const char *policy)
{
    struct prune_request request = {.context_id = f->context_id, .trigger = TRIGGER_MANUAL};
    struct error err = ERROR_INIT;
    int64_t job_id = 0;

    snprintf(request.policy, sizeof(request.policy), "%s", policy);
    int r = engine_request_prune(f->engine, &request, &job_id, NULL, &err);
    if (r < 0)
        print_error("%s\n", err.message);
    assert_int_equal(r, 0);
    return job_id;
}

static int add_line(int64_t at, const char *line, void *arg, struct error *err)
{
    (void)at;
    (void)err;
    fprintf(arg, "%s\n", line);
    return 0;
}

static char *log_of(struct fixture *f, int64_t job_id)
{
    struct catalog_conn *conn;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(job_log_each(conn, job_id, add_line, out, NULL), 0);
    catalog_read_end(conn);
    fclose(out);
    return text;
}

static void assert_counts(struct fixture *f, int64_t job_id, int kept, int forgotten, int skipped)
{
    struct job_row row = job_of(f, job_id);

    assert_int_equal(row.kind, JOB_PRUNE);
    assert_int_equal(row.state, JOB_COMPLETED);
    assert_int_equal(row.prune_kept, kept);
    assert_int_equal(row.prune_forgotten, forgotten);
    assert_int_equal(row.prune_skipped, skipped);
    assert_int_equal(list_snapshots(f), kept + skipped);
}

static void forgets_what_the_policy_does_not_keep(void **state)
{
    struct fixture *f = *state;
    int64_t first = f->snapshots[0], third = f->snapshots[2], fourth = f->snapshots[3];
    int64_t id = prune(f, "");

    assert_int_equal(end_of(f, id), JOB_COMPLETED);
    assert_counts(f, id, 2, 2, 0);
    assert_string_equal(job_of(f, id).prune_policy, "keep-last=2");
    assert_int_not_equal(snapshot_of(f, first).forgotten_at, 0);
    // The chain is honest: kinds and numbers as they were, parents among what is there.
    struct snapshot_row row = snapshot_of(f, third);
    assert_int_equal(row.kind, SNAPSHOT_INCREMENTAL);
    assert_int_equal(row.number, 3);
    assert_int_equal(row.parent_id, 0);
    assert_int_equal(snapshot_of(f, fourth).parent_id, third);
    char *log = log_of(f, id);
    assert_non_null(strstr(log, "forgotten web1/vda/chain-0001/0001-full-"));
    assert_non_null(strstr(log, "forgotten web1/vda/chain-0001/0002-incr-"));
    assert_non_null(strstr(log, ": last 2\n"));
    assert_non_null(strstr(log, ": last 1\n"));
    free(log);
    // Done once, there is nothing left to do.
    id = prune(f, "");
    assert_int_equal(end_of(f, id), JOB_COMPLETED);
    assert_counts(f, id, 2, 0, 0);
    back_up_changed(f, TRIGGER_MANUAL);
    assert_int_equal(list_snapshots(f), 3);
    assert_int_equal(snapshot_of(f, f->snapshots[2]).parent_id, fourth);
}

static void a_policy_for_one_run(void **state)
{
    struct fixture *f = *state;
    int64_t id = prune(f, " keep-daily=1   keep-last=2 ");

    assert_int_equal(end_of(f, id), JOB_COMPLETED);
    assert_counts(f, id, 2, 2, 0);
    assert_string_equal(job_of(f, id).prune_policy, "keep-last=2 keep-daily=1");
    struct prune_request request = {
        .context_id = f->context_id, .trigger = TRIGGER_MANUAL, .policy = "keep-nothing=1"};
    assert_int_equal(engine_request_prune(f->engine, &request, &id, NULL, NULL), -EINVAL);
    request = (struct prune_request){.context_id = 999, .trigger = TRIGGER_MANUAL};
    assert_int_equal(engine_request_prune(f->engine, &request, &id, NULL, NULL), -ENOENT);
}

static void what_is_in_use_is_passed_over(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(engine_hold_snapshot(f->engine, f->snapshots[0], NULL), 0);
    int64_t id = prune(f, "");
    assert_int_equal(end_of(f, id), JOB_COMPLETED);
    assert_counts(f, id, 2, 1, 1);
    char *log = log_of(f, id);
    assert_non_null(strstr(log, "in use"));
    free(log);
    engine_release_snapshot(f->engine, f->snapshots[0]);
    id = prune(f, "");
    assert_int_equal(end_of(f, id), JOB_COMPLETED);
    assert_counts(f, id, 2, 1, 0);
}

static void what_is_open_is_forgotten_by_policy_alone(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    int64_t first = f->snapshots[0];

    assert_int_equal(engine_hold_snapshot(f->engine, first, NULL), 0);
    engine_hold_by_file(f->engine, first);
    assert_int_equal(engine_forget_snapshot(f->engine, first, &err), -EBUSY);
    assert_non_null(strstr(error_message(&err), "open"));
    int64_t id = prune(f, "");
    assert_int_equal(end_of(f, id), JOB_COMPLETED);
    assert_counts(f, id, 2, 2, 0);
    char *log = log_of(f, id);
    assert_non_null(strstr(log, "files of it are open"));
    free(log);
    assert_int_equal(engine_hold_snapshot(f->engine, first, NULL), -ENOENT);
    engine_release_file(f->engine, first);
}

static void protect(struct fixture *f, int64_t snapshot_id)
{
    struct catalog_conn *conn;
    assert_int_equal(catalog_write_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(snapshot_set_protected(conn, snapshot_id, true, NULL), 0);
    assert_int_equal(catalog_write_commit(conn, NULL), 0);
}

static void protected_ones_stay_and_take_no_place(void **state)
{
    struct fixture *f = *state;

    protect(f, f->snapshots[0]);
    protect(f, f->snapshots[3]);
    int64_t id = prune(f, "keep-last=1");
    assert_int_equal(end_of(f, id), JOB_COMPLETED);
    assert_counts(f, id, 3, 1, 0);
}

static void a_failure_forgets_nothing(void **state)
{
    struct fixture *f = *state;

    arm("job-commit=ENOSPC");
    int64_t id = prune(f, "");
    assert_int_equal(end_of(f, id), JOB_FAILED);
    fault_disarm();
    assert_int_equal(list_snapshots(f), 4);
    struct job_row row = job_of(f, id);
    assert_int_equal(row.prune_forgotten, 0);
    assert_non_null(strstr(row.reason, "injected fault"));
    char *log = log_of(f, id);
    assert_null(strstr(log, "forgotten"));
    free(log);
    // Nothing is held any more.
    assert_int_equal(engine_forget_snapshot(f->engine, f->snapshots[0], NULL), 0);
}

static void waits_for_the_backup_and_is_joined(void **state)
{
    struct fixture *f = *state;
    struct backup_request backup = {
        .context_id = f->context_id, .mode = BACKUP_FULL, .trigger = TRIGGER_MANUAL};
    struct prune_request again = {.context_id = f->context_id, .trigger = TRIGGER_MANUAL};
    int64_t backup_id, joined_id = 0;
    bool joined = false;

    arm("source-read=sleep-300");
    assert_int_equal(engine_request_backup(f->engine, &backup, &backup_id, NULL, NULL), 0);
    int64_t id = prune(f, "");
    int64_t other = prune(f, "keep-last=3");
    assert_int_not_equal(id, other);
    assert_int_equal(engine_request_prune(f->engine, &again, &joined_id, &joined, NULL), 0);
    assert_true(joined);
    assert_int_equal(joined_id, id);
    assert_int_equal(job_of(f, id).state, JOB_PENDING);
    assert_int_equal(engine_cancel_job(f->engine, other, NULL), 0);
    fault_disarm();
    assert_int_equal(end_of(f, backup_id), JOB_COMPLETED);
    assert_int_equal(end_of(f, id), JOB_COMPLETED);
    assert_counts(f, id, 2, 3, 0);
    assert_int_equal(job_of(f, other).state, JOB_CANCELLED);
}

static void reopen_as_a_command(struct fixture *f)
{
    reopen(f, &(struct engine_options){.command = "test", .workers = 1, .leave_pending = true});
}

// Closing the engine at once, as a command does that ends with its job, does not leave it undone.
static void follows_a_scheduled_backup(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(newest_job(f, JOB_PRUNE).id, 0);
    reopen_as_a_command(f);
    int64_t backup_id = back_up_changed(f, TRIGGER_SCHEDULED);
    reopen_as_a_command(f);
    struct job_row row = newest_job(f, JOB_PRUNE);
    assert_true(row.id > backup_id);
    assert_int_equal(row.trigger, TRIGGER_SCHEDULED);
    assert_counts(f, row.id, 2, 3, 0);

    assert_int_equal(engine_set_retention(f->engine, f->context_id, "none", 4, NULL), 0);
    back_up_changed(f, TRIGGER_SCHEDULED);
    reopen_as_a_command(f);
    assert_int_equal(newest_job(f, JOB_PRUNE).id, row.id);
    assert_int_equal(list_snapshots(f), 3);
}

static void a_policy_of_ones_own(void **state)
{
    struct fixture *f = *state;
    struct context_row context;
    struct catalog_conn *conn;
    static const struct {
        const char *words, *holds;
        int result;
        bool own;
    } steps[] = {
        {"keep-daily=1 keep-last=9", "keep-last=9 keep-daily=1", 0, true},
        {"keep-daily=1 keep-daily=2", "keep-last=9 keep-daily=1", -EINVAL, true},
        {" \t", "keep-last=9 keep-daily=1", -EINVAL, true},
        {"none", "none", 0, true},
        {"default", "keep-last=2", 0, false},
    };

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        assert_int_equal(engine_set_retention(f->engine, f->context_id, steps[i].words,
                                              strlen(steps[i].words), NULL),
                         steps[i].result);
        assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
        assert_int_equal(context_get(conn, f->context_id, &context, NULL), 0);
        catalog_read_end(conn);
        assert_string_equal(context.retention, steps[i].holds);
        assert_int_equal(context.own_retention, steps[i].own);
    }
    assert_int_equal(engine_set_retention(f->engine, 999, "none", 4, NULL), -ENOENT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(forgets_what_the_policy_does_not_keep),
        TEST(a_policy_for_one_run),
        TEST(what_is_in_use_is_passed_over),
        TEST(what_is_open_is_forgotten_by_policy_alone),
        TEST(protected_ones_stay_and_take_no_place),
        TEST(a_failure_forgets_nothing),
        TEST(waits_for_the_backup_and_is_joined),
        TEST(follows_a_scheduled_backup),
        TEST(a_policy_of_ones_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
