// SPDX-License-Identifier: MIT
//
// A snapshot as a disk. Owns a few map readers ("lenses"), each of which stays at the leaf it last
// looked at, so that several readers at several places of the disk do not push each other away.
//
// Threads: any. `lock` guards the list of idle lenses and is never held during I/O: a thread takes
// a lens out of the list, the one that is already at its leaf if there is one, uses it alone, and
// puts it back. Opening costs one node, whatever the capacity.
//
// Every read is told to the table of streams, which `stream_lock` guards; what it wants prefetched
// is cut into tasks of a few chunks within a leaf, which run on the store's threads. So do look-ups
// of all places of a leaf in which small reads keep asking the catalog (leaf_misses.h).
#include "fs/store/image.h"
#include "fs/store/leaf_misses.h"
#include "fs/store/map_shape.h"
#include "fs/store/read_streams.h"
#include "fs/store/store_members.h"

#include <inttypes.h>
#include <limits.h>
#include <utlist.h>

#define LENSES_MAX 8
#define ZEROS_SIZE (16u * 1024)
#define AHEAD_TASK (256u * 1024)            // bytes of a task; at least one chunk
#define AHEAD_WINDOW_MAX (8u * 1024 * 1024) // of one reader
#define AHEAD_READERS 4                     // that can have full windows

struct lens {
    struct lens *prev, *next;
    struct map_reader *reader;
    uint64_t leaf; // where it is, UINT64_MAX at first
};

struct image {
    // constant
    struct store *store;
    struct open_image open; // first of all in the store's list, last of all out of it
    struct map_shape shape;

    pthread_mutex_t lock;
    struct lens *idle; // last used first
    unsigned lenses;   // idle and in use

    uint64_t window_max; // constant; less than a chunk: nothing is prefetched
    pthread_mutex_t stream_lock;
    struct read_streams streams;
    struct leaf_misses misses; // guarded by stream_lock
};

// Every hole is read from here, and it stays in the processor's cache. Constant, so that it is a
// file's pages: those of memory that was never written to are one page of the kernel's own, which
// writev(2) has to look up the slow way, a page at a time.
static const uint8_t zeros[ZEROS_SIZE];

static struct lens *lens_free(struct lens *lens)
{
    if (!lens)
        return NULL;
    map_reader_close(lens->reader);
    free(lens);
    return NULL;
}

DEFINE_CLEANUP(struct lens *, lens_free)

static int lens_new(struct image *image, struct lens **ret_lens, struct error *err)
{
    AUTO(lens_free) struct lens *lens = calloc(1, sizeof(*lens));
    int r;

    if (!lens)
        return error_set(err, -ENOMEM, "out of memory to read a disk");
    lens->leaf = UINT64_MAX;
    r = map_reader_open(image->store, &image->open.root, image->open.capacity,
                        image->open.chunk_size, &lens->reader, err);
    if (r < 0)
        return r;
    *ret_lens = TAKE(lens, NULL);
    return 0;
}

// Which idle lens to use for `leaf`: one that is there, else, when there are enough of them, the
// one that was not used for longest. NULL: make a new one.
static struct lens *choose_lens(struct image *image, uint64_t leaf) // lock held
{
    struct lens *lens;

    DL_FOREACH(image->idle, lens)
    {
        if (lens->leaf == leaf)
            return lens;
    }
    return image->lenses >= LENSES_MAX && image->idle ? image->idle->prev : NULL;
}

static int lens_take(struct image *image, uint64_t leaf, struct lens **ret_lens, struct error *err)
{
    struct lens *lens;
    int r;

    pthread_mutex_lock(&image->lock);
    lens = choose_lens(image, leaf);
    if (lens)
        DL_DELETE(image->idle, lens);
    else
        image->lenses++;
    pthread_mutex_unlock(&image->lock);
    if (lens) {
        *ret_lens = lens;
        return 0;
    }
    r = lens_new(image, ret_lens, err);
    if (r < 0) {
        pthread_mutex_lock(&image->lock);
        image->lenses--;
        pthread_mutex_unlock(&image->lock);
    }
    return r;
}

