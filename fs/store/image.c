// SPDX-License-Identifier: MIT
//
// A snapshot as a disk. Owns a few map readers ("lenses"), each of which stays at the leaf it last
// looked at, so that several readers at several places of the disk do not push each other away.
//
// Threads: any. `lock` guards the list of idle lenses and is never held during I/O: a thread takes
// a lens out of the list, the one that is already at its leaf if there is one, uses it alone, and
// puts it back. Opening costs one node, whatever the capacity.
#include "fs/store/image.h"
#include "fs/store/map_shape.h"
#include "fs/store/store_members.h"

#include <inttypes.h>
#include <limits.h>
#include <utlist.h>

#define LENSES_MAX 8

struct lens {
    struct lens *prev, *next;
    struct map_reader *reader;
    uint64_t leaf; // where it is, UINT64_MAX at first
};

struct image {
    // constant
    struct store *store;
    struct digest root;
    uint64_t capacity;
    uint32_t chunk_size;
    struct map_shape shape;

    pthread_mutex_t lock;
    struct lens *idle; // last used first
    unsigned lenses;   // idle and in use
};

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
    r = map_reader_open(image->store, &image->root, image->capacity, image->chunk_size,
                        &lens->reader, err);
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
    image->store = store;
    image->root = *root;
    image->capacity = capacity;
    image->chunk_size = chunk_size;
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
    while (image->idle) {
        struct lens *lens = image->idle;

        DL_DELETE(image->idle, lens);
        lens_free(lens);
    }
    pthread_mutex_destroy(&image->lock);
    free(image);
    return NULL;
}

uint64_t image_capacity(const struct image *image)
{
    return image->capacity;
}

uint32_t image_chunk_size(const struct image *image)
{
    return image->chunk_size;
}

// Copies the ids of `count` chunks from `chunk` on, all of one leaf. Holes are zero.
static int copy_ids(struct image *image, uint64_t chunk, unsigned count, struct digest *ret_ids,
                    struct error *err)
{
    uint64_t number = chunk / MAP_FANOUT;
    const struct map_node *leaf;
    struct lens *lens;
    int r = lens_take(image, number, &lens, err);

    if (r < 0)
        return r;
    r = map_reader_leaf(lens->reader, number, &leaf, err);
    if (r == 0 && leaf)
        memcpy(ret_ids, &leaf->ids[chunk % MAP_FANOUT], count * sizeof(*ret_ids));
    else if (r == 0)
        memset(ret_ids, 0, count * sizeof(*ret_ids));
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

// One lease serves all chunks of a longer read; it is taken when the first chunk that is no hole is
// met.
static int read_piece(struct image *image, struct catalog_conn **lease, const struct digest *id,
                      size_t from, size_t count, uint8_t *out, bool more, struct error *err)
{
    if (digest_is_zero(id)) {
        memset(out, 0, count);
        return 0;
    }
    if (!*lease && more) {
        int r = catalog_read_begin(image->store->catalog, lease, err);

        if (r < 0)
            return r;
    }
    return store_read_chunk(image->store, *lease, id, image->chunk_size, from, count, out, err);
}

// As much of [offset, offset + len) as lies in one leaf. Returns the count.
static ssize_t read_in_leaf(struct image *image, struct catalog_conn **lease, uint8_t *out,
                            size_t len, uint64_t offset, struct error *err)
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
    for (unsigned i = 0; r == 0 && i < count; i++) {
        size_t from = (offset + done) & (image->chunk_size - 1);
        size_t part = image->chunk_size - from;

        if (part > len - done)
            part = len - done;
        r = read_piece(image, lease, &ids[i], from, part, out + done, part < len - done, err);
        done += part;
    }
    return r < 0 ? r : (ssize_t)done;
}

