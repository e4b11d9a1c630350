// SPDX-License-Identifier: MIT
//
// The difference of two maps against a plain comparison of two tables: random disks of every shape
// and size, what a walk costs, and what it says of maps that are damaged or do not fit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/map.h"
#include "fs/store/map_diff.h"

#include "tests/unit/store_fixture.h"

#define CHUNK 16384u
#define TIB (UINT64_C(1) << 40)

// A disk as a table: what each chunk holds, 0 = hole.
struct plain_disk {
    uint64_t capacity;
    uint32_t *chunks;
};

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 16) % limit;
}

static uint64_t chunks_of(uint64_t capacity)
{
    return (capacity + CHUNK - 1) / CHUNK;
}

static struct digest id_of(uint64_t n)
{
    struct digest id;

    fill_random(&id, sizeof(id), n);
    return id;
}

static struct store_writer *writer_of(struct store_fixture *fixture)
{
    struct store_writer *writer;

    assert_int_equal(store_writer_open(fixture->store, fixture->job_id, &writer, NULL), 0);
    return writer;
}

static struct map_diff_side build(struct store_fixture *fixture, const char *name,
                                  const struct plain_disk *disk)
{
    struct map_diff_side side = {.name = name, .capacity = disk->capacity, .chunk_size = CHUNK};
    struct store_writer *writer = writer_of(fixture);
    struct map_builder *builder;

    assert_int_equal(map_builder_new(writer, disk->capacity, CHUNK, &builder, NULL), 0);
    for (uint64_t chunk = 0; chunk < chunks_of(disk->capacity); chunk++) {
        struct digest id = id_of(disk->chunks[chunk]);

        if (disk->chunks[chunk])
            assert_int_equal(map_builder_add(builder, chunk, &id, NULL), 0);
    }
    assert_int_equal(map_builder_finish(builder, &side.root, NULL), 0);
    map_builder_free(builder);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    return side;
}

// --- what a walk tells, and what it should have told

struct told {
    uint64_t extents[4096][2];
    size_t count;
    uint64_t steps;
    uint64_t stop_at; // extents, 0 = never
};

static int note_extent(uint64_t offset, uint64_t length, void *arg, struct error *err)
{
    struct told *told = arg;

    assert_true(length > 0);
    assert_true(told->count < sizeof(told->extents) / sizeof(told->extents[0]));
    told->extents[told->count][0] = offset;
    told->extents[told->count++][1] = length;
    if (told->count == told->stop_at)
        return error_set(err, -ECANCELED, "enough");
    return 0;
}

static int note_step(void *arg, struct error *err)
{
    struct told *told = arg;

    (void)err;
    told->steps++;
    return 0;
}

static int run(struct store_fixture *fixture, const struct map_diff_side *from,
               const struct map_diff_side *to, struct told *told, struct error *err)
{
    struct map_diff_walk walk = {.extent = note_extent, .step = note_step, .arg = told};

    memset(told, 0, sizeof(*told));
    return map_diff(fixture->store, from, to, &walk, err);
}

static void expect_bytes(struct told *told, uint64_t start, uint64_t end)
{
    uint64_t *last = told->count ? told->extents[told->count - 1] : NULL;

    if (start >= end)
        return;
    if (last && last[0] + last[1] >= start) {
        if (last[0] + last[1] < end)
            last[1] = end - last[0];
        return;
    }
    assert_true(told->count < sizeof(told->extents) / sizeof(told->extents[0]));
    told->extents[told->count][0] = start;
    told->extents[told->count++][1] = end - start;
}

// Chunk by chunk; `from` NULL is all holes.
static void compare_plainly(const struct plain_disk *from, const struct plain_disk *to,
                            struct told *told)
{
    uint64_t low = from && from->capacity < to->capacity ? from->capacity : to->capacity;
    uint64_t high = from && from->capacity > to->capacity ? from->capacity : to->capacity;

    memset(told, 0, sizeof(*told));
    for (uint64_t chunk = 0; chunk < chunks_of(low); chunk++) {
        uint64_t start = chunk * CHUNK, end = start + CHUNK < high ? start + CHUNK : high;

        if ((from ? from->chunks[chunk] : 0) != to->chunks[chunk])
            expect_bytes(told, start, end);
    }
    expect_bytes(told, low, high);
}

static void check(struct store_fixture *fixture, const struct plain_disk *from,
                  const struct plain_disk *to, const struct map_diff_side *left,
                  const struct map_diff_side *right)
{
    static struct told expected, told;
    struct error err = ERROR_INIT;

    compare_plainly(from, to, &expected);
    if (run(fixture, from ? left : NULL, right, &told, &err) < 0)
        fail_msg("%s", error_message(&err));
    assert_int_equal(told.count, expected.count);
    assert_memory_equal(told.extents, expected.extents, expected.count * sizeof(told.extents[0]));
}

// --- random disks