static void lens_give_back(struct image *image, struct lens *lens, uint64_t leaf)
{
    bool keep;

    lens->leaf = leaf;
    pthread_mutex_lock(&image->lock);
    keep = image->lenses <= LENSES_MAX;
    if (keep)
        DL_PREPEND(image->idle, lens);
    else
        image->lenses--;
    pthread_mutex_unlock(&image->lock);
    if (!keep)
        lens_free(lens);
}

int image_open(struct store *store, const struct digest *root, uint64_t capacity,
               uint32_t chunk_size, struct image **ret_image, struct error *err)
{
    AUTO(image_close) struct image *image = calloc(1, sizeof(*image));
    struct lens *lens;
    int r;

    if (!image)
        return error_set(err, -ENOMEM, "out of memory to open a disk");
    pthread_mutex_init(&image->lock, NULL);
    pthread_mutex_init(&image->stream_lock, NULL);
    image->store = store;
    image->window_max = chunk_cache_ahead_max(store->cache) / AHEAD_READERS;
    if (image->window_max > AHEAD_WINDOW_MAX)
        image->window_max = AHEAD_WINDOW_MAX;
    leaf_misses_init(&image->misses, location_cache_capacity(store->locations));
    image->open =
        (struct open_image){.root = *root, .capacity = capacity, .chunk_size = chunk_size};
    pthread_mutex_lock(&store->images_lock);
    DL_APPEND(store->images, &image->open);
    pthread_mutex_unlock(&store->images_lock);
    r = map_shape_init(capacity, chunk_size, &image->shape, err);
    if (r == 0)
        r = lens_take(image, 0, &lens, err); // proves the root
    if (r < 0)
        return r;
    lens_give_back(image, lens, UINT64_MAX);
    *ret_image = TAKE(image, NULL);
    return 0;
}

struct image *image_close(struct image *image)
{
    if (!image)
        return NULL;
    prefetch_cancel(image->store->prefetch, image);
    chunk_cache_forget_ahead(image->store->cache, image);
    while (image->idle) {
        struct lens *lens = image->idle;

        DL_DELETE(image->idle, lens);
        lens_free(lens);
    }
    pthread_mutex_lock(&image->store->images_lock);
    DL_DELETE(image->store->images, &image->open);
    pthread_mutex_unlock(&image->store->images_lock);
    pthread_mutex_destroy(&image->stream_lock);
    pthread_mutex_destroy(&image->lock);
    free(image);
    return NULL;
}

uint64_t image_capacity(const struct image *image)
{
    return image->open.capacity;
}

uint32_t image_chunk_size(const struct image *image)
{
    return image->open.chunk_size;
}

// Copies the ids of `count` chunks from `chunk` on, all of one leaf. Holes are zero.
static int copy_ids(struct image *image, uint64_t chunk, unsigned count, struct digest *ret_ids,
                    struct error *err)
{
    uint64_t number = chunk / MAP_FANOUT;
    struct lens *lens;
    int r = lens_take(image, number, &lens, err);

    if (r < 0)
        return r;
    r = map_reader_ids(lens->reader, chunk, count, ret_ids, err);
    lens_give_back(image, lens, number);
    return r;
}

int image_chunk_id(struct image *image, uint64_t chunk, struct digest *ret_id, struct error *err)
{
    struct digest id;
    int r;

    if (chunk >= image->shape.chunks)
        return error_set(err, -EINVAL, "chunk %" PRIu64 " lies past the end of the disk", chunk);
    r = copy_ids(image, chunk, 1, &id, err);
    if (r == 0)
        *ret_id = id;
    return r;
}

// --- ahead of readers

// A reader that has come to a chunk meanwhile decodes it himself, and nobody reads it again.
static bool is_passed(struct image *image, unsigned stream, uint64_t chunk)
{
    bool passed;

    pthread_mutex_lock(&image->stream_lock);
    passed = read_streams_passed(&image->streams, stream, chunk << image->shape.chunk_shift);
    pthread_mutex_unlock(&image->stream_lock);
    return passed;
}

