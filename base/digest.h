// SPDX-License-Identifier: MIT
//
// A 32-byte identity (SHA-256) as a value. This header only carries and prints it; the store
// computes it.
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define DIGEST_SIZE 32
#define DIGEST_HEX_SIZE (2 * DIGEST_SIZE + 1) // with the final NUL

struct digest {
    uint8_t bytes[DIGEST_SIZE];
};

static inline bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->bytes, b->bytes, DIGEST_SIZE) == 0;
}

// All-zero means "no id" (a hole in a map); SHA-256 never yields it in practice.
bool digest_is_zero(const struct digest *d);

// Lower-case hexadecimal with a final NUL. Returns `hex`.
char *digest_to_hex(const struct digest *d, char hex[DIGEST_HEX_SIZE]);

// Parses exactly 64 hexadecimal digits and a NUL. Returns 0 or -EINVAL.
int digest_from_hex(const char *hex, struct digest *ret_digest);

#endif
