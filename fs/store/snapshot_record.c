// SPDX-License-Identifier: MIT
//
// Snapshot records as JSON. One table names every key with its type and place, so that writing and
// parsing cannot drift apart. Parsing ignores keys it does not know: what a later program adds
// without raising "version" may be left out by an earlier one.
#include "fs/store/snapshot_record.h"

#include "base/cleanup.h"
#include "fs/store/repo_config.h"

#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <uuid/uuid.h>

#define RECORD_VERSION 1
#define RECORD_SIZE_MAX (256u * 1024)

enum field_type {
    FIELD_UUID = 1,
    FIELD_UUID_OR_NONE, // "" = none
    FIELD_NAME,
    FIELD_TEXT,     // `size` bytes with the NUL, no control characters
    FIELD_POSITIVE, // int64_t, 1 or more
    FIELD_BYTES,    // uint64_t
    FIELD_TIME,     // int64_t, 0 or more
};

struct field {
    const char *key;
    enum field_type type;
    size_t offset, size;
};

#define FIELD(key, type)                                                                           \
    {                                                                                              \
#key, type, offsetof(struct snapshot_record, key),                                         \
            sizeof(((struct snapshot_record *)0)->key)                                             \
    }

// What needs no code of its own. The rest: source, kind, trigger, digest, chunk_size, foreign.
static const struct field fields[] = {
    FIELD(uuid, FIELD_UUID),           FIELD(parent_uuid, FIELD_UUID_OR_NONE),
    FIELD(context_uuid, FIELD_UUID),   FIELD(context_name, FIELD_NAME),
    FIELD(disk_uuid, FIELD_UUID),      FIELD(disk_name, FIELD_NAME),
    FIELD(chain_uuid, FIELD_UUID),     FIELD(job_uuid, FIELD_UUID),
    FIELD(job_number, FIELD_POSITIVE), FIELD(chain_number, FIELD_POSITIVE),
    FIELD(number, FIELD_POSITIVE),     FIELD(tags, FIELD_TEXT),
    FIELD(change_id, FIELD_TEXT),      FIELD(capacity, FIELD_BYTES),
    FIELD(data_bytes, FIELD_BYTES),    FIELD(read_bytes, FIELD_BYTES),
    FIELD(changed_bytes, FIELD_BYTES), FIELD(taken_at, FIELD_TIME),
    FIELD(started_at, FIELD_TIME),
};

#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static void decref_at(json_t **json)
{
    json_decref(*json);
}

#define AUTO_JSON __attribute__((cleanup(decref_at)))

// --- writing

static json_t *field_to_json(const struct field *field, const struct snapshot_record *record)
{
    const void *value = (const char *)record + field->offset;
    uint64_t bytes;

    switch (field->type) {
    case FIELD_POSITIVE:
    case FIELD_TIME:
        return json_integer(*(const int64_t *)value);
    case FIELD_BYTES:
        bytes = *(const uint64_t *)value;
        return bytes <= INT64_MAX ? json_integer((json_int_t)bytes) : NULL;
    default:
        return json_string(value);
    }
}

// A path may be any bytes, JSON only holds UTF-8: other paths are kept as "source_hex".
static int set_source(json_t *json, const char *source)
{
    AUTO_FREE char *hex = NULL;
    json_t *text = json_string(source);
    size_t len = strlen(source);

    if (text)
        return json_object_set_new(json, "source", text);
    hex = malloc(2 * len + 1);
    if (!hex)
        return -1;
    for (size_t i = 0; i < len; i++)
        sprintf(hex + 2 * i, "%02x", (uint8_t)source[i]);
    return json_object_set_new(json, "source_hex", json_string(hex));
}

static int record_to_json(const struct snapshot_record *record, json_t *json, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    int failed = 0;

    for (size_t i = 0; i < FIELD_COUNT; i++) {
        // json_object_set_new() fails on a NULL value.
        if (json_object_set_new(json, fields[i].key, field_to_json(&fields[i], record)) < 0)
            return error_set(err, -EINVAL, "snapshot record: %s cannot be written", fields[i].key);
    }
    failed |= set_source(json, record->source);
    failed |= json_object_set_new(json, "version", json_integer(RECORD_VERSION));
    failed |= json_object_set_new(json, "foreign", json_boolean(record->foreign));
    failed |= json_object_set_new(json, "kind", json_string(snapshot_kind_to_word(record->kind)));
    failed |=
        json_object_set_new(json, "trigger", json_string(job_trigger_to_word(record->trigger)));
    failed |= json_object_set_new(json, "digest", json_string(digest_to_hex(&record->digest, hex)));
    failed |= json_object_set_new(json, "chunk_size", json_integer(record->chunk_size));
    return failed ? error_set(err, -ENOMEM, "out of memory for a snapshot record") : 0;
}