static void load_ahead(void *owner, const struct prefetch_range *range)
{
    struct image *image = owner;
    struct digest ids[MAP_FANOUT];
    struct error ignored = ERROR_INIT;
    uint32_t late = 0;

    while (late < range->count && is_passed(image, range->stream, range->first + late))
        late++;
    if (late == range->count || copy_ids(image, range->first, range->count, ids, &ignored) < 0)
        return;
    store_locate(image->store, ids + late, range->count - late);
    for (uint32_t i = late; i < range->count; i++) {
        if (!digest_is_zero(&ids[i]) && !is_passed(image, range->stream, range->first + i))
            store_load_ahead(image->store, &ids[i], image->open.chunk_size, image);
    }
}

// Chunks [first, end), in steps that divide a leaf.
static void submit_ahead(struct image *image, uint64_t first, uint64_t end, unsigned stream)
{
    uint64_t step = AHEAD_TASK >> image->shape.chunk_shift;

    if (step == 0)
        step = 1;
    if (end > image->shape.chunks)
        end = image->shape.chunks;
    while (first < end) {
        uint64_t next = (first / step + 1) * step;
        struct prefetch_range range = {.first = first, .stream = stream};

        if (next > end)
            next = end;
        range.count = (uint32_t)(next - first);
        prefetch_submit(image->store->prefetch, load_ahead, image, &range);
        first = next;
    }
}

// Tells the table of a read and has prefetched what it asks for.
static void note_read(struct image *image, uint64_t offset, size_t len)
{
    unsigned shift = image->shape.chunk_shift;
    struct read_ahead ahead;

    if (image->window_max < image->open.chunk_size || len == 0)
        return;
    pthread_mutex_lock(&image->stream_lock);
    ahead = read_streams_note(&image->streams, offset, len, image->window_max);
    pthread_mutex_unlock(&image->stream_lock);
    if (ahead.to > ahead.from)
        submit_ahead(image, (ahead.from + image->open.chunk_size - 1) >> shift,
                     (ahead.to + image->open.chunk_size - 1) >> shift, ahead.stream);
}

static void locate_leaf(void *owner, const struct prefetch_range *range)
{
    struct image *image = owner;
    struct digest ids[MAP_FANOUT];
    struct error ignored = ERROR_INIT;

    if (copy_ids(image, range->first, range->count, ids, &ignored) == 0)
        store_locate(image->store, ids, range->count);
}

// Tells the table that a reader waited for the catalog to say where `chunk` is.
static void note_miss(struct image *image, uint64_t chunk)
{
    struct prefetch_range range = {.first = chunk - chunk % MAP_FANOUT, .count = MAP_FANOUT};
    bool wanted;

    pthread_mutex_lock(&image->stream_lock);
    wanted = leaf_misses_note(&image->misses, chunk / MAP_FANOUT);
    pthread_mutex_unlock(&image->stream_lock);
    if (range.count > image->shape.chunks - range.first)
        range.count = (uint32_t)(image->shape.chunks - range.first);
    if (wanted)
        prefetch_submit_idle(image->store->prefetch, locate_leaf, image, &range);
}

// --- reading

// Gets [from, from + count) of chunk number `chunk`, whose id is `id`; `at` is where it begins in
// what is read.
typedef int (*piece_fn)(struct image *image, void *arg, uint64_t chunk, const struct digest *id,
                        size_t from, size_t count, size_t at, struct error *err);

