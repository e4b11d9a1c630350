// SPDX-License-Identifier: MIT
//
// The steps of a collection and its transactions; see gc.h. Memory: a bit a row that is live, some
// 100 bytes a pack and 60 a snapshot, and the index of one pack.
//
// What may go wrong between the look at a record and the commit that drops it: a running backup
// meets its content meanwhile and relies on it. Its pin is seen in the last step before the commit,
// which no look-up can be beside (pins.h); the pack then stays.
#include "fs/store/gc_state.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "catalog/damage.h"
#include "catalog/gc_rows.h"

#include <stdarg.h>
#include <stdio.h>

// Of one transaction that drops; the first ones are smaller, see drop_dead().
#define DROP_PACKS_MAX 64
#define DROP_RECORDS_MAX 131072
#define TRIES 3 // at a batch that a backup gets in the way of

int gc_progress(struct gc *gc, struct error *err)
{
    uint64_t done = gc->done < gc->total ? gc->done : gc->total;

    return gc->options->progress ? gc->options->progress(done, gc->total, gc->options->arg, err)
                                 : 0;
}

void gc_tell(struct gc *gc, const char *fmt, ...)
{
    char sentence[ERROR_MESSAGE_MAX];
    va_list args;

    gc->result->damage++;
    va_start(args, fmt);
    vsnprintf(sentence, sizeof(sentence), fmt, args);
    va_end(args);
    if (gc->options->tell)
        gc->options->tell(sentence, gc->options->arg);
}

// --- one transaction

struct new_rows {
    int64_t *rows;
    size_t count, room;
};

static int note_new_row(const struct chunk_location *row, void *arg, struct error *err)
{
    struct new_rows *list = arg;

    if (list->count == list->room)
        return error_set(err, -ERROR_CORRUPT, "a new pack has more records than were added to it");
    list->rows[list->count++] = row->row;
    return 0;
}

struct mark_moving {
    const struct gc_batch *batch;
    struct catalog_conn *conn;
    int64_t pack_id; // the new one
};

static bool is_of(const struct gc_batch *batch, int64_t pack_id)
{
    for (size_t i = 0; i < batch->pack_count; i++) {
        if (batch->packs[i] && batch->packs[i]->id == pack_id)
            return true;
    }
    return false;
}

static int move_mark(const struct chunk_location *copy, void *arg, struct error *err)
{
    const struct mark_moving *moving = arg;
    const struct gc_batch *batch = moving->batch;

    if (!is_of(batch, copy->pack_id))
        return 0;
    for (size_t i = 0; i < batch->row_count; i++) {
        if (batch->rows[i].row == copy->row && batch->rows[i].copied)
            return damage_mark(moving->conn, moving->pack_id, &copy->record.id, NULL, err);
    }
    return 0;
}

// Adds the new pack; its rows stand in the order of the batch's records. What was found damaged
// after it was planned to go keeps its mark; there is hardly ever one.
static int insert_new(struct gc_batch *batch, struct catalog_conn *conn, struct new_rows *list,
                      struct error *err)
{
    struct pack_row pack = {
        .file_bytes = batch->bytes, .raw_bytes = batch->raw_bytes, .sealed_at = clock_now()};
    struct mark_moving moving = {.batch = batch, .conn = conn};
    int64_t pack_id = 0;
    int r;

    if (batch->record_count == 0)
        return 0;
    memcpy(pack.uuid, batch->uuid, sizeof(pack.uuid));
    list->room = batch->record_count;
    list->rows = calloc(list->room, sizeof(*list->rows));
    if (!list->rows)
        return error_set(err, -ENOMEM, "out of memory for the records of a pack");
    r = pack_insert(conn, &pack, batch->records, batch->record_count, &pack_id, err);
    if (r == 0)
        r = chunk_each_of_pack(conn, pack_id, note_new_row, list, err);
    moving.pack_id = pack_id;
    if (r == 0)
        r = damage_each_copy(conn, move_mark, &moving, err);
    return r;
}

static int delete_old(struct gc_batch *batch, struct catalog_conn *conn, struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < batch->pack_count; i++) {
        if (batch->packs[i])
            r = pack_delete(conn, batch->packs[i]->id, err);
    }
    return r;
}

// Whether a row that was not copied is needed. On the last try its pack leaves the batch instead.
static size_t find_needed(struct gc_batch *batch, struct gc_pack **needed)
{
    struct gc *gc = batch->gc;
    size_t count = 0;

    for (size_t i = 0; i < batch->row_count; i++) {
        const struct gc_row *row = &batch->rows[i];
        struct gc_pack **pack = &batch->packs[row->pack];

        if (!*pack || row->copy >= 0 ||
            (!row_bitmap_has(&gc->live, row->row) && !pins_have(&gc->store->pins, row->row)))
            continue;
        if (!batch->last_try)
            return 1;
        needed[count++] = *pack;
        *pack = NULL;
    }
    return count;
}

