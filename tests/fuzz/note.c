// SPDX-License-Identifier: MIT
//
// Notes. What is accepted can be written again and reads the same, so that no event has anything
// but its own keys; names, uuids and sizes satisfy their grammar; what is refused leaves the result
// alone.
#include "fs/store/note.h"
#include "tests/fuzz/fuzz.h"

static void check_disk(const struct note *note)
{
    MUST(name_check("disk", note->disk_name, NULL) == 0);
    MUST(note->disk_created_at >= 0 && strlen(note->source) < SOURCE_TEXT_SIZE);
    MUST(note->chunk_size >= CHUNK_SIZE_MIN && note->chunk_size <= CHUNK_SIZE_MAX);
    MUST((note->chunk_size & (note->chunk_size - 1)) == 0 && note->capacity <= INT64_MAX);
}

static void check_note(const struct note *note)
{
    bool of_snapshot = note->what <= NOTE_UNPROTECTED;
    bool of_disk = note->what == NOTE_DISK || note->what == NOTE_DISK_REMOVED;
    bool named = note->what == NOTE_VM || note->what == NOTE_DISK;

    MUST(note->what > NOTE_UNKNOWN && note->what <= NOTE_DISK_REMOVED && note->at >= 0);
    MUST(strlen(note->snapshot_uuid) == (of_snapshot ? UUID_TEXT_SIZE - 1 : 0));
    MUST(strlen(note->context_uuid) == (of_snapshot ? 0 : UUID_TEXT_SIZE - 1));
    MUST(strlen(note->disk_uuid) == (of_disk ? UUID_TEXT_SIZE - 1 : 0));
    MUST(named ? name_check("VM", note->context_name, NULL) == 0 : note->context_name[0] == '\0');
    MUST(note->context_created_at >= 0);
    if (note->what == NOTE_DISK)
        check_disk(note);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct note note, again;
    struct error err = ERROR_INIT;
    char *text;

    memset(&note, 0xa5, sizeof(note));
    int r = note_parse(data, size, &note, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT);
        MUST(fuzz_all(&note, sizeof(note), 0xa5));
        return 0;
    }
    check_note(&note);
    MUST(note_format(&note, &text, &err) == 0);
    MUST(note_parse(text, strlen(text), &again, &err) == 0);
    MUST(memcmp(&note, &again, sizeof(note)) == 0);
    free(text);
    return 0;
}
