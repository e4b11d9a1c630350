// SPDX-License-Identifier: MIT
//
// Walking a map. A reader remembers the node it last used on each level, so going through a disk
// loads each node once, and going from place to place loads only where the paths differ.
//
// The loop over levels ends because each step goes exactly one level down (map_node_load() refuses
// anything else), and the search ends because it only ever moves on.
#include "fs/store/map_shape.h"

#include <string.h>

struct path_step {
    bool loaded;
    uint64_t index;
    struct map_node node;
};

struct map_reader {
    struct store *store;
    struct map_shape shape;
    struct digest root;
    uint64_t viewed;         // the leaf that was last looked at in the cache
    struct path_step path[]; // root_level + 1, by level
};

int map_reader_open(struct store *store, const struct digest *root, uint64_t capacity,
                    uint32_t chunk_size, struct map_reader **ret_reader, struct error *err)
{
    AUTO(map_reader_close) struct map_reader *reader = NULL;
    struct map_shape shape;
    int r = map_shape_init(capacity, chunk_size, &shape, err);

    if (r < 0)
        return r;
    reader = calloc(1, sizeof(*reader) + (shape.root_level + 1) * sizeof(reader->path[0]));
    if (!reader)
        return error_set(err, -ENOMEM, "out of memory to read a map");
    reader->store = store;
    reader->shape = shape;
    reader->root = *root;
    reader->viewed = UINT64_MAX;
    r = map_node_load(store, NULL, root, &shape, shape.root_level, 0,
                      &reader->path[shape.root_level].node, err);
    if (r < 0)
        return r;
    reader->path[shape.root_level].loaded = true;
    *ret_reader = TAKE(reader, NULL);
    return 0;
}

struct map_reader *map_reader_close(struct map_reader *reader)
{
    free(reader);
    return NULL;
}

// The node of `level` that covers leaf number `leaf`; the one above it is loaded. Borrowed; NULL
// with 0 when it is absent.
static int step_down(struct map_reader *reader, unsigned level, uint64_t leaf,
                     const struct map_node **ret_node, struct error *err)
{
    struct path_step *step = &reader->path[level];
    uint64_t index = leaf >> (MAP_FANOUT_SHIFT * level);
    const struct digest *id;
    int r;

    if (!step->loaded || step->index != index) {
        id = &reader->path[level + 1].node.ids[index % MAP_FANOUT];
        if (digest_is_zero(id)) {
            *ret_node = NULL;
            return 0;
        }
        step->loaded = false;
        r = map_node_load(reader->store, NULL, id, &reader->shape, level, index, &step->node, err);
        if (r < 0)
            return r;
        step->index = index;
        step->loaded = true;
    }
    *ret_node = &step->node;
    return 0;
}

static uint64_t leaf_count(const struct map_reader *reader)
{
    return reader->shape.chunks / MAP_FANOUT + (reader->shape.chunks % MAP_FANOUT != 0);
}

// A leaf that is at hand needs no walk: the path above it need not be looked at.
static bool is_at(const struct map_reader *reader, uint64_t leaf)
{
    return reader->path[0].loaded && reader->path[0].index == leaf;
}

// From the root down to the node of `to` that covers leaf number `leaf`, as step_down().
static int walk_down(struct map_reader *reader, unsigned to, uint64_t leaf,
                     const struct map_node **ret_node, struct error *err)
{
    unsigned level = reader->shape.root_level;
    const struct map_node *node = &reader->path[level].node;

    while (level > to && node) {
        int r = step_down(reader, --level, leaf, &node, err);

        if (r < 0)
            return r;
    }
    *ret_node = node;
    return 0;
}

int map_reader_leaf(struct map_reader *reader, uint64_t leaf, const struct map_node **ret_leaf,
                    struct error *err)
{
    if (leaf >= leaf_count(reader))
        *ret_leaf = NULL;
    else if (is_at(reader, leaf))
        *ret_leaf = &reader->path[0].node;
    else
        return walk_down(reader, 0, leaf, ret_leaf, err);
    return 0;
}

int map_reader_ids(struct map_reader *reader, uint64_t chunk, unsigned count,
                   struct digest *ret_ids, struct error *err)
{
    uint64_t leaf = chunk / MAP_FANOUT;
    unsigned first = chunk % MAP_FANOUT;
    bool keep = is_at(reader, leaf) || reader->viewed == leaf || reader->shape.root_level == 0 ||
                leaf >= leaf_count(reader);
    const struct map_node *node;
    int r =
        keep ? map_reader_leaf(reader, leaf, &node, err) : walk_down(reader, 1, leaf, &node, err);

    if (r < 0)
        return r;
    if (!node || (!keep && digest_is_zero(&node->ids[leaf % MAP_FANOUT]))) {
        memset(ret_ids, 0, count * sizeof(*ret_ids));
        return 0;
    }
    if (keep) {
        memcpy(ret_ids, &node->ids[first], count * sizeof(*ret_ids));
        return 0;
    }
    reader->viewed = leaf;
    return map_node_ids(reader->store, &node->ids[leaf % MAP_FANOUT], &reader->shape, 0, leaf,
                        first, count, ret_ids, err);
}

static int first_place(const struct map_node *node, unsigned from)
{
    for (unsigned i = from; i < MAP_FANOUT; i++) {
        if (!digest_is_zero(&node->ids[i]))
            return (int)i;
    }
    return -1;
}