static int move_pins(struct gc_batch *batch, const struct new_rows *list, struct error *err)
{
    struct pins *pins = &batch->gc->store->pins;
    int r = 0;

    for (size_t i = 0; r == 0 && i < batch->row_count; i++) {
        const struct gc_row *row = &batch->rows[i];

        if (row->copy >= 0 && (size_t)row->copy < list->count)
            r = pins_copy(pins, row->row, list->rows[row->copy], err);
    }
    for (size_t i = 0; r == 0 && i < batch->pack_count; i++) {
        if (batch->packs[i])
            r = pins_note_dropped(pins, batch->packs[i]->id, err);
    }
    return r;
}

// What was to go is there still, and backups may rely on it as before.
static void keep_packs(struct gc_batch *batch)
{
    for (size_t i = 0; i < batch->pack_count; i++) {
        if (batch->packs[i])
            pins_note_kept(&batch->gc->store->pins, batch->packs[i]->id);
    }
}

// 1 when it is done, 0 when `needed` packs are to stay, so that it is to be done anew without them.
static int commit(struct gc_batch *batch, struct gc_pack **needed, size_t *ret_needed,
                  bool *ret_tried, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct pins *pins = &batch->gc->store->pins;
    struct new_rows list = {0};
    int r = catalog_write_begin(batch->gc->store->catalog, &conn, err);

    if (r == 0)
        r = insert_new(batch, conn, &list, err);
    if (r == 0)
        r = delete_old(batch, conn, err);
    if (r == 0)
        r = fault_hit(FAULT_GC_COMMIT, err);
    if (r == 0) {
        pins_commit_begin(pins);
        *ret_needed = find_needed(batch, needed);
        r = *ret_needed ? 0 : move_pins(batch, &list, err);
        if (r == 0 && *ret_needed == 0) {
            *ret_tried = true;
            r = catalog_write_commit(TAKE(conn, NULL), err);
            r = r == 0 ? 1 : r;
        }
        if (r < 0)
            keep_packs(batch);
        pins_commit_end(pins);
    }
    free(list.rows);
    return r;
}

static size_t packs_left(const struct gc_batch *batch)
{
    size_t count = 0;

    for (size_t i = 0; i < batch->pack_count; i++)
        count += batch->packs[i] != NULL;
    return count;
}

// 1 when packs were dropped; 0 when all of them are needed, or one is and it is not the last try.
static int commit_without_needed(struct gc_batch *batch, bool *ret_tried, struct error *err)
{
    AUTO_FREE struct gc_pack **needed = calloc(batch->pack_count, sizeof(*needed));
    struct gc *gc = batch->gc;
    size_t count = 0;
    int r = needed ? 0 : error_set(err, -ENOMEM, "out of memory for a list of packs");

    while (r == 0 && packs_left(batch) > 0) {
        r = commit(batch, needed, &count, ret_tried, err);
        if (r != 0 || !batch->last_try)
            break;
        gc->result->packs_passed_over += count;
        for (size_t i = 0; r == 0 && i < count; i++)
            r = gc_mark_bases_of(gc, needed[i], err);
    }
    return r;
}

// --- a batch

// The catalog does not know them any more. What cannot be removed is found by the next start.
static void remove_files(struct gc_batch *batch, uint64_t *ret_bytes)
{
    struct gc *gc = batch->gc;

    *ret_bytes = 0;
    for (size_t i = 0; i < batch->pack_count; i++) {
        struct error err = ERROR_INIT;

        if (!batch->packs[i])
            continue;
        if (pack_backend_remove(gc->store->backend, batch->packs[i]->uuid, PACK_FILE_SEALED, &err) <
            0)
            log_warning("%s; the next start finds it", error_message(&err));
        else
            *ret_bytes += batch->packs[i]->file_bytes;
    }
}

// Nobody knows the new pack: it may go. After a commit was tried it must not: it may have come
// through.
static void discard_new(struct gc_batch *batch)
{
    struct error err = ERROR_INIT;

    batch->sink = pack_sink_close(batch->sink);
    if (batch->record_count > 0 &&
        pack_backend_remove(batch->gc->store->backend, batch->uuid, PACK_FILE_SEALED, &err) < 0)
        log_warning("%s; the next start finds it", error_message(&err));
}

static int count_batch(struct gc_batch *batch, struct error *err)
{
    struct gc_result *result = batch->gc->result;
    size_t packs = packs_left(batch);
    uint64_t freed;
    int r = fault_hit(FAULT_GC_COMMITTED, err);

    remove_files(batch, &freed);
    if (batch->record_count > 0) {
        result->packs_rewritten += packs;
        result->packs_made++;
        for (size_t i = 0; i < batch->record_count; i++)
            result->copied_bytes += gc_record_bytes(&batch->records[i]);
    } else {
        result->packs_dropped += packs;
    }
    freed += result->freed_bytes;
    result->freed_bytes = freed > batch->bytes ? freed - batch->bytes : 0;
    return r;
}

static int finish_batch(struct gc_batch *batch, struct error *err)
{
    bool tried = false;
    int r = gc_batch_seal(batch, err);

    if (r == 0)
        r = commit_without_needed(batch, &tried, err);
    if (r <= 0 && !tried)
        discard_new(batch);
    if (r <= 0)
        return r;
    r = count_batch(batch, err);
    return r < 0 ? r : 1;
}

