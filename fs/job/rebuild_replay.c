// SPDX-License-Identifier: MIT
//
// Second part of a rebuild: the records of snapshots and the notes, replayed by their times into
// the new catalog's tables, in one transaction.
//
// Memory: an event is kept as its time, its record's id and the uuids that order needs; the records
// are read again when their turn comes. What cannot be taken over is told and left out; nothing is
// guessed. Two snapshots may claim one place in a chain when a job died in its very last step and
// the next one took the number: the later job's stands.
#include "fs/job/rebuild_state.h"

#include "base/grow.h"
#include "base/hash.h"
#include "catalog/check_rows.h"
#include "catalog/rebuild_rows.h"
#include "fs/job/snapshot_gaps.h"
#include "fs/store/note.h"
#include "fs/store/pack_format.h"
#include "fs/store/snapshot_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct event {
    int64_t at;
    struct digest id; // of the record
    enum record_kind kind;
    bool left_out;
    uint32_t stored_length;
    // snapshots
    char uuid[UUID_TEXT_SIZE], disk_uuid[UUID_TEXT_SIZE], chain_uuid[UUID_TEXT_SIZE];
    int64_t job_number, chain_number, number;
};

struct removed {
    char uuid[UUID_TEXT_SIZE];         // of a VM or disk, or of a snapshot that never came to be
    char context_uuid[UUID_TEXT_SIZE]; // "" of a snapshot
    int64_t at;
    UT_hash_handle hh;
};

struct replay {
    struct rebuild *rebuild;
    struct catalog_conn *conn;
    struct event *events;
    size_t count, room;
    struct removed *removed; // by uuid
    // the record at hand
    struct snapshot_record record;
    struct note note;
    struct disk_row disk;
};

// --- collecting

static int add_event(struct replay *replay, const struct event *event, struct error *err)
{
    if (GROW(replay->events, replay->count, replay->room, "a list of snapshots", err) < 0)
        return -ENOMEM;
    replay->events[replay->count++] = *event;
    return 0;
}

static int add_removed(struct replay *replay, const struct note *note, struct error *err)
{
    struct removed *removed = calloc(1, sizeof(*removed));

    if (!removed)
        return error_set(err, -ENOMEM, "out of memory for a list of removed disks");
    removed->at = note->at;
    memcpy(removed->context_uuid, note->context_uuid, sizeof(removed->context_uuid));
    memcpy(removed->uuid,
           note->what == NOTE_DISK_REMOVED ? note->disk_uuid
           : note->what == NOTE_VOID       ? note->snapshot_uuid
                                           : note->context_uuid,
           sizeof(removed->uuid));
    struct removed *other;
    HASH_FIND_STR(replay->removed, removed->uuid, other);
    if (!other)
        HASH_ADD_STR(replay->removed, uuid, removed);
    bool added = removed->hh.tbl != NULL;
    if (!added)
        free(removed);
    return other || added ? 0
                          : error_set(err, -ENOMEM, "out of memory for a list of removed disks");
}

static bool is_removed(const struct replay *replay, const char *uuid)
{
    struct removed *removed;

    HASH_FIND_STR(replay->removed, uuid, removed);
    return removed != NULL;
}

// Reads the record of an event into replay->record or replay->note.
static int read_event(struct replay *replay, enum record_kind kind, const struct digest *id,
                      struct error *err)
{
    AUTO_FREE void *text = NULL;
    size_t len;
    int r = store_get(replay->rebuild->store, replay->conn, kind, id, true, &text, &len, err);

    if (r < 0)
        return r;
    return kind == RECORD_NOTE ? note_parse(text, len, &replay->note, err)
                               : snapshot_record_parse(text, len, &replay->record, err);
}