static struct plain_disk make_disk(uint64_t capacity)
{
    struct plain_disk disk = {.capacity = capacity};

    disk.chunks = calloc(chunks_of(capacity) + 1, sizeof(*disk.chunks));
    assert_non_null(disk.chunks);
    return disk;
}

// Runs of data and of holes, here and there.
static void fill_disk(struct plain_disk *disk)
{
    uint64_t chunks = chunks_of(disk->capacity), runs = chunks ? random_below(12) : 0;

    for (uint64_t i = 0; i < runs; i++) {
        uint64_t start = random_below(chunks), end = start + random_below(chunks / 3 + 2);

        for (uint64_t chunk = start; chunk < end && chunk < chunks; chunk++)
            disk->chunks[chunk] = i % 3 == 2 ? 0 : 1 + (uint32_t)random_below(3);
    }
}

// Takes what `disk` holds over and changes some of it: written, written over with the same, zeroed.
static void change_disk(const struct plain_disk *disk, struct plain_disk *changed)
{
    uint64_t chunks = chunks_of(changed->capacity);
    uint64_t common = chunks_of(disk->capacity) < chunks ? chunks_of(disk->capacity) : chunks;
    uint64_t changes = chunks ? random_below(30) : 0;

    memcpy(changed->chunks, disk->chunks, common * sizeof(*disk->chunks));
    for (uint64_t i = 0; i < changes; i++) {
        uint64_t start = random_below(chunks), length = 1 + random_below(i % 5 ? 3 : 600);

        for (uint64_t chunk = start; chunk < start + length && chunk < chunks; chunk++)
            changed->chunks[chunk] = (uint32_t)random_below(4);
    }
}

static void compare_random(struct store_fixture *fixture, uint64_t capacity, uint64_t other)
{
    struct plain_disk a = make_disk(capacity), b = make_disk(other);
    struct map_diff_side left, right;

    fill_disk(&a);
    change_disk(&a, &b);
    left = build(fixture, "a", &a);
    right = build(fixture, "b", &b);
    check(fixture, &a, &b, &left, &right);
    check(fixture, &b, &a, &right, &left);
    check(fixture, &a, &a, &left, &left);
    check(fixture, NULL, &a, NULL, &left);
    check(fixture, NULL, &b, NULL, &right);
    free(a.chunks);
    free(b.chunks);
}

static void test_random_disks(void **state)
{
    static const uint64_t sizes[] = {0, 1, 2, 255, 256, 257, 300, 1000, 65536, 65537, 66000};
    const size_t count = sizeof(sizes) / sizeof(sizes[0]);
    const char *seed = getenv("BACKTREE_SEED");

    random_state = seed ? strtoull(seed, NULL, 10) | 1 : 20261121;
    for (size_t i = 0; i < count; i++) {
        for (int round = 0; round < 6; round++) {
            // The same size, another one, and ends that are no whole chunks.
            uint64_t capacity = sizes[i] * CHUNK;
            uint64_t other = round < 2 ? capacity : sizes[random_below(count)] * CHUNK;

            if (round % 2 && capacity)
                capacity -= random_below(CHUNK);
            if (round > 3 && other)
                other -= random_below(CHUNK);
            compare_random(*state, capacity, round < 2 ? capacity : other);
        }
    }
}

// Only the end moves, within a chunk and beyond it; content is the same.
static void test_growth(void **state)
{
    static const struct {
        uint64_t from, to, offset, length;
    } cases[] = {
        {CHUNK, 2 * CHUNK, CHUNK, CHUNK},
        {CHUNK - 100, CHUNK, CHUNK - 100, 100},
        {CHUNK - 100, CHUNK - 50, CHUNK - 100, 50},
        {300 * CHUNK - 7, 70000 * (uint64_t)CHUNK, 300 * CHUNK - 7, 69700 * (uint64_t)CHUNK + 7},
        {0, 5, 0, 5},
    };
    static struct told told;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct plain_disk a = make_disk(cases[i].from), b = make_disk(cases[i].to);
        struct map_diff_side left, right;

        if (cases[i].from)
            a.chunks[0] = b.chunks[0] = 1;
        left = build(*state, "a", &a);
        right = build(*state, "b", &b);
        for (int turned = 0; turned < 2; turned++) {
            assert_int_equal(
                run(*state, turned ? &right : &left, turned ? &left : &right, &told, NULL), 0);
            assert_int_equal(told.count, 1);
            assert_int_equal(told.extents[0][0], cases[i].offset);
            assert_int_equal(told.extents[0][1], cases[i].length);
        }
        free(a.chunks);
        free(b.chunks);
    }
}

// --- what it costs

static struct map_diff_side build_giant(struct store_fixture *fixture, uint64_t odd)
{
    struct map_diff_side side = {.name = "giant", .capacity = 4 * TIB, .chunk_size = CHUNK};
    struct store_writer *writer = writer_of(fixture);
    uint64_t every = 4 * TIB / CHUNK / 1000;
    struct map_builder *builder;

