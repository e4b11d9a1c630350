// SPDX-License-Identifier: MIT
//
// Snapshots whose records are in packs and whose rows are not in the catalog. There are three
// kinds. Those of a job that died or failed in its very last step: nobody refers to them, their
// content goes, and a note tells a later rebuild to pass over them. Those of a disk or VM that was
// removed since, as a note says. And those of a catalog that is older than the packs (somebody put
// back a copy of it): then nothing may go, for `backtree rebuild` can still bring them back.
#include "fs/store/gc_state.h"

#include "base/clock.h"
#include "base/grow.h"
#include "base/hash.h"
#include "catalog/check_rows.h"
#include "catalog/gc_rows.h"
#include "fs/store/note.h"
#include "fs/store/snapshot_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct known_uuid { // of a snapshot that is forgotten or void, of a disk or VM that was removed
    UT_hash_handle hh;
    char uuid[UUID_TEXT_SIZE];
};

struct strangers {
    struct gc *gc;
    struct catalog_conn *conn;
    struct digest *ids;
    size_t count, room;
    struct known_uuid *gone; // a table
    struct note *notes;      // to be written
    size_t note_count;
};

static int note_stranger(const struct digest *id, void *arg, struct error *err)
{
    struct strangers *strangers = arg;

    if (GROW(strangers->ids, strangers->count, strangers->room, "a list of snapshots", err) < 0)
        return -ENOMEM;
    strangers->ids[strangers->count++] = *id;
    return 0;
}

// --- what notes say

static int add_gone(struct strangers *strangers, const char *uuid, struct error *err)
{
    struct known_uuid *entry;

    HASH_FIND_STR(strangers->gone, uuid, entry);
    if (entry)
        return 0;
    entry = calloc(1, sizeof(*entry));
    if (entry) {
        memcpy(entry->uuid, uuid, sizeof(entry->uuid));
        HASH_ADD_STR(strangers->gone, uuid, entry);
        if (entry->hh.tbl)
            return 0;
        free(entry);
    }
    return error_set(err, -ENOMEM, "out of memory for a list of notes");
}

static bool is_gone(const struct strangers *strangers, const char *uuid)
{
    struct known_uuid *entry;

    HASH_FIND_STR(strangers->gone, uuid, entry);
    return entry != NULL;
}

// A note that cannot be read says nothing: then a stranger may stop the collection, no more.
static int read_note(const struct chunk_location *location, void *arg, struct error *err)
{
    struct strangers *strangers = arg;
    AUTO_FREE struct note *note = calloc(1, sizeof(*note));
    AUTO_FREE void *text = NULL;
    size_t len;

    if (!note)
        return error_set(err, -ENOMEM, "out of memory");
    if (store_get(strangers->gc->store, strangers->conn, RECORD_NOTE, &location->record.id, true,
                  &text, &len, NULL) < 0 ||
        note_parse(text, len, note, NULL) < 0)
        return 0;
    if (note->what == NOTE_FORGOTTEN || note->what == NOTE_VOID)
        return add_gone(strangers, note->snapshot_uuid, err);
    if (note->what == NOTE_VM_REMOVED)
        return add_gone(strangers, note->context_uuid, err);
    if (note->what == NOTE_DISK_REMOVED)
        return add_gone(strangers, note->disk_uuid, err);
    return 0;
}

// --- what each of them is

static int add_note(struct strangers *strangers, const struct snapshot_record *record,
                    struct error *err)
{
    struct note *note;
    void *grown =
        reallocarray(strangers->notes, strangers->note_count + 1, sizeof(*strangers->notes));

    if (!grown)
        return error_set(err, -ENOMEM, "out of memory for a note");
    strangers->notes = grown;
    note = &strangers->notes[strangers->note_count++];
    *note = (struct note){.what = NOTE_VOID, .at = clock_now()};
    memcpy(note->snapshot_uuid, record->uuid, sizeof(note->snapshot_uuid));
    return 0;
}

