// SPDX-License-Identifier: MIT
//
// Small reads at random: which leaves have all their places looked up, what is kept of chunks of
// which only a part was asked for, and memory that is used again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "fs/store/chunk_cache.h"
#include "fs/store/leaf_misses.h"
#include "fs/store/map.h"
#include "fs/store/reuse_watch.h"
#include "fs/store/spare_buffers.h"

#include <stdlib.h>
#include <string.h>

// --- leaves

static unsigned notes(struct leaf_misses *misses, uint64_t leaf, unsigned count)
{
    unsigned wanted = 0;

    for (unsigned i = 0; i < count; i++)
        wanted += leaf_misses_note(misses, leaf);
    return wanted;
}

static void test_leaves(void **state)
{
    struct leaf_misses misses;
    (void)state;

    leaf_misses_init(&misses, 100 * MAP_FANOUT);
    // It may be all that is ever read of it.
    assert_int_equal(notes(&misses, 7, LEAF_MISSES_FIRST - 1), 0);
    assert_int_equal(notes(&misses, 8, LEAF_MISSES_FIRST - 1), 0);
    assert_int_equal(notes(&misses, 7, 1), 1);
    assert_int_equal(notes(&misses, 8, 1), 1);
    // Once; and again only when much of it is not remembered any more.
    assert_int_equal(notes(&misses, 7, LEAF_MISSES_AGAIN - 1), 0);
    assert_int_equal(notes(&misses, 7, 1 + 3 * LEAF_MISSES_AGAIN), 4);
    // Another leaf in its slot is another leaf, and has it when it is met more often.
    assert_int_equal(notes(&misses, 7 + LEAF_MISSES_SLOTS, LEAF_MISSES_FIRST), 1);
    assert_int_equal(notes(&misses, 7, LEAF_MISSES_FIRST - 1), 0);
    assert_int_equal(notes(&misses, 7 + LEAF_MISSES_SLOTS, 5), 0);
    assert_int_equal(notes(&misses, 7, 5), 0);
    assert_int_equal(notes(&misses, 7, 1), 1);
}

// Who reads more than can be remembered has a bounded part of it looked up for him: half of what
// there is room for, and a place for four that he had to ask for himself.
static void test_more_than_is_remembered(void **state)
{
    struct leaf_misses misses;
    const unsigned places = 64 * MAP_FANOUT, rounds = 1000;
    uint64_t looked = 0, asked = 0, seed = 1;
    (void)state;

    leaf_misses_init(&misses, places);
    for (unsigned i = 0; i < rounds * LEAF_MISSES_SLOTS; i++, asked++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        looked += MAP_FANOUT * notes(&misses, (seed >> 33) % LEAF_MISSES_SLOTS, 1);
    }
    assert_true(looked >= places / 2);
    assert_true(looked <= places / 2 + asked / 4);

    leaf_misses_init(&misses, 0); // nothing can be remembered: nothing is looked up
    assert_int_equal(notes(&misses, 1, 10000), 0);
}

// --- what is kept

// Id number `n`, always of the same shard.
static struct digest id_of(uint64_t n)
{
    struct digest id = {0};

    bytes_put_le64(id.bytes, n);
    bytes_put_le64(id.bytes + 8, n + 1);
    return id;
}

static void test_watch(void **state)
{
    struct reuse_watch watch = {0};
    struct digest id;
    uint64_t n = 0;
    (void)state;

    for (int i = 0; i < REUSE_LOOKS - 1; i++) { // it knows nothing yet
        id = id_of(n++);
        assert_true(reuse_watch_missed(&watch, &id));
    }
    id = id_of(n++);
    assert_false(reuse_watch_missed(&watch, &id));
    assert_true(reuse_watch_missed(&watch, &id)); // asked for again
    // One in six is found: it stays picky. One in three: it does not.
    for (int i = 0; i < 3 * REUSE_LOOKS; i++) {
        id = id_of(n++);
        if (i % 6 == 0)
            reuse_watch_found(&watch);
        else
            assert_false(reuse_watch_missed(&watch, &id));
    }
    for (int i = 0; i < 2 * REUSE_LOOKS; i++) {
        id = id_of(n++);
        if (i % 3 == 0)
            reuse_watch_found(&watch);
        else
            reuse_watch_missed(&watch, &id);
    }
    id = id_of(n++);
    assert_true(reuse_watch_missed(&watch, &id));
}

static unsigned loads;

static int load(const struct chunk_request *request, void *content, void *arg, struct error *err)
{
    (void)arg;
    (void)err;
    loads++;
    memset(content, request->id->bytes[0], request->len);
    return 0;
}

