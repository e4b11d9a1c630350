// SPDX-License-Identifier: MIT
//
// Walking a map. A reader remembers the node it last used on each level, so going through a disk
// loads each node once, and going from place to place loads only where the paths differ.
//
// The loop over levels ends because each step goes exactly one level down (map_node_load() refuses
// anything else), and the search ends because it only ever moves on.
#include "fs/store/map_shape.h"

struct path_step {
    bool loaded;
    uint64_t index;
    struct map_node node;
};

struct map_reader {
    struct store *store;
    struct map_shape shape;
    struct digest root;
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

int map_reader_leaf(struct map_reader *reader, uint64_t leaf, const struct map_node **ret_leaf,
                    struct error *err)
{
    unsigned level = reader->shape.root_level;
    const struct map_node *node = &reader->path[level].node;

    if (leaf >= leaf_count(reader)) {
        *ret_leaf = NULL;
        return 0;
    }
    // A leaf that is at hand needs no walk: the path above it need not be looked at.
    if (reader->path[0].loaded && reader->path[0].index == leaf)
        level = 0, node = &reader->path[0].node;
    while (level > 0 && node) {
        int r = step_down(reader, --level, leaf, &node, err);

        if (r < 0)
            return r;
    }
    *ret_leaf = node;
    return 0;
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
