// SPDX-License-Identifier: MIT
//
// When a new chunk is stored as a delta, against what, and when not.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/job/delta_choice.h"

#include "tests/unit/store_testing.h"

struct choosing {
    struct store_writer *writer;
    struct chunk_coder *coder;
    struct delta_choice *choice;
    uint8_t payload[2 * CHUNK];
    size_t len;
};

static struct choosing *begin(struct store_fixture *fixture)
{
    struct choosing *choosing = calloc(1, sizeof(*choosing));

    choosing->writer = writer_of(fixture);
    assert_int_equal(chunk_coder_new(1, &choosing->coder, NULL), 0);
    assert_int_equal(delta_choice_new(fixture->store, choosing->writer, choosing->coder, CHUNK,
                                      &choosing->choice, NULL),
                     0);
    return choosing;
}

static void end(struct choosing *choosing)
{
    delta_choice_free(choosing->choice);
    chunk_coder_free(choosing->coder);
    store_writer_close(choosing->writer);
    free(choosing);
}

static enum record_codec choose(struct store_fixture *fixture, struct choosing *choosing,
                                const struct digest *before, const uint8_t data[CHUNK])
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct error err = ERROR_INIT;
    enum record_codec codec = (enum record_codec)77;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    if (delta_choice_encode(choosing->choice, conn, before, data, choosing->payload, &choosing->len,
                            &codec, &err) < 0)
        fail_msg("%s", error_message(&err));
    return codec;
}

// Stores what was chosen and reads it back.
static struct digest store(struct store_fixture *fixture, struct choosing *choosing,
                           enum record_codec codec, const uint8_t data[CHUNK])
{
    struct store_record record = {.kind = RECORD_CHUNK, .codec = codec, .raw_length = CHUNK};
    uint8_t got[CHUNK];

    record.payload = codec == CODEC_RAW ? data : choosing->payload;
    record.payload_length = (uint32_t)choosing->len;
    assert_int_equal(chunk_coder_id(choosing->coder, RECORD_CHUNK, data, CHUNK, &record.id, NULL),
                     0);
    assert_int_equal(store_writer_append(choosing->writer, &record, NULL), 0);
    assert_int_equal(store_writer_seal(choosing->writer, NULL), 0);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &record.id, CHUNK, 0, CHUNK, got, NULL),
                     0);
    assert_memory_equal(got, data, CHUNK);
    return record.id;
}

static void assert_base(const struct choosing *choosing, const struct digest *base)
{
    assert_memory_equal(choosing->payload, base->bytes, DIGEST_SIZE);
}

static void test_generations(void **state)
{
    struct store_fixture *fixture = *state;
    struct choosing *choosing = begin(fixture);
    struct digest none = {0}, first, second, third;
    uint8_t data[CHUNK];

    content(2, data);
    enum record_codec codec = choose(fixture, choosing, &none, data);
    assert_int_equal(codec, CODEC_RAW);
    first = store(fixture, choosing, codec, data);

    fill_random(data + 3000, 500, 50);
    codec = choose(fixture, choosing, &first, data);
    assert_int_equal(codec, CODEC_DELTA);
    assert_base(choosing, &first);
    assert_true(choosing->len < 700);
    second = store(fixture, choosing, codec, data);

    // Against the first and not the second, which has a base itself.
    fill_random(data + 9000, 500, 51);
    codec = choose(fixture, choosing, &second, data);
    assert_int_equal(codec, CODEC_DELTA);
    assert_base(choosing, &first);
    assert_true(choosing->len > 1000 && choosing->len < 1300);
    third = store(fixture, choosing, codec, data);

    // By now most of it is other bytes than the base's: a base of its own.
    fill_random(data, 9000, 52);
    codec = choose(fixture, choosing, &third, data);
    assert_int_equal(codec, CODEC_RAW);
    first = store(fixture, choosing, codec, data);
    data[5] ^= 1;
    assert_int_equal(choose(fixture, choosing, &first, data), CODEC_DELTA);
    assert_base(choosing, &first);
    end(choosing);
}

