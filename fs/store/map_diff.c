// SPDX-License-Identifier: MIT
//
// Two maps walked beside each other; see map_diff.h. The walk goes down one level a step, and each
// side keeps one node a level, so depth and memory are bounded whatever a map says.
//
// The root of a smaller disk may stand on a lower level than the other's. Such a side is given
// nodes above its root that hold it at place 0 and nothing else, so that both begin at one level.
#include "fs/store/map_diff.h"

#include "fs/store/map_shape.h"

#include <inttypes.h>

struct side {
    const struct map_diff_side *disk;
    struct map_shape shape;
    struct map_node nodes[MAP_LEVEL_MAX + 1]; // by level
};

struct diff {
    struct store *store;
    const struct map_diff_walk *walk;
    struct side sides[2];
    uint64_t chunks;      // that both have: the walk ends there
    uint64_t capacity;    // of the larger
    uint64_t start, end;  // an extent not told yet; empty = none
    struct digest absent; // zero
};

static int tell(struct diff *diff, struct error *err)
{
    uint64_t start = diff->start, length = diff->end - diff->start;

    diff->start = diff->end;
    return length ? diff->walk->extent(start, length, diff->walk->arg, err) : 0;
}

// Bytes [start, end); `start` never goes back behind what was added, `end` may.
static int add_bytes(struct diff *diff, uint64_t start, uint64_t end, struct error *err)
{
    if (start >= end)
        return 0;
    if (diff->end == diff->start || start > diff->end) {
        int r = tell(diff, err);

        if (r != 0)
            return r;
        diff->start = start;
    }
    if (diff->end < end)
        diff->end = end;
    return 0;
}

static int add_chunk(struct diff *diff, uint64_t chunk, struct error *err)
{
    uint8_t shift = diff->sides[1].shape.chunk_shift;
    uint64_t start = chunk << shift, end = diff->capacity;

    if (end - start > (uint64_t)1 << shift)
        end = start + ((uint64_t)1 << shift);
    return add_bytes(diff, start, end, err);
}

static int load(struct diff *diff, struct side *side, unsigned level, uint64_t index,
                const struct digest *id, struct error *err)
{
    struct map_node *node = &side->nodes[level];
    struct error local = ERROR_INIT;

    if (digest_is_zero(id) || level > side->shape.root_level) {
        memset(node, 0, sizeof(*node));
        node->ids[0] = *id;
        return 0;
    }
    int r = map_node_load(diff->store, NULL, id, &side->shape, level, index, node, &local);
    if (r < 0)
        return error_set(err, r, "the map of %s: %s", side->disk->name, error_message(&local));
    return 0;
}

// What lies below place `index` of the level above, which is not equal on the two sides.
static int walk_node(struct diff *diff, unsigned level, uint64_t index, const struct digest *from,
                     const struct digest *to, struct error *err)
{
    struct side *a = &diff->sides[0], *b = &diff->sides[1];
    int r = diff->walk->step ? diff->walk->step(diff->walk->arg, err) : 0;

    if (r == 0)
        r = load(diff, a, level, index, from, err);
    if (r == 0)
        r = load(diff, b, level, index, to, err);
    for (unsigned i = 0; r == 0 && i < MAP_FANOUT; i++) {
        uint64_t place = index * MAP_FANOUT + i;
        const struct digest *left = &a->nodes[level].ids[i], *right = &b->nodes[level].ids[i];

        if (map_place_chunk(level, place) >= diff->chunks)
            break;
        if (digest_equal(left, right))
            continue;
        r = level > 0 ? walk_node(diff, level - 1, place, left, right, err)
                      : add_chunk(diff, place, err);
    }
    return r;
}

static int walk_both(struct diff *diff, struct error *err)
{
    const struct map_diff_side *from = diff->sides[0].disk, *to = diff->sides[1].disk;
    const struct digest *left = from ? &from->root : &diff->absent, *right = &to->root;
    unsigned level = diff->sides[0].shape.root_level;
    uint64_t common = from && from->capacity < to->capacity ? from->capacity : to->capacity;
    int r = 0;

    if (level < diff->sides[1].shape.root_level)
        level = diff->sides[1].shape.root_level;
    if (!digest_equal(left, right))
        r = walk_node(diff, level, 0, left, right, err);
    if (r == 0)
        r = add_bytes(diff, common, diff->capacity, err);
    return r != 0 ? r : tell(diff, err);
}

static int shape_sides(struct diff *diff, const struct map_diff_side *from,
                       const struct map_diff_side *to, struct error *err)
{
    struct side *a = &diff->sides[0], *b = &diff->sides[1];
    int r = map_shape_init(to->capacity, to->chunk_size, &b->shape, err);

    a->disk = from;
    b->disk = to;
    a->shape = b->shape;
    diff->capacity = to->capacity;
    if (r < 0 || !from) {
        diff->chunks = b->shape.chunks;
        return r;
    }
    r = map_shape_init(from->capacity, from->chunk_size, &a->shape, err);
    if (r < 0)
        return r;
    if (from->chunk_size != to->chunk_size)
        return error_set(err, -EINVAL,
                         "%s is kept in chunks of %" PRIu32 " KiB and %s in chunks of %" PRIu32
                         " KiB: their maps cannot be compared",
                         from->name, from->chunk_size / 1024, to->name, to->chunk_size / 1024);
    if (from->capacity > diff->capacity)
        diff->capacity = from->capacity;
    diff->chunks = a->shape.chunks < b->shape.chunks ? a->shape.chunks : b->shape.chunks;
    return 0;
}

int map_diff(struct store *store, const struct map_diff_side *from, const struct map_diff_side *to,
             const struct map_diff_walk *walk, struct error *err)
{
    AUTO_FREE struct diff *diff = calloc(1, sizeof(*diff));

    if (!diff)
        return error_set(err, -ENOMEM, "out of memory to compare maps");
    diff->store = store;
    diff->walk = walk;
    int r = shape_sides(diff, from, to, err);
    return r < 0 ? r : walk_both(diff, err);
}
