// SPDX-License-Identifier: MIT
//
// A JSON record as text for people.
#include "tools/record_text.h"

#include "base/cleanup.h"
#include "catalog/record_json.h"
#include "tools/human.h"

#include <string.h>

#define INDENT 2

static void record_text_object(const json_t *object, int indent, bool in_list, FILE *out);

static bool record_text_is_bytes(const char *key)
{
    size_t len = strlen(key);
    return (len > 6 && strcmp(key + len - 6, "_bytes") == 0) || strcmp(key, "capacity") == 0 ||
           strcmp(key, "chunk_size") == 0;
}

static void record_text_string(const char *text, FILE *out)
{
    if (*text == '\0')
        fputc('-', out);
    for (; *text != '\0'; text++)
        fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

static void record_text_scalar(const char *key, const json_t *value, FILE *out)
{
    char human[HUMAN_SIZE];
    if (json_is_string(value)) {
        record_text_string(json_string_value(value), out);
    } else if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        fprintf(out, "%" JSON_INTEGER_FORMAT, number);
        if (number >= 1024 && record_text_is_bytes(key))
            fprintf(out, " (%s)", human_size((uint64_t)number, human));
    } else if (json_is_real(value)) {
        fprintf(out, "%g", json_real_value(value));
    } else if (json_is_boolean(value)) {
        fputs(json_is_true(value) ? "yes" : "no", out);
    } else {
        fputc('-', out);
    }
    fputc('\n', out);
}

static void record_text_array(const json_t *array, int indent, FILE *out)
{
    size_t i;
    json_t *item;
    fputc('\n', out);
    json_array_foreach(array, i, item)
    {
        fprintf(out, "%*s- ", indent, "");
        if (json_is_object(item))
            record_text_object(item, indent + INDENT, true, out);
        else
            record_text_scalar("", item, out);
    }
}

static void record_text_value(const char *key, const json_t *value, int indent, FILE *out)
{
    bool empty = (json_is_array(value) && json_array_size(value) == 0) ||
                 (json_is_object(value) && json_object_size(value) == 0);
    if (empty) {
        fputs(" -\n", out);
    } else if (json_is_array(value)) {
        record_text_array(value, indent + INDENT, out);
    } else if (json_is_object(value)) {
        fputc('\n', out);
        record_text_object(value, indent + INDENT, false, out);
    } else {
        fputc(' ', out);
        record_text_scalar(key, value, out);
    }
}

// In a list the first key stands behind the dash, so that only the others are indented.
static void record_text_object(const json_t *object, int indent, bool in_list, FILE *out)
{
    const char *key;
    json_t *value;
    bool first = in_list;
    json_object_foreach((json_t *)object, key, value)
    {
        fprintf(out, "%*s%s:", first ? 0 : indent, "", key);
        record_text_value(key, value, indent, out);
        first = false;
    }
}

void record_text_print(const json_t *record, FILE *out)
{
    record_text_object(record, 0, false, out);
}

int record_text_print_as(const json_t *record, bool json, struct error *err)
{
    if (!json) {
        record_text_print(record, stdout);
        return 0;
    }
    AUTO_FREE char *text = record_json_text(record);
    if (!text)
        return error_set_errno(err, -ENOMEM, "cannot print the record");
    fputs(text, stdout);
    return 0;
}