int snapshot_record_put(struct store_writer *writer, const struct snapshot_record *record,
                        struct digest *ret_id, struct error *err)
{
    AUTO_JSON json_t *json = json_object();
    AUTO_FREE char *text = NULL;
    struct error local = ERROR_INIT;
    struct snapshot_record again;
    int r;

    if (!json)
        return error_set(err, -ENOMEM, "out of memory for a snapshot record");
    r = record_to_json(record, json, err);
    if (r < 0)
        return r;
    text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return error_set(err, -ENOMEM, "out of memory for a snapshot record");
    // What cannot be read back would be found out only when the catalog is lost.
    r = snapshot_record_parse(text, strlen(text), &again, &local);
    if (r < 0)
        return error_set(err, -EINVAL, "%s", error_message(&local));
    return store_writer_put(writer, RECORD_SNAPSHOT, text, strlen(text), ret_id, err);
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

static bool string_ok(enum field_type type, const char *text)
{
    switch (type) {
    case FIELD_UUID:
        return uuid_ok(text);
    case FIELD_UUID_OR_NONE:
        return text[0] == '\0' || uuid_ok(text);
    case FIELD_NAME:
        return name_check("record's", text, NULL) == 0;
    default:
        return text_ok(text);
    }
}

static bool take_string(const json_t *value, const struct field *field, char *out)
{
    const char *text = json_string_value(value);

    // No NUL inside (jansson refuses those), room for it all, and of the right form.
    if (!text || strlen(text) >= field->size || !string_ok(field->type, text))
        return false;
    strcpy(out, text);
    return true;
}

static bool take_integer(const json_t *value, int64_t min, int64_t *ret_number)
{
    if (!json_is_integer(value) || json_integer_value(value) < min)
        return false;
    *ret_number = json_integer_value(value);
    return true;
}

static bool take_field(const json_t *json, const struct field *field,
                       struct snapshot_record *record)
{
    const json_t *value = json_object_get(json, field->key);
    void *out = (char *)record + field->offset;
    int64_t number;

    switch (field->type) {
    case FIELD_POSITIVE:
        return take_integer(value, 1, out);
    case FIELD_TIME:
        return take_integer(value, 0, out);
    case FIELD_BYTES:
        if (!take_integer(value, 0, &number))
            return false;
        *(uint64_t *)out = (uint64_t)number;
        return true;
    default:
        return take_string(value, field, out);
    }
}

static bool take_source(const json_t *json, char out[SOURCE_TEXT_SIZE])
{
    const char *text = json_string_value(json_object_get(json, "source"));
    const char *hex = json_string_value(json_object_get(json, "source_hex"));
    size_t len;

    if (!text == !hex) // one of the two
        return false;
    if (text) {
        if (strlen(text) >= SOURCE_TEXT_SIZE || !text_ok(text))
            return false;
        strcpy(out, text);
        return true;
    }
    len = strlen(hex);
    if (len % 2 != 0 || len / 2 >= SOURCE_TEXT_SIZE || strspn(hex, "0123456789abcdef") != len)
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

// Comma-separated tags, "" for none.
static bool tags_ok(const char *tags)
{
    char copy[TAGS_TEXT_SIZE];
    char *rest = copy, *tag;

    strcpy(copy, tags);
    if (copy[0] == '\0')
        return true;
    while ((tag = strsep(&rest, ",")) != NULL) {
        if (name_check_tag(tag, NULL) < 0)
            return false;
    }
    return true;
}

static bool take_chunk_size(const json_t *json, uint32_t *ret_size)
{
    int64_t size;

    if (!take_integer(json_object_get(json, "chunk_size"), CHUNK_SIZE_MIN, &size) ||
        size > CHUNK_SIZE_MAX || (size & (size - 1)) != 0)
        return false;
    *ret_size = (uint32_t)size;
    return true;
}

static const char *word_of(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key)) ?: "";
}

