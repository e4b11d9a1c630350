// SPDX-License-Identifier: MIT
//
// Garbage collection of a store: what is live stays and can be read, what is dead goes, what
// running backups rely on stays although no snapshot refers to it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/image.h"
#include "tests/unit/gc_testing.h"

#include <signal.h>
#include <sys/resource.h>

// --- what goes and what stays

static void test_dead_packs_go(void **state)
{
    struct store_fixture *fixture = *state;
    struct gc_result result;
    uint64_t before;

    snapshot(fixture, 0, 10);
    leave(fixture, 20, 10);
    leave(fixture, 40, 10);
    before = files_of(fixture).bytes;
    result = collect(fixture);
    assert_int_equal(result.packs, 3);
    assert_int_equal(result.snapshots, 1);
    assert_int_equal(result.packs_dropped, 2);
    assert_int_equal(result.packs_rewritten, 0);
    assert_int_equal(files_of(fixture).bytes, before - result.freed_bytes);
    assert_true(result.freed_bytes > 10 * CHUNK);
    assert_chunks(fixture, 0, 10);
    assert_false(is_there(fixture, 20));
    assert_nothing_to_do(fixture);
}

static void test_rewriting(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 30);
    struct gc_result result;
    uint64_t before;

    snapshot(fixture, 0, 10); // shares these
    before = files_of(fixture).bytes;
    assert_nothing_to_do(fixture);
    forget(fixture, first);
    result = collect(fixture);
    assert_int_equal(result.packs_dropped, 0);
    assert_int_equal(result.packs_rewritten, 1);
    assert_int_equal(result.packs_made, 1);
    assert_int_equal(before - result.freed_bytes, files_of(fixture).bytes);
    assert_true(result.dead_bytes >= result.freed_bytes - 100);
    assert_chunks(fixture, 0, 10);
    assert_false(is_there(fixture, 10));
    assert_nothing_to_do(fixture);
}

static void test_threshold(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 20);
    struct gc_result result;

    snapshot(fixture, 0, 18); // two of twenty are dead, and the map
    forget(fixture, first);
    assert_nothing_to_do(fixture);
    result = collect_with(fixture, (struct gc_options){.threshold = 100}, 0);
    assert_int_equal(result.packs_rewritten, 0);
    assert_true(is_there(fixture, 19));
    result = collect_with(fixture, (struct gc_options){.threshold = 5}, 0);
    assert_int_equal(result.packs_rewritten, 1);
    assert_false(is_there(fixture, 19));
    assert_chunks(fixture, 0, 18);
}

static void test_small_packs_are_merged(void **state)
{
    struct store_fixture *fixture = *state;
    struct gc_result result;

    for (uint64_t i = 0; i < 15; i++)
        snapshot(fixture, i, 2);
    assert_nothing_to_do(fixture);
    snapshot(fixture, 15, 2);
    result = collect(fixture);
    assert_int_equal(result.packs_rewritten, 16);
    assert_int_equal(result.packs_made, 1);
    assert_int_equal(files_of(fixture).sealed, 1);
    assert_chunks(fixture, 0, 17);
    assert_nothing_to_do(fixture);
}

// With packs of 64 KiB a collection takes many steps.
static void test_many_steps(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first;
    struct gc_result result;

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 65536, 0, NULL), 0);
    first = snapshot(fixture, 0, 60);
    snapshot(fixture, 20, 20);
    leave(fixture, 70, 20);
    forget(fixture, first);
    result = collect(fixture);
    assert_true(result.packs_dropped > 4 && result.packs_made >= 1);
    assert_chunks(fixture, 20, 20);
    assert_false(is_there(fixture, 0));
    assert_false(is_there(fixture, 75));
    assert_nothing_to_do(fixture);
}

static void test_a_dry_run_foretells(void **state)
{
    struct store_fixture *fixture = *state;
    struct gc_result told, done;
    uint64_t before;
    int64_t first;

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 100000, 0, NULL), 0);
    first = snapshot(fixture, 0, 60);
    for (uint64_t i = 0; i < 20; i++)
        snapshot(fixture, i * 3, 1);
    forget(fixture, first);
    leave(fixture, 70, 9);
    before = files_of(fixture).bytes;
    told = collect_with(fixture, (struct gc_options){.dry_run = true}, 0);
    assert_int_equal(files_of(fixture).bytes, before);
    done = collect(fixture);
    assert_memory_equal(&told, &done, sizeof(told));
    assert_int_equal(files_of(fixture).bytes, before - done.freed_bytes);
    assert_true(done.packs_dropped > 0 && done.packs_rewritten > 0);
}

