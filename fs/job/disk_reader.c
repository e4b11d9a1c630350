// SPDX-License-Identifier: MIT
//
// The backup pipeline of one disk. The file reads top down as a batch lives: filled and submitted
// by the job's thread, worked on by a pool worker (struct batch is its alone then), taken back in
// order by the job's thread.
#include "fs/job/disk_reader.h"

#include "base/fault.h"
#include "base/log.h"
#include "fs/job/delta_choice.h"
#include "fs/job/extent_walk.h"
#include "fs/job/ring.h"

#include <string.h>
#include <sys/random.h>

#define BATCH_BYTES (1024u * 1024)
#define BATCH_CHUNKS_MAX (BATCH_BYTES / CHUNK_SIZE_MIN)
#define PROVE_ONE_IN 128 // chunks believed unchanged
#define NO_CHUNK UINT32_MAX

enum chunk_fate {
    CHUNK_FATE_UNKNOWN,
    CHUNK_HOLE,  // all zero
    CHUNK_SAME,  // the parent's, or
    CHUNK_KNOWN, // already stored
    CHUNK_NEW,   // to be appended
};

struct chunk_result {
    enum chunk_fate fate;
    enum record_codec codec;
    size_t payload_length;
    struct digest id;
    struct fingerprint fingerprint;
    bool believed;
};

struct batch {
    struct pool_task task; // first: the ring and the pool see this
    struct reader *reader;
    uint8_t *data, *encoded;

    // set by the job's thread
    uint64_t first;
    uint32_t count;
    uint32_t prove; // which chunk to prove although it looks unchanged
    bool has_fingerprints;
    struct digest parent_ids[BATCH_CHUNKS_MAX]; // zero: not in the parent
    struct fingerprint parent_fingerprints[BATCH_CHUNKS_MAX];

    // set by the worker
    struct chunk_result chunk[BATCH_CHUNKS_MAX];
    int result;
    struct error err;
};

struct reader {
    struct disk_read *read;
    uint64_t capacity;
    uint32_t chunk_size, batch_chunks;
    size_t encoded_stride;
    struct chunk_coder **coders;   // one a pool worker
    struct delta_choice **choices; // with the coder of the same number
    unsigned coder_count, choice_count;

    // the job thread's own
    struct ring *ring;
    struct map_builder *builder;
    struct map_reader *parent;
    uint64_t leaf;               // the one the four below are of; UINT64_MAX = none
    struct map_node parent_leaf; // a copy: the reader's own is gone with its next call
    bool has_parent_leaf;
    struct fingerprint_leaf parent_fingerprints;
    bool has_fingerprints;
    struct fingerprint_leaf fingerprints; // being written
    bool fingerprints_pending;
    uint64_t random;
    struct error *err;
};

// --- the worker's part

static uint64_t chunk_bytes(const struct reader *reader, uint64_t chunk)
{
    uint64_t left = reader->capacity - chunk * reader->chunk_size;
    return left < reader->chunk_size ? left : reader->chunk_size;
}

static uint64_t batch_bytes(const struct batch *batch)
{
    const struct reader *reader = batch->reader;
    uint64_t left = reader->capacity - batch->first * reader->chunk_size;
    uint64_t full = (uint64_t)batch->count * reader->chunk_size;
    return left < full ? left : full;
}

static int load(struct batch *batch)
{
    const struct reader *reader = batch->reader;
    size_t full = (size_t)batch->count * reader->chunk_size;
    size_t len = (size_t)batch_bytes(batch);
    int r = job_run_check(reader->read->run, &batch->err); // it may have waited in the queue

    if (r == 0)
        r = fault_hit(FAULT_SOURCE_READ, &batch->err);
    if (r == 0)
        r = source_read(reader->read->source, batch->data, len, batch->first * reader->chunk_size,
                        &batch->err);
    // The disk's last chunk is filled up with zeros, so that every chunk is a whole one.
    if (r == 0 && len < full)
        memset(batch->data + len, 0, full - len);
    return r;
}

