// SPDX-License-Identifier: MIT
//
// Two blocks of any content with the same XXH3 (64 and 128 bits), made at will by who knows the
// secret it is computed with; without one it is the default, which is public.
//
// XXH3 of more than 240 bytes takes in the input as stripes of eight 64-bit words. With `key` eight
// bytes of the secret (stripe s of a 1024-byte block, word i: at 8 × (s + i)), word i does to the
// eight sums
//
//   sum[i]     += low32(word ^ key) × high32(word ^ key)
//   sum[i ^ 1] += word
//
// and nothing else until the block's last stripe. A word whose low half is its key's low half makes
// the product 0 whatever its high half is; and what one such word's high half gains another's in
// the same place of the next stripe can lose. So every sum stays what it was, and so does the hash.
#ifndef TESTS_UNIT_XXH3_PAIR_H
#define TESTS_UNIT_XXH3_PAIR_H

#include "base/bytes.h"

#define XXH_STATIC_LINKING_ONLY // XXH3_generateSecret_fromSeed()
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

#define XXH3_PAIR_SECRET_SIZE 192
#define XXH3_PAIR_STRIPE 64

// The secret of XXH3_64bits() and XXH3_128bits(), as the library has it.
static inline void xxh3_default_secret(uint8_t ret_secret[XXH3_PAIR_SECRET_SIZE])
{
    XXH3_generateSecret_fromSeed(ret_secret, 0);
}

// Changes the first word of `block`'s first two stripes and makes `other` the block that differs
// from it by `difference` (not 0) in each of them. Blocks of more than 1024 bytes.
static inline void xxh3_pair_make(uint8_t *block, uint8_t *other, size_t len, const uint8_t *secret,
                                  uint32_t difference)
{
    uint8_t *first = block, *second = block + XXH3_PAIR_STRIPE;

    memcpy(first, secret, 4); // low halves, little-endian
    memcpy(second, secret + 8, 4);
    memcpy(other, block, len);
    bytes_put_le32(other + 4, bytes_get_le32(first + 4) + difference);
    bytes_put_le32(other + XXH3_PAIR_STRIPE + 4, bytes_get_le32(second + 4) - difference);
}

// The same for who knows but 33 bits: of the two words' keys, exclusive or, the low half and the
// top bit. Both words' products have the same factor below and opposite top bits above: turning
// both top bits over adds to one product what it takes from the other, and 2^63 twice to the other
// sum.
static inline void xxh3_pair_make_of_33_bits(uint8_t *block, uint8_t *other, size_t len,
                                             uint64_t keys)
{
    uint64_t word = bytes_get_le64(block), top = UINT64_C(1) << 63;
    uint64_t second = ((word ^ keys) & (top | UINT32_MAX)) ^ top;

    bytes_put_le64(block + XXH3_PAIR_STRIPE, second);
    memcpy(other, block, len);
    bytes_put_le64(other, word ^ top);
    bytes_put_le64(other + XXH3_PAIR_STRIPE, second ^ top);
}

static inline bool xxh3_pair_collides(const uint8_t *block, const uint8_t *other, size_t len,
                                      const uint8_t *secret)
{
    return memcmp(block, other, len) != 0 &&
           XXH3_64bits_withSecret(block, len, secret, XXH3_PAIR_SECRET_SIZE) ==
               XXH3_64bits_withSecret(other, len, secret, XXH3_PAIR_SECRET_SIZE) &&
           XXH128_isEqual(XXH3_128bits_withSecret(block, len, secret, XXH3_PAIR_SECRET_SIZE),
                          XXH3_128bits_withSecret(other, len, secret, XXH3_PAIR_SECRET_SIZE));
}

#endif
