// SPDX-License-Identifier: MIT
//
// The engine without a mount: backups, incrementals, the pending rule, cancellation, restores and
// roll-back. Runs under ThreadSanitizer too.
#include "fs/store/image.h"
#include "tests/unit/engine_fixture.h"

static int setup(void **state)
{
    struct fixture *f =
        fixture_make(&(struct repository_choices){0},
                     &(struct engine_options){.command = "test", .workers = 2}, 3 * MIB);

    write_noise(f->disk, 40 * MIB, 1234567, 2);
    *state = f;
    return 0;
}

static int64_t request(struct fixture *f, enum backup_mode mode, const char *tags)
{
    struct backup_request request = {.mode = mode};

    snprintf(request.tags, sizeof(request.tags), "%s", tags);
    return request_backup(f, request);
}

static void assert_same_bytes(struct fixture *f, const struct snapshot_row *row, const char *path)
{
    AUTO(image_close) struct image *image = NULL;
    int fd = open(path, O_RDONLY);
    char *a = malloc(MIB), *b = malloc(MIB);
    ssize_t n;

    assert_true(fd >= 0);
    assert_int_equal(image_open(engine_store(f->engine), &row->digest, row->capacity,
                                row->chunk_size, &image, NULL),
                     0);
    for (uint64_t at = 0; (n = pread(fd, a, MIB, (off_t)at)) > 0; at += (uint64_t)n) {
        assert_int_equal(image_read(image, b, (size_t)n, at, NULL), n);
        assert_memory_equal(a, b, (size_t)n);
    }
    close(fd);
    free(a);
    free(b);
}

static int64_t restore(struct fixture *f, int64_t snapshot_id, bool safety);

static void full_then_incremental(void **state)
{
    struct fixture *f = *state;

    back_up(f);
    struct snapshot_row first = latest(f);
    assert_int_equal(first.kind, SNAPSHOT_FULL);
    assert_int_equal(first.capacity, 40 * MIB + 1234567);
    assert_same_bytes(f, &first, f->disk);

    write_noise(f->disk, MIB, 5000, 3);
    assert_int_equal(end_of(f, request(f, BACKUP_AUTO, "after")), JOB_COMPLETED);
    struct snapshot_row second = latest(f);
    assert_int_equal(second.kind, SNAPSHOT_INCREMENTAL);
    assert_int_equal(second.parent_id, first.id);
    assert_int_equal(second.changed_bytes, second.chunk_size);
    assert_true(second.new_bytes < 3 * second.chunk_size);
    assert_string_equal(second.tags, "after");
    assert_same_bytes(f, &second, f->disk);
}

// What became a hole counts as changed; "latest" is never a safety backup.
static void holes_and_latest(void **state)
{
    struct fixture *f = *state;

    back_up(f);
    struct snapshot_row first = latest(f);
    int fd = open(f->disk, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB, MIB), 0);
    close(fd);
    back_up(f);
    struct snapshot_row second = latest(f);
    assert_int_equal(second.changed_bytes, MIB);
    assert_int_equal(second.data_bytes, first.data_bytes - MIB);
    assert_same_bytes(f, &second, f->disk);

    snprintf(f->target, sizeof(f->target), "%s", f->disk);
    for (int i = 0; i < 2; i++) {
        write_noise(f->disk, 0, 4096, 99u + (unsigned)i);
        assert_int_equal(end_of(f, restore(f, latest(f).id, true)), JOB_COMPLETED);
        assert_int_equal(latest(f).id, second.id);
        assert_same_bytes(f, &second, f->disk);
    }
}

// The same disk read with and without workers gives the same map.
static void serial_twin(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(end_of(f, request(f, BACKUP_FULL, "")), JOB_COMPLETED);
    struct snapshot_row with = latest(f);
    reopen(f, &(struct engine_options){.command = "test", .workers = 1});
    assert_int_equal(end_of(f, request(f, BACKUP_FULL, "")), JOB_COMPLETED);
    struct snapshot_row alone = latest(f);
    assert_int_not_equal(with.chain_id, alone.chain_id);
    assert_true(digest_equal(&with.digest, &alone.digest));
    assert_true(alone.new_bytes < 16 * 1024); // everything was known
}

