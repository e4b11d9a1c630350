// SPDX-License-Identifier: MIT
//
// The passes of a restore. Writing and verifying share one walk (leaf by leaf, batches of
// consecutive chunks) and differ in what a worker does with a batch.
#include "fs/job/restore_copy.h"

#include "base/fault.h"
#include "base/io.h"
#include "fs/job/extent_walk.h"
#include "fs/job/ring.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define BATCH_BYTES (1024u * 1024)
#define BATCH_CHUNKS_MAX (BATCH_BYTES / CHUNK_SIZE_MIN)
#define DIRECT_ALIGNMENT 4096u

struct pass;

struct batch {
    struct pool_task task; // first: the ring and the pool see this
    struct pass *pass;
    uint8_t *data; // aligned for direct I/O

    uint64_t first;
    uint32_t count;
    struct digest wanted[BATCH_CHUNKS_MAX]; // zero: a hole

    int result;
    struct error err;
};

struct pass {
    struct restore_copy *copy;
    bool verifying;
    uint32_t batch_chunks;
    struct chunk_coder **coders;
    unsigned coder_count;
    struct ring *ring;
    struct map_reader *map;
    struct error *err;
};

static bool is_touched(const struct restore_copy *copy, uint64_t chunk)
{
    return __atomic_load_n(&copy->touched[chunk / 8], __ATOMIC_RELAXED) & (1u << (chunk % 8));
}

static void mark_touched(struct restore_copy *copy, uint64_t chunk)
{
    __atomic_fetch_or(&copy->touched[chunk / 8], (uint8_t)(1u << (chunk % 8)), __ATOMIC_RELAXED);
}

size_t restore_copy_bytes(const struct restore_copy *copy, uint64_t first, uint32_t count)
{
    uint64_t left = copy->capacity - first * copy->chunk_size;
    uint64_t full = (uint64_t)count * copy->chunk_size;
    return (size_t)(left < full ? left : full);
}

// --- writing: the worker's part

static int load(struct batch *batch)
{
    struct restore_copy *copy = batch->pass->copy;
    size_t full = (size_t)batch->count * copy->chunk_size;
    size_t len = restore_copy_bytes(copy, batch->first, batch->count);
    int r = 0;

    if (target_is_new(copy->target)) {
        store_locate(copy->store, batch->wanted, batch->count); // all of them will be read
        memset(batch->data, 0, full);
        return 0;
    }
    r = fault_hit(FAULT_RESTORE_READ, &batch->err);
    if (r == 0)
        r = target_read(copy->target, batch->data, len, batch->first * copy->chunk_size,
                        &batch->err);
    memset(batch->data + len, 0, full - len);
    atomic_fetch_add(&copy->compared, len);
    return r;
}

// Whether a whole chunk is the wanted one: 1, 0, -errno.
static int is_wanted(struct batch *batch, const uint8_t *data, const struct digest *wanted,
                     struct chunk_coder *coder)
{
    size_t size = batch->pass->copy->chunk_size;
    struct digest have;

    if (digest_is_zero(wanted))
        return chunk_is_zero(data, size);
    int r = chunk_coder_id(coder, RECORD_CHUNK, data, size, &have, &batch->err);
    return r < 0 ? r : digest_equal(&have, wanted);
}

static int overwrite(struct batch *batch, uint32_t i)
{
    struct restore_copy *copy = batch->pass->copy;
    uint64_t chunk = batch->first + i, offset = chunk * copy->chunk_size;
    uint8_t *data = batch->data + (size_t)i * copy->chunk_size;
    size_t len = restore_copy_bytes(copy, chunk, 1);
    bool hole = digest_is_zero(&batch->wanted[i]);
    int r = 0;

    if (copy->undo_fd >= 0)
        r = io_write_at(copy->undo_fd, data, len, offset, "the undo file", &batch->err);
    if (r == 0 && !hole)
        r = store_read_chunk(copy->store, NULL, &batch->wanted[i], copy->chunk_size, 0, len, data,
                             &batch->err);
    if (r < 0)
        return r;
    mark_touched(copy, chunk);
    r = fault_hit(FAULT_RESTORE_WRITE, &batch->err);
    if (r == 0)
        r = hole ? target_write_zeros(copy->target, len, offset, &batch->err)
                 : target_write(copy->target, data, len, offset, &batch->err);
    if (r == 0)
        atomic_fetch_add(&copy->written, len);
    return r;
}

