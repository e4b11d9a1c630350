// SPDX-License-Identifier: MIT
//
// A snapshot as a disk, compared with the same disk in memory: reads of every size and place,
// holes, the odd end, many threads, and damage that stays where it is.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "fs/store/image.h"
#include "fs/store/leaf_misses.h"
#include "fs/store/store_members.h"

#include "tests/unit/store_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#define CHUNK 16384u

struct disk {
    uint8_t *data; // whole chunks
    uint64_t capacity;
    uint64_t chunks;
    struct digest root;
    struct image *image;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

// A disk with runs of data and holes, stored and opened. `whole`: no holes.
static void make_disk(struct store_fixture *fixture, uint64_t capacity, bool whole,
                      struct disk *disk)
{
    struct store_writer *writer;
    struct map_builder *builder;
    uint64_t seed = 88172645463325252u;
    bool data = true;

    disk->capacity = capacity;
    disk->chunks = (capacity + CHUNK - 1) / CHUNK;
    disk->data = calloc(disk->chunks + 1, CHUNK);
    assert_int_equal(store_writer_open(fixture->store, fixture->job_id, &writer, NULL), 0);
    assert_int_equal(map_builder_new(writer, capacity, CHUNK, &builder, NULL), 0);
    for (uint64_t i = 0; i < disk->chunks; i++) {
        uint8_t *chunk = disk->data + i * CHUNK;
        size_t len = i == disk->chunks - 1 ? capacity - i * CHUNK : CHUNK;
        struct digest id;

        if (next_random(&seed) % 5 == 0)
            data = !data;
        if (!data && !whole)
            continue;
        memset(chunk, (int)(next_random(&seed) % 255 + 1), len);
        bytes_put_le64(chunk, i + 1);
        if (len < 8)
            memset(chunk + len, 0, 8 - len);
        assert_int_equal(store_writer_put(writer, RECORD_CHUNK, chunk, CHUNK, &id, NULL), 0);
        assert_int_equal(map_builder_add(builder, i, &id, NULL), 0);
    }
    assert_int_equal(map_builder_finish(builder, &disk->root, NULL), 0);
    map_builder_free(builder);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(image_open(fixture->store, &disk->root, capacity, CHUNK, &disk->image, NULL),
                     0);
}

static void drop_disk(struct disk *disk)
{
    image_close(disk->image);
    free(disk->data);
}

static bool same(struct disk *disk, uint64_t offset, size_t len, uint8_t *buf)
{
    size_t expected = 0;
    ssize_t n;

    if (offset < disk->capacity)
        expected = len < disk->capacity - offset ? len : disk->capacity - offset;
    memset(buf, 0xee, len + 1);
    n = image_read(disk->image, buf, len, offset, NULL);
    return n == (ssize_t)expected && memcmp(buf, disk->data + offset, expected) == 0 &&
           buf[len] == 0xee;
}

static void test_reads(void **state)
{
    static const uint64_t capacities[] = {
        1, 7, 512, CHUNK, CHUNK + 1, 100 * CHUNK - 1, 700 * CHUNK + 12345};
    uint8_t *buf = malloc((1 << 20) + 1);

    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        uint64_t seed = 1234567 + i;
        struct disk disk;

        make_disk(*state, capacities[i], false, &disk);
        assert_int_equal(image_capacity(disk.image), capacities[i]);
        assert_int_equal(image_chunk_size(disk.image), CHUNK);
        for (uint64_t at = 0; at < disk.capacity; at += 1 << 20)
            assert_true(same(&disk, at, 1 << 20, buf));
        for (int k = 0; k < 300; k++) {
            uint64_t at = next_random(&seed) % (disk.capacity + 10);
            size_t len = next_random(&seed) % (k % 3 ? 5000 : 200000);

            if (at > disk.capacity)
                len = 0;
            assert_true(same(&disk, at, len, buf));
        }
        assert_int_equal(image_read(disk.image, buf, 10, disk.capacity, NULL), 0);
        assert_int_equal(image_read(disk.image, buf, 10, UINT64_MAX, NULL), 0);
        assert_int_equal(image_read(disk.image, buf, 0, 0, NULL), 0);
        drop_disk(&disk);
    }
    free(buf);
}

static bool is_hole(struct disk *disk, uint64_t chunk)
{
    struct digest id;

    assert_int_equal(image_chunk_id(disk->image, chunk, &id, NULL), 0);
    assert_int_equal(digest_is_zero(&id), chunk_is_zero(disk->data + chunk * CHUNK, CHUNK));
    return digest_is_zero(&id);
}