static int judge(struct strangers *strangers, const struct snapshot_record *record,
                 struct error *err)
{
    int64_t row;
    int r;

    if (is_gone(strangers, record->uuid) || is_gone(strangers, record->disk_uuid) ||
        is_gone(strangers, record->context_uuid))
        return 0;
    r = row_find_uuid(strangers->conn, ROW_SNAPSHOTS, record->uuid, &row, err);
    if (r == 0)
        r = row_find_uuid(strangers->conn, ROW_JOBS, record->job_uuid, &row, err);
    else if (r > 0)
        return error_set(err, -ERROR_CORRUPT,
                         "the catalog names another record for the snapshot %s than packs hold",
                         record->uuid);
    // In a catalog that was rebuilt its job is not known, but a later one that took its place is.
    if (r == 0)
        r = gc_rows_know_successor(strangers->conn, record->disk_uuid, record->chain_number,
                                   record->chain_uuid, record->number, record->job_number, err);
    if (r < 0)
        return r;
    if (r > 0)
        return add_note(strangers, record, err);
    return error_set(err, -ERROR_CORRUPT,
                     "packs hold the snapshot %s/%s chain-%04" PRId64 " number %" PRId64
                     " of job %" PRId64 ", which the catalog does not know: it may be older than "
                     "the packs, and backtree rebuild makes a right one",
                     record->context_name, record->disk_name, record->chain_number, record->number,
                     record->job_number);
}

static int look_at(struct strangers *strangers, const struct digest *id, struct error *err)
{
    AUTO_FREE struct snapshot_record *record = calloc(1, sizeof(*record));
    AUTO_FREE void *text = NULL;
    struct error local = ERROR_INIT;
    size_t len;
    int r = record ? store_get(strangers->gc->store, strangers->conn, RECORD_SNAPSHOT, id, true,
                               &text, &len, &local)
                   : error_set(&local, -ENOMEM, "out of memory");

    if (r == 0)
        r = snapshot_record_parse(text, len, record, &local);
    // What cannot be read a rebuild cannot bring back either.
    if (r == -ERROR_CORRUPT) {
        gc_tell(strangers->gc, "%s", error_message(&local));
        return 0;
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : judge(strangers, record, err);
}

static int judge_all(struct strangers *strangers, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(strangers->gc->store->catalog, &conn, err);

    strangers->conn = conn;
    if (r == 0)
        r = gc_rows_strangers(conn, note_stranger, strangers, err);
    if (r == 0 && strangers->count > 0)
        r = chunk_each_of_kind(conn, RECORD_NOTE, read_note, strangers, err);
    for (size_t i = 0; r == 0 && i < strangers->count; i++)
        r = look_at(strangers, &strangers->ids[i], err);
    strangers->conn = NULL;
    return r;
}

// --- before anything goes

static int insert_notes(struct strangers *strangers, const struct note_pack *pack,
                        struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(strangers->gc->store->catalog, &conn, err);

    if (r == 0)
        r = note_pack_insert(conn, pack, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static int write_notes(struct strangers *strangers, struct error *err)
{
    struct note_pack pack = {0};
    int r;

    if (strangers->note_count == 0 || strangers->gc->options->dry_run)
        return 0;
    r = note_pack_write(strangers->gc->store, strangers->notes, strangers->note_count, &pack, err);
    if (r == 0)
        r = insert_notes(strangers, &pack, err);
    note_pack_deinit(&pack);
    return r;
}

int gc_settle_strangers(struct gc *gc, struct error *err)
{
    struct strangers strangers = {.gc = gc};
    struct known_uuid *entry, *next;
    int r = judge_all(&strangers, err);

    if (r == 0)
        r = write_notes(&strangers, err);
    HASH_ITER(hh, strangers.gone, entry, next)
    {
        HASH_DEL(strangers.gone, entry);
        free(entry);
    }
    free(strangers.ids);
    free(strangers.notes);
    return r;
}