// As much of the `len` bytes at `offset` as lies in one leaf. Returns the count.
static ssize_t walk_leaf(struct image *image, size_t at, size_t len, uint64_t offset, piece_fn fn,
                         void *arg, struct error *err)
{
    struct digest ids[MAP_FANOUT];
    uint64_t first = offset >> image->shape.chunk_shift;
    uint64_t last = (offset + len - 1) >> image->shape.chunk_shift;
    uint64_t leaf_last = first | (MAP_FANOUT - 1);
    size_t done = 0;
    unsigned count;
    int r;

    if (last > leaf_last)
        last = leaf_last;
    count = (unsigned)(last - first + 1);
    r = copy_ids(image, first, count, ids, err);
    if (r == 0 && count > 1)
        store_locate(image->store, ids, count);
    for (unsigned i = 0; r == 0 && i < count; i++) {
        size_t from = (offset + done) & (image->open.chunk_size - 1);
        size_t part = image->open.chunk_size - from;

        if (part > len - done)
            part = len - done;
        r = fn(image, arg, first + i, &ids[i], from, part, at + done, err);
        done += part;
    }
    return r < 0 ? r : (ssize_t)done;
}

static size_t clamp(const struct image *image, size_t len, uint64_t offset)
{
    if (offset >= image->open.capacity)
        return 0;
    if (len > image->open.capacity - offset)
        len = image->open.capacity - offset;
    return len > SSIZE_MAX ? SSIZE_MAX : len;
}

static int walk(struct image *image, size_t len, uint64_t offset, piece_fn fn, void *arg,
                struct error *err)
{
    size_t done = 0;

    note_read(image, offset, len);
    while (done < len) {
        ssize_t n = walk_leaf(image, done, len - done, offset + done, fn, arg, err);

        if (n < 0)
            return (int)n;
        done += (size_t)n;
    }
    return 0;
}

// store_view_chunk() of chunk number `chunk`, told to the table of misses.
static int view_chunk(struct image *image, uint64_t chunk, const struct digest *id, size_t from,
                      size_t count, void *out, struct chunk_view *ret_view, struct error *err)
{
    bool looked_up;
    int r = store_view_chunk(image->store, NULL, id, image->open.chunk_size, from, count, out,
                             ret_view, &looked_up, err);

    if (r == 0 && looked_up)
        note_miss(image, chunk);
    return r;
}

static int copy_piece(struct image *image, void *arg, uint64_t chunk, const struct digest *id,
                      size_t from, size_t count, size_t at, struct error *err)
{
    uint8_t *out = (uint8_t *)arg + at;
    struct chunk_view pin;
    int r;

    if (digest_is_zero(id)) {
        memset(out, 0, count);
        return 0;
    }
    r = view_chunk(image, chunk, id, from, count, out, &pin, err);
    if (r < 0)
        return r;
    if (pin.data != out)
        memcpy(out, pin.data, count);
    store_release_view(image->store, &pin);
    return 0;
}

ssize_t image_read(struct image *image, void *buf, size_t len, uint64_t offset, struct error *err)
{
    int r;

    len = clamp(image, len, offset);
    r = walk(image, len, offset, copy_piece, buf, err);
    return r < 0 ? r : (ssize_t)len;
}

// Pieces that stand behind one another become one.
static void view_add(struct image_view *view, const uint8_t *data, size_t count)
{
    struct iovec *last = view->count > 0 ? &view->iov[view->count - 1] : NULL;

    if (last && (uint8_t *)last->iov_base + last->iov_len == data)
        last->iov_len += count;
    else
        view->iov[view->count++] = (struct iovec){(void *)(uintptr_t)data, count};
}

static int view_piece(struct image *image, void *arg, uint64_t chunk, const struct digest *id,
                      size_t from, size_t count, size_t at, struct error *err)
{
    struct image_view *view = arg;
    struct chunk_view pin;
    uint8_t *out = NULL;
    int r;

    if (digest_is_zero(id)) {
        for (size_t part; count > 0; count -= part) {
            part = count < ZEROS_SIZE ? count : ZEROS_SIZE;
            view->iov[view->count++] = (struct iovec){(void *)(uintptr_t)zeros, part};
        }
        return 0;
    }
    if (count == image->open.chunk_size) {
        if (!view->memory && !(view->memory = malloc(view->len)))
            return error_set(err, -ENOMEM, "out of memory for a read of %zu bytes", view->len);
        out = view->memory + at;
    }
    r = view_chunk(image, chunk, id, from, count, out, &pin, err);
    if (r < 0)
        return r;
    view_add(view, pin.data, count);
    if (pin.entry)
        view->pins[view->pin_count++] = pin;
    return 0;
}

