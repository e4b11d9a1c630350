// SPDX-License-Identifier: MIT
//
// Chunks stored as deltas: they come back byte by byte, are known only while their base is, and no
// chain, cycle or exchange of bases, however it came into the catalog, is served.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/pack_scan.h"

#include "tests/unit/store_testing.h"

#include <pthread.h>

// Content number `n` with some bytes of it changed: the same for the same `n` and `variant`.
static void variant_of(uint64_t n, uint64_t variant, uint8_t out[CHUNK])
{
    content(n, out);
    fill_random(out + 1024 * variant, 300, 1000 + variant);
}

static struct digest id_of(const uint8_t data[CHUNK])
{
    AUTO(chunk_coder_free) struct chunk_coder *coder = NULL;
    struct digest id;

    assert_int_equal(chunk_coder_new(1, &coder, NULL), 0);
    assert_int_equal(chunk_coder_id(coder, RECORD_CHUNK, data, CHUNK, &id, NULL), 0);
    return id;
}

// Appends `data` as a delta that names `base` and was made against `prefix`.
static int append_delta(struct store_writer *writer, const uint8_t data[CHUNK],
                        const struct digest *base, const uint8_t prefix[CHUNK], uint32_t raw_length)
{
    AUTO(chunk_coder_free) struct chunk_coder *coder = NULL;
    uint8_t payload[2 * CHUNK];
    struct store_record record = {.kind = RECORD_CHUNK,
                                  .codec = CODEC_DELTA,
                                  .id = id_of(data),
                                  .raw_length = raw_length,
                                  .payload = payload};
    size_t len;

    assert_int_equal(chunk_coder_new(1, &coder, NULL), 0);
    memcpy(payload, base->bytes, DIGEST_SIZE);
    assert_int_equal(chunk_coder_encode_delta(coder, data, CHUNK, prefix, payload + DIGEST_SIZE,
                                              sizeof(payload) - DIGEST_SIZE, &len, NULL),
                     0);
    record.payload_length = (uint32_t)(DIGEST_SIZE + len);
    return store_writer_append(writer, &record, NULL);
}

// A pack of its own.
static struct digest put_delta(struct store_fixture *fixture, const uint8_t data[CHUNK],
                               const uint8_t base[CHUNK])
{
    struct store_writer *writer = writer_of(fixture);
    struct digest base_id = id_of(base);

    assert_int_equal(append_delta(writer, data, &base_id, base, CHUNK), 0);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    return id_of(data);
}

static struct digest put_plain(struct store_fixture *fixture, const uint8_t data[CHUNK])
{
    struct store_writer *writer = writer_of(fixture);
    struct digest id;

    assert_int_equal(store_writer_put(writer, RECORD_CHUNK, data, CHUNK, &id, NULL), 0);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    return id;
}

static void assert_content(struct store_fixture *fixture, const struct digest *id,
                           const uint8_t expected[CHUNK])
{
    struct error err = ERROR_INIT;
    uint8_t got[CHUNK];
    void *data;
    size_t len;

    // All of it past the cache, a part through it, and proved.
    if (store_read_chunk(fixture->store, NULL, id, CHUNK, 0, CHUNK, got, &err) < 0)
        fail_msg("%s", error_message(&err));
    assert_memory_equal(got, expected, CHUNK);
    if (store_read_chunk(fixture->store, NULL, id, CHUNK, 5000, 100, got, &err) < 0)
        fail_msg("%s", error_message(&err));
    assert_memory_equal(got, expected + 5000, 100);
    if (store_get(fixture->store, NULL, RECORD_CHUNK, id, true, &data, &len, &err) < 0)
        fail_msg("%s", error_message(&err));
    assert_int_equal(len, CHUNK);
    assert_memory_equal(data, expected, CHUNK);
    free(data);
}

// It cannot be read, in whichever way, for a reason that holds `words`.
static void assert_damaged(struct store_fixture *fixture, const struct digest *id,
                           const char *words)
{
    struct error err = ERROR_INIT;
    uint8_t got[CHUNK];
    void *data;
    size_t len;

    assert_int_equal(store_read_chunk(fixture->store, NULL, id, CHUNK, 0, 100, got, &err),
                     -ERROR_CORRUPT);
    if (!strstr(error_message(&err), words))
        fail_msg("'%s' does not say '%s'", error_message(&err), words);
    error_clear(&err);
    assert_int_equal(store_get(fixture->store, NULL, RECORD_CHUNK, id, true, &data, &len, &err),
                     -ERROR_CORRUPT);
}

static int delete_one(const struct pack_row *row, void *arg, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct chunk_location copies[8];
    const struct digest *id = ((void **)arg)[1];
    struct store_fixture *fixture = ((void **)arg)[0];
    int n;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, err), 0);
    n = chunk_copies(conn, id, -1, copies, 8, err);
    for (int i = 0; i < n; i++) {
        if (copies[i].pack_id == row->id)
            *(int64_t *)((void **)arg)[2] = row->id;
    }
    return 0;
}

