// SPDX-License-Identifier: MIT
//
// Verification, damage and healing in an engine without a mount. Runs under ThreadSanitizer too.
#include "catalog/damage.h"
#include "tests/unit/engine_fixture.h"

#define CHUNK (64 * KIB)

static const struct engine_options options = {.command = "test", .workers = 2};

static int64_t ask(struct fixture *f, const char *words)
{
    struct error err = ERROR_INIT;
    int64_t job_id = 0;

    if (engine_request_upkeep(f->engine, JOB_VERIFY, words, strlen(words), 0, &job_id, NULL, &err) <
        0)
        fail_msg("%s: %s", words, error_message(&err));
    return job_id;
}

static int count_extent(const struct damage_extent *extent, void *arg, struct error *err)
{
    uint64_t *bytes = arg;
    (void)err;
    *bytes += extent->length;
    return 0;
}

static uint64_t damaged_bytes(struct fixture *f, int64_t snapshot_id)
{
    struct catalog_conn *conn;
    uint64_t bytes = 0;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(damage_each(conn, snapshot_id, count_extent, &bytes, NULL), 0);
    catalog_read_end(conn);
    return bytes;
}

static int note_largest(const struct pack_row *row, void *arg, struct error *err)
{
    struct pack_row *largest = arg;
    (void)err;
    if (row->file_bytes > largest->file_bytes)
        *largest = *row;
    return 0;
}

// The largest pack; returns its size.
static off_t pack_path(struct fixture *f, char *path, size_t size)
{
    struct catalog_conn *conn;
    struct pack_row largest = {0};

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(pack_each(conn, 0, note_largest, &largest, NULL), 0);
    catalog_read_end(conn);
    snprintf(path, size, "%s/packs/%.2s/%s.pack", f->repo, largest.uuid, largest.uuid);
    return (off_t)largest.file_bytes;
}

// The byte in the middle of the largest pack: content of a chunk.
static void flip(struct fixture *f)
{
    char path[PATH_MAX + 64];
    off_t size = pack_path(f, path, sizeof(path));
    uint8_t byte;
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, size / 2), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, size / 2), 1);
    close(fd);
}

static int setup(void **state)
{
    *state = fixture_make(&(struct repository_choices){.chunk_size = CHUNK}, &options, 20 * CHUNK);
    return 0;
}

static void damage_is_found_and_healed(void **state)
{
    struct fixture *f = *state;

    back_up(f);
    int64_t first = latest(f).id;
    assert_int_equal(end_of(f, ask(f, "")), JOB_COMPLETED);
    assert_true(latest(f).verified_at > 0);
    flip(f);
    int64_t found = ask(f, "web1");
    assert_int_equal(end_of(f, found), JOB_FAILED);
    assert_true(job_of(f, found).damage);
    assert_int_equal(damaged_bytes(f, first), CHUNK);
    assert_true(latest(f).damaged);

    back_up(f);
    assert_int_equal(latest(f).kind, SNAPSHOT_INCREMENTAL);
    assert_true(latest(f).new_bytes > CHUNK);
    assert_int_equal(latest(f).changed_bytes, 0); // stored again, and not changed
    assert_int_equal(damaged_bytes(f, first), 0);
    assert_int_equal(end_of(f, ask(f, "")), JOB_COMPLETED);
}

// Bases of deltas go with their pack. The deltas themselves are as they were, and so is the disk:
// what cannot be decoded any more is stored again, and the snapshot before is whole with it.
static void lost_bases_are_healed(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX + 64];

    back_up(f);
    int64_t first = latest(f).id;
    pack_path(f, path, sizeof(path));
    for (size_t i = 0; i < 20; i++)
        change_disk(f, i * CHUNK, KIB);
    back_up(f);
    int64_t second = latest(f).id;
    assert_true(latest(f).new_bytes < 20 * CHUNK / 2);

    assert_int_equal(unlink(path), 0);
    reopen(f, &options); // start-up sees that the pack is missing
    back_up(f);
    assert_int_equal(latest(f).changed_bytes, 0);
    assert_int_equal(end_of(f, ask(f, "")), JOB_FAILED); // the first is lost
    assert_int_equal(damaged_bytes(f, latest(f).id), 0);
    assert_int_equal(damaged_bytes(f, second), 0);
    assert_true(damaged_bytes(f, first) > 0);
}

// Verifications and backups at once, over the same packs.
static void beside_backups(void **state)
{
    struct fixture *f = *state;

    back_up(f);
    for (int i = 0; i < 5; i++) {
        change_disk(f, (size_t)i * CHUNK, 3 * CHUNK);
        int64_t backup = request_backup(f, (struct backup_request){0}),
                verification = ask(f, i % 2 ? "web1" : "");
        assert_int_equal(end_of(f, backup), JOB_COMPLETED);
        assert_int_equal(end_of(f, verification), JOB_COMPLETED);
    }
    flip(f);
    int64_t backup = request_backup(f, (struct backup_request){0}), verification = ask(f, "");
    assert_int_equal(end_of(f, backup), JOB_COMPLETED);
    assert_int_equal(end_of(f, verification), JOB_FAILED);
    // Whichever came first, what is recorded is what cannot be read: a backup heals it.
    back_up(f);
    assert_int_equal(damaged_bytes(f, latest(f).id), 0);
}

static void after_a_backup(void **state)
{
    struct fixture *f = *state;
    int64_t backup = request_backup(f, (struct backup_request){.verify_after = true});

    assert_int_equal(end_of(f, backup), JOB_COMPLETED);
    // It is there as soon as the backup has ended.
    int64_t follower = newest_job(f, JOB_VERIFY).id;
    assert_true(follower > 0);
    assert_int_equal(end_of(f, follower), JOB_COMPLETED);
    assert_true(latest(f).verified_at > 0);
}

static void requests_join(void **state)
{
    struct fixture *f = *state;
    bool joined = true;
    int64_t a = 0, b = 0;

    back_up(f);
    assert_int_equal(engine_request_upkeep(f->engine, JOB_VERIFY, "5%", 2, 0, &a, &joined, NULL),
                     0);
    assert_false(joined);
    assert_int_equal(engine_request_upkeep(f->engine, JOB_VERIFY, "1/5", 3, 0, &b, &joined, NULL),
                     0);
    assert_true(a != b);
    assert_int_equal(engine_request_upkeep(f->engine, JOB_VERIFY, "web1 5%", 7, 0, &b, NULL, NULL),
                     -EINVAL);
    assert_int_equal(engine_request_upkeep(f->engine, JOB_VERIFY, "web9", 4, 0, &b, NULL, NULL),
                     -ENOENT);
    assert_int_equal(end_of(f, a), JOB_COMPLETED);
    assert_int_equal(end_of(f, b), JOB_COMPLETED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(damage_is_found_and_healed),
        TEST(lost_bases_are_healed),
        TEST(beside_backups),
        TEST(after_a_backup),
        TEST(requests_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
