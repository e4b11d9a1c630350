// SPDX-License-Identifier: MIT
//
// Reading ahead, part by part: which readers are believed to go in order, what the cache does with
// content that nobody has read yet, the threads' queue, and remembered places that are wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/read_streams.h"
#include "fs/store/store_members.h"

#include "tests/unit/store_fixture.h"

#include <stdatomic.h>

#define KIB 1024u
#define MIB (1024u * 1024)
#define CHUNK 16384u

// --- streams

// Reads in order of `len` bytes from `at` on: how many bytes are asked for after `count` of them.
static uint64_t run_of(struct read_streams *streams, uint64_t at, uint64_t len, int count)
{
    uint64_t asked = 0, reached = 0;

    for (int i = 0; i < count; i++, at += len) {
        struct read_ahead ahead = read_streams_note(streams, at, len, 4 * MIB);

        assert_true(ahead.from <= ahead.to);
        if (ahead.from == ahead.to)
            continue;
        assert_true(ahead.from >= at + len);                // never what is being read
        assert_true(reached == 0 || ahead.from >= reached); // nothing twice
        assert_true(ahead.to <= at + len + 4 * MIB);        // the bound
        reached = ahead.to;
        asked += ahead.to - ahead.from;
    }
    return asked;
}

static void test_readers_in_order(void **state)
{
    struct read_streams streams = {0};
    (void)state;

    assert_int_equal(run_of(&streams, 0, MIB, 1), 0);
    assert_true(run_of(&streams, MIB, MIB, 20) >= 20 * MIB); // all that follows, and a window
    // Small reads are believed later, and then as well.
    assert_int_equal(run_of(&streams, 1000 * MIB, 4 * KIB, 3), 0);
    assert_true(run_of(&streams, 1000 * MIB + 12 * KIB, 4 * KIB, 1) > 0);
}

static void test_readers_at_random(void **state)
{
    struct read_streams streams = {0};
    uint64_t seed = 1;
    (void)state;

    for (int i = 0; i < 100000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        struct read_ahead ahead =
            read_streams_note(&streams, (seed >> 33) % 100000 * 4 * KIB, 4 * KIB, 4 * MIB);
        assert_int_equal(ahead.from, ahead.to);
    }
    // Near one another is not in order.
    for (uint64_t i = 0; i < 1000; i++) {
        struct read_ahead ahead =
            read_streams_note(&streams, (i * 7 % 1000) * 64 * KIB, 64 * KIB, 4 * MIB);
        assert_int_equal(ahead.from, ahead.to);
    }
}

static void test_many_readers(void **state)
{
    struct read_streams streams = {0};
    (void)state;

    for (uint64_t step = 0; step < 8; step++) {
        for (uint64_t reader = 0; reader < READ_STREAMS; reader++) {
            struct read_ahead ahead = read_streams_note(
                &streams, reader * 1000 * MIB + step * 256 * KIB, 256 * KIB, 4 * MIB);

            if (step == 0)
                assert_int_equal(ahead.from, ahead.to);
            if (step == 1)
                assert_true(ahead.to > ahead.from);
        }
    }
}

// The kernel's readahead: requests of one reader, by several threads.
static void test_reads_that_overtake(void **state)
{
    static const unsigned order[] = {1, 0, 3, 2, 5, 6, 4, 7, 9, 8};
    struct read_streams streams = {0};
    uint64_t end = 0;
    (void)state;

    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        struct read_ahead ahead = read_streams_note(&streams, order[i] * MIB, MIB, 4 * MIB);

        if (ahead.to > ahead.from) {
            assert_true(ahead.from >= end);
            end = ahead.to;
            assert_true(read_streams_passed(&streams, ahead.stream, order[i] * MIB));
            assert_false(read_streams_passed(&streams, ahead.stream, ahead.from));
        }
    }
    assert_true(end > 10 * MIB);
}

// --- the cache

struct loads {
    int count, result;
};

static int load(const struct chunk_request *request, void *content, void *arg, struct error *err)
{
    struct loads *loads = arg;

    loads->count++;
    if (loads->result < 0)
        return error_set(err, loads->result, "it could not be loaded");
    memset(content, request->id->bytes[0], request->len);
    return 0;
}

