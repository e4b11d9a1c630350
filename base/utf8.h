// SPDX-License-Identifier: MIT
//
// UTF-8: which bytes of a text are a character. Paths and reasons are bytes; who shows them puts
// U+FFFD in the place of each one that is not. Pure functions.
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" // U+FFFD

// Length of the sequence at `p`, 1 to 4 (1 for NUL), or 0 when there is none: overlong forms,
// surrogates and what is past U+10FFFF are none. A final NUL ends every wrong one, so nothing past
// it is read.
size_t utf8_length(const unsigned char *p);

#endif
