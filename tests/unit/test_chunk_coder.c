// SPDX-License-Identifier: MIT
//
// What is computed on content: ids against known SHA-256 values, compression that gives back every
// byte or says why not, the zero test, and fingerprints.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/chunk_coder.h"
#include "fs/store/repo_config.h"

#include "tests/unit/store_fixture.h"

#define SIZE 65536

static int make(void **state)
{
    struct chunk_coder *coder;
    int r = chunk_coder_new(1, &coder, NULL);

    *state = coder;
    return r;
}

static int clean(void **state)
{
    chunk_coder_free(*state);
    return 0;
}

static void assert_id(struct chunk_coder *coder, enum record_kind kind, const char *text,
                      const char *expected)
{
    struct digest id;
    char hex[DIGEST_HEX_SIZE];

    assert_int_equal(chunk_coder_id(coder, kind, text, strlen(text), &id, NULL), 0);
    assert_string_equal(digest_to_hex(&id, hex), expected);
}

static void test_ids(void **state)
{
    struct digest id;

    // printf abc | sha256sum
    assert_id(*state, RECORD_CHUNK, "abc",
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    // printf 'backtree-map\0\0\0\0abc' | sha256sum, and the same with backtree-snap\0\0\0
    assert_id(*state, RECORD_MAP, "abc",
              "6aeca6467a1b1600157c42b6b970dc53bbeebd486d096c7255f695d93d4a2634");
    assert_id(*state, RECORD_SNAPSHOT, "abc",
              "98d1a30081a8722209e828285bd6d098ba9792fe0afd3097e272c7e8e0c189f6");
    assert_int_equal(chunk_coder_id(*state, RECORD_UNKNOWN, "abc", 3, &id, NULL), -EINVAL);
}

static void assert_round_trip(struct chunk_coder *coder, const uint8_t *data, size_t len,
                              enum record_codec expected)
{
    uint8_t *out = malloc(chunk_coder_bound(len)), *back = malloc(len + 1);
    enum record_codec codec;
    size_t n;

    assert_int_equal(chunk_coder_encode(coder, data, len, out, &n, &codec, NULL), 0);
    assert_int_equal(codec, expected);
    assert_true(codec == CODEC_RAW ? n == len : n <= len - len / 32);
    back[len] = 0x77;
    assert_int_equal(
        chunk_coder_decode(coder, codec, codec == CODEC_RAW ? data : out, n, back, len, NULL), 0);
    assert_memory_equal(back, data, len);
    assert_int_equal(back[len], 0x77);
    free(out);
    free(back);
}

static void test_round_trips(void **state)
{
    uint8_t *data = malloc(SIZE);

    fill_random(data, SIZE, 1);
    assert_round_trip(*state, data, SIZE, CODEC_RAW);
    assert_round_trip(*state, data, 1, CODEC_RAW);
    // One part in 64 compresses: not worth a decompression at every read.
    memset(data, 0, SIZE / 64);
    assert_round_trip(*state, data, SIZE, CODEC_RAW);
    memset(data, 0, SIZE / 2);
    assert_round_trip(*state, data, SIZE, CODEC_ZSTD);
    memset(data, 'x', SIZE);
    assert_round_trip(*state, data, SIZE, CODEC_ZSTD);
    assert_round_trip(*state, data, 1000, CODEC_ZSTD);
    free(data);
}

static void test_decoding_refuses(void **state)
{
    uint8_t *data = malloc(SIZE), *out = malloc(chunk_coder_bound(SIZE)), *back = malloc(2 * SIZE);
    enum record_codec codec;
    size_t n;

    for (size_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i / 100);
    assert_int_equal(chunk_coder_encode(*state, data, SIZE, out, &n, &codec, NULL), 0);
    assert_int_equal(codec, CODEC_ZSTD);
    assert_int_equal(chunk_coder_decode(*state, codec, out, n, back, SIZE - 1, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(chunk_coder_decode(*state, codec, out, n, back, SIZE + 1, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(chunk_coder_decode(*state, codec, out, n - 1, back, SIZE, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(chunk_coder_decode(*state, codec, data, n, back, SIZE, NULL), -ERROR_CORRUPT);
    assert_int_equal(chunk_coder_decode(*state, CODEC_RAW, data, 10, back, 11, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(chunk_coder_decode(*state, (enum record_codec)2, data, 10, back, 10, NULL),
                     -EPROTONOSUPPORT);
    // Contexts are as good as new after an error.
    assert_int_equal(chunk_coder_decode(*state, codec, out, n, back, SIZE, NULL), 0);
    assert_memory_equal(back, data, SIZE);
    free(data);
    free(out);
    free(back);
}

static void test_zero(void **state)
{
    static const size_t lengths[] = {0, 1, 63, 64, 65, 127, 128, 129, 1000, 16384};
    uint8_t *data = calloc(1, 16384 + 1);
    (void)state;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t len = lengths[i];

        data[len] = 0xff; // just behind
        assert_true(chunk_is_zero(data, len));
        data[len] = 0;
        for (size_t at = 0; at < len; at += at < 200 || at + 200 > len ? 1 : 97) {
            data[at] = 1;
            assert_false(chunk_is_zero(data, len));
            data[at] = 0;
        }
    }
    free(data);
}

static void test_fingerprints(void **state)
{
    uint8_t secret[FINGERPRINT_SECRET_SIZE], other[FINGERPRINT_SECRET_SIZE];
    uint8_t *data = malloc(SIZE);
    struct fingerprint first, second;
    (void)state;

    fill_random(secret, sizeof(secret), 2);
    fill_random(other, sizeof(other), 3);
    fill_random(data, SIZE, 4);
    first = fingerprint_of(data, SIZE, secret);
    second = fingerprint_of(data, SIZE, secret);
    assert_memory_equal(&first, &second, sizeof(first));
    second = fingerprint_of(data, SIZE, other);
    assert_memory_not_equal(&first, &second, sizeof(first));
    for (size_t at = 0; at < SIZE; at += 501) {
        data[at] ^= 1;
        second = fingerprint_of(data, SIZE, secret);
        assert_memory_not_equal(&first, &second, sizeof(first));
        data[at] ^= 1;
    }
    free(data);
}

// Contents of one length that differ here and there, whatever the length and however far apart what
// they share stands.
static void test_deltas(void **state)
{
    static const size_t lengths[] = {16384, 65536, 131072, 1048576, 4194304};
    uint8_t *base = malloc(4194304), *data = malloc(4194304), *back = malloc(4194304);
    uint8_t *out = malloc(chunk_coder_bound(4194304));
    size_t n, plain;
    enum record_codec codec;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t len = lengths[i];

        fill_random(base, len, 40 + i);
        memcpy(data, base, len);
        fill_random(data + len / 2, 500, 50);
        fill_random(data + 100, 20, 51);
        assert_int_equal(chunk_coder_encode_delta(*state, data, len, base, out, len, &n, NULL), 0);
        assert_true(n < 1200); // what is shared is found to the last of it
        assert_int_equal(chunk_coder_decode_delta(*state, out, n, base, back, len, NULL), 0);
        assert_memory_equal(back, data, len);
        // Everything moved by some bytes.
        memmove(data + 7, data, len - 7);
        assert_int_equal(chunk_coder_encode_delta(*state, data, len, base, out, len, &n, NULL), 0);
        assert_true(n < 1500);
        assert_int_equal(chunk_coder_decode_delta(*state, out, n, base, back, len, NULL), 0);
        assert_memory_equal(back, data, len);
    }
    // Other frames know nothing of a base that was.
    fill_random(data, SIZE, 60);
    memset(data, 1, SIZE / 2);
    assert_int_equal(chunk_coder_encode(*state, data, SIZE, out, &plain, &codec, NULL), 0);
    assert_int_equal(chunk_coder_decode(*state, codec, out, plain, back, SIZE, NULL), 0);
    assert_memory_equal(back, data, SIZE);
    free(base);
    free(data);
    free(back);
    free(out);
}

static void test_delta_room(void **state)
{
    uint8_t *base = malloc(SIZE), *data = malloc(SIZE), *back = malloc(SIZE), *out = malloc(SIZE);
    size_t n;

    fill_random(base, SIZE, 1);
    fill_random(data, SIZE, 2);
    assert_int_equal(chunk_coder_encode_delta(*state, data, SIZE, base, out, 1000, &n, NULL),
                     -ENOSPC);
    assert_int_equal(chunk_coder_encode_delta(*state, data, SIZE, base, out, 0, &n, NULL), -ENOSPC);
    // What failed leaves nothing behind.
    memcpy(data, base, SIZE - 100);
    assert_int_equal(chunk_coder_encode_delta(*state, data, SIZE, base, out, 1000, &n, NULL), 0);
    assert_int_equal(chunk_coder_decode_delta(*state, out, n, base, back, SIZE, NULL), 0);
    assert_memory_equal(back, data, SIZE);
    free(base);
    free(data);
    free(back);
    free(out);
}

static void test_deltas_refused(void **state)
{
    uint8_t *base = malloc(SIZE), *data = malloc(SIZE), *back = malloc(SIZE);
    uint8_t *out = malloc(2 * SIZE);
    enum record_codec codec;
    size_t n;

    fill_random(base, SIZE, 1);
    memcpy(data, base, SIZE);
    memset(data + 5000, 0x77, 300);
    assert_int_equal(chunk_coder_encode_delta(*state, data, SIZE, base, out, SIZE, &n, NULL), 0);
    // Another base, by one bit: the content's checksum says so.
    base[30000] ^= 1;
    assert_int_equal(chunk_coder_decode_delta(*state, out, n, base, back, SIZE, NULL),
                     -ERROR_CORRUPT);
    base[30000] ^= 1;
    for (size_t len = 0; len < n; len++)
        assert_int_equal(chunk_coder_decode_delta(*state, out, len, base, back, SIZE, NULL),
                         -ERROR_CORRUPT);
    // More than one frame, another length, and no delta's frame.
    memcpy(out + n, out, n);
    assert_int_equal(chunk_coder_decode_delta(*state, out, 2 * n, base, back, SIZE, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(chunk_coder_decode_delta(*state, out, n, base, back, SIZE / 2, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(chunk_coder_decode(*state, CODEC_DELTA, out, n, back, SIZE, NULL),
                     -EPROTONOSUPPORT);
    memset(data, 5, SIZE);
    assert_int_equal(chunk_coder_encode(*state, data, SIZE, out, &n, &codec, NULL), 0);
    assert_int_equal(codec, CODEC_ZSTD);
    assert_int_equal(chunk_coder_decode_delta(*state, out, n, base, back, SIZE, NULL),
                     -ERROR_CORRUPT);
    free(base);
    free(data);
    free(back);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),          cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_zero),         cmocka_unit_test(test_decoding_refuses),
        cmocka_unit_test(test_fingerprints), cmocka_unit_test(test_deltas),
        cmocka_unit_test(test_delta_room),   cmocka_unit_test(test_deltas_refused),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
