// SPDX-License-Identifier: MIT
//
// Fields of a struct as keys of a JSON object, by a table: what the records that are JSON
// (snapshots, notes) share. Writing and parsing use the same rows, so they cannot drift apart.
// Parsing trusts nothing: type, form and length of each value are checked.
#ifndef FS_STORE_JSON_FIELD_H
#define FS_STORE_JSON_FIELD_H

#include "base/json_text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_field_type {
    JSON_FIELD_UUID = 1,
    JSON_FIELD_UUID_OR_NONE, // "" = none
    JSON_FIELD_NAME,         // of a VM or disk
    JSON_FIELD_TEXT,         // no control characters
    JSON_FIELD_PATH,         // any bytes: "KEY_hex" stands instead where they are not UTF-8
    JSON_FIELD_POSITIVE,     // int64_t, 1 or more
    JSON_FIELD_BYTES,        // uint64_t
    JSON_FIELD_TIME,         // int64_t, 0 or more
    JSON_FIELD_CHUNK_SIZE,   // uint32_t, a power of two in range
};

struct json_field {
    const char *key;
    enum json_field_type type;
    size_t offset, size; // of the member; texts are arrays of `size` bytes with the NUL
};

#define JSON_FIELD(record, member, type)                                                           \
    {                                                                                              \
#member, type, offsetof(record, member), sizeof(((record *)0)->member)                     \
    }

// 0, -ENOMEM, or -EINVAL when no JSON can hold it.
int json_field_put(json_t *json, const struct json_field *field, const void *record);

// False when the key is missing or its value wrong; the member may be changed then.
bool json_field_take(const json_t *json, const struct json_field *field, void *record);

bool json_field_integer(const json_t *value, int64_t min, int64_t *ret_number);

#endif
