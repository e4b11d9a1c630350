// SPDX-License-Identifier: MIT
//
// JSON as text, by jansson, with one thing added: what happens when memory runs out. Jansson then
// calls a sound text broken, and leaves out keys of one that it writes (json_dumps() does not look
// at what became of them). Its allocations go through here, so that both are -ENOMEM.
//
// Threads: any.
#ifndef BASE_JSON_TEXT_H
#define BASE_JSON_TEXT_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

// The value in a text that this program wrote. -ENOMEM; -ERROR_CORRUPT when it is none. `what`
// begins the sentence.
int json_text_load(const void *data, size_t len, const char *what, json_t **ret_json,
                   struct error *err);

// malloc'ed, with jansson's flags; NULL: out of memory, also when `json` is NULL.
char *json_text_dump(const json_t *json, size_t flags);

// Whether jansson had no memory for something in this thread since this was asked last.
bool json_text_was_out_of_memory(void);

static inline void json_decref_cleanup(json_t **json)
{
    json_decref(*json);
}

#define AUTO_JSON __attribute__((cleanup(json_decref_cleanup)))

#endif
