// SPDX-License-Identifier: MIT
//
// What the fuzz targets share. A target is one function, given bytes by libFuzzer or by replay.c;
// it says "no" by fuzz_fail(). Targets keep no state between inputs but what they set up once.
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_fail(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fuzz_fail(#condition, __FILE__, __LINE__);                                             \
    } while (0)

// After a refusal: the code is the sentence's, and the sentence is one printable line.
static inline void fuzz_check_refusal(int r, const struct error *err)
{
    MUST(r < 0 && err->code == r && err->message[0] != '\0');
    for (const char *p = err->message; *p; p++)
        MUST((unsigned char)*p >= ' ' && *p != 0x7f);
}

// The input as a text: malloc'ed, so that a read past its end is found. NULL when it holds a NUL.
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = size && memchr(data, '\0', size) ? NULL : malloc(size + 1);

    if (text) {
        if (size)
            memcpy(text, data, size);
        text[size] = '\0';
    }
    return text;
}

static inline bool fuzz_all(const void *data, size_t size, uint8_t value)
{
    const uint8_t *p = data;

    return size == 0 || (p[0] == value && memcmp(p, p + 1, size - 1) == 0);
}

// Letters and digits as the C locale has them, whatever the locale.
static inline bool fuzz_is_alnum(char c)
{
    return c && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", c);
}

#endif
