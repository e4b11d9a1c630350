// SPDX-License-Identifier: MIT
//
// Verification, damage and healing in an engine without a mount. Runs under ThreadSanitizer too.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "catalog/damage.h"
#include "catalog/snapshot.h"
#include "fs/job/engine.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KIB 1024u
#define CHUNK (64 * KIB)

struct fixture {
    struct scratch scratch;
    char repo[PATH_MAX], disk[PATH_MAX];
    struct engine *engine;
    int64_t context_id;
    unsigned seed;
};

static void change_disk(struct fixture *f, size_t offset, size_t len)
{
    int fd = open(f->disk, O_WRONLY | O_CREAT, 0600);
    char *data = malloc(len);

    assert_true(fd >= 0);
    for (size_t i = 0; i < len; i++) {
        f->seed = f->seed * 1103515245u + 12345u;
        data[i] = (char)(f->seed >> 16);
    }
    assert_int_equal(io_write_at(fd, data, len, offset, f->disk, NULL), 0);
    free(data);
    close(fd);
}

static enum job_state end_of(struct fixture *f, int64_t job_id)
{
    enum job_state state = JOB_STATE_UNKNOWN;
    assert_int_equal(engine_wait_job(f->engine, job_id, 60000, &state, NULL), 0);
    return state;
}

static int64_t ask_for_backup(struct fixture *f, bool verify_after)
{
    struct backup_request request = {.context_id = f->context_id,
                                     .mode = BACKUP_AUTO,
                                     .trigger = TRIGGER_MANUAL,
                                     .verify_after = verify_after};
    int64_t job_id = 0;

    assert_int_equal(engine_request_backup(f->engine, &request, &job_id, NULL, NULL), 0);
    return job_id;
}

static int64_t ask(struct fixture *f, const char *words)
{
    struct error err = ERROR_INIT;
    int64_t job_id = 0;

    if (engine_request_upkeep(f->engine, JOB_VERIFY, words, strlen(words), 0, &job_id, NULL, &err) <
        0)
        fail_msg("%s: %s", words, error_message(&err));
    return job_id;
}

static struct job_row job(struct fixture *f, int64_t id)
{
    struct catalog_conn *conn;
    struct job_row row;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(job_get(conn, id, &row, NULL), 0);
    catalog_read_end(conn);
    return row;
}

static int note_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    (void)err;
    *(struct snapshot_row *)arg = *row;
    return 0;
}

static struct snapshot_row newest(struct fixture *f)
{
    struct snapshot_filter filter = {.context_id = f->context_id};
    struct catalog_conn *conn;
    struct snapshot_row row = {0};

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(snapshot_each(conn, &filter, note_snapshot, &row, NULL), 0);
    catalog_read_end(conn);
    assert_true(row.id > 0);
    return row;
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
    struct fixture *f = calloc(1, sizeof(*f));
    struct engine_options options = {.command = "test", .workers = 2};
    struct engine_disk_spec disk = {.name = "vda"};
    struct context_row context;
    struct catalog_conn *conn;

    assert_int_equal(scratch_make(&f->scratch), 0);
    snprintf(f->repo, sizeof(f->repo), "%s", scratch_path(&f->scratch, "repo"));
    snprintf(f->disk, sizeof(f->disk), "%s", scratch_path(&f->scratch, "disk.raw"));
    change_disk(f, 0, 20 * CHUNK);
    assert_int_equal(
        repository_init(f->repo, &(struct repository_choices){.chunk_size = CHUNK}, NULL), 0);
    assert_int_equal(engine_open(f->repo, &options, &f->engine, NULL, NULL), 0);
    disk.source = f->disk;
    assert_int_equal(engine_add_vm(f->engine, "web1", &disk, 1, NULL), 0);
    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(context_find(conn, "web1", &context, NULL), 0);
    catalog_read_end(conn);
    f->context_id = context.id;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    engine_close(f->engine);
    assert_int_equal(scratch_remove(&f->scratch), 0);
    free(f);
    return 0;
}

