// SPDX-License-Identifier: MIT
//
// Live records of a few packs, copied byte for byte into a new one. Each is compared with what the
// catalog says of it and its checksums are computed anew; content is not decoded. The new pack is
// known to nobody until gc.c adds it.
#include "fs/store/gc_state.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/grow.h"
#include "catalog/gc_rows.h"
#include "fs/store/digest_hash.h"
#include "fs/store/pack_index_make.h"

#include <uuid/uuid.h>

struct gc_copied {
    UT_hash_handle hh;
    struct digest id;
    int64_t copy; // number of its record
};

void gc_batch_deinit(struct gc_batch *batch)
{
    struct gc_copied *entry, *next;

    batch->sink = pack_sink_close(batch->sink);
    HASH_ITER(hh, batch->copied, entry, next)
    {
        HASH_DEL(batch->copied, entry);
        free(entry);
    }
    free(batch->rows);
    free(batch->records);
    batch->rows = NULL;
    batch->records = NULL;
    batch->row_count = batch->row_room = batch->record_count = batch->record_room = 0;
    batch->bytes = batch->raw_bytes = 0;
    batch->uuid[0] = '\0';
}

// --- the new pack

static int append(struct gc_batch *batch, const void *data, size_t len, struct error *err)
{
    int r = pack_sink_append(batch->sink, data, len, err);

    batch->bytes += r == 0 ? len : 0;
    return r;
}

static int begin_pack(struct gc_batch *batch, struct error *err)
{
    struct store *store = batch->gc->store;
    struct pack_header header = {.created_at = clock_now()};
    uint8_t bytes[PACK_HEADER_SIZE];
    int r;

    if (batch->sink)
        return 0;
    uuid_generate_random(header.uuid);
    uuid_unparse_lower(header.uuid, batch->uuid);
    memcpy(header.repository_uuid, store->repository_uuid, sizeof(header.repository_uuid));
    r = pack_backend_create(store->backend, batch->uuid, &batch->sink, err);
    if (r < 0)
        return r;
    pack_header_encode(&header, bytes);
    return append(batch, bytes, sizeof(bytes), err);
}

static int remember(struct gc_batch *batch, const struct digest *id, struct error *err)
{
    struct gc_copied *entry = calloc(1, sizeof(*entry));

    if (entry) {
        entry->id = *id;
        entry->copy = (int64_t)batch->record_count;
        HASH_ADD(hh, batch->copied, id, sizeof(entry->id), entry);
        if (entry->hh.tbl)
            return 0;
        free(entry);
    }
    return error_set(err, -ENOMEM, "out of memory for the ids of a pack");
}

static int append_record(struct gc_batch *batch, const struct chunk_row *row, const uint8_t *bytes,
                         struct error *err)
{
    struct chunk_row copy = *row;
    int r = begin_pack(batch, err);

    copy.offset = batch->bytes;
    if (r == 0)
        r = GROW(batch->records, batch->record_count, batch->record_room, "the index of a pack",
                 err);
    if (r == 0)
        r = append(batch, bytes, PACK_RECORD_HEADER_SIZE + (size_t)row->stored_length, err);
    if (r == 0)
        r = remember(batch, &row->id, err);
    if (r < 0)
        return r;
    batch->records[batch->record_count++] = copy;
    batch->raw_bytes += row->kind == RECORD_CHUNK ? row->raw_length : 0;
    return 0;
}

int gc_batch_seal(struct gc_batch *batch, struct error *err)
{
    AUTO_FREE uint8_t *index = NULL;
    size_t len;
    int r;

    if (batch->record_count == 0)
        return 0;
    r = pack_index_make(batch->records, batch->record_count, batch->bytes, &index, &len, err);
    if (r == 0)
        r = pack_sink_seal(batch->sink, index, len, err);
    if (r < 0)
        return r;
    batch->sink = pack_sink_close(batch->sink);
    batch->bytes += len;
    return fault_hit(FAULT_GC_COPIED, err);
}

// --- filling it

struct pack_rows {
    struct chunk_location *rows;
    size_t count, room;
};