    assert_int_equal(map_builder_new(writer, side.capacity, CHUNK, &builder, NULL), 0);
    for (uint64_t i = 0; i < 1000; i++) {
        struct digest id = id_of(i == odd ? 5000 : i);

        assert_int_equal(map_builder_add(builder, every * i, &id, NULL), 0);
    }
    assert_int_equal(map_builder_finish(builder, &side.root, NULL), 0);
    map_builder_free(builder);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    return side;
}

// Counted in nodes, so that no clock decides.
static void test_the_cost_follows_the_difference(void **state)
{
    struct store_fixture *fixture = *state;
    struct map_diff_side a = build_giant(fixture, 1000), b = build_giant(fixture, 700);
    uint64_t every = 4 * TIB / CHUNK / 1000;
    static struct told told;

    assert_int_equal(run(fixture, &a, &a, &told, NULL), 0);
    assert_int_equal(told.count, 0);
    assert_int_equal(told.steps, 0);
    assert_int_equal(run(fixture, &a, &b, &told, NULL), 0);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.extents[0][0], 700 * every * CHUNK);
    assert_int_equal(told.extents[0][1], CHUNK);
    assert_int_equal(told.steps, map_root_level(4 * TIB, CHUNK) + 1);
    assert_int_equal(run(fixture, NULL, &a, &told, NULL), 0);
    assert_int_equal(told.count, 1000);
    assert_true(told.steps < 1000 * 4);
}

// No chunk of these maps is in any pack, so nothing could have been read; see also the tests of the
// tree, where packs of chunks are away.
static void test_a_walk_ends_when_it_is_told(void **state)
{
    struct store_fixture *fixture = *state;
    struct map_diff_side a = build_giant(fixture, 1000);
    static struct told told;
    struct map_diff_walk walk = {.extent = note_extent, .arg = &told};
    struct error err = ERROR_INIT;

    memset(&told, 0, sizeof(told));
    told.stop_at = 3;
    assert_int_equal(map_diff(fixture->store, NULL, &a, &walk, &err), -ECANCELED);
    assert_int_equal(told.count, 3);
    assert_string_equal(error_message(&err), "enough");
}

// --- what cannot be compared

static void test_chunk_sizes_that_differ(void **state)
{
    struct plain_disk disk = make_disk(10 * CHUNK);
    struct map_diff_side a = build(*state, "web1/vda/old", &disk), b = a;
    static struct told told;
    struct error err = ERROR_INIT;

    b.chunk_size = 65536;
    b.name = "web1/vda/new";
    assert_int_equal(run(*state, &a, &b, &told, &err), -EINVAL);
    assert_string_equal(error_message(&err),
                        "web1/vda/old is kept in chunks of 16 KiB and web1/vda/new in chunks of 64 "
                        "KiB: their maps cannot be compared");
    free(disk.chunks);
}

static void test_a_node_that_is_not_there(void **state)
{
    struct plain_disk disk = make_disk(1000 * (uint64_t)CHUNK);
    struct map_diff_side good, bad;
    static struct told told;

    disk.chunks[500] = 1;
    good = build(*state, "web1/vda/good", &disk);
    bad = good;
    bad.name = "web1/vda/bad";
    bad.root = id_of(999);
    for (int turned = 0; turned < 2; turned++) {
        struct error err = ERROR_INIT;

        assert_int_equal(run(*state, turned ? &bad : &good, turned ? &good : &bad, &told, &err),
                         -ERROR_CORRUPT);
        assert_memory_equal(error_message(&err), "the map of web1/vda/bad: ", 25);
        assert_non_null(strstr(error_message(&err), "no pack holds the record"));
    }
    free(disk.chunks);
}

// Nodes with right ids at wrong places, below both ends of the comparison.
static void test_a_map_that_does_not_fit(void **state)
{
    struct store_fixture *fixture = *state;
    struct plain_disk small = make_disk(100 * CHUNK), large = make_disk(1000 * (uint64_t)CHUNK);
    struct map_diff_side a, b;
    static struct told told;
    struct error err = ERROR_INIT;

    large.chunks[3] = small.chunks[3] = 1;
    a = build(fixture, "small", &small);
    b = build(fixture, "large", &large);
    a.capacity = large.capacity; // a root of level 0 cannot hold it
    assert_int_equal(run(fixture, &a, &b, &told, &err), -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "of level 0 instead of 1"));
    free(small.chunks);
    free(large.chunks);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_fixture_make, store_fixture_clean)
    const struct CMUnitTest tests[] = {
        TEST(test_random_disks),
        TEST(test_growth),
        TEST(test_the_cost_follows_the_difference),
        TEST(test_a_walk_ends_when_it_is_told),
        TEST(test_chunk_sizes_that_differ),
        TEST(test_a_node_that_is_not_there),
        TEST(test_a_map_that_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
