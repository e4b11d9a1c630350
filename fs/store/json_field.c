// SPDX-License-Identifier: MIT
//
// Values of JSON records: how each type of field is written, and what is accepted.
#include "fs/store/json_field.h"

#include "base/cleanup.h"
#include "base/name.h"
#include "catalog/types.h"
#include "fs/store/repo_config.h"

#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

// --- writing

// A path may be any bytes, JSON only holds UTF-8.
static int put_path(json_t *json, const char *key, const char *path)
{
    AUTO_FREE char *hex = NULL, *hex_key = NULL;
    json_t *text = json_string(path);
    size_t len = strlen(path);

    if (text)
        return json_object_set_new(json, key, text);
    hex = malloc(2 * len + 1);
    if (!hex || asprintf(&hex_key, "%s_hex", key) < 0)
        return -1;
    for (size_t i = 0; i < len; i++)
        sprintf(hex + 2 * i, "%02x", (uint8_t)path[i]);
    return json_object_set_new(json, hex_key, json_string(hex));
}

static int put(json_t *json, const struct json_field *field, const void *record)
{
    const void *value = (const char *)record + field->offset;
    json_t *made;
    uint64_t bytes;

    switch (field->type) {
    case JSON_FIELD_PATH:
        return put_path(json, field->key, value);
    case JSON_FIELD_POSITIVE:
    case JSON_FIELD_TIME:
        made = json_integer(*(const int64_t *)value);
        break;
    case JSON_FIELD_CHUNK_SIZE:
        made = json_integer(*(const uint32_t *)value);
        break;
    case JSON_FIELD_BYTES:
        bytes = *(const uint64_t *)value;
        made = bytes <= INT64_MAX ? json_integer((json_int_t)bytes) : NULL;
        break;
    default:
        made = json_string(value);
    }
    return json_object_set_new(json, field->key, made); // fails on NULL
}

int json_field_put(json_t *json, const struct json_field *field, const void *record)
{
    json_text_was_out_of_memory();
    if (put(json, field, record) == 0)
        return 0;
    return json_text_was_out_of_memory() ? -ENOMEM : -EINVAL;
}

// --- parsing

static bool uuid_ok(const char *text)
{
    char canonical[UUID_TEXT_SIZE];
    uuid_t uuid;

    if (strlen(text) != UUID_TEXT_SIZE - 1 || uuid_parse(text, uuid) != 0)
        return false;
    uuid_unparse_lower(uuid, canonical);
    return strcmp(text, canonical) == 0;
}

static bool text_ok(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    }
    return true;
}

static bool string_ok(enum json_field_type type, const char *text)
{
    switch (type) {
    case JSON_FIELD_UUID:
        return uuid_ok(text);
    case JSON_FIELD_UUID_OR_NONE:
        return text[0] == '\0' || uuid_ok(text);
    case JSON_FIELD_NAME:
        return name_check("record's", text, NULL) == 0;
    default:
        return text_ok(text);
    }
}

static bool take_string(const json_t *value, const struct json_field *field, char *out)
{
    const char *text = json_string_value(value);

    // No NUL inside (jansson refuses those), room for it all, and of the right form.
    if (!text || strlen(text) >= field->size || !string_ok(field->type, text))
        return false;
    strcpy(out, text);
    return true;
}

static bool take_hex(const char *hex, size_t size, char *out)
{
    size_t len = strlen(hex);

    if (len % 2 != 0 || len / 2 >= size || strspn(hex, "0123456789abcdef") != len)
        return false;
    for (size_t i = 0; i < len / 2; i++) {
        unsigned byte;

        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return false;
        out[i] = (char)byte;
    }
    out[len / 2] = '\0';
    return strlen(out) == len / 2 && text_ok(out);
}

static bool take_path(const json_t *json, const struct json_field *field, char *out)
{
    AUTO_FREE char *hex_key = NULL;
    const char *text = json_string_value(json_object_get(json, field->key));
    const char *hex;

    if (asprintf(&hex_key, "%s_hex", field->key) < 0) {
        hex_key = NULL;
        return false;
    }
    hex = json_string_value(json_object_get(json, hex_key));
    if (!text == !hex) // one of the two
        return false;
    return text ? take_string(json_object_get(json, field->key), field, out)
                : take_hex(hex, field->size, out);
}

bool json_field_integer(const json_t *value, int64_t min, int64_t *ret_number)
{
    if (!json_is_integer(value) || json_integer_value(value) < min)
        return false;
    *ret_number = json_integer_value(value);
    return true;
}

bool json_field_take(const json_t *json, const struct json_field *field, void *record)
{
    const json_t *value = json_object_get(json, field->key);
    void *out = (char *)record + field->offset;
    int64_t number;

    switch (field->type) {
    case JSON_FIELD_PATH:
        return take_path(json, field, out);
    case JSON_FIELD_POSITIVE:
        return json_field_integer(value, 1, out);
    case JSON_FIELD_TIME:
        return json_field_integer(value, 0, out);
    case JSON_FIELD_BYTES:
        if (!json_field_integer(value, 0, &number))
            return false;
        *(uint64_t *)out = (uint64_t)number;
        return true;
    case JSON_FIELD_CHUNK_SIZE:
        if (!json_field_integer(value, CHUNK_SIZE_MIN, &number) || number > CHUNK_SIZE_MAX ||
            (number & (number - 1)) != 0)
            return false;
        *(uint32_t *)out = (uint32_t)number;
        return true;
    default:
        return take_string(value, field, out);
    }
}
