// SPDX-License-Identifier: MIT
//
// Building a map from chunks in ascending order. Owns one open node a level: when a chunk belongs
// to the next node of a level, the open one is written and its id goes into the level above. So
// memory does not depend on the disk, and what is a hole costs nothing. Nodes the parent snapshot
// already has are recognised by store_writer_put().
#include "fs/store/map_shape.h"

#include <inttypes.h>

struct open_node {
    bool used; // holds at least one id
    uint64_t index;
    struct map_node node;
};

struct map_builder {
    struct store_writer *writer; // borrowed
    struct map_shape shape;
    uint64_t next_chunk;      // none below it may be added any more
    struct open_node nodes[]; // root_level + 1
};

int map_builder_new(struct store_writer *writer, uint64_t capacity, uint32_t chunk_size,
                    struct map_builder **ret_builder, struct error *err)
{
    struct map_builder *builder;
    struct map_shape shape;
    int r = map_shape_init(capacity, chunk_size, &shape, err);

    if (r < 0)
        return r;
    builder = calloc(1, sizeof(*builder) + (shape.root_level + 1) * sizeof(builder->nodes[0]));
    if (!builder)
        return error_set(err, -ENOMEM, "out of memory for a map");
    builder->writer = writer;
    builder->shape = shape;
    for (unsigned level = 0; level <= shape.root_level; level++) {
        builder->nodes[level].node.level = (uint8_t)level;
        builder->nodes[level].node.chunk_shift = shape.chunk_shift;
    }
    *ret_builder = builder;
    return 0;
}

struct map_builder *map_builder_free(struct map_builder *builder)
{
    free(builder);
    return NULL;
}

static int write_node(struct map_builder *builder, unsigned level, struct digest *ret_id,
                      struct error *err)
{
    uint8_t bytes[MAP_NODE_MAX];
    size_t len = map_node_encode(&builder->nodes[level].node, bytes);

    return store_writer_put(builder->writer, RECORD_MAP, bytes, len, ret_id, err);
}

// Puts `id` at place number `place` of `level`. When the place is in another node than the open
// one, that one is written first and goes into the level above by the same rule.
static int set_place(struct map_builder *builder, unsigned level, uint64_t place,
                     const struct digest *id, struct error *err)
{
    struct open_node *open = &builder->nodes[level];
    uint64_t index = place / MAP_FANOUT;

    if (open->used && open->index != index) {
        struct digest written;
        int r = write_node(builder, level, &written, err);

        // Places past the root's last cannot come: chunks are checked against the disk's end.
        if (r == 0)
            r = set_place(builder, level + 1, open->index, &written, err);
        if (r < 0)
            return r;
        memset(open->node.ids, 0, sizeof(open->node.ids));
    }
    open->used = true;
    open->index = index;
    open->node.ids[place % MAP_FANOUT] = *id;
    return 0;
}

int map_builder_add(struct map_builder *builder, uint64_t chunk, const struct digest *id,
                    struct error *err)
{
    int r;

    if (chunk < builder->next_chunk || chunk >= builder->shape.chunks || digest_is_zero(id))
        return error_set(err, -EINVAL,
                         "chunk %" PRIu64 " of %" PRIu64 " cannot be added to a map that is at "
                         "%" PRIu64,
                         chunk, builder->shape.chunks, builder->next_chunk);
    r = set_place(builder, 0, chunk, id, err);
    if (r == 0)
        builder->next_chunk = chunk + 1;
    return r;
}

int map_builder_finish(struct map_builder *builder, struct digest *ret_root, struct error *err)
{
    for (unsigned level = 0; level < builder->shape.root_level; level++) {
        struct open_node *open = &builder->nodes[level];
        struct digest id;
        int r;

        if (!open->used)
            continue;
        r = write_node(builder, level, &id, err);
        if (r == 0)
            r = set_place(builder, level + 1, open->index, &id, err);
        if (r < 0)
            return r;
        open->used = false;
    }
    return write_node(builder, builder->shape.root_level, ret_root, err);
}