// Follows present places from the root down to the first leaf at or after *leaf. Returns 1 when
// *leaf is it; 0 when *leaf was moved past a sub-tree with nothing more in it and the search has to
// begin again at the root.
static int search_down(struct map_reader *reader, uint64_t *leaf, struct error *err)
{
    unsigned level = reader->shape.root_level;
    const struct map_node *node = &reader->path[level].node;

    while (level > 0) {
        unsigned below = MAP_FANOUT_SHIFT * (level - 1); // leaves a place stands for, log2
        uint64_t place = *leaf >> below;
        int found = first_place(node, place % MAP_FANOUT);
        int r;

        if (found < 0) {
            *leaf = (place / MAP_FANOUT + 1) << (below + MAP_FANOUT_SHIFT);
            return 0;
        }
        if ((unsigned)found != place % MAP_FANOUT)
            *leaf = (place - place % MAP_FANOUT + (unsigned)found) << below;
        if (--level == 0)
            return 1;
        r = step_down(reader, level, *leaf, &node, err);
        if (r < 0)
            return r;
    }
    // The root is the only leaf, and it alone may be empty.
    if (first_place(node, 0) >= 0)
        return 1;
    *leaf = 1;
    return 0;
}

int map_reader_next_leaf(struct map_reader *reader, uint64_t leaf, uint64_t *ret_leaf,
                         struct error *err)
{
    while (leaf < leaf_count(reader)) {
        int r = search_down(reader, &leaf, err);

        if (r < 0)
            return r;
        if (r > 0) {
            *ret_leaf = leaf;
            return 1;
        }
    }
    return 0;
}

int map_reader_find_chunk(struct map_reader *reader, uint64_t chunk, uint64_t *ret_chunk,
                          struct error *err)
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
    *ret_chunk = reader->shape.chunks;
    return 0;
}

int map_reader_find_hole(struct map_reader *reader, uint64_t chunk, uint64_t *ret_chunk,
                         struct error *err)
{
    while (chunk < reader->shape.chunks) {
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
    *ret_chunk = reader->shape.chunks;
    return 0;
}

// --- where data is, piece by piece

struct pieces {
    uint64_t offset, piece, end; // of all of them, cut at the end of the last chunk
    bool *data;
};

static void mark_pieces(const struct pieces *pieces, uint64_t from, uint64_t to)
{
    if (from < pieces->offset)
        from = pieces->offset;
    if (to > pieces->end)
        to = pieces->end;
    for (uint64_t i = (from - pieces->offset) / pieces->piece; from < to; i++) {
        pieces->data[i] = true;
        from = pieces->offset + (i + 1) * pieces->piece;
    }
}

// Marks the pieces of leaf `number`, which may be absent, that have data; all of them when the leaf
// cannot be told from damage.
static int mark_leaf(struct map_reader *reader, uint64_t number, const struct pieces *pieces,
                     struct error *err)
{
    unsigned shift = reader->shape.chunk_shift;
    uint64_t chunk = number * MAP_FANOUT;
    const struct map_node *leaf;
    int r = map_reader_leaf(reader, number, &leaf, err);

    if (r == -ERROR_CORRUPT) {
        error_clear(err);
        mark_pieces(pieces, chunk << shift, (chunk + MAP_FANOUT) << shift);
        return 0;
    }
    if (r < 0 || !leaf)
        return r;
    for (unsigned i = 0; i < MAP_FANOUT; i++, chunk++) {
        if (!digest_is_zero(&leaf->ids[i]))
            mark_pieces(pieces, chunk << shift, (chunk + 1) << shift);
    }
    return 0;
}

static int find_pieces(struct map_reader *reader, const struct pieces *pieces, struct error *err)
{
    unsigned shift = reader->shape.chunk_shift + MAP_FANOUT_SHIFT;
    uint64_t leaf = pieces->offset >> shift;

    while (leaf << shift < pieces->end) {
        uint64_t start, stop, last;
        int r = map_reader_next_leaf(reader, leaf, &leaf, err);
        bool there = r > 0;

        if (r == -ERROR_CORRUPT)
            error_clear(err); // of a node above: leaves are tried one by one
        else if (r <= 0)
            return r;
        start = leaf << shift;
        if (start >= pieces->end)
            return 0;
        stop = pieces->end - start < UINT64_C(1) << shift ? pieces->end : (leaf + 1) << shift;
        last = (stop - 1 - pieces->offset) / pieces->piece;
        if (there && start >= pieces->offset + last * pieces->piece && (leaf + 1) << shift == stop)
            pieces->data[last] = true; // a leaf that is there is not empty
        else
            r = mark_leaf(reader, leaf, pieces, err);
        if (r < 0)
            return r;
        leaf++;
        // What is left of a piece that has data is not looked at.
        start = (pieces->offset + (last + 1) * pieces->piece) >> shift;
        if (pieces->data[last] && start > leaf)
            leaf = start;
    }
    return 0;
}

int map_reader_find_data(struct map_reader *reader, uint64_t offset, uint64_t piece, uint64_t count,
                         bool *ret_data, struct error *err)
{
    uint64_t end = reader->shape.chunks << reader->shape.chunk_shift;
    struct pieces pieces = {.offset = offset, .piece = piece, .end = end, .data = ret_data};

    memset(ret_data, 0, count * sizeof(*ret_data));
    if (offset >= end)
        return 0;
    if (count <= (end - offset) / piece)
        pieces.end = offset + count * piece;
    return find_pieces(reader, &pieces, err);
}
