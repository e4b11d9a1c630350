// SPDX-License-Identifier: MIT
//
// The map of a snapshot: a Merkle tree (Merkle 1979; venti and git use the same idea) from chunk
// number to chunk id.
//
// A node has 256 places. Level 0 nodes (leaves) hold chunk ids, a node of level n ids of nodes of
// level n - 1. An absent place is a hole of everything below it. The root is the lowest node that
// covers the whole disk; it is written even when the disk is all holes. The root's id is the
// snapshot's digest. Nodes do not know where in the disk they are, so equal parts are shared.
// Levels go down by exactly one, so a forged map cannot loop.
//
// Node content: docs/FORMAT.md and map.c. 16-byte header (magic "BTMN", version 1, level, log2 of
// the chunk size, count of present places), 32-byte bitmap, then the present ids in order.
#ifndef FS_STORE_MAP_H
#define FS_STORE_MAP_H

#include "fs/store/store.h"

#define MAP_FANOUT 256
#define MAP_LEVEL_MAX 6 // 2^56 chunks: no disk needs more
#define MAP_NODE_MAX (16 + 32 + MAP_FANOUT * DIGEST_SIZE)

struct map_node {
    uint8_t level;
    uint8_t chunk_shift;           // log2 of the chunk size
    struct digest ids[MAP_FANOUT]; // zero = absent
};

// Bytes written to `out`.
size_t map_node_encode(const struct map_node *node, uint8_t out[MAP_NODE_MAX]);
int map_node_decode(const void *data, size_t len, struct map_node *ret_node, struct error *err);

// Level of the root of a disk of `capacity` bytes.
unsigned map_root_level(uint64_t capacity, uint32_t chunk_size);

// --- building: chunks are given in ascending order, holes are left out

struct map_builder;

int map_builder_new(struct store_writer *writer, uint64_t capacity, uint32_t chunk_size,
                    struct map_builder **ret_builder, struct error *err);
int map_builder_add(struct map_builder *builder, uint64_t chunk, const struct digest *id,
                    struct error *err);
// Writes what is left and the root (not sealed yet).
int map_builder_finish(struct map_builder *builder, struct digest *ret_root, struct error *err);
struct map_builder *map_builder_free(struct map_builder *builder);

// --- reading

struct map_reader; // not shared between threads; remembers the path to the last leaf

int map_reader_open(struct store *store, const struct digest *root, uint64_t capacity,
                    uint32_t chunk_size, struct map_reader **ret_reader, struct error *err);
// The leaf that covers chunks [leaf * 256, leaf * 256 + 256). *ret_leaf is borrowed until the next
// call; NULL when all of it is a hole.
int map_reader_leaf(struct map_reader *reader, uint64_t leaf, const struct map_node **ret_leaf,
                    struct error *err);
// Copies the ids of `count` chunks from `chunk` on, all of one leaf; holes are zero. A leaf that is
// asked for once is looked at in the cache, where it stands; asked for again it is kept at hand.
int map_reader_ids(struct map_reader *reader, uint64_t chunk, unsigned count,
                   struct digest *ret_ids, struct error *err);
// The first leaf number ≥ `leaf` that is not all hole. Returns 1 found, 0 none, -errno. Skips
// absent sub-trees at once.
int map_reader_next_leaf(struct map_reader *reader, uint64_t leaf, uint64_t *ret_leaf,
                         struct error *err);
// The first chunk at or after `chunk` that is no hole, or that is one; the number of chunks when
// there is none.
int map_reader_find_chunk(struct map_reader *reader, uint64_t chunk, uint64_t *ret_chunk,
                          struct error *err);
int map_reader_find_hole(struct map_reader *reader, uint64_t chunk, uint64_t *ret_chunk,
                         struct error *err);
// For each of `count` pieces of `piece` bytes of the disk, the first of which begins at `offset`:
// whether a chunk that is there overlaps it. A leaf that lies in one piece is not loaded. What a
// damaged part of the map covers counts as there.
int map_reader_find_data(struct map_reader *reader, uint64_t offset, uint64_t piece, uint64_t count,
                         bool *ret_data, struct error *err);
struct map_reader *map_reader_close(struct map_reader *reader);

DEFINE_CLEANUP(struct map_builder *, map_builder_free)
DEFINE_CLEANUP(struct map_reader *, map_reader_close)

#endif
