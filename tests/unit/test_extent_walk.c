// SPDX-License-Identifier: MIT
//
// Extents in whole chunks, and the ring of batches that jobs put on the pool.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/job/extent_walk.h"
#include "fs/job/ring.h"

#include <string.h>

#define KIB UINT64_C(1024)

struct fake_disk {
    const uint64_t (*extents)[2];
    size_t count;
};

static int next_data(void *disk, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end,
                     struct error *err)
{
    struct fake_disk *fake = disk;

    (void)err;
    for (size_t i = 0; i < fake->count; i++) {
        if (fake->extents[i][1] <= offset)
            continue;
        *ret_start = fake->extents[i][0] > offset ? fake->extents[i][0] : offset;
        *ret_end = fake->extents[i][1];
        return 1;
    }
    return 0;
}

static struct extent_walk walk_over(struct fake_disk *disk, uint64_t capacity)
{
    return (struct extent_walk){
        .next_data = next_data, .disk = disk, .capacity = capacity, .chunk_size = 64 * 1024};
}

static void runs_are_rounded_and_merged(void **state)
{
    // 0–4K and 60K–70K share chunks or touch; 100 MiB is far; the last one ends with the disk.
    static const uint64_t extents[][2] = {{0, 4 * KIB},
                                          {60 * KIB, 70 * KIB},
                                          {102400 * KIB, 102401 * KIB},
                                          {204800 * KIB, 204803 * KIB}};
    struct fake_disk disk = {extents, 4};
    struct extent_walk walk = walk_over(&disk, 204803 * KIB);
    uint64_t first, end;

    (void)state;
    assert_int_equal(extent_walk_next(&walk, &first, &end, NULL), 1);
    assert_int_equal(first, 0);
    assert_int_equal(end, 2);
    assert_int_equal(extent_walk_next(&walk, &first, &end, NULL), 1);
    assert_int_equal(first, 1600);
    assert_int_equal(end, 1601);
    assert_int_equal(extent_walk_next(&walk, &first, &end, NULL), 1);
    assert_int_equal(first, 3200);
    assert_int_equal(end, 3201);
    assert_int_equal(extent_walk_next(&walk, &first, &end, NULL), 0);
    assert_int_equal(extent_walk_next(&walk, &first, &end, NULL), 0);
}

static void runs_never_overlap(void **state)
{
    uint64_t extents[512][2], at = 0, last_end = 0, first, end;
    struct fake_disk disk = {(const uint64_t(*)[2])extents, 512};
    unsigned seed = 1;

    (void)state;
    for (size_t i = 0; i < 512; i++) {
        seed = seed * 1103515245u + 12345u;
        extents[i][0] = at + seed % (512 * 1024) + 1;
        seed = seed * 1103515245u + 12345u;
        extents[i][1] = extents[i][0] + seed % (256 * 1024) + 1;
        at = extents[i][1];
    }
    struct extent_walk walk = walk_over(&disk, at);
    size_t covered = 0;
    int r;
    while ((r = extent_walk_next(&walk, &first, &end, NULL)) > 0) {
        assert_true(first >= last_end);
        assert_true(end > first);
        for (; covered < 512 && extents[covered][0] < end * 64 * KIB; covered++) {
            assert_true(extents[covered][0] >= first * 64 * KIB);
            assert_true(extents[covered][1] <= end * 64 * KIB);
        }
        last_end = end;
    }
    assert_int_equal(r, 0);
    assert_int_equal(covered, 512);
}

static void a_longer_disk_is_cut(void **state)
{
    static const uint64_t extents[][2] = {{0, 100 * KIB}, {1000 * KIB, 2000 * KIB}};
    struct fake_disk disk = {extents, 2};
    struct extent_walk walk = walk_over(&disk, 70 * KIB);
    uint64_t first, end;

    (void)state;
    assert_int_equal(extent_walk_next(&walk, &first, &end, NULL), 1);
    assert_int_equal(end, 2);
    assert_int_equal(extent_walk_next(&walk, &first, &end, NULL), 0);
}

struct slot {
    struct pool_task task;
    unsigned number, answer;
};

static void square(struct pool_task *task, unsigned worker)
{
    struct slot *slot = (struct slot *)task;
    (void)worker;
    slot->answer = slot->number * slot->number;
}

struct taken {
    unsigned next, fail_at;
};

static int take(void *at, void *arg)
{
    struct slot *slot = at;
    struct taken *taken = arg;

    assert_int_equal(slot->number, taken->next);
    assert_int_equal(slot->answer, slot->number * slot->number);
    taken->next++;
    return slot->number == taken->fail_at ? -EIO : 0;
}

static void ring_order(unsigned threads)
{
    AUTO(pool_free) struct pool *pool = NULL;
    AUTO(ring_free) struct ring *ring = NULL;
    struct taken taken = {.fail_at = 5000};
    int r = 0;

    assert_int_equal(pool_new(threads, &pool, NULL), 0);
    assert_int_equal(ring_new(pool, 5, sizeof(struct slot), take, &taken, &ring, NULL), 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct slot *slot = ring_slot(ring, &r);
        assert_non_null(slot);
        slot->number = i;
        slot->task.run = square;
        ring_submit(ring);
    }
    assert_int_equal(ring_drain(ring), 0);
    assert_int_equal(taken.next, 1000);
    ring = ring_free(ring);
}

static void ring_keeps_order(void **state)
{
    (void)state;
    ring_order(0);
    ring_order(3);
}

static void ring_reports_failure(void **state)
{
    AUTO(pool_free) struct pool *pool = NULL;
    AUTO(ring_free) struct ring *ring = NULL;
    struct taken taken = {.fail_at = 7};
    struct slot *slot;
    unsigned i = 0;
    int r = 0;

    (void)state;
    assert_int_equal(pool_new(2, &pool, NULL), 0);
    assert_int_equal(ring_new(pool, 4, sizeof(struct slot), take, &taken, &ring, NULL), 0);
    while ((slot = ring_slot(ring, &r))) {
        assert_true(i < 100);
        slot->number = i++;
        slot->task.run = square;
        ring_submit(ring);
    }
    assert_int_equal(r, -EIO);
    assert_int_equal(taken.next, 8);
    ring = ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_rounded_and_merged), cmocka_unit_test(runs_never_overlap),
        cmocka_unit_test(a_longer_disk_is_cut),        cmocka_unit_test(ring_keeps_order),
        cmocka_unit_test(ring_reports_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
