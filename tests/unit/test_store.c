// SPDX-License-Identifier: MIT
//
// Writing to the store and reading from it, and what faults on the way leave.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/store_testing.h"

// --- writing and reading

static void test_life_of_a_chunk(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest unknown = {{1}};
    uint8_t got[100], expected[CHUNK];
    struct digest id;

    assert_int_equal(store_writer_bytes(writer), 0);
    assert_int_equal(files_of(fixture).open, 0); // no empty packs
    id = put(writer, 0);
    assert_int_equal(knows(fixture, writer, &id), 1);
    assert_int_equal(knows(fixture, writer, &unknown), 0);
    assert_int_equal(files_of(fixture).open, 1);
    // Not readable before it is sealed and committed.
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 0, 100, got, NULL),
                     -ERROR_CORRUPT);

    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(knows(fixture, writer, &id), 1);
    assert_chunk(fixture, &id, 0);
    content(0, expected);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 1000, 100, got, NULL), 0);
    assert_memory_equal(got, expected + 1000, 100);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, CHUNK - 1, 2, got, NULL),
                     -EINVAL);
    assert_int_equal(files_of(fixture).open, 0);
    assert_int_equal(files_of(fixture).sealed, 1);

    // A second writer of the same job, and one of another, find it in the catalog.
    store_writer_close(writer);
    writer = writer_of(fixture);
    assert_int_equal(knows(fixture, writer, &id), 1);
    assert_true(digest_equal(&id, &(struct digest[]){put(writer, 0)}[0]));
    assert_int_equal(store_writer_bytes(writer), 0);
    store_writer_close(writer);
}

static void test_bytes_are_exact(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest ids[40];
    struct pack_sum sum;
    struct files files;
    uint64_t before;

    for (uint64_t i = 0; i < 40; i++)
        ids[i] = put(writer, i);
    before = store_writer_bytes(writer);
    put(writer, 7); // known: adds nothing
    assert_int_equal(store_writer_bytes(writer), before);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(store_writer_seal(writer, NULL), 0); // nothing to do
    sum = packs_of(fixture);
    files = files_of(fixture);
    assert_int_equal(sum.packs, 1);
    assert_int_equal(sum.records, 40);
    assert_int_equal(sum.raw_bytes, 40 * CHUNK);
    assert_int_equal(sum.file_bytes, files.bytes);
    assert_int_equal(store_writer_bytes(writer), files.bytes);
    assert_int_equal(sum.provisional, 1);
    for (uint64_t i = 0; i < 40; i++)
        assert_chunk(fixture, &ids[i], i);
    store_writer_close(writer);
}

static void test_packs_fill_up(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer;
    struct digest ids[100];
    struct pack_sum sum;

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 100000, 1, NULL), 0);
    writer = writer_of(fixture);
    for (uint64_t i = 0; i < 100; i++) {
        ids[i] = put(writer, i);
        // Never a moment in which what was appended is not known.
        for (uint64_t k = 0; k <= i; k += 9)
            assert_int_equal(knows(fixture, writer, &ids[k]), 1);
    }
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    sum = packs_of(fixture);
    assert_true(sum.packs > 5 && sum.records == 100);
    assert_int_equal(store_writer_bytes(writer), files_of(fixture).bytes);
    for (uint64_t i = 0; i < 100; i++)
        assert_chunk(fixture, &ids[i], i);
    store_writer_close(writer);
}

// A worker's lease may have begun before the commit that put the id into the catalog.
static void test_an_old_lease_knows_too(void **state)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest unknown = {{1}}, first, second;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(store_writer_knows(writer, conn, &unknown, NULL), 0); // its view is fixed now
    first = put(writer, 0);
    assert_int_equal(store_writer_knows(writer, conn, &first, NULL), 1);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(store_writer_knows(writer, conn, &first, NULL), 1);
    second = put(writer, 1);
    assert_int_equal(store_writer_knows(writer, conn, &first, NULL), 1);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(store_writer_knows(writer, conn, &second, NULL), 1);
    assert_int_equal(knows(fixture, writer, &first), 1); // with a lease of now
    store_writer_close(writer);
}

static void test_unsealed_pack_is_removed(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);

    put(writer, 1);
    assert_int_equal(files_of(fixture).open, 1);
    assert_null(store_writer_close(writer));
    assert_int_equal(files_of(fixture).open, 0);
    assert_int_equal(packs_of(fixture).packs, 0);
    assert_null(store_writer_close(NULL));
}

static void test_records_of_other_kinds(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest chunk, map, snapshot;
    struct error err = ERROR_INIT;
    void *data;
    size_t len;

    assert_int_equal(store_writer_put(writer, RECORD_CHUNK, "same", 4, &chunk, NULL), 0);
    assert_int_equal(store_writer_put(writer, RECORD_MAP, "same", 4, &map, NULL), 0);
    assert_int_equal(store_writer_put(writer, RECORD_SNAPSHOT, "same", 4, &snapshot, NULL), 0);
    assert_false(digest_equal(&chunk, &map) || digest_equal(&map, &snapshot));
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(
        store_get(fixture->store, NULL, RECORD_SNAPSHOT, &snapshot, false, &data, &len, NULL), 0);
    assert_int_equal(len, 4);
    assert_memory_equal(data, "same", 4);
    free(data);
    assert_int_equal(store_get(fixture->store, NULL, RECORD_CHUNK, &map, true, &data, &len, &err),
                     -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "of kind 2 instead of 1"));
    store_writer_close(writer);
}