ssize_t image_read(struct image *image, void *buf, size_t len, uint64_t offset, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *lease = NULL;
    uint8_t *out = buf;
    size_t done = 0;

    if (offset >= image->capacity)
        return 0;
    if (len > image->capacity - offset)
        len = image->capacity - offset;
    if (len > SSIZE_MAX)
        len = SSIZE_MAX;
    while (done < len) {
        ssize_t n = read_in_leaf(image, &lease, out + done, len - done, offset + done, err);

        if (n < 0)
            return n;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static int check_seek(const struct image *image, uint64_t offset, struct error *err)
{
    if (offset >= image->capacity)
        return error_set(err, -ENXIO, "offset %" PRIu64 " is past the end of the disk", offset);
    return 0;
}

// The first chunk at or after `chunk` that is (not) a hole; past the last chunk when there is none.
static int find_data(struct image *image, struct map_reader *reader, uint64_t chunk,
                     uint64_t *ret_chunk, struct error *err)
{
    for (;;) {
        const struct map_node *leaf;
        uint64_t number;
        int r = map_reader_next_leaf(reader, chunk / MAP_FANOUT, &number, err);

        if (r > 0)
            r = map_reader_leaf(reader, number, &leaf, err);
        else if (r == 0)
            break;
        if (r < 0)
            return r;
        if (number > chunk / MAP_FANOUT)
            chunk = number * MAP_FANOUT;
        do {
            if (leaf && !digest_is_zero(&leaf->ids[chunk % MAP_FANOUT])) {
                *ret_chunk = chunk;
                return 0;
            }
        } while (++chunk % MAP_FANOUT != 0);
    }
    *ret_chunk = image->shape.chunks;
    return 0;
}

static int find_hole(struct image *image, struct map_reader *reader, uint64_t chunk,
                     uint64_t *ret_chunk, struct error *err)
{
    while (chunk < image->shape.chunks) {
        const struct map_node *leaf;
        int r = map_reader_leaf(reader, chunk / MAP_FANOUT, &leaf, err);

        if (r < 0)
            return r;
        do {
            if (!leaf || digest_is_zero(&leaf->ids[chunk % MAP_FANOUT])) {
                *ret_chunk = chunk;
                return 0;
            }
        } while (++chunk % MAP_FANOUT != 0);
    }
    *ret_chunk = image->shape.chunks;
    return 0;
}

typedef int (*find_fn)(struct image *image, struct map_reader *reader, uint64_t chunk,
                       uint64_t *ret_chunk, struct error *err);

static int seek(struct image *image, uint64_t offset, find_fn find, uint64_t *ret_offset,
                struct error *err)
{
    uint64_t chunk = offset >> image->shape.chunk_shift;
    uint64_t found;
    struct lens *lens;
    int r = lens_take(image, chunk / MAP_FANOUT, &lens, err);

    if (r < 0)
        return r;
    r = find(image, lens->reader, chunk, &found, err);
    lens_give_back(image, lens, r < 0 ? UINT64_MAX : found / MAP_FANOUT);
    if (r < 0)
        return r;
    if (found >= image->shape.chunks)
        *ret_offset = image->capacity;
    else
        *ret_offset = found == chunk ? offset : found << image->shape.chunk_shift;
    return 0;
}

int image_seek_data(struct image *image, uint64_t offset, uint64_t *ret_offset, struct error *err)
{
    uint64_t found;
    int r = check_seek(image, offset, err);

    if (r == 0)
        r = seek(image, offset, find_data, &found, err);
    if (r < 0)
        return r;
    if (found >= image->capacity)
        return error_set(err, -ENXIO, "only holes follow offset %" PRIu64, offset);
    *ret_offset = found;
    return 0;
}

int image_seek_hole(struct image *image, uint64_t offset, uint64_t *ret_offset, struct error *err)
{
    int r = check_seek(image, offset, err);

    return r < 0 ? r : seek(image, offset, find_hole, ret_offset, err);
}

int image_find_data(struct image *image, uint64_t offset, uint64_t piece, size_t count,
                    bool *ret_data, struct error *err)
{
    uint64_t left = offset < image->capacity ? image->capacity - offset : 0, first, pieces;
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
