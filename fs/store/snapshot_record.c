// SPDX-License-Identifier: MIT
//
// Snapshot records as JSON. One table names every key with its type and place, so that writing and
// parsing cannot drift apart. Parsing ignores keys it does not know: what a later program adds
// without raising "version" may be left out by an earlier one.
#include "fs/store/snapshot_record.h"

#include "base/cleanup.h"
#include "fs/store/json_field.h"

#include <inttypes.h>
#include <jansson.h>

#define RECORD_VERSION 1
#define RECORD_SIZE_MAX (256u * 1024)

#define FIELD(key, type) JSON_FIELD(struct snapshot_record, key, JSON_##type)

// What needs no code of its own. The rest: kind, trigger, job_mode, digest and the booleans.
static const struct json_field fields[] = {
    FIELD(uuid, FIELD_UUID),
    FIELD(parent_uuid, FIELD_UUID_OR_NONE),
    FIELD(context_uuid, FIELD_UUID),
    FIELD(context_name, FIELD_NAME),
    FIELD(disk_uuid, FIELD_UUID),
    FIELD(disk_name, FIELD_NAME),
    FIELD(chain_uuid, FIELD_UUID),
    FIELD(job_uuid, FIELD_UUID),
    FIELD(job_number, FIELD_POSITIVE),
    FIELD(chain_number, FIELD_POSITIVE),
    FIELD(number, FIELD_POSITIVE),
    FIELD(tags, FIELD_TEXT),
    FIELD(change_id, FIELD_TEXT),
    FIELD(capacity, FIELD_BYTES),
    FIELD(data_bytes, FIELD_BYTES),
    FIELD(read_bytes, FIELD_BYTES),
    FIELD(changed_bytes, FIELD_BYTES),
    FIELD(taken_at, FIELD_TIME),
    FIELD(started_at, FIELD_TIME),
    FIELD(finished_at, FIELD_TIME),
    FIELD(added_bytes, FIELD_BYTES),
    FIELD(context_created_at, FIELD_TIME),
    FIELD(disk_created_at, FIELD_TIME),
    FIELD(job_created_at, FIELD_TIME),
    FIELD(job_started_at, FIELD_TIME),
    FIELD(source, FIELD_PATH),
    FIELD(chunk_size, FIELD_CHUNK_SIZE),
};

#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

// --- writing

static int record_to_json(const struct snapshot_record *record, json_t *json, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    int failed = 0;

    for (size_t i = 0; i < FIELD_COUNT; i++) {
        int r = json_field_put(json, &fields[i], record);

        if (r < 0)
            return error_set_errno(err, r, "snapshot record: cannot write %s", fields[i].key);
    }
    failed |= json_object_set_new(json, "version", json_integer(RECORD_VERSION));
    failed |= json_object_set_new(json, "foreign", json_boolean(record->foreign));
    failed |= json_object_set_new(json, "job_one_disk", json_boolean(record->job_one_disk));
    failed |=
        json_object_set_new(json, "job_mode", json_string(backup_mode_to_word(record->job_mode)));
    failed |= json_object_set_new(json, "kind", json_string(snapshot_kind_to_word(record->kind)));
    failed |=
        json_object_set_new(json, "trigger", json_string(job_trigger_to_word(record->trigger)));
    failed |= json_object_set_new(json, "digest", json_string(digest_to_hex(&record->digest, hex)));
    return failed ? error_set(err, -ENOMEM, "out of memory for a snapshot record") : 0;
}

int snapshot_record_text(const struct snapshot_record *record, char **ret_text, struct error *err)
{
    AUTO_JSON json_t *json = json_object();
    int r;

    if (!json)
        return error_set(err, -ENOMEM, "out of memory for a snapshot record");
    r = record_to_json(record, json, err);
    if (r < 0)
        return r;
    *ret_text = json_text_dump(json, JSON_COMPACT | JSON_SORT_KEYS);
    return *ret_text ? 0 : error_set(err, -ENOMEM, "out of memory for a snapshot record");
}

int snapshot_record_put(struct store_writer *writer, const struct snapshot_record *record,
                        struct digest *ret_id, struct error *err)
{
    AUTO_FREE char *text = NULL;
    struct error local = ERROR_INIT;
    struct snapshot_record again;
    int r = snapshot_record_text(record, &text, err);

    if (r < 0)
        return r;
    // What cannot be read back would be found out only when the catalog is lost.
    r = snapshot_record_parse(text, strlen(text), &again, &local);
    if (r < 0)
        return error_set(err, r == -ENOMEM ? r : -EINVAL, "%s", error_message(&local));
    return store_writer_put(writer, RECORD_SNAPSHOT, text, strlen(text), ret_id, err);
}

// --- parsing

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

static const char *word_of(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key)) ?: "";
}

// Returns the key that is missing or wrong, NULL when none is.
static const char *take_all(const json_t *json, struct snapshot_record *record)
{
    const json_t *foreign = json_object_get(json, "foreign");
    const json_t *one_disk = json_object_get(json, "job_one_disk");

    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (!json_field_take(json, &fields[i], record))
            return fields[i].key;
    }
    if (!tags_ok(record->tags))
        return "tags";
    if (!json_is_boolean(foreign))
        return "foreign";
    record->foreign = json_is_true(foreign);
    if (!json_is_boolean(one_disk))
        return "job_one_disk";
    record->job_one_disk = json_is_true(one_disk);
    record->job_mode = backup_mode_from_word(word_of(json, "job_mode"));
    if (record->job_mode == BACKUP_MODE_UNKNOWN)
        return "job_mode";
    record->kind = snapshot_kind_from_word(word_of(json, "kind"));
    if (record->kind == SNAPSHOT_KIND_UNKNOWN)
        return "kind";
    record->trigger = job_trigger_from_word(word_of(json, "trigger"));
    if (record->trigger == JOB_TRIGGER_UNKNOWN)
        return "trigger";
    return digest_from_hex(word_of(json, "digest"), &record->digest) < 0 ? "digest" : NULL;
}

int snapshot_record_parse(const void *data, size_t len, struct snapshot_record *ret_record,
                          struct error *err)
{
    struct snapshot_record record = {0};
    AUTO_JSON json_t *json = NULL;
    int64_t version;
    const char *wrong;
    int r;

    if (len > RECORD_SIZE_MAX)
        return error_set(err, -ERROR_CORRUPT, "snapshot record: %zu bytes are too many", len);
    r = json_text_load(data, len, "snapshot record", &json, err);
    if (r < 0)
        return r;
    if (!json_field_integer(json_object_get(json, "version"), 1, &version))
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

// A record that cannot be read: 0 when one made anew has its id, else `read`, what reading it gave.
static int check_remade(struct store *store, struct catalog_conn *conn,
                        const struct snapshot_row *row, int read, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *own = NULL;
    AUTO_FREE char *text = NULL;
    int r = conn ? 0 : catalog_read_begin(store_catalog(store), &own, NULL);

    if (r == 0)
        r = snapshot_record_remake(conn ? conn : own, row, &text, NULL);
    if (r == -ENOMEM)
        return error_set(err, r, "out of memory for a snapshot record");
    return r == 1 ? 0 : read;
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

    if (r < 0 && r != -ENOMEM) {
        r = check_remade(store, conn, row, r, &local);
        if (r == 0)
            return 0;
    }
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