// SEEK_DATA and SEEK_HOLE against a walk over all chunks.
static void check_seeks(struct disk *disk, uint64_t offset)
{
    uint64_t data = disk->capacity, hole = disk->capacity, found;

    for (uint64_t chunk = disk->chunks; chunk-- > offset / CHUNK;) {
        uint64_t at = chunk * CHUNK > offset ? chunk * CHUNK : offset;

        if (is_hole(disk, chunk))
            hole = at;
        else
            data = at;
    }
    if (data < disk->capacity) {
        assert_int_equal(image_seek_data(disk->image, offset, &found, NULL), 0);
        assert_int_equal(found, data);
    } else {
        assert_int_equal(image_seek_data(disk->image, offset, &found, NULL), -ENXIO);
    }
    assert_int_equal(image_seek_hole(disk->image, offset, &found, NULL), 0);
    assert_int_equal(found, hole);
}

static void test_seeks(void **state)
{
    struct disk disk;
    uint64_t seed = 99, found;
    struct digest id;

    make_disk(*state, 700 * CHUNK + 5, false, &disk);
    for (int i = 0; i < 60; i++)
        check_seeks(&disk, next_random(&seed) % disk.capacity);
    check_seeks(&disk, 0);
    check_seeks(&disk, disk.capacity - 1);
    assert_int_equal(image_seek_data(disk.image, disk.capacity, &found, NULL), -ENXIO);
    assert_int_equal(image_seek_hole(disk.image, disk.capacity, &found, NULL), -ENXIO);
    assert_int_equal(image_seek_hole(disk.image, UINT64_MAX, &found, NULL), -ENXIO);
    assert_int_equal(image_chunk_id(disk.image, disk.chunks, &id, NULL), -EINVAL);
    drop_disk(&disk);

    make_disk(*state, 300 * CHUNK, true, &disk);
    assert_int_equal(image_seek_hole(disk.image, 0, &found, NULL), 0);
    assert_int_equal(found, disk.capacity); // the end is a hole
    drop_disk(&disk);
}

static void test_empty_and_huge_disks(void **state)
{
    struct store_fixture *fixture = *state;
    const uint64_t capacities[] = {0, CHUNK, UINT64_C(1) << 42, INT64_MAX};
    uint8_t buf[4096], zeros[4096] = {0};

    for (size_t i = 0; i < 4; i++) {
        struct store_writer *writer;
        struct map_builder *builder;
        struct digest root;
        struct image *image;
        uint64_t found;

        assert_int_equal(store_writer_open(fixture->store, fixture->job_id, &writer, NULL), 0);
        assert_int_equal(map_builder_new(writer, capacities[i], CHUNK, &builder, NULL), 0);
        assert_int_equal(map_builder_finish(builder, &root, NULL), 0);
        map_builder_free(builder);
        assert_int_equal(store_writer_seal(writer, NULL), 0);
        store_writer_close(writer);
        assert_int_equal(image_open(fixture->store, &root, capacities[i], CHUNK, &image, NULL), 0);
        assert_int_equal(image_seek_data(image, 0, &found, NULL), -ENXIO);
        if (capacities[i] > 0) {
            assert_int_equal(image_seek_hole(image, 0, &found, NULL), 0);
            assert_int_equal(found, 0);
            assert_int_equal(image_read(image, buf, 4096, capacities[i] - 4096, NULL), 4096);
            assert_memory_equal(buf, zeros, 4096);
        }
        image_close(image);
    }
}

struct crowd {
    struct disk disk;
    atomic_int failures;
    atomic_uint number;
};

static void *read_around(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t seed = 1000 + atomic_fetch_add(&crowd->number, 1);
    uint8_t *buf = malloc(200001);

    for (int i = 0; i < 300; i++) {
        uint64_t at = next_random(&seed) % crowd->disk.capacity, found;

        if (!same(&crowd->disk, at, next_random(&seed) % (i % 4 ? 4096 : 200000), buf))
            atomic_fetch_add(&crowd->failures, 1);
        if (i % 10 == 0 && image_seek_hole(crowd->disk.image, at, &found, NULL) < 0)
            atomic_fetch_add(&crowd->failures, 1);
    }
    free(buf);
    return NULL;
}