// Whether a part of chunk `n` had to be loaded.
static bool part_of(struct chunk_cache *cache, uint64_t n)
{
    struct digest id = id_of(n);
    uint8_t got[10];
    struct chunk_request request = {.kind = RECORD_CHUNK,
                                    .id = &id,
                                    .len = 1000 + n % 2,
                                    .from = 500,
                                    .count = sizeof(got),
                                    .out = got};
    unsigned before = loads;

    assert_int_equal(chunk_cache_read(cache, &request, load, NULL, NULL), 0);
    assert_int_equal(got[0], (uint8_t)n);
    assert_int_equal(got[9], (uint8_t)n);
    return loads > before;
}

static void test_cache_is_picky(void **state)
{
    struct chunk_cache_counts counts;
    struct chunk_cache *cache;
    uint64_t n;
    (void)state;

    // Some twenty chunks a shard. What is read while there is room stays.
    assert_int_equal(chunk_cache_new(16 * 32000, &cache, NULL), 0);
    for (n = 0; n < 15; n++)
        assert_true(part_of(cache, n));
    for (n = 0; n < 15; n++)
        assert_false(part_of(cache, n));
    for (n = 1000; n < 2000; n++)
        part_of(cache, n);
    counts = chunk_cache_counts(cache);
    // Full and picky: one that is read once is not kept, one that is read again is.
    assert_true(part_of(cache, 3000));
    assert_true(part_of(cache, 3000));
    assert_false(part_of(cache, 3000));
    assert_true(chunk_cache_counts(cache).bytes <= counts.bytes + 1100);
    assert_true(chunk_cache_counts(cache).bytes <= 16 * 32000);
    // A reader who comes back to each chunk has the cache to himself before long.
    for (n = 4000; n < 4100; n++) {
        part_of(cache, n);
        part_of(cache, n);
        part_of(cache, n);
    }
    assert_true(part_of(cache, 5000));
    assert_false(part_of(cache, 5000));
    chunk_cache_free(cache);
}

// What is not kept stands until its view is released, whatever is loaded meanwhile.
static void test_views_of_what_is_not_kept(void **state)
{
    struct chunk_view views[8];
    struct chunk_cache *cache;
    (void)state;

    assert_int_equal(chunk_cache_new(16 * 8000, &cache, NULL), 0);
    for (uint64_t n = 0; n < 1000; n++)
        part_of(cache, n);
    for (uint64_t n = 0; n < 8; n++) {
        struct digest id = id_of(2000 + n);
        struct chunk_request request = {
            .kind = RECORD_CHUNK, .id = &id, .len = 1000, .from = 1, .count = 998};

        assert_int_equal(chunk_cache_view(cache, &request, load, NULL, &views[n], NULL), 0);
        part_of(cache, 3000 + n);
    }
    for (uint64_t n = 0; n < 8; n++) {
        for (int i = 0; i < 998; i++)
            assert_int_equal(views[n].data[i], (uint8_t)(2000 + n));
        chunk_view_release(cache, &views[n]);
    }
    chunk_cache_free(cache);
}

// --- memory that is used again

static void test_spare_buffers(void **state)
{
    struct spare_buffers spares;
    void *a, *b;
    (void)state;

    spare_buffers_init(&spares);
    a = spare_buffers_take(&spares, 1000);
    b = spare_buffers_take(&spares, 1000);
    assert_true(a && b && a != b);
    spare_buffers_give_back(&spares, a, 1000, 1000);
    spare_buffers_give_back(&spares, b, 1000, 1000); // no room: freed
    assert_int_equal(spares.count, 1);
    assert_ptr_equal(spare_buffers_take(&spares, 1000), a);
    assert_int_equal(spares.count, 0);
    // What is kept of another length goes, so that the length in use gets its place.
    spare_buffers_give_back(&spares, a, 1000, 4000);
    b = spare_buffers_take(&spares, 2000);
    assert_non_null(b);
    assert_int_equal(spares.count, 0);
    spare_buffers_give_back(&spares, b, 2000, 4000);
    assert_ptr_equal(spare_buffers_take(&spares, 2000), b);
    spare_buffers_give_back(&spares, b, 2000, 4000);
    spare_buffers_give_back(&spares, NULL, 2000, 4000);
    spare_buffers_deinit(&spares);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaves),
        cmocka_unit_test(test_more_than_is_remembered),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_cache_is_picky),
        cmocka_unit_test(test_views_of_what_is_not_kept),
        cmocka_unit_test(test_spare_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
