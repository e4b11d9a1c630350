// SPDX-License-Identifier: MIT
//
// Many threads in the store at once: writers, readers, and the cache of decoded chunks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/chunk_cache.h"
#include "fs/store/map.h"
#include "tests/unit/store_testing.h"

#include <pthread.h>
#include <stdatomic.h>

// --- many threads

#define READERS 4
#define CHUNKS 60

struct crowd {
    struct store_fixture *fixture;
    struct store_writer *writer;
    struct digest ids[CHUNKS];
    atomic_int appended;
    atomic_int failures;
};

// A worker: everything appended so far is known at every moment, with a lease of any age.
static void *ask(void *arg)
{
    struct crowd *crowd = arg;
    int n = 0;

    while (n < CHUNKS) {
        struct catalog_conn *conn;

        if (catalog_read_begin(crowd->fixture->catalog, &conn, NULL) < 0) {
            atomic_fetch_add(&crowd->failures, 1);
            return NULL;
        }
        n = atomic_load(&crowd->appended);
        for (int i = n > 4 ? n - 4 : 0; i < n; i++) {
            if (store_writer_knows(crowd->writer, conn, &crowd->ids[i], NULL) != 1)
                atomic_fetch_add(&crowd->failures, 1);
        }
        catalog_read_end(conn);
    }
    return NULL;
}

static void test_workers_ask_while_the_owner_appends(void **state)
{
    struct store_fixture *fixture = *state;
    struct crowd crowd = {.fixture = fixture};
    pthread_t threads[READERS];

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 100000, 0, NULL), 0);
    crowd.writer = writer_of(fixture);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &crowd), 0);
    for (int i = 0; i < CHUNKS; i++) {
        crowd.ids[i] = put(crowd.writer, (uint64_t)i);
        atomic_store(&crowd.appended, i + 1);
    }
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    store_writer_close(crowd.writer);
}

static void *read_all(void *arg)
{
    struct crowd *crowd = arg;
    uint8_t expected[CHUNK], got[CHUNK];

    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < CHUNKS; i++) {
            size_t from = round % 2 ? 0 : 100, count = round % 2 ? CHUNK : 5000;

            content((uint64_t)i, expected);
            if (store_read_chunk(crowd->fixture->store, NULL, &crowd->ids[i], CHUNK, from, count,
                                 got, NULL) < 0 ||
                memcmp(got, expected + from, count) != 0)
                atomic_fetch_add(&crowd->failures, 1);
        }
    }
    return NULL;
}

static void test_many_readers(void **state)
{
    struct store_fixture *fixture = *state;
    struct crowd crowd = {.fixture = fixture};
    pthread_t threads[READERS];

    store_fixture_shut(fixture);
    // A cache too small for everything, so that entries come and go under the readers.
    assert_int_equal(store_fixture_open(fixture, 100000, 20 * CHUNK, NULL), 0);
    crowd.writer = writer_of(fixture);
    for (int i = 0; i < CHUNKS; i++)
        crowd.ids[i] = put(crowd.writer, (uint64_t)i);
    assert_int_equal(store_writer_seal(crowd.writer, NULL), 0);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &crowd), 0);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    store_writer_close(crowd.writer);
}

struct herd {
    struct chunk_cache *cache;
    struct digest id;
    atomic_int loads;
    atomic_int good, bad;
    bool whole;
    int result;
};

static int slow_load(const struct chunk_request *request, void *out, void *arg, struct error *err)
{
    struct herd *herd = arg;

    atomic_fetch_add(&herd->loads, 1);
    usleep(50000);
    if (herd->result < 0)
        return error_set(err, herd->result, "it could not be loaded");
    memset(out, 0x42, request->len);
    return 0;
}