static void test_many_threads(void **state)
{
    struct store_fixture *fixture = *state;
    struct crowd crowd = {.failures = 0};
    pthread_t threads[12]; // more than an image keeps readers

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 200000, 2 << 20, NULL), 0);
    make_disk(fixture, 1500 * CHUNK + 77, false, &crowd.disk);
    for (int i = 0; i < 12; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_around, &crowd), 0);
    for (int i = 0; i < 12; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    drop_disk(&crowd.disk);
}

static int spoil(const struct pack_row *row, void *arg, struct error *err)
{
    struct store_fixture *fixture = arg;
    char name[100];
    int fd;

    (void)err;
    snprintf(name, sizeof(name), "packs/%.2s/%s.pack", row->uuid, row->uuid);
    fd = open(scratch_path(&fixture->scratch, name), O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "X", 1, 64 + 64 + 5), 1); // in the first record's payload
    close(fd);
    return 0;
}

static void test_damage_stays_where_it_is(void **state)
{
    struct store_fixture *fixture = *state;
    struct error err = ERROR_INIT;
    uint8_t buf[CHUNK];
    struct catalog_conn *conn;
    struct disk disk;

    make_disk(fixture, 20 * CHUNK, true, &disk);
    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(pack_each(conn, 0, spoil, fixture, NULL), 0);
    catalog_read_end(conn);
    assert_int_equal(image_read(disk.image, buf, 10, 100, &err), -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "payload checksum does not match"));
    assert_int_equal(image_read(disk.image, buf, CHUNK, 0, NULL), -ERROR_CORRUPT);
    for (uint64_t chunk = 1; chunk < 20; chunk++) {
        assert_int_equal(image_read(disk.image, buf, CHUNK, chunk * CHUNK, NULL), CHUNK);
        assert_memory_equal(buf, disk.data + chunk * CHUNK, CHUNK);
    }
    drop_disk(&disk);
}