static int collect(const struct chunk_location *location, void *arg, struct error *err)
{
    const struct chunk_row *row = &location->record;
    struct replay *replay = arg;
    const struct snapshot_record *record = &replay->record;
    struct event event = {
        .id = row->id, .kind = (enum record_kind)row->kind, .stored_length = row->stored_length};
    struct error local = ERROR_INIT;
    int r = read_event(replay, event.kind, &row->id, &local);

    if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT) {
        rebuild_tell(replay->rebuild, true, "a %s is lost: %s",
                     event.kind == RECORD_NOTE ? "note" : "snapshot's description",
                     error_message(&local));
        return 0;
    }
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    if (event.kind == RECORD_NOTE) {
        event.at = replay->note.at;
        if (replay->note.what == NOTE_DISK_REMOVED || replay->note.what == NOTE_VM_REMOVED ||
            replay->note.what == NOTE_VOID)
            return add_removed(replay, &replay->note, err);
        return add_event(replay, &event, err);
    }
    event.at = record->finished_at;
    event.job_number = record->job_number;
    event.chain_number = record->chain_number;
    event.number = record->number;
    memcpy(event.uuid, record->uuid, sizeof(event.uuid));
    memcpy(event.disk_uuid, record->disk_uuid, sizeof(event.disk_uuid));
    memcpy(event.chain_uuid, record->chain_uuid, sizeof(event.chain_uuid));
    return add_event(replay, &event, err);
}

// --- places that two claim

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

// Those of one chain number of a disk together, the latest job first.
static int by_chain_number(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    int order = strcmp(x->disk_uuid, y->disk_uuid);

    if (order == 0)
        order = compare_numbers(x->chain_number, y->chain_number);
    return order ? order : compare_numbers(y->job_number, x->job_number);
}

static int by_number(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    int order = strcmp(x->chain_uuid, y->chain_uuid);

    if (order == 0)
        order = compare_numbers(x->number, y->number);
    return order ? order : compare_numbers(y->job_number, x->job_number);
}

static int by_time(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    int order = compare_numbers(x->at, y->at);

    return order ? order : memcmp(x->id.bytes, y->id.bytes, DIGEST_SIZE);
}

static void leave_out(struct replay *replay, struct event *event, const struct event *winner)
{
    if (event->left_out)
        return;
    event->left_out = true;
    rebuild_tell(replay->rebuild, false,
                 "snapshot %s of job %" PRId64 " is left out: job %" PRId64
                 " has taken its place (chain %" PRId64 ", number %" PRId64
                 "), as it does when a job is interrupted in its very last step",
                 event->uuid, event->job_number, winner->job_number, event->chain_number,
                 event->number);
}

static void drop_void(struct replay *replay)
{
    size_t kept = 0;

    for (size_t i = 0; i < replay->count; i++) {
        const struct event *event = &replay->events[i];

        if (event->kind != RECORD_SNAPSHOT || !is_removed(replay, event->uuid))
            replay->events[kept++] = *event;
    }
    replay->count = kept;
}

static void settle_places(struct replay *replay)
{
    struct event *events = replay->events;

    if (replay->count == 0)
        return;
    qsort(events, replay->count, sizeof(*events), by_chain_number);
    for (size_t i = 1, first = 0; i < replay->count; i++) {
        if (events[i].kind != RECORD_SNAPSHOT || events[first].kind != RECORD_SNAPSHOT ||
            strcmp(events[i].disk_uuid, events[first].disk_uuid) != 0 ||
            events[i].chain_number != events[first].chain_number)
            first = i;
        else if (strcmp(events[i].chain_uuid, events[first].chain_uuid) != 0)
            leave_out(replay, &events[i], &events[first]);
    }
    qsort(events, replay->count, sizeof(*events), by_number);
    for (size_t i = 1, first = 0; i < replay->count; i++) {
        if (events[i].kind != RECORD_SNAPSHOT || events[first].kind != RECORD_SNAPSHOT ||
            strcmp(events[i].chain_uuid, events[first].chain_uuid) != 0 ||
            events[i].number != events[first].number)
            first = i;
        else if (strcmp(events[i].uuid, events[first].uuid) != 0)
            leave_out(replay, &events[i], &events[first]);
    }
    qsort(events, replay->count, sizeof(*events), by_time);
}

// --- VMs and disks

// "web1", or "web1.2" when another VM has that name: one of them was removed, and that is not
// known.
static char *other_name(const char *name, int number, char out[NAME_SIZE])
{
    if (number == 1)
        snprintf(out, NAME_SIZE, "%s", name);
    else
        snprintf(out, NAME_SIZE, "%.*s.%d", NAME_SIZE - 6, name, number);
    return out;
}