// Packs go, their live records into a new one. What a backup has met since a record was passed over
// is copied by the next try.
static int do_batch(struct gc *gc, struct gc_pack **packs, size_t count, struct error *err)
{
    struct gc_batch batch = {.gc = gc, .packs = packs, .pack_count = count};
    uint64_t done = gc->done;
    int r = 0;

    for (int try = 1; r == 0 && try <= TRIES; try++) {
        bool again = true;

        gc->done = done;
        batch.last_try = try == TRIES;
        while (r == 0 && again) {
            gc_batch_deinit(&batch);
            r = gc_batch_fill(&batch, &again, err);
        }
        if (r == 0)
            r = packs_left(&batch) ? finish_batch(&batch, err) : 1;
    }
    gc_batch_deinit(&batch);
    return r < 0 ? r : 0;
}

// A disk that is too full for the copies of one batch may have room for those of others, or get it
// from them.
static int try_batch(struct gc *gc, struct gc_pack **packs, size_t count, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = do_batch(gc, packs, count, &local);

    if (r != -ENOSPC)
        return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
    gc->no_space = local;
    r = 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (!packs[i])
            continue;
        gc->result->packs_without_room++;
        r = gc_mark_bases_of(gc, packs[i], err);
    }
    return r;
}

// --- all of it

// How many of the next packs go at once.
static size_t drop_step(struct gc_pack **list, size_t count, size_t step)
{
    uint64_t records = 0;
    size_t n = 0;

    while (n < count && n < step && (n == 0 || records < DROP_RECORDS_MAX))
        records += list[n++]->records;
    return n;
}

// Before anything is copied: that takes no space. The first transactions are small, for on a full
// disk there may be room for nothing else.
static int drop_dead(struct gc *gc, int wave, struct gc_pack **list, struct error *err)
{
    size_t count = gc_list_dead(gc, wave, list), at = 0, step = 1;
    int r = 0;

    while (r == 0 && at < count) {
        size_t part = drop_step(list + at, count - at, step);

        r = try_batch(gc, list + at, part, err);
        at += part;
        step = step < DROP_PACKS_MAX ? step * 2 : step;
        if (r == 0)
            r = gc_progress(gc, err);
    }
    return r;
}

static int rewrite(struct gc *gc, int wave, struct gc_pack **list, struct error *err)
{
    size_t left = gc->pack_count, count;
    int r = 0;

    while (r == 0 && (count = gc_next_batch(gc, wave, &left, list)) > 0) {
        r = try_batch(gc, list, count, err);
        if (r == 0)
            r = gc_progress(gc, err);
    }
    return r;
}

static int collect(struct gc *gc, struct error *err)
{
    AUTO_FREE struct gc_pack **room = NULL;
    int r = gc->options->dry_run ? 0 : store_adopt_orphans(gc->store, err);

    if (r == 0)
        r = gc_settle_strangers(gc, err);

    if (r == 0)
        r = gc_list(gc, err);
    if (r == 0)
        r = gc_mark(gc, err);
    if (r == 0)
        r = gc_plan(gc, err);
    if (r < 0)
        return r;
    room = calloc(gc->pack_count + 1, sizeof(*room));
    if (!room)
        return error_set(err, -ENOMEM, "out of memory for a list of packs");
    if (gc->options->dry_run) {
        gc_foretell(gc, room);
        return 0;
    }
    r = gc_progress(gc, err);
    for (int wave = 0; r == 0 && wave < GC_WAVES; wave++) {
        r = drop_dead(gc, wave, room, err);
        if (r == 0)
            r = rewrite(gc, wave, room, err);
    }
    if (r == 0 && gc->no_space.code != 0 && gc->result->freed_bytes == 0)
        r = error_set(err, gc->no_space.code, "%s", error_message(&gc->no_space));
    return r;
}

static int collect_beside(struct gc *gc, struct error *err)
{
    int r = gc->options->dry_run ? 0 : pins_collect_begin(&gc->store->pins, err);

    if (r < 0)
        return r;
    r = collect(gc, err);
    if (!gc->options->dry_run)
        pins_collect_end(&gc->store->pins);
    return r;
}

int store_gc(struct store *store, const struct gc_options *options, struct gc_result *ret_result,
             struct error *err)
{
    struct gc *gc = calloc(1, sizeof(*gc));
    int r = gc ? 0 : error_set(err, -ENOMEM, "out of memory for a garbage collection");

    *ret_result = (struct gc_result){0};
    if (r < 0)
        return r;
    gc->store = store;
    gc->options = options;
    gc->result = ret_result;
    r = pack_decoder_new(&gc->decoder, err);
    if (r == 0)
        r = collect_beside(gc, err);
    pack_decoder_free(gc->decoder);
    for (size_t i = 0; i < GC_RECENT_LEAVES; i++)
        free(gc->recent[i]);
    row_bitmap_deinit(&gc->live);
    free(gc->snapshots);
    free(gc->packs);
    free(gc);
    return r;
}