static void pending_rule(void **state)
{
    struct fixture *f = *state;

    arm("source-read=sleep-100");
    int64_t running = request(f, BACKUP_AUTO, "");
    struct job_progress progress;
    do {
        assert_int_equal(engine_job_progress(f->engine, running, &progress, NULL), 0);
        usleep(1000);
    } while (progress.state == JOB_PENDING);
    int64_t pending = request(f, BACKUP_AUTO, "one");
    assert_int_not_equal(pending, running);
    assert_int_equal(request(f, BACKUP_FULL, "two"), pending);
    assert_int_equal(request(f, BACKUP_AUTO, "one"), pending);

    struct backup_request other = {
        .context_id = f->context_id, .mode = BACKUP_AUTO, .trigger = TRIGGER_MANUAL};
    bool joined = false;
    int64_t job_id = 0;
    assert_int_equal(engine_request_backup(f->engine, &other, &job_id, &joined, NULL), 0);
    assert_true(joined);
    fault_disarm();
    assert_int_equal(end_of(f, running), JOB_COMPLETED);
    assert_int_equal(end_of(f, pending), JOB_COMPLETED);
    struct snapshot_row row = latest(f);
    assert_int_equal(row.job_id, pending);
    assert_int_equal(row.kind, SNAPSHOT_FULL);
    assert_string_equal(row.tags, "one,two");
}

static void cancelling(void **state)
{
    struct fixture *f = *state;

    arm("source-read=sleep-500");
    int64_t running = request(f, BACKUP_AUTO, "");
    int64_t pending;
    do
        pending = request(f, BACKUP_AUTO, "");
    while (pending == running);
    assert_int_equal(engine_cancel_job(f->engine, pending, NULL), 0);
    assert_int_equal(end_of(f, pending), JOB_CANCELLED);
    assert_int_equal(engine_cancel_job(f->engine, running, NULL), 0);
    assert_int_equal(end_of(f, running), JOB_CANCELLED);
    assert_int_equal(engine_cancel_job(f->engine, running, NULL), -EALREADY);
}

static int64_t restore(struct fixture *f, int64_t snapshot_id, bool safety)
{
    struct restore_request request = {.snapshot_id = snapshot_id, .safety = safety};
    struct error err = ERROR_INIT;
    int64_t job_id = 0;

    snprintf(request.target, sizeof(request.target), "%s", f->target);
    int r = engine_request_restore(f->engine, &request, &job_id, &err);
    if (r < 0)
        print_error("%s\n", err.message);
    assert_int_equal(r, 0);
    return job_id;
}

static void restore_writes_what_differs(void **state)
{
    struct fixture *f = *state;
    struct job_row job;

    back_up(f);
    struct snapshot_row row = latest(f);
    assert_int_equal(end_of(f, restore(f, row.id, true)), JOB_COMPLETED);
    assert_same_bytes(f, &row, f->target);

    // Damage one chunk, and write where the snapshot has a hole.
    write_noise(f->target, 2 * MIB + 100, 10, 5);
    write_noise(f->target, 20 * MIB, 10, 6);
    int64_t job_id = restore(f, row.id, true);
    assert_int_equal(end_of(f, job_id), JOB_COMPLETED);
    assert_same_bytes(f, &row, f->target);
    job = job_of(f, job_id);
    assert_int_equal(job.restore_written, 2 * row.chunk_size);
    assert_int_equal(job.restore_verified, 2 * row.chunk_size);
    assert_int_not_equal(job.restore_safety_job, 0);
    job = job_of(f, job.restore_safety_job);
    assert_int_equal(job.trigger, TRIGGER_PRE_RESTORE_SAFETY);
    assert_int_equal(job.state, JOB_COMPLETED);
    // A safety copy of something that is not the disk's source is not the disk's latest.
    assert_int_equal(latest(f).id, row.id);
}