// --- what running backups rely on

static void test_provisional_packs_stay(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);

    write_map(writer, 0, 5);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_nothing_to_do(fixture);
    store_writer_close(writer);
    assert_nothing_to_do(fixture);
    assert_chunks(fixture, 0, 5);
}

static void test_pins(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest id = id_of(3);
    struct gc_result result;

    leave(fixture, 0, 10);
    assert_int_equal(knows(fixture, writer, &id), 1);
    result = collect(fixture);
    assert_int_equal(result.packs_dropped, 0);
    assert_chunks(fixture, 3, 1);
    assert_false(is_there(fixture, 4));
    // The pin went with the copy.
    collect(fixture);
    assert_chunks(fixture, 3, 1);
    assert_int_equal(knows(fixture, writer, &id), 1);
    store_writer_close(writer);
    result = collect(fixture);
    assert_int_equal(result.packs_dropped, 1);
    assert_false(is_there(fixture, 3));
}

struct beside {
    struct store_fixture *fixture;
    struct store_writer *writer;
    uint64_t chunk;
    int calls, at;
    int64_t snapshot; // of 0: none is made
    bool makes;
};

// A whole backup that finds a dead chunk, or only its first step, while a collection is marking.
static int work_beside(uint64_t done, uint64_t total, void *arg, struct error *err)
{
    struct beside *beside = arg;
    struct digest id = id_of(beside->chunk);

    (void)done;
    (void)total;
    (void)err;
    if (beside->calls++ != beside->at)
        return 0;
    if (beside->makes) {
        beside->snapshot = snapshot(beside->fixture, beside->chunk, 1);
        return 0;
    }
    assert_int_equal(knows(beside->fixture, beside->writer, &id), 1);
    store_writer_close(TAKE(beside->writer, NULL));
    return 0;
}

static void test_pins_outlive_their_writer(void **state)
{
    struct store_fixture *fixture = *state;
    struct beside beside = {.fixture = fixture, .writer = writer_of(fixture), .chunk = 3};
    struct gc_options options = {.progress = work_beside, .arg = &beside};

    snapshot(fixture, 20, 1);
    leave(fixture, 0, 10);
    collect_with(fixture, options, 0);
    assert_null(beside.writer);
    assert_chunks(fixture, 3, 1);
    collect(fixture);
    assert_false(is_there(fixture, 3));
}

static void test_a_backup_beside(void **state)
{
    struct store_fixture *fixture = *state;

    // At every moment at which a collection tells how far it is.
    for (int at = 0, calls = 1; at < calls; at++) {
        struct beside beside = {.fixture = fixture, .chunk = 34, .at = at, .makes = true};
        struct gc_options options = {.progress = work_beside, .arg = &beside};
        int64_t kept = snapshot(fixture, 0, 20), other = snapshot(fixture, 20, 30);

        snapshot(fixture, 20, 5);
        forget(fixture, other);
        collect_with(fixture, options, 0);
        calls = beside.calls;
        assert_true(beside.snapshot > 0);
        assert_chunks(fixture, 34, 1);
        assert_chunks(fixture, 0, 25);
        collect(fixture);
        assert_chunks(fixture, 34, 1);
        forget(fixture, beside.snapshot);
        forget(fixture, kept);
        collect_with(fixture, (struct gc_options){.threshold = 1}, 0);
        assert_false(is_there(fixture, 34));
    }
}

// A view begins with the first look.
static struct catalog_conn *begin_view(struct store_fixture *fixture, const struct digest *id)
{
    struct chunk_location location;
    struct catalog_conn *conn;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(chunk_lookup(conn, id, 0, &location, NULL), 1);
    return conn;
}

static void test_a_lease_from_before(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct catalog_conn *old;
    struct digest dead = id_of(3), live = id_of(20);
    int64_t first = snapshot(fixture, 20, 30);

    snapshot(fixture, 20, 5);
    forget(fixture, first);
    leave(fixture, 0, 10);
    old = begin_view(fixture, &dead);
    collect(fixture);
    assert_int_equal(store_writer_knows(writer, old, &dead, NULL), 0);
    assert_int_equal(store_writer_knows(writer, old, &live, NULL), 1);
    catalog_read_end(old);
    store_writer_close(writer);
}

