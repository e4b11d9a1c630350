// SPDX-License-Identifier: MIT
//
// Notes of an engine. Their times only go up within a process, whatever the clock does, so that of
// two notes about one thing the later is known.
#include "fs/job/notes.h"

#include "base/clock.h"
#include "base/log.h"
#include "catalog/disk.h"

#include <stdio.h>
#include <string.h>

static int64_t next_time(struct engine *engine)
{
    int64_t last = atomic_load(&engine->last_note_at), at;

    do {
        int64_t now = clock_now();
        at = now > last ? now : last + 1;
    } while (!atomic_compare_exchange_weak(&engine->last_note_at, &last, at));
    return at;
}

int notes_write(struct engine *engine, const char *const *snapshot_uuids, size_t count,
                enum note_what what, struct note_pack *ret_pack, struct error *err)
{
    AUTO_FREE struct note *notes = calloc(count + 1, sizeof(*notes));
    struct error local = ERROR_INIT;

    *ret_pack = (struct note_pack){0};
    if (count == 0)
        return 0;
    if (!notes)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        notes[i].what = what;
        notes[i].at = next_time(engine);
        snprintf(notes[i].snapshot_uuid, sizeof(notes[i].snapshot_uuid), "%s", snapshot_uuids[i]);
    }
    int r = note_pack_write(engine->repository.store, notes, count, ret_pack, &local);
    if (r == -ENOSPC || r == -EDQUOT) {
        log_warning("no note is kept (%s): a catalog rebuilt from packs would not know of this: "
                    "snapshot %s%s",
                    error_message(&local), snapshot_uuids[0], count > 1 ? " and others" : "");
        return 0;
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}

// --- how VMs and disks are

struct gathered {
    struct engine *engine;
    const struct context_row *context;
    struct note *notes;
    size_t count;
};

static struct note *add_note(struct gathered *gathered, enum note_what what, struct error *err)
{
    struct note *notes =
        reallocarray(gathered->notes, gathered->count + 1, sizeof(*gathered->notes));

    if (!notes) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    gathered->notes = notes;
    struct note *note = &notes[gathered->count++];
    const struct context_row *context = gathered->context;
    *note = (struct note){.what = what, .at = next_time(gathered->engine)};
    memcpy(note->context_uuid, context->uuid, sizeof(note->context_uuid));
    memcpy(note->context_name, context->name, sizeof(note->context_name));
    note->context_created_at = context->created_at;
    return note;
}

static int add_disk(const struct disk_row *row, void *arg, struct error *err)
{
    struct note *note = add_note(arg, NOTE_DISK, err);

    if (!note)
        return err->code;
    memcpy(note->disk_uuid, row->uuid, sizeof(note->disk_uuid));
    memcpy(note->disk_name, row->name, sizeof(note->disk_name));
    memcpy(note->source, row->source, sizeof(note->source));
    note->disk_created_at = row->created_at;
    note->capacity = row->capacity;
    note->chunk_size = row->chunk_size;
    return 0;
}

static int gather(struct gathered *gathered, int64_t context_id, int64_t disk_id, bool with_disks,
                  struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct disk_row *disk = calloc(1, sizeof(*disk));
    struct context_row context;
    int r = disk ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = catalog_read_begin(gathered->engine->repository.catalog, &conn, err);
    if (r == 0 && disk_id)
        r = disk_get(conn, disk_id, disk, err);
    if (r == 0)
        r = context_get(conn, disk_id ? disk->context_id : context_id, &context, err);
    gathered->context = &context;
    if (r == 0 && disk_id)
        r = add_disk(disk, gathered, err);
    else if (r == 0 && !add_note(gathered, NOTE_VM, err))
        r = err->code;
    if (r == 0 && with_disks)
        r = disk_each(conn, context_id, add_disk, gathered, err);
    gathered->context = NULL;
    return r;
}

static int write_notes(struct engine *engine, const struct note *notes, size_t count,
                       struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct note_pack pack = {0};
    int r = note_pack_write(engine->repository.store, notes, count, &pack, err);

    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = note_pack_insert(conn, &pack, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    note_pack_deinit(&pack);
    return r;
}

static void note_state(struct engine *engine, int64_t context_id, int64_t disk_id, bool with_disks)
{
    struct gathered gathered = {.engine = engine};
    struct error err = ERROR_INIT;
    int r = gather(&gathered, context_id, disk_id, with_disks, &err);

    if (r == 0)
        r = write_notes(engine, gathered.notes, gathered.count, &err);
    if (r < 0)
        log_warning("no note is kept of a VM or disk: %s", error_message(&err));
    free(gathered.notes);
}

void notes_context(struct engine *engine, int64_t context_id, bool with_disks)
{
    note_state(engine, context_id, 0, with_disks);
}

void notes_disk(struct engine *engine, int64_t disk_id)
{
    note_state(engine, 0, disk_id, false);
}

static int read_retention(struct engine *engine, int64_t context_id, struct note *note,
                          struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct context_row context;
    int r = catalog_read_begin(engine->repository.catalog, &conn, err);

    if (r == 0)
        r = context_get(conn, context_id, &context, err);
    if (r < 0)
        return r;
    memcpy(note->context_uuid, context.uuid, sizeof(note->context_uuid));
    if (context.own_retention)
        memcpy(note->retention, context.retention, sizeof(note->retention));
    return 0;
}

void notes_retention(struct engine *engine, int64_t context_id)
{
    AUTO_FREE struct note *note = calloc(1, sizeof(*note));
    struct error err = ERROR_INIT;
    int r = note ? read_retention(engine, context_id, note, &err)
                 : error_set(&err, -ENOMEM, "out of memory");

    if (r == 0) {
        note->what = NOTE_RETENTION;
        note->at = next_time(engine);
        r = write_notes(engine, note, 1, &err);
    }
    if (r < 0)
        log_warning("no note is kept of a retention policy: %s", error_message(&err));
}

void notes_removed(struct engine *engine, const char *context_uuid, const char *disk_uuid)
{
    AUTO_FREE struct note *note = calloc(1, sizeof(*note));
    struct error err = ERROR_INIT;
    int r = note ? 0 : error_set(&err, -ENOMEM, "out of memory");

    if (r == 0) {
        note->what = disk_uuid ? NOTE_DISK_REMOVED : NOTE_VM_REMOVED;
        note->at = next_time(engine);
        memcpy(note->context_uuid, context_uuid, sizeof(note->context_uuid));
        if (disk_uuid)
            memcpy(note->disk_uuid, disk_uuid, sizeof(note->disk_uuid));
        r = write_notes(engine, note, 1, &err);
    }
    if (r < 0)
        log_warning("no note is kept that a VM or disk was removed: %s", error_message(&err));
}
