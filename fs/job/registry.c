// SPDX-License-Identifier: MIT
//
// VMs, disks and snapshots of an engine: adding, changing, removing, forgetting, holding. No job
// work is done here.
#include "fs/job/engine_state.h"

#include "fs/job/notes.h"
#include "fs/job/retention.h"

#include "base/clock.h"
#include "base/name.h"
#include "catalog/snapshot.h"
#include "fs/source/source.h"
#include "fs/store/fingerprint_cache.h"

#include <stdio.h>
#include <string.h>

// Opens the source to see that it can be read and how large it is.
static int discover(const char *source, uint64_t *ret_capacity, struct error *err)
{
    AUTO(source_close) struct source *opened = NULL;
    int r = source_open(source, &opened, err);
    if (r < 0)
        return r;
    *ret_capacity = source_capacity(opened);
    return 0;
}

int engine_add_context(struct engine *engine, const char *name, int64_t *ret_id, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int64_t id = 0;
    int r = name_check("VM", name, err);

    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = context_insert(conn, name, &id, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r < 0)
        return r;
    *ret_id = id;
    notes_context(engine, id, false);
    events_post(engine->events, ENGINE_TREE_CHANGED, 0);
    return 0;
}

int engine_add_disk(struct engine *engine, int64_t context_id, const char *name, int64_t *ret_id,
                    struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int64_t id = 0;
    int r = name_check("disk", name, err);

    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = disk_insert(conn, context_id, name, engine->repository.config.chunk_size, &id, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r < 0)
        return r;
    *ret_id = id;
    notes_disk(engine, id);
    events_post(engine->events, ENGINE_TREE_CHANGED, 0);
    return 0;
}

// No word at all is more likely a slip than the wish to keep everything.
static int parse_policy(const char *words, size_t len, struct retention_policy *ret_policy,
                        struct error *err)
{
    for (size_t i = 0; i < len; i++)
        if (words[i] != ' ' && words[i] != '\t')
            return retention_parse(words, len, ret_policy, err);
    return error_set(err, -EINVAL,
                     "no policy is given: use words like keep-last=3 keep-daily=7, none to keep "
                     "everything, or default to follow the repository's");
}

int engine_set_retention(struct engine *engine, int64_t context_id, const char *words, size_t len,
                         struct error *err)
{
    static const char back[] = "default";
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct retention_policy policy;
    char text[RETENTION_TEXT_SIZE];
    bool own = len != sizeof(back) - 1 || memcmp(words, back, len) != 0;
    int r = own ? parse_policy(words, len, &policy, err) : 0;

    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = context_set_retention(conn, context_id, own ? retention_format(&policy, text) : NULL,
                                  err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r == 0)
        notes_retention(engine, context_id);
    return r;
}

struct active_search {
    enum job_state state; // unknown = pending or running
    int64_t job_id;
};

static int note_active(const struct job_row *row, void *arg, struct error *err)
{
    struct active_search *search = arg;

    (void)err;
    // Upkeep minds no change, but its record goes with its VM.
    if (search->state == JOB_STATE_UNKNOWN ||
        (row->state == search->state && !job_kind_is_upkeep(row->kind)))
        search->job_id = row->id;
    return 0;
}

// -EBUSY when a job of the VM (or the disk, when disk_id is set) is in the state, unknown = pending
// or running.
static int refuse_active(struct catalog_conn *conn, int64_t context_id, int64_t disk_id,
                         enum job_state state, const char *what, struct error *err)
{
    struct active_search search = {.state = state};
    struct job_filter filter = {.context_id = context_id, .disk_id = disk_id, .active = true};
    int r = job_each(conn, &filter, note_active, &search, err);

    if (r == 0 && search.job_id)
        r = error_set(err, -EBUSY, "%s is used by job %lld", what, (long long)search.job_id);
    return r;
}

