// SPDX-License-Identifier: MIT
//
// The pass over records. A slice is a slot of the ring: the calling thread's while it is filled and
// taken, a worker's in between.
#include "fs/job/prove_records.h"

#include "base/grow.h"
#include "fs/job/ring.h"
#include "fs/store/pack_format.h"

#include <stdio.h>
#include <string.h>

#define SLICE_RECORDS 512
#define SLICE_BYTES (4u * 1024 * 1024)

struct slice {
    struct pool_task task; // first
    struct prover *prover;
    const struct pack_row *pack;
    bool last;
    size_t count;
    uint64_t bytes;
    struct chunk_location records[SLICE_RECORDS];

    // set by the worker
    char *why[SLICE_RECORDS]; // malloc'ed
    char *index_why;
    size_t damaged;
    int result;
    struct error err;
};

struct prover {
    const struct prove_pass *pass;
    struct ring *ring;
    struct pack_decoder **decoders; // one a worker
    unsigned decoder_count;

    // the records of the pack at hand
    struct chunk_location *records;
    size_t count, room;
    struct error *err;
};

uint64_t prove_record_bytes(const struct chunk_row *record)
{
    return PACK_RECORD_HEADER_SIZE + (uint64_t)record->stored_length;
}

// --- the worker's part

// A place of the disk under the repository that cannot be read has lost what stood there.
static bool is_damage(int result)
{
    return result == -ERROR_CORRUPT || result == -EPROTONOSUPPORT || result == -EIO;
}

// What is wrong as a text of its own; 0 when it could be kept.
static int keep_why(char **place, const struct error *why, struct error *err)
{
    *place = strdup(error_message(why));
    return *place ? 0 : error_set(err, -ENOMEM, "out of memory to prove records");
}

static int prove_one(struct slice *slice, size_t i, struct pack_decoder *decoder)
{
    struct error local = ERROR_INIT;
    int r = pack_scan_prove(slice->prover->pass->store, decoder, &slice->records[i], &local);

    if (r == 0)
        return 0;
    if (!is_damage(r))
        return error_set(&slice->err, r, "%s", error_message(&local));
    slice->damaged++;
    return keep_why(&slice->why[i], &local, &slice->err);
}

static int look_at_index(struct slice *slice)
{
    struct pack_content content = {0};
    struct error local = ERROR_INIT;
    int r = pack_scan_index(slice->prover->pass->store, slice->pack->uuid, slice->pack->file_bytes,
                            &content, &local);

    pack_content_deinit(&content);
    if (r == 0)
        return 0;
    if (!is_damage(r) && r != -EXDEV)
        return error_set(&slice->err, r, "%s", error_message(&local));
    return keep_why(&slice->index_why, &local, &slice->err);
}

static void work(struct pool_task *task, unsigned worker)
{
    struct slice *slice = (struct slice *)task;
    const struct prove_pass *pass = slice->prover->pass;
    struct pack_decoder *decoder = slice->prover->decoders[worker];
    int r = 0;

    for (size_t i = 0; r == 0 && i < slice->count; i++) {
        r = pass->stop ? pass->stop(pass->arg, &slice->err) : 0;
        if (r == 0)
            r = prove_one(slice, i, decoder);
    }
    if (r == 0 && slice->last && pass->indexes)
        r = look_at_index(slice);
    slice->result = r;
}

// --- the calling thread's

static void empty(struct slice *slice)
{
    for (size_t i = 0; i < slice->count; i++) {
        free(slice->why[i]);
        slice->why[i] = NULL;
    }
    free(slice->index_why);
    slice->index_why = NULL;
    slice->count = slice->damaged = 0;
    slice->bytes = 0;
    error_clear(&slice->err);
}

static int take(void *slot, void *arg)
{
    struct prover *prover = arg;
    struct slice *slice = slot;
    struct proved_slice proved = {.pack = slice->pack,
                                  .records = slice->records,
                                  .why = slice->why,
                                  .count = slice->count,
                                  .damaged = slice->damaged,
                                  .bytes = slice->bytes,
                                  .last = slice->last,
                                  .index_why = slice->index_why};
    int r = slice->result;

    if (r < 0)
        error_set(prover->err, r, "%s", error_message(&slice->err));
    else
        r = prover->pass->take(&proved, prover->pass->arg, prover->err);
    empty(slice);
    return r;
}

static int note_record(const struct chunk_location *copy, void *arg, struct error *err)
{
    struct prover *prover = arg;

    if (prover->pass->only && !row_bitmap_has(prover->pass->only, copy->row))
        return 0;
    if (GROW(prover->records, prover->count, prover->room, "the records of a pack", err) < 0)
        return -ENOMEM;
    prover->records[prover->count++] = *copy;
    return 0;
}

static int list_records(struct prover *prover, const struct pack_row *pack)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(prover->pass->catalog, &conn, prover->err);

    prover->count = 0;
    return r < 0 ? r : chunk_each_of_pack(conn, pack->id, note_record, prover, prover->err);
}

// Fills a slice with the records from `at` on; returns where the next one begins.
static size_t fill(struct prover *prover, struct slice *slice, const struct pack_row *pack,
                   size_t at)
{
    slice->task.run = work;
    slice->prover = prover;
    slice->pack = pack;
    while (at < prover->count && slice->count < SLICE_RECORDS && slice->bytes < SLICE_BYTES) {
        slice->bytes += prove_record_bytes(&prover->records[at].record);
        slice->records[slice->count++] = prover->records[at++];
    }
    slice->last = at == prover->count;
    return at;
}

static int prove_pack(struct prover *prover, const struct pack_row *pack)
{
    const struct prove_pass *pass = prover->pass;
    size_t at = 0;
    int r = pass->stop ? pass->stop(pass->arg, prover->err) : 0;

    if (r == 0)
        r = list_records(prover, pack);
    if (r < 0 || (pass->only && prover->count == 0))
        return r;
    do {
        struct slice *slice = ring_slot(prover->ring, &r);
        if (!slice)
            return r;
        at = fill(prover, slice, pack, at);
        ring_submit(prover->ring);
    } while (at < prover->count);
    return 0;
}

static int init(struct prover *prover)
{
    struct pool *pool = prover->pass->pool;
    unsigned workers = pool_size(pool);
    int r = ring_new(pool, 2 * workers + 1, sizeof(struct slice), take, prover, &prover->ring,
                     prover->err);

    if (r < 0)
        return r;
    prover->decoders = calloc(workers, sizeof(struct pack_decoder *));
    if (!prover->decoders)
        return error_set(prover->err, -ENOMEM, "out of memory to prove records");
    for (; r == 0 && prover->decoder_count < workers; prover->decoder_count += r == 0)
        r = pack_scan_decoder_new(&prover->decoders[prover->decoder_count], prover->err);
    return r;
}

static void deinit(struct prover *prover)
{
    ring_quiesce(prover->ring);
    for (unsigned i = 0; prover->ring && i < ring_depth(prover->ring); i++)
        empty(ring_at(prover->ring, i));
    ring_free(prover->ring);
    for (unsigned i = 0; i < prover->decoder_count; i++)
        pack_scan_decoder_free(prover->decoders[i]);
    free(prover->decoders);
    free(prover->records);
}

int prove_records(const struct prove_pass *pass, struct error *err)
{
    struct error local = ERROR_INIT;
    struct prover prover = {.pass = pass, .err = &local};
    int r = init(&prover);

    for (size_t i = 0; r == 0 && i < pass->pack_count; i++)
        r = prove_pack(&prover, &pass->packs[i]);
    if (r == 0)
        r = ring_drain(prover.ring);
    deinit(&prover);
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}