static bool looks_unchanged(const struct batch *batch, uint32_t i)
{
    static const struct fingerprint none;

    return batch->has_fingerprints && !digest_is_zero(&batch->parent_ids[i]) &&
           memcmp(&batch->parent_fingerprints[i], &none, sizeof(none)) != 0 &&
           memcmp(&batch->parent_fingerprints[i], &batch->chunk[i].fingerprint, sizeof(none)) == 0;
}

// What the parent says of this chunk cannot be relied on: its record has no whole copy.
static bool is_lost(const struct batch *batch, uint32_t i)
{
    const struct disk_read *read = batch->reader->read;

    return (read->lost && lost_ids_have(read->lost, &batch->parent_ids[i])) ||
           (read->parent_damage &&
            damage_list_has(read->parent_damage, (batch->first + i) * read->chunk_size));
}

// A lease is taken for the first look-up of a batch and given back at its end.
static int is_known(struct batch *batch, struct catalog_conn **conn, const struct digest *id,
                    struct catalog *catalog)
{
    if (!*conn) {
        int r = catalog_read_begin(catalog, conn, &batch->err);
        if (r < 0)
            return r;
    }
    return store_writer_knows(batch->reader->read->writer, *conn, id, &batch->err);
}

static int work_on_chunk(struct batch *batch, uint32_t i, unsigned worker,
                         struct catalog_conn **conn)
{
    const struct reader *reader = batch->reader;
    struct chunk_coder *coder = reader->coders[worker];
    const uint8_t *data = batch->data + (size_t)i * reader->chunk_size;
    struct chunk_result *out = &batch->chunk[i];
    struct store *store = reader->read->store;

    memset(out, 0, sizeof(*out));
    if (chunk_is_zero(data, reader->chunk_size)) {
        out->fate = CHUNK_HOLE;
        return 0;
    }
    out->fingerprint =
        fingerprint_of(data, reader->chunk_size, store_config(store)->fingerprint_secret);
    bool lost = is_lost(batch, i);
    out->believed = !lost && looks_unchanged(batch, i);
    if (out->believed && i != batch->prove) {
        out->fate = CHUNK_SAME;
        out->id = batch->parent_ids[i];
        return 0;
    }
    int r = chunk_coder_id(coder, RECORD_CHUNK, data, reader->chunk_size, &out->id, &batch->err);
    if (r < 0)
        return r;
    if (!lost && digest_equal(&out->id, &batch->parent_ids[i])) {
        out->fate = CHUNK_SAME;
        return 0;
    }
    if (out->believed)
        return error_set(
            &batch->err, -EAGAIN,
            "chunk %llu changed but its fingerprint did not: the cache is not believed",
            (unsigned long long)(batch->first + i));
    r = is_known(batch, conn, &out->id, store_catalog(store));
    if (r < 0)
        return r;
    out->fate = r ? CHUNK_KNOWN : CHUNK_NEW;
    if (r)
        return 0;
    return delta_choice_encode(reader->choices[worker], *conn, &batch->parent_ids[i], data,
                               batch->encoded + i * reader->encoded_stride, &out->payload_length,
                               &out->codec, &batch->err);
}

static void work(struct pool_task *task, unsigned worker)
{
    struct batch *batch = (struct batch *)task;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;

    error_clear(&batch->err);
    batch->result = load(batch);
    for (uint32_t i = 0; i < batch->count && batch->result == 0; i++)
        batch->result = work_on_chunk(batch, i, worker, &conn);
}

// --- taking results back, in order

static void flush_fingerprints(struct reader *reader)
{
    struct disk_read *read = reader->read;
    struct error err = ERROR_INIT;

    if (!reader->fingerprints_pending)
        return;
    reader->fingerprints_pending = false;
    if (read->fingerprints &&
        fingerprint_writer_leaf(read->fingerprints, &reader->fingerprints, &err) < 0) {
        job_run_log(read->run, "no fingerprint cache will be kept: %s", error_message(&err));
        read->fingerprints = NULL;
    }
}

static void keep_fingerprint(struct reader *reader, uint64_t chunk,
                             const struct fingerprint *fingerprint)
{
    uint64_t leaf = chunk / MAP_FANOUT;

    if (reader->fingerprints_pending && reader->fingerprints.leaf != leaf)
        flush_fingerprints(reader);
    if (!reader->fingerprints_pending) {
        memset(&reader->fingerprints, 0, sizeof(reader->fingerprints));
        reader->fingerprints.leaf = leaf;
        reader->fingerprints_pending = true;
    }
    reader->fingerprints.chunk[chunk % MAP_FANOUT] = *fingerprint;
}

