// SPDX-License-Identifier: MIT
//
// The geometry of a disk's map and the loading of one node at a known place in it, for the files
// that build and read maps.
#ifndef FS_STORE_MAP_SHAPE_H
#define FS_STORE_MAP_SHAPE_H

#include "fs/store/map.h"

#define MAP_FANOUT_SHIFT 8

struct map_shape {
    uint64_t chunks;     // of the disk
    unsigned root_level; //
    uint8_t chunk_shift; // log2 of the chunk size
};

// -EINVAL for a chunk size that is no power of two in range.
int map_shape_init(uint64_t capacity, uint32_t chunk_size, struct map_shape *ret_shape,
                   struct error *err);

// Places are numbered through each level: a node of level L and number `index` has the places
// index * 256 … index * 256 + 255, and place P begins at chunk P * 256^L.
static inline uint64_t map_place_chunk(unsigned level, uint64_t place)
{
    return place << (MAP_FANOUT_SHIFT * level);
}

// Reads the node with that id, which must be able to stand at (level, index) of a map of this
// shape: level and chunk size fit, no place lies past the end of the disk, and it is not empty
// unless it is the root. `conn` NULL: a lease is taken when one is needed.
int map_node_load(struct store *store, struct catalog_conn *conn, const struct digest *id,
                  const struct map_shape *shape, unsigned level, uint64_t index,
                  struct map_node *ret_node, struct error *err);

// As map_node_load(), but copies only places [first, first + count) of the node.
int map_node_ids(struct store *store, const struct digest *id, const struct map_shape *shape,
                 unsigned level, uint64_t index, unsigned first, unsigned count,
                 struct digest *ret_ids, struct error *err);

#endif