static void roll_back(struct fixture *f, bool safety, const char *fault)
{
    struct job_row job;
    char *before, *after;
    size_t before_len, after_len;

    assert_int_equal(end_of(f, request(f, BACKUP_FULL, "")), JOB_COMPLETED);
    struct snapshot_row row = latest(f);
    unlink(f->target);
    write_noise(f->target, 0, 6 * MIB, 77);
    assert_int_equal(truncate(f->target, (off_t)row.capacity), 0);
    assert_int_equal(io_read_file(f->target, 64 * MIB, &before, &before_len, NULL), 0);

    arm(fault);
    int64_t job_id = restore(f, row.id, safety);
    assert_int_equal(end_of(f, job_id), JOB_FAILED);
    fault_disarm();
    job = job_of(f, job_id);
    assert_non_null(strstr(job.reason, "put back as it was"));
    assert_non_null(strstr(job.reason, "injected fault"));
    assert_int_equal(io_read_file(f->target, 64 * MIB, &after, &after_len, NULL), 0);
    assert_int_equal(before_len, after_len);
    assert_memory_equal(before, after, before_len);
    free(before);
    free(after);
}

static void restore_rolls_back(void **state)
{
    roll_back(*state, true, "restore-write:10=EIO");
    roll_back(*state, false, "restore-write:10=ENOSPC");
    roll_back(*state, true, "restore-verify:5=EIO");
    roll_back(*state, false, "restore-sync=EIO");
}

static void failed_disk_keeps_the_others(void **state)
{
    struct fixture *f = *state;
    struct engine_disk_spec disk = {.name = "vdb"};
    char path[PATH_MAX];
    struct job_row job;
    struct context_row context;
    struct catalog_conn *conn;

    snprintf(path, sizeof(path), "%s", scratch_path(&f->scratch, "gone.raw"));
    write_noise(path, 0, 100000, 9);
    disk.source = path;
    assert_int_equal(engine_add_vm(f->engine, "web1", &disk, 1, NULL), 0);
    unlink(path);
    int64_t job_id = request(f, BACKUP_AUTO, "");
    assert_int_equal(end_of(f, job_id), JOB_FAILED);
    job = job_of(f, job_id);
    assert_non_null(strstr(job.reason, "web1/vdb"));
    assert_non_null(strstr(job.reason, "No such file"));
    struct snapshot_row row = latest(f);
    assert_int_equal(row.job_id, job_id);
    assert_same_bytes(f, &row, f->disk);
    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(context_get(conn, f->context_id, &context, NULL), 0);
    catalog_read_end(conn);
    assert_int_equal(context.runs, 1);
    assert_int_equal(context.failures, 1);
    assert_int_equal(context.successes, 0);
}

static void removing_and_forgetting(void **state)
{
    struct fixture *f = *state;

    back_up(f);
    struct snapshot_row row = latest(f);
    assert_int_equal(engine_remove_disk(f->engine, row.disk_id, NULL), -ENOTEMPTY);
    assert_int_equal(engine_remove_context(f->engine, f->context_id, true, NULL), -ENOTEMPTY);
    assert_int_equal(engine_hold_snapshot(f->engine, row.id, NULL), 0);
    assert_int_equal(engine_forget_snapshot(f->engine, row.id, NULL), -EBUSY);
    engine_release_snapshot(f->engine, row.id);
    assert_int_equal(engine_forget_snapshot(f->engine, row.id, NULL), 0);
    assert_int_equal(engine_hold_snapshot(f->engine, row.id, NULL), -ENOENT);
    assert_int_equal(engine_remove_context(f->engine, f->context_id, false, NULL), -ENOTEMPTY);
    assert_int_equal(engine_remove_context(f->engine, f->context_id, true, NULL), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(full_then_incremental),
        TEST(holes_and_latest),
        TEST(serial_twin),
        TEST(pending_rule),
        TEST(cancelling),
        TEST(restore_writes_what_differs),
        TEST(restore_rolls_back),
        TEST(failed_disk_keeps_the_others),
        TEST(removing_and_forgetting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