static int settle_context(struct replay *replay, const char *uuid, const char *name,
                          int64_t created_at, int64_t *ret_id, struct error *err)
{
    struct context_row row = {.created_at = created_at};
    int r = row_find_uuid(replay->conn, ROW_CONTEXTS, uuid, ret_id, err);

    if (r != 0)
        return r < 0 ? r : 0;
    memcpy(row.uuid, uuid, sizeof(row.uuid));
    r = -EEXIST;
    for (int i = 1; r == -EEXIST && i < 1000; i++) {
        other_name(name, i, row.name);
        r = rebuild_insert_context(replay->conn, &row, ret_id, NULL);
    }
    if (r == 0 && strcmp(row.name, name) != 0)
        rebuild_tell(replay->rebuild, false, "two VMs were named %s; one is named %s now", name,
                     row.name);
    return r < 0 ? error_set_errno(err, r, "cannot write the VM %s into the new catalog", name) : 0;
}

// Fills replay->disk, written first when it is new.
static int settle_disk(struct replay *replay, const char *uuid, int64_t context_id,
                       const char *name, uint32_t chunk_size, int64_t created_at, struct error *err)
{
    struct disk_row *row = &replay->disk;
    int64_t id = 0;
    int r = row_find_uuid(replay->conn, ROW_DISKS, uuid, &id, err);

    if (r == 0) {
        *row = (struct disk_row){
            .context_id = context_id, .chunk_size = chunk_size, .created_at = created_at};
        memcpy(row->uuid, uuid, sizeof(row->uuid));
        r = -EEXIST;
        for (int i = 1; r == -EEXIST && i < 1000; i++) {
            other_name(name, i, row->name);
            r = rebuild_insert_disk(replay->conn, row, &id, NULL);
        }
        if (r < 0)
            return error_set_errno(err, r, "cannot write the disk %s into the new catalog", name);
        if (strcmp(row->name, name) != 0)
            rebuild_tell(replay->rebuild, false, "two disks were named %s; one is named %s now",
                         name, row->name);
    }
    return r < 0 ? r : disk_get(replay->conn, id, row, err);
}

static int replay_note(struct replay *replay, struct error *err)
{
    const struct note *note = &replay->note;
    int64_t context_id;

    if (note->what != NOTE_VM && note->what != NOTE_DISK)
        return 0;
    if (is_removed(replay, note->context_uuid) ||
        (note->what == NOTE_DISK && is_removed(replay, note->disk_uuid)))
        return 0;
    int r = settle_context(replay, note->context_uuid, note->context_name, note->context_created_at,
                           &context_id, err);
    if (r < 0 || note->what == NOTE_VM)
        return r;
    r = settle_disk(replay, note->disk_uuid, context_id, note->disk_name, note->chunk_size,
                    note->disk_created_at, err);
    if (r < 0)
        return r;
    memcpy(replay->disk.source, note->source, sizeof(replay->disk.source));
    replay->disk.capacity = note->capacity;
    return rebuild_update_disk(replay->conn, &replay->disk, err);
}

// --- snapshots

// What the disk is after this snapshot; a foreign one is not of its own source.
static int update_disk(struct replay *replay, struct error *err)
{
    const struct snapshot_record *record = &replay->record;
    struct disk_row *disk = &replay->disk;

    disk->changed_at = record->finished_at;
    if (!record->foreign) {
        memcpy(disk->source, record->source, sizeof(disk->source));
        memcpy(disk->change_id, record->change_id, sizeof(disk->change_id));
        disk->capacity = record->capacity;
    }
    return rebuild_update_disk(replay->conn, disk, err);
}