// A reader with an old lease finds what was moved.
static void count_damage(const struct chunk_location *copy, void *arg)
{
    (void)copy;
    ++*(int *)arg;
}

static void test_readers_look_again(void **state)
{
    struct store_fixture *fixture = *state;
    int damaged = 0;
    int64_t first = snapshot(fixture, 0, 30);
    struct catalog_conn *old;
    struct digest id = id_of(7);
    size_t len;
    void *data;

    store_on_damage(fixture->store, count_damage, &damaged);
    snapshot(fixture, 0, 10);
    forget(fixture, first);
    old = begin_view(fixture, &id);
    assert_int_equal(collect(fixture).packs_rewritten, 1);
    assert_int_equal(store_get(fixture->store, old, RECORD_CHUNK, &id, true, &data, &len, NULL), 0);
    free(data);
    catalog_read_end(old);
    assert_int_equal(damaged, 0); // it moved
}

static struct image *open_image(struct store_fixture *fixture, int64_t snapshot_id)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct snapshot_row row;
    struct image *image;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(snapshot_get(conn, snapshot_id, &row, NULL), 0);
    assert_int_equal(
        image_open(fixture->store, &row.digest, row.capacity, row.chunk_size, &image, NULL), 0);
    return image;
}

static void assert_image(struct image *image, uint64_t count)
{
    uint8_t data[CHUNK], expected[CHUNK];
    struct error err = ERROR_INIT;

    for (uint64_t n = 0; n < count; n++) {
        content(n, expected);
        if (image_read(image, data, CHUNK, n * CHUNK, &err) != CHUNK)
            fail_msg("chunk %llu: %s", (unsigned long long)n, error_message(&err));
        assert_memory_equal(data, expected, CHUNK);
    }
}

// Two images of a snapshot that is forgotten: what they refer to goes with the second.
static void test_open_images_stay(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 30);
    AUTO(image_close) struct image *image = NULL, *other = NULL;
    struct gc_result result;

    snapshot(fixture, 0, 10);
    image = open_image(fixture, first);
    other = open_image(fixture, first);
    assert_int_equal(collect(fixture).forgotten_open, 0);
    forget(fixture, first);
    result = collect(fixture);
    assert_int_equal(result.forgotten_open, 1);
    assert_int_equal(result.snapshots, 1);
    assert_int_equal(result.packs_dropped + result.packs_rewritten, 0);
    other = image_close(other);
    assert_int_equal(collect(fixture).forgotten_open, 1);
    assert_image(image, 30);
    image = image_close(image);
    assert_int_equal(collect(fixture).packs_rewritten, 1);
    assert_false(is_there(fixture, 10));
    assert_chunks(fixture, 0, 10);
}

// What is dead around them goes, and they are read where their records went.
static void test_open_images_move(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t larger = snapshot(fixture, 0, 40), first = snapshot(fixture, 0, 10);
    AUTO(image_close) struct image *image = open_image(fixture, first);

    snapshot(fixture, 50, 5);
    forget(fixture, larger);
    forget(fixture, first);
    assert_true(collect(fixture).packs_rewritten > 0);
    assert_false(is_there(fixture, 20));
    assert_image(image, 10);
}

// --- ends

static int end_at(uint64_t done, uint64_t total, void *arg, struct error *err)
{
    int *left = arg;

    assert_true(done <= total);
    return (*left)-- == 0 ? error_set(err, -ECANCELED, "enough") : 0;
}

static void test_ending_anywhere(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first;
    int ended = 0;

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 100000, 0, NULL), 0);
    first = snapshot(fixture, 0, 60);
    snapshot(fixture, 20, 20);
    leave(fixture, 70, 20);
    forget(fixture, first);
    for (int calls = 0; calls < 500; calls++) {
        int left = calls;
        struct gc_options options = {.progress = end_at, .arg = &left};
        struct gc_result result;
        int r = store_gc(fixture->store, &options, &result, NULL);

        assert_chunks(fixture, 20, 20);
        assert_int_equal(files_of(fixture).sealed, packs_of(fixture).packs);
        assert_int_equal(files_of(fixture).open, 0);
        if (r == 0)
            break;
        assert_int_equal(r, -ECANCELED);
        ended++;
    }
    assert_true(ended > 5);
    assert_false(is_there(fixture, 0));
    assert_false(is_there(fixture, 75));
    assert_nothing_to_do(fixture);
}