static int append_new(struct batch *batch, uint32_t i, struct error *err)
{
    const struct reader *reader = batch->reader;
    const struct chunk_result *chunk = &batch->chunk[i];
    struct store_record record = {.kind = RECORD_CHUNK,
                                  .codec = chunk->codec,
                                  .id = chunk->id,
                                  .raw_length = reader->chunk_size};

    if (chunk->codec == CODEC_RAW) {
        record.payload = batch->data + (size_t)i * reader->chunk_size;
        record.payload_length = reader->chunk_size;
    } else {
        record.payload = batch->encoded + i * reader->encoded_stride;
        record.payload_length = (uint32_t)chunk->payload_length;
    }
    reader->read->delta_chunks += chunk->codec == CODEC_DELTA;
    return store_writer_append(reader->read->writer, &record, err);
}

static int take_chunk(struct batch *batch, uint32_t i)
{
    struct reader *reader = batch->reader;
    struct disk_read *read = reader->read;
    const struct chunk_result *chunk = &batch->chunk[i];
    uint64_t number = batch->first + i, bytes = chunk_bytes(reader, number);

    if (!digest_equal(&chunk->id, &batch->parent_ids[i]))
        read->changed_bytes += bytes;
    if (chunk->fate == CHUNK_HOLE)
        return 0;
    read->data_bytes += bytes;
    read->believed_chunks += chunk->believed;
    read->proved_chunks += chunk->believed && i == batch->prove;
    keep_fingerprint(reader, number, &chunk->fingerprint);
    int r = map_builder_add(reader->builder, number, &chunk->id, reader->err);
    if (r == 0 && chunk->fate == CHUNK_NEW)
        r = append_new(batch, i, reader->err);
    return r;
}

static int take(void *slot, void *arg)
{
    struct batch *batch = slot;
    struct reader *reader = arg;
    int r = batch->result;

    if (r < 0) {
        if (reader->err)
            *reader->err = batch->err;
        return r;
    }
    for (uint32_t i = 0; i < batch->count && r == 0; i++)
        r = take_chunk(batch, i);
    uint64_t bytes = batch_bytes(batch);
    reader->read->read_bytes += bytes;
    job_run_advance(reader->read->run, bytes);
    return r;
}

// --- filling batches