// A quarter of it noise, the rest one byte: plain it takes a quarter. `noise` bytes of the rest
// change.
static void quarter(uint8_t data[CHUNK], size_t noise)
{
    fill_random(data, CHUNK, 9);
    memset(data + CHUNK / 4, 'x', CHUNK - CHUNK / 4);
    fill_random(data + CHUNK / 2, noise, 70);
}

static void test_what_is_enough(void **state)
{
    static const struct {
        size_t noise;
        enum record_codec codec;
    } cases[] = {
        {0, CODEC_DELTA},              // only the byte below
        {CHUNK / 10, CODEC_DELTA},     // less than half of the base
        {CHUNK * 3 / 20, CODEC_DELTA}, // more than that, less than half of the plain chunk
        {CHUNK * 3 / 10, CODEC_ZSTD},  // more than either
    };
    struct store_fixture *fixture = *state;
    struct choosing *choosing = begin(fixture);
    uint8_t data[CHUNK];
    struct digest none = {0};

    quarter(data, 0);
    enum record_codec codec = choose(fixture, choosing, &none, data);
    assert_int_equal(codec, CODEC_ZSTD);
    struct digest base = store(fixture, choosing, codec, data);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        quarter(data, cases[i].noise);
        data[CHUNK - 1] = (uint8_t)i;
        codec = choose(fixture, choosing, &base, data);
        assert_int_equal(codec, cases[i].codec);
        store(fixture, choosing, codec, data);
    }
    end(choosing);
}

// What compresses to next to nothing needs no base.
static void test_little(void **state)
{
    struct store_fixture *fixture = *state;
    struct choosing *choosing = begin(fixture);
    struct digest none = {0}, base;
    uint8_t data[CHUNK];

    memset(data, 'y', CHUNK);
    base = store(fixture, choosing, choose(fixture, choosing, &none, data), data);
    data[7000] = 'z';
    assert_int_equal(choose(fixture, choosing, &base, data), CODEC_ZSTD);
    end(choosing);
}

// Everything that keeps a base from being had leads to a plain chunk and no error.
static void test_no_base(void **state)
{
    struct store_fixture *fixture = *state;
    struct choosing *choosing = begin(fixture);
    struct digest none = {0}, base;
    uint8_t data[CHUNK];

    content(2, data);
    base = store(fixture, choosing, CODEC_RAW, (choosing->len = CHUNK, data));
    data[100] ^= 1;
    assert_int_equal(choose(fixture, choosing, &base, data), CODEC_DELTA);
    assert_int_equal(choose(fixture, choosing, &none, data), CODEC_RAW);
    memset(&none, 7, sizeof(none)); // nobody's
    assert_int_equal(choose(fixture, choosing, &none, data), CODEC_RAW);
    fixture->config.deltas = false;
    assert_int_equal(choose(fixture, choosing, &base, data), CODEC_RAW);
    fixture->config.deltas = true;
    assert_int_equal(choose(fixture, choosing, &base, data), CODEC_DELTA);

    // Damaged: the only pack so far, whose first payload begins at 128.
    uint8_t was, is;
    int fd = open(pack_path(fixture, files_of(fixture).uuid, "pack"), O_RDWR);
    assert_int_equal(pread(fd, &was, 1, 200), 1);
    is = was ^ 4;
    assert_int_equal(pwrite(fd, &is, 1, 200), 1);
    assert_int_equal(choose(fixture, choosing, &base, data), CODEC_RAW);
    assert_int_equal(pwrite(fd, &was, 1, 200), 1);
    assert_int_equal(choose(fixture, choosing, &base, data), CODEC_DELTA);
    close(fd);

    // A chunk of another length at the place: chunk sizes never change within a chain, but who
    // knows.
    struct digest half;
    assert_int_equal(store_writer_put(choosing->writer, RECORD_CHUNK, data, CHUNK / 2, &half, NULL),
                     0);
    assert_int_equal(store_writer_seal(choosing->writer, NULL), 0);
    assert_int_equal(choose(fixture, choosing, &half, data), CODEC_RAW);

    end(choosing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_generations),
        STORE_TEST(test_what_is_enough),
        STORE_TEST(test_little),
        STORE_TEST(test_no_base),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
