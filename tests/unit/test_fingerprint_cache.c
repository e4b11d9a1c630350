// SPDX-License-Identifier: MIT
//
// The fingerprint cache: what was written for a snapshot is read for that snapshot, and anything
// torn, damaged or of another one is as good as not there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/io.h"
#include "fs/store/fingerprint_cache.h"

#include "tests/unit/store_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#define DISK "0d15c000-0000-4000-8000-000000000001"
#define SNAPSHOT "54a95407-0000-4000-8000-000000000001"
#define OTHER "54a95407-0000-4000-8000-000000000002"
#define CAPACITY (UINT64_C(1) << 40)
#define CHUNK 65536
#define LEAVES 700 // more than one buffer

static uint64_t leaf_number(unsigned i)
{
    return (uint64_t)i * i; // ascending, with gaps
}

static struct fingerprint_leaf leaf_of(unsigned i)
{
    struct fingerprint_leaf leaf = {.leaf = leaf_number(i)};

    fill_random(leaf.chunk, sizeof(leaf.chunk), i);
    return leaf;
}

static struct fingerprint_writer *start(struct store_fixture *fixture, unsigned leaves)
{
    struct fingerprint_writer *writer;

    assert_int_equal(fingerprint_writer_open(fixture->store, DISK, &writer, NULL), 0);
    for (unsigned i = 0; i < leaves; i++) {
        struct fingerprint_leaf leaf = leaf_of(i);

        assert_int_equal(fingerprint_writer_leaf(writer, &leaf, NULL), 0);
    }
    return writer;
}

static void write_cache(struct store_fixture *fixture, unsigned leaves)
{
    struct fingerprint_writer *writer = start(fixture, leaves);

    assert_int_equal(fingerprint_writer_commit(writer, SNAPSHOT, CAPACITY, CHUNK, NULL), 0);
    fingerprint_writer_close(writer);
}

static struct fingerprint_reader *open_cache(struct store_fixture *fixture)
{
    struct fingerprint_reader *reader;

    assert_int_equal(
        fingerprint_reader_open(fixture->store, DISK, SNAPSHOT, CAPACITY, CHUNK, &reader, NULL), 0);
    return reader;
}

static const char *path_of(struct store_fixture *fixture)
{
    return scratch_path(&fixture->scratch, "cache/" DISK ".fingerprints");
}

static bool has(struct fingerprint_reader *reader, unsigned i)
{
    struct fingerprint_leaf expected = leaf_of(i), got;

    if (!fingerprint_reader_leaf(reader, expected.leaf, &got))
        return false;
    assert_int_equal(got.leaf, expected.leaf);
    assert_memory_equal(got.chunk, expected.chunk, sizeof(got.chunk));
    return true;
}

static void test_round_trip(void **state)
{
    struct fingerprint_reader *reader;
    struct fingerprint_leaf got;

    assert_null(open_cache(*state));
    write_cache(*state, LEAVES);
    reader = open_cache(*state);
    assert_non_null(reader);
    for (unsigned i = 0; i < LEAVES; i++) {
        assert_true(has(reader, i));
        assert_true(has(reader, i)); // again
        if (i > 0)
            assert_false(fingerprint_reader_leaf(reader, leaf_number(i) + 1, &got));
    }
    assert_false(fingerprint_reader_leaf(reader, UINT64_MAX, &got));
    fingerprint_reader_close(reader);

    reader = open_cache(*state); // only some of them
    for (unsigned i = 5; i < LEAVES; i += 300)
        assert_true(has(reader, i));
    fingerprint_reader_close(reader);
    assert_null(fingerprint_reader_close(NULL));
}

static void test_no_leaves(void **state)
{
    struct fingerprint_reader *reader;
    struct fingerprint_leaf got;

    write_cache(*state, 0);
    reader = open_cache(*state);
    assert_non_null(reader);
    assert_false(fingerprint_reader_leaf(reader, 0, &got));
    fingerprint_reader_close(reader);
}

static void test_what_does_not_fit(void **state)
{
    struct store_fixture *fixture = *state;
    struct error err = ERROR_INIT;
    struct {
        const char *disk, *snapshot;
        uint64_t capacity;
        uint32_t chunk_size;
    } cases[] = {
        {DISK, OTHER, CAPACITY, CHUNK},
        {DISK, SNAPSHOT, CAPACITY + 1, CHUNK},
        {DISK, SNAPSHOT, CAPACITY, 2 * CHUNK},
        {OTHER, SNAPSHOT, CAPACITY, CHUNK},
        {"../../etc/passwd", SNAPSHOT, CAPACITY, CHUNK},
        {DISK, "", CAPACITY, CHUNK},
    };

    write_cache(fixture, 3);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fingerprint_reader *reader = (void *)1;

        assert_int_equal(fingerprint_reader_open(fixture->store, cases[i].disk, cases[i].snapshot,
                                                 cases[i].capacity, cases[i].chunk_size, &reader,
                                                 &err),
                         0);
        assert_null(reader);
        assert_int_equal(err.code, 0);
    }
}