static void test_append_refuses(void **state)
{
    static uint8_t data[100];
    const struct store_record good = {.kind = RECORD_CHUNK,
                                      .codec = CODEC_RAW,
                                      .id = {{9}},
                                      .raw_length = 100,
                                      .payload = data,
                                      .payload_length = 100};
    struct store_writer *writer = writer_of(*state);
    struct store_record bad[5] = {good, good, good, good, good};

    bad[0].kind = RECORD_UNKNOWN;
    bad[1].payload_length = 99;
    bad[2].raw_length = PACK_PAYLOAD_MAX + 1;
    bad[3].id = (struct digest){{0}};
    bad[4].codec = (enum record_codec)7;
    for (int i = 0; i < 5; i++)
        assert_int_equal(store_writer_append(writer, &bad[i], NULL), -EINVAL);
    assert_int_equal(store_writer_append(writer, &good, NULL), 0); // misuse is no poison
    store_writer_close(writer);
}

// --- faults

static const struct {
    const char *fault;
    int code;
    bool sealed; // the pack's file is there afterwards
    bool known;  // and the catalog knows it
} durable_path[] = {
    {"pack-create=ENOSPC", -ENOSPC, false, false},
    {"1-pack-append=ENOSPC", -ENOSPC, false, false},
    {"2-pack-index=EIO", -EIO, false, false},
    {"2-pack-sync=EIO", -EIO, false, false},
    {"2-pack-rename=EACCES", -EACCES, false, false},
    {"2-pack-dirsync=EIO", -EIO, false, false},
    {"2-pack-sealed=EIO", -EIO, false, false},
    {"3-pack-commit=ENOSPC", -ENOSPC, true, false},
    {"3-pack-committed=EIO", -EIO, true, true},
};

static void test_faults_poison_the_writer(void **state)
{
    struct store_fixture *fixture = *state;
    unsigned sealed = 0, known = 0;

    for (size_t i = 0; i < sizeof(durable_path) / sizeof(durable_path[0]); i++) {
        struct store_writer *writer = writer_of(fixture);
        struct error err = ERROR_INIT, again = ERROR_INIT;
        uint8_t data[CHUNK];
        struct digest id;
        int r;

        arm(durable_path[i].fault);
        content(1000 + i, data);
        r = store_writer_put(writer, RECORD_CHUNK, data, CHUNK, &id, &err);
        if (r == 0)
            r = store_writer_seal(writer, &err);
        assert_int_equal(r, durable_path[i].code);
        assert_non_null(strstr(error_message(&err), "injected fault"));
        arm(NULL);
        // The same error for ever, on every call, though the cause is gone.
        assert_int_equal(store_writer_seal(writer, &again), durable_path[i].code);
        assert_string_equal(error_message(&again), error_message(&err));
        assert_int_equal(store_writer_put(writer, RECORD_CHUNK, data, CHUNK, &id, NULL),
                         durable_path[i].code);
        assert_int_equal(knows(fixture, writer, &id), durable_path[i].code);
        store_writer_close(writer);

        sealed += durable_path[i].sealed;
        known += durable_path[i].known;
        assert_int_equal(files_of(fixture).open, 0);
        assert_int_equal(files_of(fixture).sealed, sealed);
        assert_int_equal(packs_of(fixture).packs, known);
    }
    // What was sealed but not committed is adopted at the next start.
    count_sentence_calls = 0;
    assert_int_equal(store_reconcile(fixture->store, count_sentence, NULL, NULL), 0);
    assert_int_equal(packs_of(fixture).packs, sealed);
    assert_int_equal(packs_of(fixture).provisional, 0);
    assert_int_equal(count_sentence_calls, (int)(sealed - known) + 1);
    for (size_t i = 0; i < sizeof(durable_path) / sizeof(durable_path[0]); i++) {
        struct store_writer *writer = writer_of(fixture);

        if (durable_path[i].sealed) {
            put(writer, 1000 + i); // known, adds nothing
            assert_int_equal(store_writer_bytes(writer), 0);
        }
        store_writer_close(writer);
    }
}

static void test_read_errors_are_not_damage(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest id = put(writer, 3);
    uint8_t got[CHUNK];

    assert_int_equal(store_writer_seal(writer, NULL), 0);
    arm("pack-read=EIO");
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 0, 10, got, NULL), -EIO);
    // Not kept: the next one succeeds.
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 0, 10, got, NULL), 0);
    store_writer_close(writer);
}

static void test_drop_provisional(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    int64_t other_job;
    struct digest kept, dropped;
    uint8_t got[CHUNK];

    kept = put(writer, 1);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(store_fixture_job(fixture, &other_job, NULL), 0);
    assert_int_equal(store_writer_open(fixture->store, other_job, &writer, NULL), 0);
    // What another job wrote and has not completed must be stored again.
    assert_int_equal(knows(fixture, writer, &kept), 0);
    dropped = put(writer, 2);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_chunk(fixture, &dropped, 2); // its pack is open for reading now
    assert_int_equal(files_of(fixture).sealed, 2);

    assert_int_equal(store_drop_provisional(fixture->store, 0, NULL), -EINVAL);
    assert_int_equal(store_drop_provisional(fixture->store, other_job, NULL), 0);
    assert_int_equal(files_of(fixture).sealed, 1);
    assert_int_equal(packs_of(fixture).packs, 1);
    assert_chunk(fixture, &kept, 1);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &dropped, CHUNK, 0, 10, got, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(store_drop_provisional(fixture->store, other_job, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_life_of_a_chunk),
        STORE_TEST(test_bytes_are_exact),
        STORE_TEST(test_packs_fill_up),
        STORE_TEST(test_an_old_lease_knows_too),
        STORE_TEST(test_unsealed_pack_is_removed),
        STORE_TEST(test_records_of_other_kinds),
        STORE_TEST(test_append_refuses),
        STORE_TEST(test_faults_poison_the_writer),
        STORE_TEST(test_read_errors_are_not_damage),
        STORE_TEST(test_drop_provisional),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