static int ahead(struct chunk_cache *cache, unsigned number, const void *owner, struct loads *loads)
{
    struct digest id = {{(uint8_t)number}};
    struct chunk_request request = {.kind = RECORD_CHUNK, .id = &id, .len = 1000};

    return chunk_cache_load_ahead(cache, &request, owner, load, loads, NULL);
}

static int read_from(struct chunk_cache *cache, unsigned number, size_t count, struct loads *loads)
{
    struct digest id = {{(uint8_t)number}};
    uint8_t got[1000];
    struct chunk_request request = {
        .kind = RECORD_CHUNK, .id = &id, .len = 1000, .count = count, .out = got};
    int r = chunk_cache_read(cache, &request, load, loads, NULL);

    assert_true(r < 0 || (got[0] == number && got[count - 1] == number));
    return r;
}

static void test_content_ahead(void **state)
{
    struct loads loads = {0};
    struct chunk_cache *cache;
    struct chunk_cache_counts counts;
    (void)state;

    assert_int_equal(chunk_cache_new(16 * 40000, &cache, NULL), 0);
    assert_int_equal(ahead(cache, 1, &loads, &loads), 1);
    assert_int_equal(ahead(cache, 1, &loads, &loads), 0); // it is there
    assert_int_equal(ahead(cache, 2, &loads, &loads), 1);
    assert_int_equal(loads.count, 2);
    // Read as a whole, it goes; read in part, it stays.
    assert_int_equal(read_from(cache, 1, 1000, &loads), 0);
    assert_int_equal(read_from(cache, 2, 10, &loads), 0);
    assert_int_equal(loads.count, 2);
    counts = chunk_cache_counts(cache);
    assert_int_equal(counts.ahead_loads, 2);
    assert_int_equal(counts.ahead_used, 2);
    assert_int_equal(counts.ahead_bytes, 0);
    assert_int_equal(read_from(cache, 2, 10, &loads), 0);
    assert_int_equal(loads.count, 2);
    assert_int_equal(read_from(cache, 1, 10, &loads), 0);
    assert_int_equal(loads.count, 3);

    // A load ahead that fails is nobody's error and leaves nothing.
    loads.result = -EIO;
    assert_int_equal(ahead(cache, 3, &loads, &loads), -EIO);
    loads.result = 0;
    assert_int_equal(read_from(cache, 3, 10, &loads), 0);
    assert_int_equal(chunk_cache_counts(cache).ahead_bytes, 0);
    chunk_cache_free(cache);
}

// Content ahead has its own room: it pushes out nothing that was read, and is not pushed out by it.
static void test_room_ahead(void **state)
{
    struct loads loads = {0};
    struct chunk_cache *cache;
    int first = 0, second = 0;
    (void)state;

    assert_int_equal(chunk_cache_new(16 * 5000, &cache, NULL), 0);
    assert_int_equal(read_from(cache, 200, 10, &loads), 0);
    for (unsigned i = 0; i < 100; i++) {
        int r = ahead(cache, i, i % 2 ? &first : &second, &loads);

        assert_true(r == 1 || r == -ENOSPC);
        assert_true(chunk_cache_counts(cache).ahead_bytes <= chunk_cache_ahead_max(cache));
        assert_true(chunk_cache_counts(cache).bytes <= 16 * 5000);
    }
    assert_true(chunk_cache_counts(cache).ahead_bytes > chunk_cache_ahead_max(cache) - 2000);
    loads.count = 0;
    assert_int_equal(read_from(cache, 200, 10, &loads), 0);
    assert_int_equal(loads.count, 0);
    // Each owner's is forgotten alone.
    chunk_cache_forget_ahead(cache, &first);
    assert_true(chunk_cache_counts(cache).ahead_bytes > 0);
    assert_int_equal(read_from(cache, 1, 1000, &loads), 0);
    assert_int_equal(loads.count, 1);
    chunk_cache_forget_ahead(cache, &second);
    assert_int_equal(chunk_cache_counts(cache).ahead_bytes, 0);
    chunk_cache_free(cache);
}