static void test_writer_refuses(void **state)
{
    struct store_fixture *fixture = *state;
    struct fingerprint_writer *writer;
    struct fingerprint_leaf leaf = leaf_of(2);

    assert_int_equal(fingerprint_writer_open(fixture->store, "x/y", &writer, NULL), -EINVAL);
    writer = start(fixture, 3);
    assert_int_equal(fingerprint_writer_leaf(writer, &leaf, NULL), -EINVAL);
    assert_int_equal(fingerprint_writer_commit(writer, "no uuid", CAPACITY, CHUNK, NULL), -EINVAL);
    fingerprint_writer_close(writer);
    assert_null(open_cache(fixture));
}

static void test_without_commit_nothing_changes(void **state)
{
    struct store_fixture *fixture = *state;
    struct fingerprint_reader *reader;
    struct fingerprint_writer *writer;

    write_cache(fixture, 3);
    writer = start(fixture, 1);
    fingerprint_writer_close(writer);
    writer = start(fixture, 1);
    setenv("BACKTREE_FAULT", "cache-write=ENOSPC", 1);
    assert_int_equal(fault_init(NULL), 0);
    assert_int_equal(fingerprint_writer_commit(writer, OTHER, CAPACITY, CHUNK, NULL), -ENOSPC);
    unsetenv("BACKTREE_FAULT");
    assert_int_equal(fault_init(NULL), 0);
    fingerprint_writer_close(writer);
    assert_int_equal(
        access(scratch_path(&fixture->scratch, "cache/" DISK ".fingerprints.tmp"), F_OK), -1);
    reader = open_cache(fixture);
    assert_true(has(reader, 0) && has(reader, 1) && has(reader, 2));
    fingerprint_reader_close(reader);
}

// Every byte in turn: the file is refused, or gives only what is intact before it.
static void test_every_byte_counts(void **state)
{
    struct store_fixture *fixture = *state;
    size_t size = 96 + 3 * 4112 + 32;
    int fd;

    write_cache(fixture, 3);
    fd = open(path_of(fixture), O_RDWR);
    assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)size);
    for (size_t at = 0; at < size; at += at < 96 || at >= size - 32 || at % 4112 < 120 ? 1 : 37) {
        struct fingerprint_reader *reader;
        uint8_t byte;

        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        reader = open_cache(fixture);
        if (at < 96 || at >= size - 32) {
            assert_null(reader);
        } else {
            unsigned damaged = (unsigned)((at - 96) / 4112);

            assert_non_null(reader);
            for (unsigned i = 0; i < 3; i++)
                assert_int_equal(has(reader, i), i < damaged);
            assert_false(has(reader, 0)); // spent, or past it
        }
        fingerprint_reader_close(reader);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    close(fd);
}

// Two records, both intact, in the wrong order.
static void test_order_counts(void **state)
{
    struct store_fixture *fixture = *state;
    struct fingerprint_reader *reader;
    uint8_t first[4112], second[4112];
    int fd;

    write_cache(fixture, 3);
    fd = open(path_of(fixture), O_RDWR);
    assert_int_equal(io_read_at(fd, first, 4112, 96, "", NULL), 0);
    assert_int_equal(io_read_at(fd, second, 4112, 96 + 4112, "", NULL), 0);
    assert_int_equal(io_write_at(fd, second, 4112, 96, "", NULL), 0);
    assert_int_equal(io_write_at(fd, first, 4112, 96 + 4112, "", NULL), 0);
    close(fd);
    reader = open_cache(fixture);
    assert_false(has(reader, 0));
    assert_true(has(reader, 1));
    assert_false(has(reader, 2));
    fingerprint_reader_close(reader);
}

static void test_torn_files(void **state)
{
    struct store_fixture *fixture = *state;
    static const off_t sizes[] = {
        0, 1, 96, 127, 128, 96 + 4112 + 32, 96 + 3 * 4112 + 31, 96 + 3 * 4112 + 33};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        write_cache(fixture, 3);
        assert_int_equal(truncate(path_of(fixture), sizes[i]), 0);
        assert_null(open_cache(fixture));
    }
    fingerprint_cache_remove(fixture->store, DISK);
    assert_int_equal(access(path_of(fixture), F_OK), -1);
    fingerprint_cache_remove(fixture->store, DISK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_fixture_make, store_fixture_clean)
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),
        TEST(test_no_leaves),
        TEST(test_what_does_not_fit),
        TEST(test_writer_refuses),
        TEST(test_without_commit_nothing_changes),
        TEST(test_every_byte_counts),
        TEST(test_order_counts),
        TEST(test_torn_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