int image_view(struct image *image, size_t len, uint64_t offset, struct image_view *ret_view,
               struct error *err)
{
    struct image_view view = {.store = image->store, .len = clamp(image, len, offset)};
    size_t chunks = (view.len >> image->shape.chunk_shift) + 2;
    int r;

    view.iov = calloc(chunks + view.len / ZEROS_SIZE + chunks, sizeof(*view.iov));
    view.pins = calloc(chunks, sizeof(*view.pins));
    if (!view.iov || !view.pins)
        r = error_set(err, -ENOMEM, "out of memory for a read of %zu bytes", view.len);
    else
        r = walk(image, view.len, offset, view_piece, &view, err);
    if (r < 0) {
        image_view_release(&view);
        return r;
    }
    *ret_view = view;
    return 0;
}

void image_view_release(struct image_view *view)
{
    for (unsigned i = 0; i < view->pin_count; i++)
        store_release_view(view->store, &view->pins[i]);
    free(view->pins);
    free(view->iov);
    free(view->memory);
    *view = (struct image_view){0};
}

static int check_seek(const struct image *image, uint64_t offset, struct error *err)
{
    if (offset >= image->open.capacity)
        return error_set(err, -ENXIO, "offset %" PRIu64 " is past the end of the disk", offset);
    return 0;
}

typedef int (*find_fn)(struct map_reader *reader, uint64_t chunk, uint64_t *ret_chunk,
                       struct error *err);

static int seek(struct image *image, uint64_t offset, find_fn find, uint64_t *ret_offset,
                struct error *err)
{
    uint64_t chunk = offset >> image->shape.chunk_shift;
    uint64_t found = 0;
    struct lens *lens;
    int r = lens_take(image, chunk / MAP_FANOUT, &lens, err);

    if (r < 0)
        return r;
    r = find(lens->reader, chunk, &found, err);
    lens_give_back(image, lens, r < 0 ? UINT64_MAX : found / MAP_FANOUT);
    if (r < 0)
        return r;
    if (found >= image->shape.chunks)
        *ret_offset = image->open.capacity;
    else
        *ret_offset = found == chunk ? offset : found << image->shape.chunk_shift;
    return 0;
}

int image_seek_data(struct image *image, uint64_t offset, uint64_t *ret_offset, struct error *err)
{
    uint64_t found = 0;
    int r = check_seek(image, offset, err);

    if (r == 0)
        r = seek(image, offset, map_reader_find_chunk, &found, err);
    if (r < 0)
        return r;
    if (found >= image->open.capacity)
        return error_set(err, -ENXIO, "only holes follow offset %" PRIu64, offset);
    *ret_offset = found;
    return 0;
}

int image_seek_hole(struct image *image, uint64_t offset, uint64_t *ret_offset, struct error *err)
{
    int r = check_seek(image, offset, err);

    return r < 0 ? r : seek(image, offset, map_reader_find_hole, ret_offset, err);
}

int image_find_data(struct image *image, uint64_t offset, uint64_t piece, size_t count,
                    bool *ret_data, struct error *err)
{
    uint64_t left = offset < image->open.capacity ? image->open.capacity - offset : 0, first,
             pieces;
    struct lens *lens;
    int r;

    memset(ret_data, 0, count * sizeof(*ret_data));
    pieces = left / piece + (left % piece != 0);
    if (pieces > count)
        pieces = count;
    if (pieces == 0)
        return 0;
    first = (offset >> image->shape.chunk_shift) / MAP_FANOUT;
    r = lens_take(image, first, &lens, err);
    if (r < 0)
        return r;
    r = map_reader_find_data(lens->reader, offset, piece, pieces, ret_data, err);
    // Whoever asks for what follows finds it at hand.
    offset += pieces * piece;
    lens_give_back(image, lens, (offset >> image->shape.chunk_shift) / MAP_FANOUT);
    return r;
}