// Takes the pack that holds `id` out of the catalog.
static void lose(struct store_fixture *fixture, const struct digest *id)
{
    struct catalog_conn *conn = NULL;
    int64_t pack = 0;
    void *arg[] = {fixture, (void *)id, &pack};

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(pack_each(conn, 0, delete_one, arg, NULL), 0);
    catalog_read_end(conn);
    assert_true(pack > 0);
    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(pack_delete(conn, pack, NULL), 0);
    assert_int_equal(catalog_write_commit(conn, NULL), 0);
}

static int base_of(struct store_fixture *fixture, const struct digest *chunk,
                   struct store_base *ret_base)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct store_writer *writer = writer_of(fixture);
    int r;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    r = store_writer_base(writer, conn, chunk, ret_base, NULL);
    store_writer_close(writer);
    return r;
}

static int known(struct store_fixture *fixture, const struct digest *id)
{
    struct store_writer *writer = writer_of(fixture);
    int r = knows(fixture, writer, id);

    store_writer_close(writer);
    return r;
}

static void test_round_trip(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t first[CHUNK], second[CHUNK], third[CHUNK];
    struct store_base base;

    content(2, first);
    variant_of(2, 1, second);
    variant_of(2, 2, third);
    struct digest first_id = put_plain(fixture, first);
    struct digest second_id = put_delta(fixture, second, first);
    uint64_t small = files_of(fixture).bytes;
    assert_content(fixture, &first_id, first);
    assert_content(fixture, &second_id, second);
    assert_true(small < CHUNK + 2000); // it does not compress: two would be 32 KiB

    // What replaces the delta is made against the delta's own base.
    assert_int_equal(base_of(fixture, &first_id, &base), 1);
    assert_true(digest_equal(&base.id, &first_id));
    assert_int_equal(base.raw_length, CHUNK);
    assert_int_equal(base_of(fixture, &second_id, &base), 1);
    assert_true(digest_equal(&base.id, &first_id));
    struct digest third_id = put_delta(fixture, third, first);
    assert_int_equal(known(fixture, &third_id), 1);

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 0, 0, NULL), 0);
    assert_content(fixture, &third_id, third);
    assert_content(fixture, &second_id, second);
}

// Many in one pack, mixed with others: index and rows agree, and the writer's sum is the file's
// size.
static void test_index(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    uint8_t base[CHUNK], data[CHUNK];
    struct pack_content found;
    struct digest base_id;

    content(4, base);
    base_id = put(writer, 4);
    for (uint64_t i = 1; i < 8; i++) {
        variant_of(4, i, data);
        assert_int_equal(append_delta(writer, data, &base_id, base, CHUNK), 0);
        put(writer, 10 + i);
    }
    uint64_t around = store_writer_bytes_around_one(writer);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_true(around == store_writer_bytes(writer));
    store_writer_close(writer);
    struct files files = files_of(fixture);
    assert_true(files.bytes == around);
    assert_int_equal(pack_scan_index(fixture->store, files.uuid, files.bytes, &found, NULL), 0);
    assert_int_equal(found.count, 15);
    for (size_t i = 0; i < found.count; i++) {
        bool delta = i % 2 == 1;

        assert_int_equal(found.records[i].codec == CODEC_DELTA, delta);
        assert_true(delta ? digest_equal(&found.records[i].base, &base_id)
                          : digest_is_zero(&found.records[i].base));
    }
    pack_content_deinit(&found);
    for (uint64_t i = 1; i < 8; i++) {
        variant_of(4, i, data);
        struct digest id = id_of(data);
        assert_content(fixture, &id, data);
    }
}

static void test_base_is_gone(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t first[CHUNK], second[CHUNK];
    struct store_base base;

    content(2, first);
    variant_of(2, 1, second);
    struct digest first_id = put_plain(fixture, first);
    struct digest second_id = put_delta(fixture, second, first);
    assert_int_equal(known(fixture, &second_id), 1);
    lose(fixture, &first_id);
    assert_damaged(fixture, &second_id, "a delta: no pack holds the record");
    assert_int_equal(known(fixture, &second_id), 0);
    assert_int_equal(base_of(fixture, &second_id, &base), 0);

    // Stored again, as a second copy, it can be read again; so it can when the base comes back.
    put_plain(fixture, second);
    assert_content(fixture, &second_id, second);
    assert_int_equal(known(fixture, &second_id), 1);
}