static int settle_job(struct replay *replay, int64_t *ret_id, struct error *err)
{
    const struct snapshot_record *record = &replay->record;
    AUTO_FREE struct job_row *row = NULL;
    int r = row_find_uuid(replay->conn, ROW_JOBS, record->job_uuid, ret_id, err);

    if (r != 0)
        return r < 0 ? r : 0;
    row = calloc(1, sizeof(*row));
    if (!row)
        return error_set(err, -ENOMEM, "out of memory");
    row->id = record->job_number;
    row->trigger = record->trigger;
    row->mode = record->job_mode;
    row->context_id = replay->disk.context_id;
    row->disk_id = record->job_one_disk ? replay->disk.id : 0;
    row->created_at = record->job_created_at;
    row->started_at = record->job_started_at;
    row->finished_at = record->finished_at;
    memcpy(row->uuid, record->job_uuid, sizeof(row->uuid));
    memcpy(row->tags, record->tags, sizeof(row->tags));
    r = rebuild_insert_job(replay->conn, row, ret_id, err);
    if (r == 0 && *ret_id != row->id)
        rebuild_tell(replay->rebuild, false,
                     "two jobs had the number %" PRId64 "; one is %" PRId64 " now", row->id,
                     *ret_id);
    return r;
}

static int settle_chain(struct replay *replay, int64_t *ret_id, struct error *err)
{
    const struct snapshot_record *record = &replay->record;
    AUTO_FREE struct chain_row *row = NULL;
    int r = row_find_uuid(replay->conn, ROW_CHAINS, record->chain_uuid, ret_id, err);

    if (r != 0)
        return r < 0 ? r : 0;
    row = calloc(1, sizeof(*row));
    if (!row)
        return error_set(err, -ENOMEM, "out of memory");
    row->disk_id = replay->disk.id;
    row->number = record->chain_number;
    row->capacity = record->capacity;
    row->chunk_size = record->chunk_size;
    row->foreign = record->foreign;
    row->created_at = record->taken_at;
    memcpy(row->uuid, record->chain_uuid, sizeof(row->uuid));
    memcpy(row->source, record->source, sizeof(row->source));
    return rebuild_insert_chain(replay->conn, row, ret_id, err);
}

static int insert_snapshot(struct replay *replay, const struct event *event, int64_t job_id,
                           int64_t chain_id, struct error *err)
{
    const struct snapshot_record *record = &replay->record;
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    int64_t id;

    if (!row)
        return error_set(err, -ENOMEM, "out of memory");
    row->job_id = job_id;
    row->disk_id = replay->disk.id;
    row->chain_id = chain_id;
    row->number = record->number;
    row->kind = record->kind;
    row->started_at = record->started_at;
    row->finished_at = record->finished_at;
    row->taken_at = record->taken_at;
    row->capacity = record->capacity;
    row->chunk_size = record->chunk_size;
    row->digest = record->digest;
    row->record = event->id;
    row->data_bytes = record->data_bytes;
    row->read_bytes = record->read_bytes;
    row->changed_bytes = record->changed_bytes;
    row->new_bytes = record->added_bytes + PACK_RECORD_HEADER_SIZE + event->stored_length +
                     PACK_INDEX_ENTRY_SIZE;
    memcpy(row->uuid, record->uuid, sizeof(row->uuid));
    memcpy(row->tags, record->tags, sizeof(row->tags));
    memcpy(row->change_id, record->change_id, sizeof(row->change_id));
    return rebuild_insert_snapshot(replay->conn, row, &id, err);
}

static int replay_rows(struct replay *replay, const struct event *event, struct error *err)
{
    const struct snapshot_record *record = &replay->record;
    int64_t context_id, job_id = 0, chain_id = 0;
    int r = settle_context(replay, record->context_uuid, record->context_name,
                           record->context_created_at, &context_id, err);

    if (r == 0)
        r = settle_disk(replay, record->disk_uuid, context_id, record->disk_name,
                        record->chunk_size, record->disk_created_at, err);
    if (r == 0)
        r = settle_job(replay, &job_id, err);
    if (r == 0)
        r = settle_chain(replay, &chain_id, err);
    if (r == 0)
        r = insert_snapshot(replay, event, job_id, chain_id, err);
    return r < 0 ? r : update_disk(replay, err);
}