// The flush at the end has the less to wait for.
static void start_write_back(const struct batch *batch)
{
    struct restore_copy *copy = batch->pass->copy;

    for (uint32_t i = 0; i < batch->count; i++) {
        if (!is_touched(copy, batch->first + i))
            continue;
        target_start_write_back(copy->target, batch->first * copy->chunk_size,
                                restore_copy_bytes(copy, batch->first, batch->count));
        return;
    }
}

static int write_batch(struct batch *batch, struct chunk_coder *coder)
{
    int r = load(batch);

    for (uint32_t i = 0; i < batch->count && r >= 0; i++) {
        const uint8_t *data = batch->data + (size_t)i * batch->pass->copy->chunk_size;
        r = job_run_check(batch->pass->copy->run, &batch->err);
        if (r == 0)
            r = is_wanted(batch, data, &batch->wanted[i], coder);
        if (r == 0)
            r = overwrite(batch, i);
        if (r >= 0)
            job_run_advance(batch->pass->copy->run,
                            restore_copy_bytes(batch->pass->copy, batch->first + i, 1));
    }
    if (r < 0)
        return r;
    start_write_back(batch);
    return 0;
}

// --- verifying: the worker's part

// Reads chunks [from, to) of the batch back in one piece; the end of the disk is filled up with
// zeros.
static int read_back(struct batch *batch, uint32_t from, uint32_t to)
{
    struct restore_copy *copy = batch->pass->copy;
    uint64_t first = batch->first + from;
    uint8_t *data = batch->data + (size_t)from * copy->chunk_size;
    size_t len = restore_copy_bytes(copy, first, to - from),
           full = (size_t)(to - from) * copy->chunk_size;
    int r = job_run_check(copy->run, &batch->err);

    if (r == 0)
        r = fault_hit(FAULT_RESTORE_VERIFY, &batch->err);
    if (r == 0)
        r = target_read_direct(copy->target, data, len, first * copy->chunk_size, &batch->err);
    memset(data + len, 0, full - len);
    return r;
}

static int prove_chunk(struct batch *batch, uint32_t i, struct chunk_coder *coder)
{
    struct restore_copy *copy = batch->pass->copy;
    uint64_t chunk = batch->first + i;
    size_t len = restore_copy_bytes(copy, chunk, 1);
    int r = is_wanted(batch, batch->data + (size_t)i * copy->chunk_size, &batch->wanted[i], coder);

    if (r == 0)
        return error_set(&batch->err, -EIO,
                         "what was read back at offset %llu is not what was written",
                         (unsigned long long)(chunk * copy->chunk_size));
    if (r < 0)
        return r;
    atomic_fetch_add(&copy->verified, len);
    job_run_advance(copy->run, len);
    return 0;
}

static int verify_batch(struct batch *batch, struct chunk_coder *coder)
{
    const struct restore_copy *copy = batch->pass->copy;
    uint32_t from = 0;
    int r = 0;

    while (from < batch->count && r == 0) {
        uint32_t to = from;
        while (to < batch->count && is_touched(copy, batch->first + to))
            to++;
        if (to > from)
            r = read_back(batch, from, to);
        for (; from < to && r == 0; from++)
            r = prove_chunk(batch, from, coder);
        from = to + 1;
    }
    return r;
}

// --- a pass

static void work(struct pool_task *task, unsigned worker)
{
    struct batch *batch = (struct batch *)task;
    struct chunk_coder *coder = batch->pass->coders[worker];

    error_clear(&batch->err);
    batch->result = batch->pass->verifying ? verify_batch(batch, coder) : write_batch(batch, coder);
}

static int take(void *slot, void *arg)
{
    struct batch *batch = slot;
    struct pass *pass = arg;

    if (batch->result < 0) {
        *pass->err = batch->err;
        return batch->result;
    }
    return 0;
}

static int submit(struct pass *pass, uint64_t first, uint32_t count, const struct map_node *leaf)
{
    int r = job_run_check(pass->copy->run, pass->err);
    if (r < 0)
        return r;
    struct batch *batch = ring_slot(pass->ring, &r);
    if (!batch)
        return r;
    batch->pass = pass;
    batch->first = first;
    batch->count = count;
    if (leaf)
        memcpy(batch->wanted, &leaf->ids[first % MAP_FANOUT], count * sizeof(batch->wanted[0]));
    else
        memset(batch->wanted, 0, count * sizeof(batch->wanted[0]));
    batch->task.run = work;
    ring_submit(pass->ring);
    return 0;
}

