// SPDX-License-Identifier: MIT
//
// Text and zero test of a 32-byte identity. Computes no hash and keeps no state.
#include "base/digest.h"

#include <errno.h>

bool digest_is_zero(const struct digest *d)
{
    static const struct digest zero;
    return digest_equal(d, &zero);
}

char *digest_to_hex(const struct digest *d, char hex[DIGEST_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        hex[2 * i] = digits[d->bytes[i] >> 4];
        hex[2 * i + 1] = digits[d->bytes[i] & 15];
    }
    hex[2 * DIGEST_SIZE] = '\0';
    return hex;
}

// The value of one hexadecimal digit, -1 for anything else; isxdigit() would ask the locale.
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int digest_from_hex(const char *hex, struct digest *ret_digest)
{
    struct digest d;
    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        int high = hex_value(hex[2 * i]);
        if (high < 0)
            return -EINVAL;
        int low = hex_value(hex[2 * i + 1]);
        if (low < 0)
            return -EINVAL;
        d.bytes[i] = (uint8_t)(high << 4 | low);
    }
    if (hex[2 * DIGEST_SIZE] != '\0')
        return -EINVAL;
    *ret_digest = d;
    return 0;
}