int engine_set_source(struct engine *engine, int64_t disk_id, const char *source, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    AUTO_FREE struct disk_row *disk = calloc(1, sizeof(*disk));
    uint64_t capacity = 0;
    int r = disk ? discover(source, &capacity, err) : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = disk_get(conn, disk_id, disk, err);
    if (r == 0)
        r = refuse_active(conn, disk->context_id, disk_id, JOB_RUNNING, disk->name, err);
    if (r == 0)
        r = disk_set_source(conn, disk_id, source, capacity, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r == 0) {
        notes_disk(engine, disk_id);
        events_post(engine->events, ENGINE_TREE_CHANGED, 0);
    }
    return r;
}

static int check_specs(const struct engine_disk_spec *disks, size_t count, uint64_t *capacities,
                       struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        int r = name_check("disk", disks[i].name, err);
        for (size_t j = 0; r == 0 && j < i; j++)
            if (strcmp(disks[i].name, disks[j].name) == 0)
                r = error_set(err, -EINVAL, "disk %s is named twice", disks[i].name);
        if (r == 0)
            r = discover(disks[i].source, &capacities[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int insert_vm(struct catalog_conn *conn, const char *name, uint32_t chunk_size,
                     const struct engine_disk_spec *disks, const uint64_t *capacities, size_t count,
                     int64_t *ret_context_id, struct error *err)
{
    struct context_row context;
    int64_t context_id, disk_id;
    int r = context_find(conn, name, &context, NULL);

    if (r == 0 && count == 0)
        return error_set(err, -EEXIST, "there is a VM named %s already", name);
    if (r == 0)
        context_id = context.id;
    else if (r != -ENOENT || (r = context_insert(conn, name, &context_id, err)) < 0)
        return error_set_errno(err, r, "cannot look for the VM %s", name);
    for (size_t i = 0; i < count; i++) {
        r = disk_insert(conn, context_id, disks[i].name, chunk_size, &disk_id, err);
        if (r == 0)
            r = disk_set_source(conn, disk_id, disks[i].source, capacities[i], err);
        if (r < 0)
            return r;
    }
    *ret_context_id = context_id;
    return 0;
}

int engine_add_vm(struct engine *engine, const char *name, const struct engine_disk_spec *disks,
                  size_t count, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    AUTO_FREE uint64_t *capacities = calloc(count + 1, sizeof(*capacities));
    int64_t context_id = 0;
    int r = capacities ? name_check("VM", name, err) : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = check_specs(disks, count, capacities, err);
    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = insert_vm(conn, name, engine->repository.config.chunk_size, disks, capacities, count,
                      &context_id, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r == 0) {
        notes_context(engine, context_id, true);
        events_post(engine->events, ENGINE_TREE_CHANGED, 0);
    }
    return r;
}

struct disk_census {
    int64_t disks, snapshots;
    char name[NAME_SIZE];
};

static int count_disk(const struct disk_row *row, void *arg, struct error *err)
{
    struct disk_census *census = arg;

    (void)err;
    census->disks++;
    census->snapshots += row->snapshots;
    if (row->snapshots)
        snprintf(census->name, sizeof(census->name), "%s", row->name);
    return 0;
}

static int check_context_removable(struct catalog_conn *conn, const struct context_row *context,
                                   bool with_disks, struct error *err)
{
    struct disk_census census = {0};
    int r = refuse_active(conn, context->id, 0, JOB_STATE_UNKNOWN, context->name, err);

    if (r == 0)
        r = disk_each(conn, context->id, count_disk, &census, err);
    if (r < 0)
        return r;
    if (census.snapshots)
        return error_set(err, -ENOTEMPTY, "%s holds snapshots (%lld; some of disk %s)",
                         context->name, (long long)census.snapshots, census.name);
    if (census.disks && !with_disks)
        return error_set(err, -ENOTEMPTY, "%s holds disks (%lld)", context->name,
                         (long long)census.disks);
    return 0;
}

static int forget_cache(const struct disk_row *row, void *arg, struct error *err)
{
    (void)err;
    fingerprint_cache_remove(arg, row->uuid);
    return 0;
}

int engine_remove_context(struct engine *engine, int64_t context_id, bool with_disks,
                          struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct context_row context;
    int r = catalog_write_begin(engine->repository.catalog, &conn, err);

    if (r == 0)
        r = context_get(conn, context_id, &context, err);
    if (r == 0)
        r = check_context_removable(conn, &context, with_disks, err);
    if (r == 0)
        r = disk_each(conn, context_id, forget_cache, engine->repository.store, err);
    if (r == 0)
        r = context_delete(conn, context_id, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r == 0) {
        notes_removed(engine, context.uuid, NULL);
        events_post(engine->events, ENGINE_TREE_CHANGED, 0);
    }
    return r;
}

int engine_remove_disk(struct engine *engine, int64_t disk_id, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    AUTO_FREE struct disk_row *disk = calloc(1, sizeof(*disk));
    struct context_row context;
    int r = disk ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = catalog_write_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = disk_get(conn, disk_id, disk, err);
    if (r == 0)
        r = context_get(conn, disk->context_id, &context, err);
    if (r == 0)
        r = refuse_active(conn, disk->context_id, disk_id, JOB_STATE_UNKNOWN, disk->name, err);
    if (r == 0 && disk->snapshots)
        r = error_set(err, -ENOTEMPTY, "%s/%s holds snapshots (%lld)", disk->context_name,
                      disk->name, (long long)disk->snapshots);
    if (r == 0)
        r = disk_delete(conn, disk_id, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r == 0) {
        fingerprint_cache_remove(engine->repository.store, disk->uuid);
        notes_removed(engine, context.uuid, disk->uuid);
        events_post(engine->events, ENGINE_TREE_CHANGED, 0);
    }
    return r;
}

int engine_hold_snapshot(struct engine *engine, int64_t snapshot_id, struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    int r = row ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = snapshot_hold_to_read(&engine->holds, snapshot_id, err);
    if (r < 0)
        return r;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    r = catalog_read_begin(engine->repository.catalog, &conn, err);
    if (r == 0)
        r = snapshot_get(conn, snapshot_id, row, err);
    if (r == 0 && (row->state != JOB_COMPLETED || row->forgotten_at))
        r = error_set(err, -ENOENT, "the snapshot has been forgotten");
    if (r < 0)
        engine_release_snapshot(engine, snapshot_id);
    return r;
}

void engine_release_snapshot(struct engine *engine, int64_t snapshot_id)
{
    snapshot_release(&engine->holds, snapshot_id, HOLD_READER);
}

void engine_hold_by_file(struct engine *engine, int64_t snapshot_id)
{
    snapshot_hold_by_file(&engine->holds, snapshot_id);
}

void engine_release_file(struct engine *engine, int64_t snapshot_id)
{
    snapshot_release(&engine->holds, snapshot_id, HOLD_FILE);
}

struct restore_search {
    int64_t snapshot_id, job_id;
};

static int note_restore(const struct job_row *row, void *arg, struct error *err)
{
    struct restore_search *search = arg;

    (void)err;
    if (row->kind == JOB_RESTORE && row->restore_snapshot_id == search->snapshot_id)
        search->job_id = row->id;
    return 0;
}

// Besides what holds it: a restore of it waits, or a running backup of its disk may
// build on it.
static int check_forgettable(struct catalog_conn *conn, const struct snapshot_row *row,
                             struct error *err)
{
    struct restore_search search = {.snapshot_id = row->id};
    struct job_filter filter = {.context_id = row->context_id, .active = true};
    int r = job_each(conn, &filter, note_restore, &search, err);

    if (r < 0)
        return r;
    if (row->state != JOB_COMPLETED || row->forgotten_at)
        return error_set(err, -ENOENT, "the snapshot has been forgotten");
    if (search.job_id)
        return error_set(err, -EBUSY, "the snapshot is used by job %lld", (long long)search.job_id);
    return refuse_active(conn, row->context_id, row->disk_id, JOB_RUNNING, row->disk_name, err);
}

// Asked twice: before the note is written, and in the transaction, for things may change between.
static int check_forget(struct catalog_conn *conn, int64_t snapshot_id, struct snapshot_row *row,
                        struct error *err)
{
    char name[SNAPSHOT_NAME_SIZE];
    int r = snapshot_get(conn, snapshot_id, row, err);

    if (r == 0)
        r = check_forgettable(conn, row, err);
    if (r == 0 && row->protected)
        r = error_set(err, -EPERM, "snapshot %s of %s/%s is protected", snapshot_name(row, name),
                      row->context_name, row->disk_name);
    return r;
}

static int read_snapshot(struct engine *engine, int64_t snapshot_id, bool to_forget,
                         struct snapshot_row *row, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(engine->repository.catalog, &conn, err);

    if (r < 0)
        return r;
    return to_forget ? check_forget(conn, snapshot_id, row, err)
                     : snapshot_get(conn, snapshot_id, row, err);
}

static int change(struct catalog_conn *conn, int64_t snapshot_id, enum note_what what,
                  struct snapshot_row *row, struct error *err)
{
    if (what != NOTE_FORGOTTEN)
        return snapshot_set_protected(conn, snapshot_id, what == NOTE_PROTECTED, err);
    int r = check_forget(conn, snapshot_id, row, err);
    return r < 0 ? r : snapshot_forget(conn, snapshot_id, err);
}

// The note is sealed; it becomes known with the change it tells of.
static int change_noted(struct engine *engine, int64_t snapshot_id, enum note_what what,
                        const struct note_pack *pack, struct snapshot_row *row, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(engine->repository.catalog, &conn, err);

    if (r == 0)
        r = change(conn, snapshot_id, what, row, err);
    if (r == 0)
        r = note_pack_insert(conn, pack, err);
    if (r < 0) {
        note_pack_discard(engine->repository.store, pack);
        return r;
    }
    return catalog_write_commit(TAKE(conn, NULL), err);
}

static int note_and_change(struct engine *engine, int64_t snapshot_id, enum note_what what,
                           struct snapshot_row *row, struct error *err)
{
    const char *uuid = row->uuid;
    struct note_pack pack = {0};
    int r = notes_write(engine, &uuid, 1, what, &pack, err);

    if (r == 0)
        r = change_noted(engine, snapshot_id, what, &pack, row, err);
    note_pack_deinit(&pack);
    if (r == 0)
        events_post(engine->events, ENGINE_TREE_CHANGED, 0);
    return r;
}

// The exclusive hold keeps files of the snapshot from being opened while its row is changed.
int engine_forget_snapshot(struct engine *engine, int64_t snapshot_id, struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    int r = row ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = snapshot_hold_to_forget(&engine->holds, snapshot_id, false, err);
    if (r < 0)
        return r;
    r = read_snapshot(engine, snapshot_id, true, row, err);
    if (r == 0)
        r = note_and_change(engine, snapshot_id, NOTE_FORGOTTEN, row, err);
    snapshot_release(&engine->holds, snapshot_id, HOLD_FORGETTING);
    return r;
}

int engine_set_protected(struct engine *engine, int64_t snapshot_id, bool on, struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    int r = row ? engine_hold_snapshot(engine, snapshot_id, err)
                : error_set(err, -ENOMEM, "out of memory");

    if (r < 0)
        return r;
    r = read_snapshot(engine, snapshot_id, false, row, err);
    if (r == 0 && row->protected != on)
        r = note_and_change(engine, snapshot_id, on ? NOTE_PROTECTED : NOTE_UNPROTECTED, row, err);
    engine_release_snapshot(engine, snapshot_id);
    return r;
}