// A view stays what it was when its content has left the cache.
static void test_views(void **state)
{
    struct digest id = {{7}};
    struct chunk_request request = {
        .kind = RECORD_CHUNK, .id = &id, .len = 1000, .from = 100, .count = 50};
    struct loads loads = {0};
    struct chunk_cache *cache;
    struct chunk_view view;
    (void)state;

    assert_int_equal(chunk_cache_new(16 * 5000, &cache, NULL), 0);
    assert_int_equal(chunk_cache_view(cache, &request, load, &loads, &view, NULL), 0);
    for (unsigned i = 8; i < 200; i++)
        assert_int_equal(read_from(cache, i, 10, &loads), 0);
    assert_int_equal(
        chunk_cache_find(
            cache, &(struct chunk_request){.kind = RECORD_CHUNK, .id = &id, .len = 1000}, NULL),
        0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(view.data[i], 7);
    chunk_view_release(cache, &view);
    assert_null(view.data);
    chunk_cache_free(cache);
}

// --- the queue

struct owner {
    atomic_int begun, ended;
};

static void slow_work(void *arg, const struct prefetch_range *range)
{
    struct owner *owner = arg;
    (void)range;

    atomic_fetch_add(&owner->begun, 1);
    usleep(1000);
    atomic_fetch_add(&owner->ended, 1);
}

static void test_cancelling(void **state)
{
    struct owner gone = {0}, stays = {0};
    struct prefetch_range range = {.count = 1};
    struct prefetch *prefetch;
    int begun;
    (void)state;

    assert_int_equal(prefetch_new(&prefetch, NULL), 0);
    for (int i = 0; i < 25; i++) {
        prefetch_submit(prefetch, slow_work, &gone, &range);
        prefetch_submit(prefetch, slow_work, &stays, &range);
    }
    prefetch_cancel(prefetch, &gone);
    begun = atomic_load(&gone.begun);
    assert_int_equal(begun, atomic_load(&gone.ended));
    while (atomic_load(&stays.ended) < 25)
        usleep(1000);
    assert_int_equal(atomic_load(&gone.begun), begun);
    // What was cancelled takes nobody's room, however late the threads are.
    for (int i = 0; i < 1000; i++)
        prefetch_submit(prefetch, slow_work, &gone, &range);
    prefetch_cancel(prefetch, &gone);
    begun = atomic_load(&stays.begun);
    for (int i = 0; i < 60; i++)
        prefetch_submit(prefetch, slow_work, &stays, &range);
    while (atomic_load(&stays.ended) < begun + 60)
        usleep(1000);
    // More than the queue holds is forgotten, and the end does not wait for what is queued.
    for (int i = 0; i < 1000; i++)
        prefetch_submit(prefetch, slow_work, &gone, &range);
    prefetch_cancel(prefetch, &gone);
    assert_true(atomic_load(&gone.begun) < 2000);
    prefetch_free(prefetch);
    assert_int_equal(prefetch_new(&prefetch, NULL), 0); // one that was never used
    prefetch_free(prefetch);
}

// --- places that are remembered

static void note_damage(const struct chunk_location *copy, void *arg)
{
    (void)copy;
    ++*(int *)arg;
}

// Whatever is remembered wrongly, the content is right and nobody is told of damage.
static void test_wrong_places(void **state)
{
    struct store_fixture *fixture = *state;
    struct store *store = fixture->store;
    struct store_writer *writer;
    struct chunk_location place, other;
    uint8_t content[2][CHUNK], got[CHUNK];
    struct digest ids[3] = {0};
    int told = 0;

    store_on_damage(store, note_damage, &told);
    assert_int_equal(store_writer_open(store, fixture->job_id, &writer, NULL), 0);
    for (int i = 0; i < 2; i++) {
        fill_random(content[i], CHUNK, (uint64_t)i + 1);
        assert_int_equal(store_writer_put(writer, RECORD_CHUNK, content[i], CHUNK, &ids[i], NULL),
                         0);
    }
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);

    store_locate(store, ids, 3); // a hole is passed over
    assert_true(location_cache_find(store->locations, RECORD_CHUNK, &ids[0], &place));
    assert_true(location_cache_find(store->locations, RECORD_CHUNK, &ids[1], &other));
    assert_false(location_cache_find(store->locations, RECORD_MAP, &ids[0], &place));
    assert_false(location_cache_find(store->locations, RECORD_CHUNK, &ids[2], &place));

    struct chunk_location wrong[4] = {place, place, place, place};
    wrong[0].record.offset = other.record.offset;                       // another record
    wrong[1].record.offset = UINT64_C(1) << 40;                         // past the end
    memset(wrong[2].pack_uuid, 'f', 8);                                 // no such pack
    wrong[3].record.base = ids[1], wrong[3].record.codec = CODEC_DELTA; // no such delta
    for (int i = 0; i < 4; i++) {
        location_cache_put(store->locations, &wrong[i]);
        memset(got, 0, CHUNK);
        assert_int_equal(store_read_chunk(store, NULL, &ids[0], CHUNK, 0, CHUNK, got, NULL), 0);
        assert_memory_equal(got, content[0], CHUNK);
        // And the right place is remembered by now.
        assert_true(location_cache_find(store->locations, RECORD_CHUNK, &ids[0], &other));
        assert_int_equal(other.record.offset, place.record.offset);
        assert_string_equal(other.pack_uuid, place.pack_uuid);
    }
    assert_int_equal(told, 0);
}