// splitmix64 (Steele, Lea, Flood 2014), seeded from the kernel: which chunks are proved must not be
// foreseeable.
static uint64_t next_random(struct reader *reader)
{
    uint64_t z = (reader->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// A parent that cannot be read costs time, not the backup.
static void lose_parent(struct reader *reader, const struct error *err)
{
    job_run_log(reader->read->run, "the parent's map cannot be read, everything is hashed: %s",
                error_message(err));
    reader->parent = map_reader_close(reader->parent);
    if (reader->read->parent_lost)
        reader->read->parent_lost(reader->read->arg);
}

// Looks up what the parent says of a leaf.
static void enter_leaf(struct reader *reader, uint64_t leaf)
{
    struct disk_read *read = reader->read;
    const struct map_node *node = NULL;
    struct error err = ERROR_INIT;

    reader->leaf = leaf;
    reader->has_fingerprints = false;
    if (reader->parent && map_reader_leaf(reader->parent, leaf, &node, &err) < 0)
        lose_parent(reader, &err);
    reader->has_parent_leaf = reader->parent && node;
    if (!reader->has_parent_leaf)
        return;
    reader->parent_leaf = *node;
    if (read->parent_fingerprints)
        reader->has_fingerprints =
            fingerprint_reader_leaf(read->parent_fingerprints, leaf, &reader->parent_fingerprints);
}

static void fill(struct reader *reader, struct batch *batch, uint64_t first, uint32_t count)
{
    uint32_t place = (uint32_t)(first % MAP_FANOUT);
    uint64_t random = next_random(reader);

    batch->reader = reader;
    batch->first = first;
    batch->count = count;
    batch->prove = random % PROVE_ONE_IN < count ? (uint32_t)(random % PROVE_ONE_IN) : NO_CHUNK;
    batch->has_fingerprints = reader->has_fingerprints;
    if (reader->has_parent_leaf)
        memcpy(batch->parent_ids, &reader->parent_leaf.ids[place],
               count * sizeof(batch->parent_ids[0]));
    else
        memset(batch->parent_ids, 0, count * sizeof(batch->parent_ids[0]));
    if (reader->has_fingerprints)
        memcpy(batch->parent_fingerprints, &reader->parent_fingerprints.chunk[place],
               count * sizeof(batch->parent_fingerprints[0]));
    batch->task.run = work;
}

// Chunks [first, end) in batches that never cross a leaf: batch_chunks divides the fan-out, and
// batches begin at its multiples.
static int read_run(struct reader *reader, uint64_t first, uint64_t end)
{
    int r = 0;

    while (first < end && r == 0) {
        uint64_t stop = (first / reader->batch_chunks + 1) * reader->batch_chunks;
        uint32_t count = (uint32_t)((stop < end ? stop : end) - first);

        r = job_run_check(reader->read->run, reader->err);
        if (r < 0)
            return r;
        struct batch *batch = ring_slot(reader->ring, &r);
        if (!batch)
            return r;
        if (first / MAP_FANOUT != reader->leaf)
            enter_leaf(reader, first / MAP_FANOUT);
        fill(reader, batch, first, count);
        ring_submit(reader->ring);
        first += count;
    }
    return r;
}

static void count_vanished_leaf(struct reader *reader, uint64_t leaf, uint64_t from, uint64_t to)
{
    const struct map_node *node = NULL;
    struct error err = ERROR_INIT;

    if (map_reader_leaf(reader->parent, leaf, &node, &err) < 0)
        lose_parent(reader, &err);
    for (uint64_t chunk = leaf * MAP_FANOUT, i = 0; node && i < MAP_FANOUT; i++, chunk++)
        if (chunk >= from && chunk < to && !digest_is_zero(&node->ids[i]))
            reader->read->changed_bytes += chunk_bytes(reader, chunk);
}

// Chunks [from, to) are holes now: what the parent had there has changed. What was a hole already
// is skipped.
static void count_vanished(struct reader *reader, uint64_t from, uint64_t to)
{
    struct error err = ERROR_INIT;

    for (uint64_t leaf = from / MAP_FANOUT; reader->parent && from < to; leaf++) {
        int r = map_reader_next_leaf(reader->parent, leaf, &leaf, &err);
        if (r < 0)
            lose_parent(reader, &err);
        if (r <= 0 || leaf * MAP_FANOUT >= to)
            return;
        count_vanished_leaf(reader, leaf, from, to);
    }
}

static int next_data(void *disk, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end,
                     struct error *err)
{
    return source_next_data(disk, offset, ret_start, ret_end, err);
}

static int read_all(struct reader *reader)
{
    struct extent_walk walk = {.next_data = next_data,
                               .disk = reader->read->source,
                               .capacity = reader->capacity,
                               .chunk_size = reader->chunk_size};
    uint64_t first, end, reached = 0;
    int r;

    while ((r = extent_walk_next(&walk, &first, &end, reader->err)) > 0) {
        count_vanished(reader, reached, first);
        r = read_run(reader, first, end);
        if (r < 0)
            return r;
        reached = end;
    }
    if (r == 0) {
        count_vanished(reader, reached, UINT64_MAX);
        r = ring_drain(reader->ring);
    }
    if (r < 0)
        return r;
    flush_fingerprints(reader);
    return map_builder_finish(reader->builder, &reader->read->root, reader->err);
}

// --- setting up

static void reader_deinit(struct reader *reader)
{
    ring_quiesce(reader->ring);
    for (unsigned i = 0; reader->ring && i < ring_depth(reader->ring); i++) {
        struct batch *batch = ring_at(reader->ring, i);
        free(batch->data);
        free(batch->encoded);
    }
    reader->ring = ring_free(reader->ring);
    for (unsigned i = 0; i < reader->choice_count; i++)
        delta_choice_free(reader->choices[i]);
    for (unsigned i = 0; i < reader->coder_count; i++)
        chunk_coder_free(reader->coders[i]);
    free(reader->choices);
    free(reader->coders);
    reader->builder = map_builder_free(reader->builder);
    reader->parent = map_reader_close(reader->parent);
}

static int make_coders(struct reader *reader)
{
    struct disk_read *read = reader->read;
    unsigned count = pool_size(read->pool);
    int level = store_config(read->store)->compression_level;
    int r = 0;

    reader->coders = calloc(count, sizeof(struct chunk_coder *));
    reader->choices = calloc(count, sizeof(struct delta_choice *));
    if (!reader->coders || !reader->choices)
        return error_set(reader->err, -ENOMEM, "out of memory");
    for (unsigned i = 0; r == 0 && i < count; i++) {
        r = chunk_coder_new(level, &reader->coders[i], reader->err);
        reader->coder_count += r == 0;
        if (r == 0)
            r = delta_choice_new(read->store, read->writer, reader->coders[i], read->chunk_size,
                                 &reader->choices[i], reader->err);
        reader->choice_count += r == 0;
    }
    return r;
}

static int make_ring(struct reader *reader)
{
    unsigned depth = 2 * pool_size(reader->read->pool) + 2;
    size_t bytes = (size_t)reader->batch_chunks * reader->chunk_size;
    int r = ring_new(reader->read->pool, depth, sizeof(struct batch), take, reader, &reader->ring,
                     reader->err);

    for (unsigned i = 0; r == 0 && i < depth; i++) {
        struct batch *batch = ring_at(reader->ring, i);
        batch->data = malloc(bytes);
        batch->encoded = malloc(reader->batch_chunks * reader->encoded_stride);
        if (!batch->data || !batch->encoded)
            r = error_set(reader->err, -ENOMEM, "out of memory");
    }
    return r;
}

static int reader_init(struct reader *reader)
{
    struct disk_read *read = reader->read;

    reader->capacity = source_capacity(read->source);
    reader->chunk_size = read->chunk_size;
    reader->batch_chunks = BATCH_BYTES > read->chunk_size ? BATCH_BYTES / read->chunk_size : 1;
    reader->encoded_stride = chunk_coder_bound(read->chunk_size);
    reader->leaf = UINT64_MAX;
    if (getrandom(&reader->random, sizeof(reader->random), 0) != sizeof(reader->random))
        return error_set_errno(reader->err, -errno, "cannot get random numbers");
    int r = make_coders(reader);
    if (r == 0)
        r = make_ring(reader);
    if (r == 0)
        r = map_builder_new(read->writer, reader->capacity, read->chunk_size, &reader->builder,
                            reader->err);
    return r;
}

// The parent helps; a backup does without when it cannot be read.
static void open_parent(struct reader *reader)
{
    struct disk_read *read = reader->read;
    struct error err = ERROR_INIT;

    if (read->parent_root && map_reader_open(read->store, read->parent_root, reader->capacity,
                                             read->chunk_size, &reader->parent, &err) < 0)
        lose_parent(reader, &err);
}

int disk_read(struct disk_read *read, struct error *err)
{
    struct error local = ERROR_INIT;
    struct reader *reader = calloc(1, sizeof(*reader)); // holds two leaves: too large for the stack

    if (!reader)
        return error_set(err, -ENOMEM, "out of memory");
    reader->read = read;
    reader->err = &local;
    int r = reader_init(reader);
    if (r == 0) {
        open_parent(reader);
        r = read_all(reader);
    }
    reader_deinit(reader);
    free(reader);
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    return 0;
}

int disk_read_total(struct source *source, uint32_t chunk_size, struct job_run *run,
                    uint64_t *ret_bytes, struct error *err)
{
    struct extent_walk walk = {.next_data = next_data,
                               .disk = source,
                               .capacity = source_capacity(source),
                               .chunk_size = chunk_size};
    uint64_t first, end, total = 0;
    int r;

    while ((r = extent_walk_next(&walk, &first, &end, err)) > 0) {
        uint64_t stop = end * chunk_size < walk.capacity ? end * chunk_size : walk.capacity;
        total += stop - first * chunk_size;
        int checked = job_run_check(run, err);
        if (checked < 0)
            return checked;
    }
    if (r == 0)
        *ret_bytes = total;
    return r;
}