static int note_row(const struct chunk_location *row, void *arg, struct error *err)
{
    struct pack_rows *list = arg;

    if (GROW(list->rows, list->count, list->room, "the records of a pack", err) < 0)
        return -ENOMEM;
    list->rows[list->count++] = *row;
    return 0;
}

static int read_rows(struct gc *gc, const struct gc_pack *pack, struct pack_rows *list,
                     struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(gc->store->catalog, &conn, err);

    return r < 0 ? r : chunk_each_of_pack(conn, pack->id, note_row, list, err);
}

// Sets the number of the record's copy in the new pack, -1 when it is not needed. Two packs may
// hold the same: one copy serves. A plain one serves for a delta, a delta never for a plain one,
// which may be a base; see gc_batch_fill().
static int copy_record(struct gc_batch *batch, const struct gc_pack *pack,
                       struct chunk_location *row, struct gc_row *note, struct error *err)
{
    struct gc *gc = batch->gc;
    struct gc_copied *known;
    const uint8_t *bytes;
    int r;

    note->copy = -1;
    if (!row_bitmap_has(&gc->live, row->row) && !pins_ask(&gc->store->pins, row->row))
        return 0;
    HASH_FIND(hh, batch->copied, &row->record.id, sizeof(row->record.id), known);
    if (known) {
        note->copy = known->copy;
        return 0;
    }
    memcpy(row->pack_uuid, pack->uuid, sizeof(row->pack_uuid));
    r = pack_read_stored(gc->store->backend, gc->decoder, row, &bytes, err);
    if (r < 0)
        return r;
    note->copy = (int64_t)batch->record_count;
    note->copied = true;
    gc->done += gc_record_bytes(&row->record);
    return append_record(batch, &row->record, bytes, err);
}

static int add_row(struct gc_batch *batch, const struct gc_row *row, struct error *err)
{
    if (GROW(batch->rows, batch->row_count, batch->row_room, "the records of a pack", err) < 0)
        return -ENOMEM;
    batch->rows[batch->row_count++] = *row;
    return 0;
}

static int copy_rows(struct gc_batch *batch, size_t number, bool deltas, struct pack_rows *list,
                     struct error *err)
{
    const struct gc_pack *pack = batch->packs[number];
    int r = 0;

    for (size_t i = 0; r == 0 && i < list->count; i++) {
        struct gc_row row = {.row = list->rows[i].row, .pack = number};

        if (digest_is_zero(&list->rows[i].record.base) == deltas)
            continue;
        r = copy_record(batch, pack, &list->rows[i], &row, err);
        if (r == 0)
            r = add_row(batch, &row, err);
        if (r == 0)
            r = gc_progress(batch->gc, err);
    }
    return r;
}

static int fill_from(struct gc_batch *batch, size_t number, bool deltas, struct error *err)
{
    struct pack_rows list = {0};
    int r = read_rows(batch->gc, batch->packs[number], &list, err);

    if (r == 0)
        r = copy_rows(batch, number, deltas, &list, err);
    free(list.rows);
    return r;
}

static int fill_with(struct gc_batch *batch, bool deltas, bool *ret_again, struct error *err)
{
    struct gc *gc = batch->gc;

    for (size_t i = 0; i < batch->pack_count; i++) {
        struct error local = ERROR_INIT;
        int r = batch->packs[i] ? fill_from(batch, i, deltas, &local) : 0;

        if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT) {
            gc_tell(gc, "%s; its pack stays as it is", error_message(&local));
            gc->result->packs_passed_over++;
            r = gc_mark_bases_of(gc, batch->packs[i], err);
            batch->packs[i] = NULL;
            *ret_again = r == 0;
            return r;
        }
        if (r < 0)
            return error_set(err, r, "%s", error_message(&local));
    }
    return 0;
}

// Plain records before deltas: an id stands once in a pack, and when one pack has it plain and
// another as a delta, the plain one is what other deltas may be made against.
int gc_batch_fill(struct gc_batch *batch, bool *ret_again, struct error *err)
{
    uint64_t done = batch->gc->done;
    int r;

    *ret_again = false;
    r = fill_with(batch, false, ret_again, err);
    if (r == 0 && !*ret_again)
        r = fill_with(batch, true, ret_again, err);
    if (*ret_again)
        batch->gc->done = done;
    return r;
}
