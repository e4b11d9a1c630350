// SPDX-License-Identifier: MIT
//
// A text that grows: glibc's open_memstream(), with the one question asked that is easily
// forgotten. fclose() may say that all is well and leave NULL for a text that there was no memory
// for.
//
//     AUTO(text_discard) struct text text = {0};
//     FILE *out = text_begin(&text);
//     if (!out)
//         return error_set(err, -ENOMEM, "out of memory");
//     fprintf(out, …);
//     if (!text_end(&text))
//         return error_set(err, -ENOMEM, "out of memory");
//     *ret_text = TAKE(text.data, NULL);
//
// Not for two threads at once.
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct text {
    FILE *out;  // open between text_begin() and text_end()
    char *data; // after text_end(): malloc'ed, with a NUL behind its end
    size_t len; // without it
};

// NULL: out of memory. What is printed to it is kept until the end.
FILE *text_begin(struct text *text);

// False: something printed could not be kept (out of memory); there is no text then.
bool text_end(struct text *text);

// Gives back what there is, ended or not.
void text_discard(struct text *text);

static inline void text_discard_at(struct text *text)
{
    text_discard(text);
}

#endif