// What no writer of ours makes, with every checksum right.
static void test_hostile_bases(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t first[CHUNK], second[CHUNK], third[CHUNK], other[CHUNK];
    struct store_base base;

    content(2, first);
    variant_of(2, 1, second);
    variant_of(2, 2, third);
    content(6, other);
    struct digest first_id = put_plain(fixture, first);
    struct digest second_id = put_delta(fixture, second, first);

    struct digest third_id = put_delta(fixture, third, second); // a delta of a delta
    assert_damaged(fixture, &third_id, "is itself a delta");
    assert_int_equal(known(fixture, &third_id), 0);
    assert_int_equal(base_of(fixture, &third_id, &base), 0);

    // A cycle.
    uint8_t fourth[CHUNK], fifth[CHUNK];
    variant_of(2, 4, fourth);
    variant_of(2, 5, fifth);
    struct digest fourth_id = put_delta(fixture, fourth, fifth);
    struct digest fifth_id = put_delta(fixture, fifth, fourth);
    assert_damaged(fixture, &fourth_id, "is itself a delta");
    assert_damaged(fixture, &fifth_id, "is itself a delta");

    // The base that is named is not the one it was made with.
    struct store_writer *writer = writer_of(fixture);
    variant_of(2, 6, fourth);
    struct digest other_id = put_plain(fixture, other);
    assert_int_equal(append_delta(writer, fourth, &other_id, first, CHUNK), 0);
    // A base of another length.
    uint8_t half[CHUNK / 2];
    struct digest half_id;
    fill_random(half, sizeof(half), 99);
    assert_int_equal(store_writer_put(writer, RECORD_CHUNK, half, sizeof(half), &half_id, NULL), 0);
    variant_of(2, 7, fifth);
    assert_int_equal(append_delta(writer, fifth, &half_id, first, CHUNK), 0);
    // A map node as a base.
    struct digest node_id;
    assert_int_equal(store_writer_put(writer, RECORD_MAP, first, CHUNK, &node_id, NULL), 0);
    variant_of(2, 8, other);
    assert_int_equal(append_delta(writer, other, &node_id, first, CHUNK), 0);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    fourth_id = id_of(fourth), fifth_id = id_of(fifth), other_id = id_of(other);
    assert_damaged(fixture, &fourth_id, "the delta does not go with its base");
    assert_damaged(fixture, &fifth_id, "bytes instead of");
    assert_damaged(fixture, &other_id, "is of kind 2 instead of 1");
    assert_int_equal(known(fixture, &other_id), 0);
    assert_content(fixture, &second_id, second);
    assert_content(fixture, &first_id, first);
}

// The writer refuses what it can see to be wrong.
static void test_refused(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    uint8_t first[CHUNK], second[CHUNK];
    struct digest none = {0};

    content(2, first);
    variant_of(2, 1, second);
    struct digest first_id = id_of(first), second_id = id_of(second);
    assert_int_equal(append_delta(writer, second, &none, first, CHUNK), -EINVAL);
    assert_int_equal(append_delta(writer, second, &second_id, first, CHUNK), -EINVAL);
    fixture->config.deltas = false;
    assert_int_equal(append_delta(writer, second, &first_id, first, CHUNK), -EINVAL);
    fixture->config.deltas = true;
    assert_int_equal(append_delta(writer, second, &first_id, first, CHUNK), 0);
    store_writer_close(writer);
}

// Without the feature nothing is offered as a base, and what is there is read all the same.
static void test_without_the_feature(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t first[CHUNK], second[CHUNK];
    struct store_base base;

    content(2, first);
    variant_of(2, 1, second);
    struct digest first_id = put_plain(fixture, first);
    struct digest second_id = put_delta(fixture, second, first);
    fixture->config.deltas = false;
    assert_int_equal(base_of(fixture, &first_id, &base), 0);
    assert_content(fixture, &second_id, second);
}

// Every bit of a delta's record.
static void test_every_byte(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t first[CHUNK], second[CHUNK];

    content(2, first);
    variant_of(2, 1, second);
    struct store_writer *writer = writer_of(fixture);
    struct digest first_id = put(writer, 2), second_id = id_of(second);
    assert_int_equal(append_delta(writer, second, &first_id, first, CHUNK), 0);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    struct files files = files_of(fixture);
    struct pack_content found;
    assert_int_equal(pack_scan_index(fixture->store, files.uuid, files.bytes, &found, NULL), 0);
    uint64_t at = found.records[1].offset;
    uint64_t end = at + PACK_RECORD_HEADER_SIZE + found.records[1].stored_length;
    pack_content_deinit(&found);
    int fd = open(pack_path(fixture, files.uuid, "pack"), O_RDWR);
    for (; at < end; at++) {
        uint8_t was, is;
        void *data;
        size_t len;

        assert_int_equal(pread(fd, &was, 1, (off_t)at), 1);
        is = was ^ (uint8_t)(1 << at % 8);
        assert_int_equal(pwrite(fd, &is, 1, (off_t)at), 1);
        assert_true(store_get(fixture->store, NULL, RECORD_CHUNK, &second_id, false, &data, &len,
                              NULL) < 0);
        assert_int_equal(pwrite(fd, &was, 1, (off_t)at), 1);
    }
    close(fd);
    assert_content(fixture, &second_id, second);
}

