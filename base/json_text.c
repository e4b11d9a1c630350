// SPDX-License-Identifier: MIT
//
// Loading and dumping of JSON; see json_text.h.
#include "base/json_text.h"

#include <stdlib.h>

static _Thread_local bool out_of_memory;

static void *allocate(size_t size)
{
    void *memory = malloc(size);

    if (!memory)
        out_of_memory = true;
    return memory;
}

// Before main(), as other threads may use jansson.
__attribute__((constructor)) static void use_allocate(void)
{
    json_set_alloc_funcs(allocate, free);
}

bool json_text_was_out_of_memory(void)
{
    bool was = out_of_memory;

    out_of_memory = false;
    return was;
}

int json_text_load(const void *data, size_t len, const char *what, json_t **ret_json,
                   struct error *err)
{
    json_error_t where;
    json_t *json;

    json_text_was_out_of_memory();
    json = json_loadb(data, len, JSON_REJECT_DUPLICATES, &where);
    if (!json && json_text_was_out_of_memory())
        return error_set(err, -ENOMEM, "%s: out of memory", what);
    if (!json)
        return error_set(err, -ERROR_CORRUPT, "%s: %s", what, where.text);
    *ret_json = json;
    return 0;
}

char *json_text_dump(const json_t *json, size_t flags)
{
    char *text;

    json_text_was_out_of_memory();
    text = json ? json_dumps(json, flags) : NULL;
    if (!json_text_was_out_of_memory())
        return text;
    free(text);
    return NULL;
}