static void test_faults(void **state)
{
    static const char *const faults[] = {
        "gc-mark=EIO",       "gc-copied=EIO",      "gc-commit=EIO",
        "gc-committed=EIO",  "pack-create=ENOSPC", "pack-read=EIO",
        "1-pack-append=EIO", "2-pack-sync=EIO",    "2-pack-rename=EIO"};
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 30);

    snapshot(fixture, 0, 10);
    forget(fixture, first);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct gc_result result;

        arm(faults[i]);
        assert_true(store_gc(fixture->store, &(struct gc_options){0}, &result, NULL) < 0);
        arm(NULL);
        assert_int_equal(files_of(fixture).open, 0);
        assert_int_equal(files_of(fixture).sealed, packs_of(fixture).packs);
        assert_chunks(fixture, 0, 10);
        if (strcmp(faults[i], "gc-committed=EIO") == 0) {
            leave(fixture, 40, 30); // something to do again
            forget(fixture, snapshot(fixture, 40, 30));
            snapshot(fixture, 40, 9);
        }
    }
    collect(fixture);
    assert_chunks(fixture, 0, 10);
    assert_chunks(fixture, 40, 9);
    assert_nothing_to_do(fixture);
}

// There is no room for one of the new packs: the others are made, and give some back.
static void test_a_disk_too_full_for_one_batch(void **state)
{
    struct store_fixture *fixture = *state;
    struct gc_result result;
    int64_t first;

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 20 * CHUNK, 0, NULL), 0);
    first = snapshot(fixture, 0, 90);
    for (uint64_t n = 0; n < 90; n += 10)
        snapshot(fixture, n, 6);
    forget(fixture, first);
    arm("pack-create=ENOSPC");
    result = collect(fixture);
    arm(NULL);
    assert_true(result.packs_without_room > 0);
    assert_true(result.packs_rewritten > 0);
    assert_true(result.freed_bytes > 0);
    result = collect(fixture);
    assert_int_equal(result.packs_without_room, 0);
    assert_true(result.packs_rewritten > 0);
    for (uint64_t n = 0; n < 90; n += 10)
        assert_chunks(fixture, n, 6);
}

// Nothing can be written any more: the packs are there as before, and a backup need not store
// again what is in them.
static void test_a_commit_that_fails(void **state)
{
    struct store_fixture *fixture = *state;
    struct rlimit limit, none;
    struct error err = ERROR_INIT;
    struct digest id = id_of(54);
    struct store_writer *writer;
    struct gc_result result;
    int r;

    leave(fixture, 50, 10);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 1, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    r = store_gc(fixture->store, &(struct gc_options){0}, &result, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_true(r < 0);
    assert_non_null(strstr(error_message(&err), "commit"));
    assert_int_equal(result.packs_dropped, 0);

    writer = writer_of(fixture);
    assert_int_equal(knows(fixture, writer, &id), 1);
    assert_int_equal(collect(fixture).packs_made, 1); // it is pinned
    assert_int_equal(knows(fixture, writer, &id), 1);
    store_writer_close(writer);
    assert_chunks(fixture, 54, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_dead_packs_go),
        STORE_TEST(test_rewriting),
        STORE_TEST(test_threshold),
        STORE_TEST(test_small_packs_are_merged),
        STORE_TEST(test_many_steps),
        STORE_TEST(test_a_dry_run_foretells),
        STORE_TEST(test_provisional_packs_stay),
        STORE_TEST(test_pins),
        STORE_TEST(test_pins_outlive_their_writer),
        STORE_TEST(test_a_backup_beside),
        STORE_TEST(test_a_lease_from_before),
        STORE_TEST(test_readers_look_again),
        STORE_TEST(test_open_images_stay),
        STORE_TEST(test_open_images_move),
        STORE_TEST(test_ending_anywhere),
        STORE_TEST(test_faults),
        STORE_TEST(test_a_disk_too_full_for_one_batch),
        STORE_TEST(test_a_commit_that_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