// In step a delta is taken with the base its payload names, when that is whole; behind damage it is
// not believed.
static void test_salvage(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    uint8_t first[CHUNK], data[CHUNK];
    struct digest first_id = put(writer, 2);
    struct pack_content index, found;

    content(2, first);
    for (uint64_t i = 1; i <= 3; i++) {
        variant_of(2, i, data);
        assert_int_equal(append_delta(writer, data, &first_id, first, CHUNK), 0);
    }
    put(writer, 3);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    struct files files = files_of(fixture);
    assert_int_equal(pack_scan_index(fixture->store, files.uuid, files.bytes, &index, NULL), 0);
    assert_int_equal(pack_scan_salvage(fixture->store, files.uuid, files.bytes, &found, NULL), 0);
    assert_int_equal(found.count, index.count);
    for (size_t i = 0; i < index.count; i++) {
        assert_true(digest_equal(&found.records[i].id, &index.records[i].id));
        assert_true(digest_equal(&found.records[i].base, &index.records[i].base));
    }
    pack_content_deinit(&found);

    // The base id in the first delta's payload is damaged: that one alone is lost.
    int fd = open(pack_path(fixture, files.uuid, "pack"), O_RDWR);
    uint64_t payload = index.records[1].offset + PACK_RECORD_HEADER_SIZE;
    assert_int_equal(pwrite(fd, "xxxx", 4, (off_t)payload), 4);
    assert_int_equal(pack_scan_salvage(fixture->store, files.uuid, files.bytes, &found, NULL), 0);
    assert_int_equal(found.count, 4);
    assert_int_equal(found.lost_places, 1);
    assert_true(found.lost_bytes == PACK_RECORD_HEADER_SIZE + index.records[1].stored_length);
    assert_int_equal(found.untrusted, 0);
    pack_content_deinit(&found);

    // So is its header: the deltas behind are not believed, the chunk is.
    assert_int_equal(pwrite(fd, "x", 1, (off_t)index.records[1].offset), 1);
    assert_int_equal(pack_scan_salvage(fixture->store, files.uuid, files.bytes, &found, NULL), 0);
    assert_int_equal(found.count, 2);
    assert_int_equal(found.untrusted, 2);
    assert_true(digest_equal(&found.records[1].id, &index.records[4].id));
    pack_content_deinit(&found);
    pack_content_deinit(&index);
    close(fd);
}

#define READERS 8
#define VARIANTS 7

struct reading {
    struct store_fixture *fixture;
    unsigned number;
    pthread_t thread;
    bool wrong;
};

static void *read_many(void *arg)
{
    struct reading *reading = arg;
    uint8_t expected[CHUNK], got[1000];

    for (uint64_t i = 0; i < 500 && !reading->wrong; i++) {
        uint64_t variant = (i * 5 + reading->number) % (VARIANTS + 1);
        size_t from = (i * 331) % (CHUNK - sizeof(got));

        if (variant == 0)
            content(2, expected);
        else
            variant_of(2, variant, expected);
        struct digest id = id_of(expected);
        reading->wrong = store_read_chunk(reading->fixture->store, NULL, &id, CHUNK, from,
                                          sizeof(got), got, NULL) < 0 ||
                         memcmp(got, expected + from, sizeof(got)) != 0;
    }
    return NULL;
}

// Readers of deltas and of their base at once, through a cache that holds two chunks: who loads a
// delta while others wait for it must not wait for who loads its base.
static void test_many_readers(void **state)
{
    struct store_fixture *fixture = *state;
    struct reading readings[READERS] = {0};
    uint8_t base[CHUNK], data[CHUNK];

    content(2, base);
    put_plain(fixture, base);
    for (uint64_t i = 1; i <= VARIANTS; i++) {
        variant_of(2, i, data);
        put_delta(fixture, data, base);
    }
    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 0, 2 * CHUNK, NULL), 0);
    for (unsigned i = 0; i < READERS; i++) {
        readings[i].fixture = fixture;
        readings[i].number = i;
        assert_int_equal(pthread_create(&readings[i].thread, NULL, read_many, &readings[i]), 0);
    }
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(readings[i].thread, NULL);
        assert_false(readings[i].wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_round_trip),   STORE_TEST(test_index),
        STORE_TEST(test_base_is_gone), STORE_TEST(test_hostile_bases),
        STORE_TEST(test_refused),      STORE_TEST(test_without_the_feature),
        STORE_TEST(test_every_byte),   STORE_TEST(test_salvage),
        STORE_TEST(test_many_readers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