// A place comes back as it was put in, but for what nobody needs; names that no pack has are not
// remembered.
static void test_places(void **state)
{
    static const char *const names[] = {"", "0a1b2c3d", "0a1b2c3d-0000-4000-8000-0123456789a",
                                        "0a1b2c3d-0000-4000-8000-0123456789aG",
                                        "0a1b2c3d 0000-4000-8000-0123456789ab"};
    struct chunk_location place = {.record = {.kind = 1,
                                              .codec = 2,
                                              .offset = UINT64_C(0xfedcba9876543210),
                                              .stored_length = 77,
                                              .raw_length = 65536},
                                   .row = 5,
                                   .damaged = true,
                                   .pack_id = 6,
                                   .pack_uuid = "0a1b2c3d-4e5f-4000-8fff-0123456789ab"};
    struct chunk_location found;
    struct location_cache *cache;
    (void)state;

    fill_random(place.record.id.bytes, DIGEST_SIZE, 1);
    fill_random(place.record.base.bytes, DIGEST_SIZE, 2);
    assert_int_equal(location_cache_new(1000, &cache, NULL), 0);
    location_cache_put(cache, &place);
    assert_true(location_cache_has(cache, 1, &place.record.id));
    assert_false(location_cache_has(cache, 2, &place.record.id));
    assert_true(location_cache_find(cache, 1, &place.record.id, &found));
    place.row = place.pack_id = 0;
    place.damaged = false;
    assert_memory_equal(&found.record.id, &place.record.id, DIGEST_SIZE);
    assert_memory_equal(&found.record.base, &place.record.base, DIGEST_SIZE);
    assert_int_equal(found.record.codec, 2);
    assert_int_equal(found.record.offset, place.record.offset);
    assert_int_equal(found.record.stored_length, 77);
    assert_int_equal(found.record.raw_length, 65536);
    assert_string_equal(found.pack_uuid, place.pack_uuid);
    assert_true(!found.damaged && found.row == 0 && found.pack_id == 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        fill_random(place.record.id.bytes, DIGEST_SIZE, 100 + i);
        snprintf(place.pack_uuid, sizeof(place.pack_uuid), "%s", names[i]);
        location_cache_put(cache, &place);
        assert_false(location_cache_has(cache, 1, &place.record.id));
    }
    location_cache_free(cache);
}

static void test_places_are_bounded(void **state)
{
    struct location_cache *cache;
    struct chunk_location place = {.record.raw_length = 1, .pack_id = 1}, found;
    uint64_t room;
    unsigned kept = 0;
    (void)state;

    snprintf(place.pack_uuid, sizeof(place.pack_uuid), "0a1b2c3d-0000-4000-8000-0123456789ab");
    assert_int_equal(location_cache_new(8192, &cache, NULL), 0);
    room = location_cache_capacity(cache);
    assert_true(room > 8192 / sizeof(place)); // it does not keep what whoever asks knows
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 1000; i++) {
            fill_random(place.record.id.bytes, DIGEST_SIZE, i + 1);
            if (round == 0)
                location_cache_put(cache, &place);
            else
                kept += location_cache_find(cache, 0, &place.record.id, &found);
        }
    }
    assert_true(kept >= room / 2 && kept <= room);
    assert_true(location_cache_find(cache, 0, &place.record.id, &found)); // the newest
    location_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers_in_order),
        cmocka_unit_test(test_readers_at_random),
        cmocka_unit_test(test_many_readers),
        cmocka_unit_test(test_reads_that_overtake),
        cmocka_unit_test(test_content_ahead),
        cmocka_unit_test(test_room_ahead),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_cancelling),
        cmocka_unit_test_setup_teardown(test_wrong_places, store_fixture_make, store_fixture_clean),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_places_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