static void test_open_refuses(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest missing = {{1, 2, 3}};
    struct image *image;
    struct disk disk;

    assert_int_equal(image_open(fixture->store, &missing, CHUNK, CHUNK, &image, NULL),
                     -ERROR_CORRUPT);
    make_disk(fixture, 20 * CHUNK, true, &disk);
    assert_int_equal(image_open(fixture->store, &disk.root, 19 * CHUNK, CHUNK, &image, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(image_open(fixture->store, &disk.root, 20 * CHUNK, 2 * CHUNK, &image, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(image_open(fixture->store, &disk.root, 20 * CHUNK, 12345, &image, NULL),
                     -EINVAL);
    drop_disk(&disk);
    assert_null(image_close(NULL));
}

// A view must be the bytes that image_read() copies.
static bool same_view(struct disk *disk, uint64_t at, size_t len)
{
    struct image_view view;
    size_t done = 0;
    bool same = true;

    if (image_view(disk->image, len, at, &view, NULL) < 0)
        return false;
    for (unsigned i = 0; i < view.count; i++) {
        same =
            same && memcmp(view.iov[i].iov_base, disk->data + at + done, view.iov[i].iov_len) == 0;
        done += view.iov[i].iov_len;
    }
    len = at >= disk->capacity ? 0 : len < disk->capacity - at ? len : disk->capacity - at;
    same = same && done == len && view.len == len;
    image_view_release(&view);
    return same;
}

struct ordered_reader {
    struct disk *disk;
    uint64_t begin;
    size_t step;
    uint8_t *buf; // NULL: views
    atomic_int *failures;
};

static void *read_in_order(void *arg)
{
    struct ordered_reader *reader = arg;

    for (uint64_t at = reader->begin; at < reader->disk->capacity; at += reader->step) {
        if (reader->buf ? !same(reader->disk, at, reader->step, reader->buf)
                        : !same_view(reader->disk, at, reader->step))
            atomic_fetch_add(reader->failures, 1);
    }
    return NULL;
}

// Readers in order, who are read ahead of, by views and by copies, from several places at once.
static void test_readers_in_order(void **state)
{
    static const size_t steps[] = {4096, CHUNK, 5 * CHUNK + 100, 1 << 20};
    struct store_fixture *fixture = *state;
    struct ordered_reader readers[8];
    struct chunk_cache_counts counts;
    pthread_t threads[8];
    atomic_int failures = 0;
    struct disk disk;

    make_disk(fixture, 900 * CHUNK + 77, false, &disk);
    for (unsigned i = 0; i < 8; i++) {
        readers[i] = (struct ordered_reader){.disk = &disk,
                                             .begin = i / 4 * 400 * CHUNK,
                                             .step = steps[i % 4],
                                             .buf = i < 4 ? NULL : malloc((1 << 20) + 1),
                                             .failures = &failures};
        assert_int_equal(pthread_create(&threads[i], NULL, read_in_order, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        free(readers[i].buf);
    }
    assert_int_equal(atomic_load(&failures), 0);
    counts = store_cache_counts(fixture->store);
    assert_true(counts.ahead_loads >= counts.ahead_used);
    drop_disk(&disk);
    assert_int_equal(store_cache_counts(fixture->store).ahead_bytes, 0);
}

// Nothing works for an image that is closed, however busy the threads are.
static void test_closing_while_it_is_read_ahead(void **state)
{
    struct store_fixture *fixture = *state;
    struct disk disk;

    make_disk(fixture, 600 * CHUNK, true, &disk);
    for (int round = 0; round < 50; round++) {
        struct image *whole = disk.image;

        assert_int_equal(
            image_open(fixture->store, &disk.root, disk.capacity, CHUNK, &disk.image, NULL), 0);
        for (uint64_t at = 0; at < (uint64_t)(round % 9 + 3) * CHUNK; at += CHUNK)
            assert_true(same_view(&disk, at, CHUNK));
        image_close(disk.image);
        disk.image = whole;
        assert_int_equal(store_cache_counts(fixture->store).ahead_bytes, 0);
    }
    // And it is not that nothing was ever read ahead.
    for (uint64_t at = 0; at < 8 * CHUNK; at += CHUNK)
        assert_true(same_view(&disk, at, CHUNK));
    for (int tries = 0; store_cache_counts(fixture->store).ahead_loads == 0; tries++) {
        assert_true(tries < 60000);
        usleep(1000);
    }
    drop_disk(&disk);
}

// How many places of chunks [first, end) are remembered.
static unsigned places_known(struct store_fixture *fixture, struct disk *disk, uint64_t first,
                             uint64_t end)
{
    unsigned known = 0;
    struct digest id;

    for (uint64_t i = first; i < end; i++) {
        assert_int_equal(image_chunk_id(disk->image, i, &id, NULL), 0);
        known += location_cache_has(fixture->store->locations, RECORD_CHUNK, &id);
    }
    return known;
}

// Small reads all over a leaf: after a few of them the catalog is not asked any more.
static void test_places_of_a_leaf(void **state)
{
    struct store_fixture *fixture = *state;
    struct store *store = fixture->store;
    uint8_t buf[100 + 1];
    struct disk disk;

    make_disk(fixture, 2 * MAP_FANOUT * CHUNK, true, &disk);
    for (unsigned i = 0; i < LEAF_MISSES_FIRST; i++) {
        assert_true(same(&disk, i * 37 % MAP_FANOUT * CHUNK + 50, 100, buf));
        assert_int_equal(store_looked_up(store), i + 1);
    }
    for (int tries = 0; places_known(fixture, &disk, 0, MAP_FANOUT) < MAP_FANOUT; tries++) {
        assert_true(tries < 60000);
        usleep(1000);
    }
    for (unsigned i = 0; i < 4 * MAP_FANOUT; i++) {
        uint64_t chunk = i * 37 % MAP_FANOUT;

        assert_true(i % 2 ? same_view(&disk, chunk * CHUNK + i, 100)
                          : same(&disk, chunk * CHUNK + i, 100, buf));
    }
    assert_int_equal(store_looked_up(store), LEAF_MISSES_FIRST);
    // Nobody has read in the other leaf, so nobody looked there.
    assert_int_equal(places_known(fixture, &disk, MAP_FANOUT, 2 * MAP_FANOUT), 0);
    assert_true(same(&disk, (MAP_FANOUT + 7) * CHUNK, 100, buf));
    assert_int_equal(store_looked_up(store), LEAF_MISSES_FIRST + 1);
    drop_disk(&disk);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_fixture_make, store_fixture_clean)
    const struct CMUnitTest tests[] = {
        TEST(test_reads),
        TEST(test_seeks),
        TEST(test_empty_and_huge_disks),
        TEST(test_many_threads),
        TEST(test_damage_stays_where_it_is),
        TEST(test_open_refuses),
        TEST(test_readers_in_order),
        TEST(test_closing_while_it_is_read_ahead),
        TEST(test_places_of_a_leaf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