// Returns the key that is missing or wrong, NULL when none is.
static const char *take_all(const json_t *json, struct snapshot_record *record)
{
    const json_t *foreign = json_object_get(json, "foreign");

    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (!take_field(json, &fields[i], record))
            return fields[i].key;
    }
    if (!tags_ok(record->tags))
        return "tags";
    if (!take_source(json, record->source))
        return "source";
    if (!json_is_boolean(foreign))
        return "foreign";
    record->foreign = json_is_true(foreign);
    record->kind = snapshot_kind_from_word(word_of(json, "kind"));
    if (record->kind == SNAPSHOT_KIND_UNKNOWN)
        return "kind";
    record->trigger = job_trigger_from_word(word_of(json, "trigger"));
    if (record->trigger == JOB_TRIGGER_UNKNOWN)
        return "trigger";
    if (digest_from_hex(word_of(json, "digest"), &record->digest) < 0)
        return "digest";
    return take_chunk_size(json, &record->chunk_size) ? NULL : "chunk_size";
}

int snapshot_record_parse(const void *data, size_t len, struct snapshot_record *ret_record,
                          struct error *err)
{
    struct snapshot_record record = {0};
    AUTO_JSON json_t *json = NULL;
    json_error_t where;
    int64_t version;
    const char *wrong;

    if (len > RECORD_SIZE_MAX)
        return error_set(err, -ERROR_CORRUPT, "snapshot record: %zu bytes are too many", len);
    json = json_loadb(data, len, JSON_REJECT_DUPLICATES, &where);
    if (!json)
        return error_set(err, -ERROR_CORRUPT, "snapshot record: %s", where.text);
    if (!take_integer(json_object_get(json, "version"), 1, &version))
        return error_set(err, -ERROR_CORRUPT, "snapshot record: version is missing or wrong");
    if (version > RECORD_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "snapshot record: version %" PRId64 " is newer than this program knows",
                         version);
    wrong = take_all(json, &record);
    if (wrong)
        return error_set(err, -ERROR_CORRUPT, "snapshot record: %s is missing or wrong", wrong);
    *ret_record = record;
    return 0;
}

// --- a row of the catalog against the record

// What differs, NULL when nothing does. Names may change in a snapshot's life; uuids do not.
static const char *difference(const struct snapshot_row *row, const struct snapshot_record *record)
{
    if (strcmp(row->uuid, record->uuid) != 0)
        return "uuid";
    if (strcmp(row->context_uuid, record->context_uuid) != 0)
        return "VM";
    if (strcmp(row->disk_uuid, record->disk_uuid) != 0)
        return "disk";
    if (strcmp(row->chain_uuid, record->chain_uuid) != 0 ||
        row->chain_number != record->chain_number)
        return "chain";
    if (row->number != record->number)
        return "number";
    if (row->kind != record->kind)
        return "kind";
    if (row->taken_at != record->taken_at)
        return "time";
    if (row->capacity != record->capacity)
        return "size";
    if (row->chunk_size != record->chunk_size)
        return "chunk size";
    return digest_equal(&row->digest, &record->digest) ? NULL : "digest";
}

int snapshot_record_check(struct store *store, struct catalog_conn *conn,
                          const struct snapshot_row *row, struct error *err)
{
    struct error local = ERROR_INIT;
    AUTO_FREE void *data = NULL;
    struct snapshot_record record;
    char name[SNAPSHOT_NAME_SIZE];
    const char *wrong;
    size_t len;
    int r = store_get(store, conn, RECORD_SNAPSHOT, &row->record, true, &data, &len, &local);

    if (r == 0)
        r = snapshot_record_parse(data, len, &record, &local);
    if (r < 0)
        return error_set(err, r, "the record of snapshot %s: %s", snapshot_name(row, name),
                         error_message(&local));
    wrong = difference(row, &record);
    if (wrong)
        return error_set(err, -ERROR_CORRUPT,
                         "the catalog gives snapshot %s another %s than its record",
                         snapshot_name(row, name), wrong);
    return 0;
}