static int replay_snapshot(struct replay *replay, const struct event *event, struct error *err)
{
    const struct snapshot_record *record = &replay->record;
    struct error local = ERROR_INIT;
    int64_t id;

    if (is_removed(replay, record->context_uuid) || is_removed(replay, record->disk_uuid))
        return 0;
    int r = row_find_uuid(replay->conn, ROW_SNAPSHOTS, record->uuid, &id, err);
    if (r != 0)
        return r < 0 ? r : 0;
    r = replay_rows(replay, event, &local);
    if (r == -EEXIST || r == -EINVAL) { // a record no job of this program could have written
        rebuild_tell(replay->rebuild, true, "snapshot %s is left out: %s", record->uuid,
                     error_message(&local));
        return 0;
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}

// --- afterwards

static int link_parent(struct replay *replay, struct error *err)
{
    const struct snapshot_record *record = &replay->record;
    int64_t id, parent_id;

    if (record->parent_uuid[0] == '\0')
        return 0;
    int r = row_find_uuid(replay->conn, ROW_SNAPSHOTS, record->uuid, &id, err);
    if (r <= 0)
        return r;
    r = row_find_uuid(replay->conn, ROW_SNAPSHOTS, record->parent_uuid, &parent_id, err);
    if (r == 1 && id != parent_id)
        return rebuild_set_parent(replay->conn, id, parent_id, err);
    if (r == 0)
        rebuild_tell(replay->rebuild, true,
                     "the description of snapshot %s is in no pack: it is the parent of %s/%s "
                     "chain-%04" PRId64 " number %" PRId64 ", which needs nothing of it",
                     record->parent_uuid, record->context_name, record->disk_name,
                     record->chain_number, record->number);
    return r < 0 ? r : 0;
}

static int touch_contexts(struct replay *replay, struct error *err)
{
    struct removed *removed, *next;
    int64_t id;
    int r = 0;

    HASH_ITER(hh, replay->removed, removed, next)
    {
        r = row_find_uuid(replay->conn, ROW_CONTEXTS, removed->context_uuid, &id, err);
        if (r > 0)
            r = rebuild_touch_context(replay->conn, id, removed->at, err);
        if (r < 0)
            return r;
    }
    return 0;
}

enum pass { PASS_ROWS = 1, PASS_PARENTS, PASS_NOTES };

static int replay_event(struct replay *replay, const struct event *event, enum pass pass,
                        struct error *err)
{
    bool note = event->kind == RECORD_NOTE;

    if (event->left_out || (note && pass == PASS_PARENTS) || (!note && pass == PASS_NOTES))
        return 0;
    int r = read_event(replay, event->kind, &event->id, err);
    if (r < 0)
        return r;
    if (pass == PASS_PARENTS)
        return link_parent(replay, err);
    if (pass == PASS_NOTES)
        return rebuild_carry_out(replay->rebuild, replay->conn, &replay->note, err);
    return note ? replay_note(replay, err) : replay_snapshot(replay, event, err);
}

static int replay_all(struct replay *replay, struct error *err)
{
    static const enum pass passes[] = {PASS_ROWS, PASS_PARENTS, PASS_NOTES};
    int r = 0;

    for (size_t p = 0; p < sizeof(passes) / sizeof(passes[0]); p++) {
        for (size_t i = 0; r == 0 && i < replay->count; i++)
            r = replay_event(replay, &replay->events[i], passes[p], err);
    }
    if (r == 0)
        r = touch_contexts(replay, err);
    return r < 0 ? r : rebuild_add_up(replay->conn, err);
}

static void free_replay(struct replay *replay)
{
    struct removed *removed, *next;

    HASH_ITER(hh, replay->removed, removed, next)
    {
        HASH_DEL(replay->removed, removed);
        free(removed);
    }
    free(replay->events);
    free(replay);
}

int rebuild_replay(struct rebuild *rebuild, struct error *err)
{
    struct replay *replay = calloc(1, sizeof(*replay));

    if (!replay)
        return error_set(err, -ENOMEM, "out of memory");
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(rebuild->catalog, &conn, err);

    rebuild_progress(rebuild, "replaying records", 0, 0);
    replay->rebuild = rebuild;
    replay->conn = conn;
    if (r == 0)
        r = chunk_each_of_kind(conn, RECORD_SNAPSHOT, collect, replay, err);
    if (r == 0)
        r = chunk_each_of_kind(conn, RECORD_NOTE, collect, replay, err);
    if (r == 0) {
        drop_void(replay);
        settle_places(replay);
        r = replay_all(replay, err);
    }
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    free_replay(replay);
    return r;
}
