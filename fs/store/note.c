// SPDX-License-Identifier: MIT
//
// Notes as JSON. One table says which keys each event has, for writing and parsing both. Keys that
// are not known are ignored, as in snapshot records.
#include "fs/store/note.h"

#include "fs/store/json_field.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#define NOTE_VERSION 1
#define NOTE_SIZE_MAX (64u * 1024)

static const char *const words[] = {
    [NOTE_FORGOTTEN] = "forgotten",
    [NOTE_PROTECTED] = "protected",
    [NOTE_UNPROTECTED] = "unprotected",
    [NOTE_VM] = "vm",
    [NOTE_VM_REMOVED] = "vm-removed",
    [NOTE_DISK] = "disk",
    [NOTE_DISK_REMOVED] = "disk-removed",
    [NOTE_RETENTION] = "retention",
    [NOTE_VOID] = "void",
};

#define WORD_COUNT (sizeof(words) / sizeof(words[0]))

// Events that have a key, as bits.
#define OF(what) (1u << (what))
#define SNAPSHOT_EVENTS                                                                            \
    (OF(NOTE_FORGOTTEN) | OF(NOTE_PROTECTED) | OF(NOTE_UNPROTECTED) | OF(NOTE_VOID))
#define CONTEXT_EVENTS                                                                             \
    (OF(NOTE_VM) | OF(NOTE_VM_REMOVED) | OF(NOTE_DISK) | OF(NOTE_DISK_REMOVED) | OF(NOTE_RETENTION))
#define DISK_EVENTS (OF(NOTE_DISK) | OF(NOTE_DISK_REMOVED))

#define FIELD(key, type) JSON_FIELD(struct note, key, type)

static const struct {
    unsigned events;
    struct json_field field;
} fields[] = {
    {~0u, FIELD(at, JSON_FIELD_TIME)},
    {SNAPSHOT_EVENTS, FIELD(snapshot_uuid, JSON_FIELD_UUID)},
    {CONTEXT_EVENTS, FIELD(context_uuid, JSON_FIELD_UUID)},
    {OF(NOTE_VM) | OF(NOTE_DISK), FIELD(context_name, JSON_FIELD_NAME)},
    {OF(NOTE_VM) | OF(NOTE_DISK), FIELD(context_created_at, JSON_FIELD_TIME)},
    {DISK_EVENTS, FIELD(disk_uuid, JSON_FIELD_UUID)},
    {OF(NOTE_DISK), FIELD(disk_name, JSON_FIELD_NAME)},
    {OF(NOTE_DISK), FIELD(disk_created_at, JSON_FIELD_TIME)},
    {OF(NOTE_DISK), FIELD(source, JSON_FIELD_PATH)},
    {OF(NOTE_DISK), FIELD(capacity, JSON_FIELD_BYTES)},
    {OF(NOTE_DISK), FIELD(chunk_size, JSON_FIELD_CHUNK_SIZE)},
    {OF(NOTE_RETENTION), FIELD(retention, JSON_FIELD_TEXT)},
};

#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

int note_format(const struct note *note, char **ret_text, struct error *err)
{
    AUTO_JSON json_t *json = json_object();
    AUTO_FREE char *text = NULL;
    struct error local = ERROR_INIT;
    struct note again;
    int failed = 0;

    if (note->what == NOTE_UNKNOWN || note->what >= WORD_COUNT)
        return error_set(err, -EINVAL, "note: %d is no event", (int)note->what);
    for (size_t i = 0; json && i < FIELD_COUNT; i++) {
        if (fields[i].events & OF(note->what))
            failed |= json_field_put(json, &fields[i].field, note);
    }
    failed |= json_object_set_new(json, "version", json_integer(NOTE_VERSION));
    failed |= json_object_set_new(json, "what", json_string(words[note->what]));
    if (json && !failed)
        text = json_text_dump(json, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return error_set(err, -ENOMEM, "out of memory for a note");
    // What cannot be read back would be found out only when the catalog is lost.
    int r = note_parse(text, strlen(text), &again, &local);
    if (r < 0)
        return error_set(err, r == -ENOMEM ? r : -EINVAL, "%s", error_message(&local));
    *ret_text = TAKE(text, NULL);
    return 0;
}

static enum note_what what_from_word(const char *word)
{
    for (size_t i = 1; word && i < WORD_COUNT; i++) {
        if (strcmp(word, words[i]) == 0)
            return (enum note_what)i;
    }
    return NOTE_UNKNOWN;
}

int note_parse(const void *data, size_t len, struct note *ret_note, struct error *err)
{
    struct note note = {0};
    AUTO_JSON json_t *json = NULL;
    int64_t version;
    const char *word;
    int r;

    if (len > NOTE_SIZE_MAX)
        return error_set(err, -ERROR_CORRUPT, "note: %zu bytes are too many", len);
    r = json_text_load(data, len, "note", &json, err);
    if (r < 0)
        return r;
    if (!json_field_integer(json_object_get(json, "version"), 1, &version))
        return error_set(err, -ERROR_CORRUPT, "note: version is missing or wrong");
    if (version > NOTE_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "note: version %" PRId64 " is newer than this program knows", version);
    word = json_string_value(json_object_get(json, "what"));
    if (!word)
        return error_set(err, -ERROR_CORRUPT, "note: what is missing or wrong");
    note.what = what_from_word(word);
    if (note.what == NOTE_UNKNOWN)
        return error_set(err, -EPROTONOSUPPORT, "note: an event this program does not know");
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if ((fields[i].events & OF(note.what)) && !json_field_take(json, &fields[i].field, &note))
            return error_set(err, -ERROR_CORRUPT, "note: %s is missing or wrong",
                             fields[i].field.key);
    }
    *ret_note = note;
    return 0;
}
