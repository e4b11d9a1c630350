// SPDX-License-Identifier: MIT
//
// Blocks made to collide under XXH3 are told apart: as chunks always, for an id is SHA-256; as
// fingerprints as long as the repository's secret is one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/store_testing.h"
#include "tests/unit/xxh3_pair.h"

#define BLOCK 65536
#define SECRETS 2000

_Static_assert(FINGERPRINT_SECRET_SIZE == XXH3_PAIR_SECRET_SIZE, "one size of secret");

static const uint32_t differences[] = {1, 0x80000000, 0x00010000, 0xdeadbeef, UINT32_MAX};
static uint8_t block[CHUNK_SIZE_MAX], other[CHUNK_SIZE_MAX];

static void make_default_pair(uint64_t seed)
{
    uint8_t secret[XXH3_PAIR_SECRET_SIZE];

    xxh3_default_secret(secret);
    fill_random(block, BLOCK, seed);
    xxh3_pair_make(block, other, BLOCK, secret, differences[seed % 5]);
}

static bool same_fingerprint(const uint8_t *secret)
{
    struct fingerprint first = fingerprint_of(block, BLOCK, secret);
    struct fingerprint second = fingerprint_of(other, BLOCK, secret);

    return memcmp(&first, &second, sizeof(first)) == 0;
}

// The pair is one: the library itself says so, through its functions without a secret.
static void test_the_pair_collides(void **state)
{
    static const size_t sizes[] = {1025, 4096, CHUNK_SIZE_MIN, BLOCK, CHUNK_SIZE_MAX};
    uint8_t secret[XXH3_PAIR_SECRET_SIZE];
    (void)state;

    xxh3_default_secret(secret);
    for (unsigned i = 0; i < 25; i++) {
        size_t len = sizes[i / 5], changed = 0;

        fill_random(block, len, i + 1);
        xxh3_pair_make(block, other, len, secret, differences[i % 5]);
        for (size_t word = 0; word + 8 <= len; word += 8)
            changed += memcmp(block + word, other + word, 8) != 0;
        assert_int_equal(changed, 2);
        assert_int_equal(XXH3_64bits(block, len), XXH3_64bits(other, len));
        assert_true(XXH128_isEqual(XXH3_128bits(block, len), XXH3_128bits(other, len)));
        // It is no accident: half of the change is seen.
        memcpy(other, block, 8);
        assert_int_not_equal(XXH3_64bits(block, len), XXH3_64bits(other, len));
    }
}

static void test_two_chunks(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    uint8_t *got = malloc(BLOCK);
    struct digest first, second;

    make_default_pair(3);
    assert_int_equal(store_writer_put(writer, RECORD_CHUNK, block, BLOCK, &first, NULL), 0);
    assert_int_equal(store_writer_put(writer, RECORD_CHUNK, other, BLOCK, &second, NULL), 0);
    assert_false(digest_equal(&first, &second));
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(packs_of(fixture).records, 2);
    for (int i = 0; i < 2; i++) { // from the pack, then from the cache
        assert_int_equal(store_read_chunk(fixture->store, NULL, &first, BLOCK, 0, BLOCK, got, NULL),
                         0);
        assert_memory_equal(got, block, BLOCK);
        assert_int_equal(
            store_read_chunk(fixture->store, NULL, &second, BLOCK, 0, BLOCK, got, NULL), 0);
        assert_memory_equal(got, other, BLOCK);
    }
    free(got);
}

static void test_fingerprints_of_a_repository(void **state)
{
    uint8_t secret[XXH3_PAIR_SECRET_SIZE];
    struct repo_config config;
    (void)state;

    make_default_pair(3);
    xxh3_default_secret(secret);
    assert_true(same_fingerprint(secret)); // what the secret is for
    for (unsigned i = 0; i < SECRETS; i++) {
        make_default_pair(i);
        assert_int_equal(repo_config_init(&config, BLOCK, 1, NULL), 0);
        assert_false(same_fingerprint(config.fingerprint_secret));
    }
}

// Who knows a repository's secret can make a pair for it, and for no other.
static void test_known_secret(void **state)
{
    struct repo_config config, another;
    (void)state;

    for (unsigned i = 0; i < SECRETS; i++) {
        assert_int_equal(repo_config_init(&config, BLOCK, 1, NULL), 0);
        assert_int_equal(repo_config_init(&another, BLOCK, 1, NULL), 0);
        fill_random(block, BLOCK, i);
        xxh3_pair_make(block, other, BLOCK, config.fingerprint_secret, differences[i % 5]);
        assert_true(same_fingerprint(config.fingerprint_secret));
        assert_false(same_fingerprint(another.fingerprint_secret));
    }
}

// The cheapest pair known: 33 bits of the secret have to be right, and each of them counts.
static void test_guessed_secret(void **state)
{
    struct repo_config config;
    (void)state;

    for (unsigned i = 0; i < SECRETS; i++) {
        assert_int_equal(repo_config_init(&config, BLOCK, 1, NULL), 0);
        const uint8_t *secret = config.fingerprint_secret;
        uint64_t keys = bytes_get_le64(secret) ^ bytes_get_le64(secret + 8);

        fill_random(block, BLOCK, i);
        xxh3_pair_make_of_33_bits(block, other, BLOCK, keys);
        assert_true(same_fingerprint(secret));
        unsigned bit = i % 33;
        xxh3_pair_make_of_33_bits(block, other, BLOCK, keys ^ UINT64_C(1) << (bit < 32 ? bit : 63));
        assert_false(same_fingerprint(secret));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_pair_collides),
        STORE_TEST(test_two_chunks),
        cmocka_unit_test(test_fingerprints_of_a_repository),
        cmocka_unit_test(test_known_secret),
        cmocka_unit_test(test_guessed_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