static void damage_is_found_and_healed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(end_of(f, ask_for_backup(f, false)), JOB_COMPLETED);
    int64_t first = newest(f).id;
    assert_int_equal(end_of(f, ask(f, "")), JOB_COMPLETED);
    assert_true(newest(f).verified_at > 0);
    flip(f);
    int64_t found = ask(f, "web1");
    assert_int_equal(end_of(f, found), JOB_FAILED);
    assert_true(job(f, found).damage);
    assert_int_equal(damaged_bytes(f, first), CHUNK);
    assert_true(newest(f).damaged);

    assert_int_equal(end_of(f, ask_for_backup(f, false)), JOB_COMPLETED);
    assert_int_equal(newest(f).kind, SNAPSHOT_INCREMENTAL);
    assert_true(newest(f).new_bytes > CHUNK);
    assert_int_equal(newest(f).changed_bytes, 0); // stored again, and not changed
    assert_int_equal(damaged_bytes(f, first), 0);
    assert_int_equal(end_of(f, ask(f, "")), JOB_COMPLETED);
}

static void reopen(struct fixture *f)
{
    struct engine_options options = {.command = "test", .workers = 2};

    engine_close(f->engine);
    f->engine = NULL;
    assert_int_equal(engine_open(f->repo, &options, &f->engine, NULL, NULL), 0);
}

// Bases of deltas go with their pack. The deltas themselves are as they were, and so is the disk:
// what cannot be decoded any more is stored again, and the snapshot before is whole with it.
static void lost_bases_are_healed(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX + 64];

    assert_int_equal(end_of(f, ask_for_backup(f, false)), JOB_COMPLETED);
    int64_t first = newest(f).id;
    pack_path(f, path, sizeof(path));
    for (size_t i = 0; i < 20; i++)
        change_disk(f, i * CHUNK, KIB);
    assert_int_equal(end_of(f, ask_for_backup(f, false)), JOB_COMPLETED);
    int64_t second = newest(f).id;
    assert_true(newest(f).new_bytes < 20 * CHUNK / 2);

    assert_int_equal(unlink(path), 0);
    reopen(f); // start-up sees that the pack is missing
    assert_int_equal(end_of(f, ask_for_backup(f, false)), JOB_COMPLETED);
    assert_int_equal(newest(f).changed_bytes, 0);
    assert_int_equal(end_of(f, ask(f, "")), JOB_FAILED); // the first is lost
    assert_int_equal(damaged_bytes(f, newest(f).id), 0);
    assert_int_equal(damaged_bytes(f, second), 0);
    assert_true(damaged_bytes(f, first) > 0);
}

// Verifications and backups at once, over the same packs.
static void beside_backups(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(end_of(f, ask_for_backup(f, false)), JOB_COMPLETED);
    for (int i = 0; i < 5; i++) {
        change_disk(f, (size_t)i * CHUNK, 3 * CHUNK);
        int64_t backup = ask_for_backup(f, false), verification = ask(f, i % 2 ? "web1" : "");
        assert_int_equal(end_of(f, backup), JOB_COMPLETED);
        assert_int_equal(end_of(f, verification), JOB_COMPLETED);
    }
    flip(f);
    int64_t backup = ask_for_backup(f, false), verification = ask(f, "");
    assert_int_equal(end_of(f, backup), JOB_COMPLETED);
    assert_int_equal(end_of(f, verification), JOB_FAILED);
    // Whichever came first, what is recorded is what cannot be read: a backup heals it.
    assert_int_equal(end_of(f, ask_for_backup(f, false)), JOB_COMPLETED);
    assert_int_equal(damaged_bytes(f, newest(f).id), 0);
}

static int note_last(const struct job_row *row, void *arg, struct error *err)
{
    (void)err;
    *(int64_t *)arg = row->id;
    return 0;
}

static void after_a_backup(void **state)
{
    struct fixture *f = *state;
    struct job_filter filter = {.kind = JOB_VERIFY};
    struct catalog_conn *conn;
    int64_t follower = 0;

    assert_int_equal(end_of(f, ask_for_backup(f, true)), JOB_COMPLETED);
    // It is there as soon as the backup has ended.
    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(job_each(conn, &filter, note_last, &follower, NULL), 0);
    catalog_read_end(conn);
    assert_true(follower > 0);
    assert_int_equal(end_of(f, follower), JOB_COMPLETED);
    assert_true(newest(f).verified_at > 0);
}

static void requests_join(void **state)
{
    struct fixture *f = *state;
    bool joined = true;
    int64_t a = 0, b = 0;

    assert_int_equal(end_of(f, ask_for_backup(f, false)), JOB_COMPLETED);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