static void *join_herd(void *arg)
{
    struct herd *herd = arg;
    uint8_t got[100] = {0};
    struct chunk_request request = {.kind = RECORD_CHUNK,
                                    .id = &herd->id,
                                    .len = 100,
                                    .count = herd->whole ? 100 : 10,
                                    .out = got};
    struct error err = ERROR_INIT;
    int r = chunk_cache_read(herd->cache, &request, slow_load, herd, &err);

    if (r == 0 && got[9] == 0x42)
        atomic_fetch_add(&herd->good, 1);
    if (r < 0 && strcmp(error_message(&err), "it could not be loaded") == 0 && err.code == r)
        atomic_fetch_add(&herd->bad, 1);
    return NULL;
}

static void run_herd(struct herd *herd)
{
    pthread_t threads[READERS];

    atomic_store(&herd->loads, 0);
    atomic_store(&herd->good, 0);
    atomic_store(&herd->bad, 0);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, join_herd, herd), 0);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
}

// All ask within the 50 ms that a load takes: one load serves all, and an error reaches all.
static void test_one_load_for_many(void **state)
{
    struct herd herd = {.id = {{1}}};
    uint8_t got[10];
    struct chunk_request request = {
        .kind = RECORD_CHUNK, .id = &herd.id, .len = 100, .count = 10, .out = got};
    (void)state;

    assert_int_equal(chunk_cache_new(1 << 20, &herd.cache, NULL), 0);
    herd.result = -EIO;
    run_herd(&herd);
    assert_int_equal(atomic_load(&herd.bad), READERS);
    assert_true(atomic_load(&herd.loads) < READERS);
    assert_int_equal(chunk_cache_find(herd.cache, &request, NULL), 0); // failures are not kept
    herd.result = 0;
    run_herd(&herd);
    assert_int_equal(atomic_load(&herd.good), READERS);
    assert_int_equal(atomic_load(&herd.loads), 1);
    assert_int_equal(chunk_cache_find(herd.cache, &request, NULL), 1);
    run_herd(&herd);
    assert_int_equal(atomic_load(&herd.loads), 0);
    // The same id as another kind is another entry.
    request.kind = RECORD_MAP;
    assert_int_equal(chunk_cache_find(herd.cache, &request, NULL), 0);
    request.kind = RECORD_CHUNK;
    request.len = 101;
    assert_int_equal(chunk_cache_find(herd.cache, &request, NULL), -ERROR_CORRUPT);

    herd.id.bytes[0] = 2;
    herd.whole = true;
    run_herd(&herd);
    assert_int_equal(atomic_load(&herd.good), READERS);
    assert_true(atomic_load(&herd.loads) < READERS);
    chunk_cache_free(herd.cache);
}

static int quick_load(const struct chunk_request *request, void *out, void *arg, struct error *err)
{
    (void)err;
    memset(out, request->id->bytes[0], request->len);
    ++*(int *)arg;
    return 0;
}

static void test_the_cache_is_bounded(void **state)
{
    struct chunk_cache *cache;
    struct digest id = {{0}};
    uint8_t got[1];
    struct chunk_request request = {
        .kind = RECORD_CHUNK, .id = &id, .len = 1000, .count = 1, .out = got};
    int loads = 0;
    (void)state;

    // Sixteen shards; all these ids fall into one, which has room for a few.
    assert_int_equal(chunk_cache_new(16 * 5000, &cache, NULL), 0);
    for (int i = 0; i < 100; i++) {
        id.bytes[0] = (uint8_t)i;
        assert_int_equal(chunk_cache_read(cache, &request, quick_load, &loads, NULL), 0);
        assert_int_equal(got[0], i);
        // Used again and again, so it is not the one that goes.
        id.bytes[0] = 0;
        assert_int_equal(chunk_cache_find(cache, &request, NULL), 1);
    }
    assert_int_equal(loads, 100);
    loads = 0;
    for (int i = 0; i < 100; i++) {
        id.bytes[0] = (uint8_t)i;
        loads += chunk_cache_find(cache, &request, NULL);
    }
    assert_true(loads >= 2 && loads <= 5);
    chunk_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_workers_ask_while_the_owner_appends),
        STORE_TEST(test_many_readers),
        cmocka_unit_test(test_one_load_for_many),
        cmocka_unit_test(test_the_cache_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