static void pass_deinit(struct pass *pass)
{
    ring_quiesce(pass->ring);
    for (unsigned i = 0; pass->ring && i < ring_depth(pass->ring); i++)
        free(((struct batch *)ring_at(pass->ring, i))->data);
    pass->ring = ring_free(pass->ring);
    for (unsigned i = 0; i < pass->coder_count; i++)
        chunk_coder_free(pass->coders[i]);
    free(pass->coders);
    pass->map = map_reader_close(pass->map);
}

static int pass_coders(struct pass *pass)
{
    unsigned count = pool_size(pass->copy->pool);

    pass->coders = calloc(count, sizeof(struct chunk_coder *));
    if (!pass->coders)
        return error_set(pass->err, -ENOMEM, "out of memory");
    for (; pass->coder_count < count; pass->coder_count++) {
        int r =
            chunk_coder_new(COMPRESSION_LEVEL_DEFAULT, &pass->coders[pass->coder_count], pass->err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int pass_init(struct pass *pass)
{
    struct restore_copy *copy = pass->copy;
    unsigned depth = 2 * pool_size(copy->pool) + 2;
    size_t bytes;

    pass->batch_chunks = BATCH_BYTES > copy->chunk_size ? BATCH_BYTES / copy->chunk_size : 1;
    bytes = (size_t)pass->batch_chunks * copy->chunk_size;
    int r = pass_coders(pass);
    if (r == 0)
        r = ring_new(copy->pool, depth, sizeof(struct batch), take, pass, &pass->ring, pass->err);
    for (unsigned i = 0; r == 0 && i < depth; i++) {
        struct batch *batch = ring_at(pass->ring, i);
        if (posix_memalign((void **)&batch->data, DIRECT_ALIGNMENT, bytes) != 0)
            r = error_set(pass->err, -ENOMEM, "out of memory");
    }
    if (r == 0)
        r = map_reader_open(copy->store, &copy->root, copy->capacity, copy->chunk_size, &pass->map,
                            pass->err);
    return r;
}

// --- where a pass goes

// Runs of chunks that may hold data on the target; `end` is where the current one ends, 0 before
// the first.
struct target_runs {
    struct extent_walk walk;
    uint64_t first, end;
    bool over;
};

static int next_data(void *disk, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end,
                     struct error *err)
{
    return target_next_data(disk, offset, ret_start, ret_end, err);
}

static void target_runs_init(struct target_runs *runs, struct restore_copy *copy)
{
    *runs = (struct target_runs){.walk = {.next_data = next_data,
                                          .disk = copy->target,
                                          .capacity = copy->capacity,
                                          .chunk_size = copy->chunk_size},
                                 .over = target_is_new(copy->target)};
}

// Makes the current run the first one that ends after `chunk`.
static int target_runs_seek(struct target_runs *runs, uint64_t chunk, struct error *err)
{
    while (!runs->over && runs->end <= chunk) {
        int r = extent_walk_next(&runs->walk, &runs->first, &runs->end, err);
        if (r < 0)
            return r;
        runs->over = r == 0;
    }
    return 0;
}

static bool leaf_has_data(const struct map_node *leaf, uint64_t first, uint32_t count)
{
    for (uint32_t i = 0; leaf && i < count; i++)
        if (!digest_is_zero(&leaf->ids[first % MAP_FANOUT + i]))
            return true;
    return false;
}

uint64_t restore_copy_chunks(const struct restore_copy *copy)
{
    return copy->capacity / copy->chunk_size + (copy->capacity % copy->chunk_size != 0);
}

typedef int (*visit_fn)(struct pass *pass, uint64_t first, uint32_t count,
                        const struct map_node *leaf, void *arg);

static int visit_leaf(struct pass *pass, uint64_t number, const struct map_node *leaf,
                      struct target_runs *runs, visit_fn visit, void *arg)
{
    uint64_t chunks = restore_copy_chunks(pass->copy), end = (number + 1) * MAP_FANOUT;

    for (uint64_t first = number * MAP_FANOUT; first < end && first < chunks;
         first += pass->batch_chunks) {
        uint64_t left = chunks - first;
        uint32_t count = (uint32_t)(left < pass->batch_chunks ? left : pass->batch_chunks);
        int r = target_runs_seek(runs, first, pass->err);
        if (r < 0)
            return r;
        if (leaf_has_data(leaf, first, count) || (!runs->over && runs->first < first + count))
            r = visit(pass, first, count, leaf, arg);
        if (r < 0)
            return r;
    }
    return 0;
}

// Visits every batch in which the snapshot or the target may hold data; what is hole on both sides
// costs nothing.
static int visit_all(struct pass *pass, visit_fn visit, void *arg)
{
    struct target_runs runs;
    uint64_t number = 0, wanted = 0;
    int more = 1, r = 0;

    target_runs_init(&runs, pass->copy);
    for (;; number++) {
        if (more > 0 && (number == 0 || wanted < number))
            more = map_reader_next_leaf(pass->map, number, &wanted, pass->err);
        if (more < 0)
            return more;
        r = target_runs_seek(&runs, number * MAP_FANOUT, pass->err);
        if (r < 0)
            return r;
        if (more == 0 && runs.over)
            return 0;
        uint64_t held = runs.first / MAP_FANOUT;
        uint64_t next = more == 0 ? held : runs.over || wanted < held ? wanted : held;
        if (next > number)
            number = next;

        const struct map_node *leaf = NULL;
        r = map_reader_leaf(pass->map, number, &leaf, pass->err);
        if (r == 0)
            r = visit_leaf(pass, number, leaf, &runs, visit, arg);
        if (r < 0)
            return r;
    }
}

static int count_batch(struct pass *pass, uint64_t first, uint32_t count,
                       const struct map_node *leaf, void *arg)
{
    (void)leaf;
    int r = job_run_check(pass->copy->run, pass->err);
    if (r < 0)
        return r;
    *(uint64_t *)arg += restore_copy_bytes(pass->copy, first, count);
    return 0;
}

static int submit_batch(struct pass *pass, uint64_t first, uint32_t count,
                        const struct map_node *leaf, void *arg)
{
    (void)arg;
    return submit(pass, first, count, leaf);
}

static int finish(struct pass *pass, int r, struct error *local, struct error *err)
{
    if (r == 0)
        r = ring_drain(pass->ring);
    pass_deinit(pass);
    return r < 0 ? error_set(err, r, "%s", error_message(local)) : 0;
}

int restore_copy_write(struct restore_copy *copy, struct error *err)
{
    struct error local = ERROR_INIT;
    struct pass pass = {.copy = copy, .err = &local};
    uint64_t total = 0;
    int r = pass_init(&pass);

    if (r == 0)
        r = visit_all(&pass, count_batch, &total);
    atomic_store(&copy->run->total_bytes, total);
    if (r == 0)
        r = visit_all(&pass, submit_batch, NULL);
    return finish(&pass, r, &local, err);
}

uint64_t restore_copy_next_touched(const struct restore_copy *copy, uint64_t chunk)
{
    uint64_t chunks = restore_copy_chunks(copy);

    while (chunk < chunks && !is_touched(copy, chunk)) {
        if (chunk % 8 == 0 && copy->touched[chunk / 8] == 0)
            chunk += 8;
        else
            chunk++;
    }
    return chunk < chunks ? chunk : chunks;
}

int restore_copy_verify(struct restore_copy *copy, struct error *err)
{
    struct error local = ERROR_INIT;
    struct pass pass = {.copy = copy, .verifying = true, .err = &local};
    uint64_t chunks = restore_copy_chunks(copy);
    int r = pass_init(&pass);

    atomic_fetch_add(&copy->run->total_bytes, atomic_load(&copy->written));
    for (uint64_t at = 0; r == 0 && (at = restore_copy_next_touched(copy, at)) < chunks;) {
        uint64_t first = at - at % pass.batch_chunks, left = chunks - first;
        uint32_t count = (uint32_t)(left < pass.batch_chunks ? left : pass.batch_chunks);
        const struct map_node *leaf = NULL;

        r = map_reader_leaf(pass.map, first / MAP_FANOUT, &leaf, &local);
        if (r == 0)
            r = submit(&pass, first, count, leaf);
        at = first + count;
    }
    return finish(&pass, r, &local, err);
}

int restore_copy_init(struct restore_copy *copy, struct error *err)
{
    copy->touched_size = (size_t)(restore_copy_chunks(copy) / 8 + 1);
    copy->touched = mmap(NULL, copy->touched_size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (copy->touched == MAP_FAILED) {
        copy->touched = NULL;
        return error_set_errno(err, -errno, "cannot note which chunks are written");
    }
    return 0;
}

void restore_copy_deinit(struct restore_copy *copy)
{
    if (copy->touched)
        munmap(copy->touched, copy->touched_size);
    copy->touched = NULL;
}
