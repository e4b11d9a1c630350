// SPDX-License-Identifier: MIT
//
// Map nodes as bytes, and loading one.
//
// Node content:
//    0 |  4 | bytes | magic "BTMN"
//    4 |  1 | u8    | version, 1
//    5 |  1 | u8    | level, 0 … 6
//    6 |  1 | u8    | log2 of the chunk size
//    7 |  1 | u8    | zero
//    8 |  2 | u16   | number of present places, 0 … 256
//   10 |  6 | bytes | zero
//   16 | 32 | bytes | bitmap: place n is present when bit n % 8 of byte n / 8 is set
//   48 |    | bytes | the ids of the present places, 32 bytes each, in order
//
// A map has exactly one encoding, so equal content has equal ids.
#include "fs/store/map_shape.h"
#include "fs/store/store_members.h"

#include "base/bytes.h"

#include <inttypes.h>

#define NODE_HEADER_SIZE 16
#define NODE_BITMAP_SIZE (MAP_FANOUT / 8)
#define NODE_VERSION 1

static const uint8_t node_magic[4] = {'B', 'T', 'M', 'N'};

size_t map_node_encode(const struct map_node *node, uint8_t out[MAP_NODE_MAX])
{
    uint8_t *bitmap = out + NODE_HEADER_SIZE;
    uint8_t *next = bitmap + NODE_BITMAP_SIZE;
    unsigned count = 0;

    memset(out, 0, NODE_HEADER_SIZE + NODE_BITMAP_SIZE);
    for (unsigned i = 0; i < MAP_FANOUT; i++) {
        if (digest_is_zero(&node->ids[i]))
            continue;
        bitmap[i / 8] |= (uint8_t)(1u << i % 8);
        memcpy(next, node->ids[i].bytes, DIGEST_SIZE);
        next += DIGEST_SIZE;
        count++;
    }
    memcpy(out, node_magic, sizeof(node_magic));
    out[4] = NODE_VERSION;
    out[5] = node->level;
    out[6] = node->chunk_shift;
    bytes_put_le16(out + 8, (uint16_t)count);
    return (size_t)(next - out);
}

static int check_header(const uint8_t *p, size_t len, struct error *err)
{
    static const uint8_t zeros[6];

    if (len < NODE_HEADER_SIZE + NODE_BITMAP_SIZE)
        return error_set(err, -ERROR_CORRUPT, "map node: %zu bytes are too few", len);
    if (memcmp(p, node_magic, sizeof(node_magic)) != 0)
        return error_set(err, -ERROR_CORRUPT, "map node: the magic number does not match");
    if (p[4] > NODE_VERSION)
        return error_set(err, -EPROTONOSUPPORT, "map node: version %u is newer than this program",
                         p[4]);
    if (p[4] != NODE_VERSION || p[7] != 0 || memcmp(p + 10, zeros, sizeof(zeros)) != 0)
        return error_set(err, -ERROR_CORRUPT, "map node: version or reserved bytes are wrong");
    if (p[5] > MAP_LEVEL_MAX)
        return error_set(err, -ERROR_CORRUPT, "map node: level %u is out of range", p[5]);
    if (p[6] >= 32 || (1u << p[6]) < CHUNK_SIZE_MIN || (1u << p[6]) > CHUNK_SIZE_MAX)
        return error_set(err, -ERROR_CORRUPT, "map node: chunk size 2^%u is out of range", p[6]);
    return 0;
}

int map_node_decode(const void *data, size_t len, struct map_node *ret_node, struct error *err)
{
    const uint8_t *p = data;
    const uint8_t *bitmap = p + NODE_HEADER_SIZE;
    const uint8_t *next = bitmap + NODE_BITMAP_SIZE;
    unsigned count = 0;
    int r = check_header(p, len, err);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < NODE_BITMAP_SIZE; i++)
        count += (unsigned)__builtin_popcount(bitmap[i]);
    if (count != bytes_get_le16(p + 8))
        return error_set(err, -ERROR_CORRUPT, "map node: %u places are set, its count says %u",
                         count, bytes_get_le16(p + 8));
    if (len != NODE_HEADER_SIZE + NODE_BITMAP_SIZE + (size_t)count * DIGEST_SIZE)
        return error_set(err, -ERROR_CORRUPT, "map node: %zu bytes do not hold %u ids", len, count);
    for (unsigned i = 0; i < count; i++) {
        struct digest id;

        memcpy(id.bytes, next + (size_t)i * DIGEST_SIZE, DIGEST_SIZE);
        if (digest_is_zero(&id))
            return error_set(err, -ERROR_CORRUPT, "map node: a present place has a zero id");
    }

    ret_node->level = p[5];
    ret_node->chunk_shift = p[6];
    memset(ret_node->ids, 0, sizeof(ret_node->ids));
    for (unsigned i = 0; i < MAP_FANOUT; i++) {
        if (!(bitmap[i / 8] & (1u << i % 8)))
            continue;
        memcpy(ret_node->ids[i].bytes, next, DIGEST_SIZE);
        next += DIGEST_SIZE;
    }
    return 0;
}

static uint64_t chunk_count(uint64_t capacity, uint32_t chunk_size)
{
    return capacity / chunk_size + (capacity % chunk_size != 0);
}

unsigned map_root_level(uint64_t capacity, uint32_t chunk_size)
{
    uint64_t nodes = chunk_count(capacity, chunk_size);
    unsigned level = 0;

    // The number of nodes each level needs, from the leaves up to a single one.
    while ((nodes = nodes / MAP_FANOUT + (nodes % MAP_FANOUT != 0)) > 1)
        level++;
    return level;
}

int map_shape_init(uint64_t capacity, uint32_t chunk_size, struct map_shape *ret_shape,
                   struct error *err)
{
    if (chunk_size < CHUNK_SIZE_MIN || chunk_size > CHUNK_SIZE_MAX ||
        (chunk_size & (chunk_size - 1)) != 0)
        return error_set(err, -EINVAL, "a chunk size of %" PRIu32 " is no power of two in range",
                         chunk_size);
    ret_shape->chunks = chunk_count(capacity, chunk_size);
    ret_shape->root_level = map_root_level(capacity, chunk_size);
    ret_shape->chunk_shift = (uint8_t)__builtin_ctz(chunk_size);
    return 0;
}

// What the cache keeps for a map node is the decoded struct: its size is known beforehand, and each
// node is proved and parsed once.
static int load_node(const struct chunk_request *request, void *content, void *arg,
                     struct error *err)
{
    const struct store_load *load = arg;
    AUTO_FREE void *data = NULL;
    char hex[DIGEST_HEX_SIZE];
    size_t len;
    int r = store_load_node(load, request->id, &data, &len, err);

    if (r < 0)
        return r;
    r = map_node_decode(data, len, content, err);
    if (r < 0)
        error_prefix(err, "record %s", digest_to_hex(request->id, hex));
    return r;
}

static int check_place(const struct map_node *node, const struct map_shape *shape, unsigned level,
                       uint64_t index, struct error *err)
{
    bool empty = true, inside;

    if (node->level != level)
        return error_set(err, -ERROR_CORRUPT, "it is of level %u instead of %u", node->level,
                         level);
    if (node->chunk_shift != shape->chunk_shift)
        return error_set(err, -ERROR_CORRUPT, "it is for chunks of 2^%u bytes instead of 2^%u",
                         node->chunk_shift, shape->chunk_shift);
    inside = map_place_chunk(level, index * MAP_FANOUT + MAP_FANOUT - 1) < shape->chunks;
    for (unsigned i = 0; i < MAP_FANOUT; i++) {
        uint64_t place = index * MAP_FANOUT + i;

        if (digest_is_zero(&node->ids[i]))
            continue;
        empty = false;
        if (inside) // as every node but the last of its level
            break;
        if (map_place_chunk(level, place) >= shape->chunks)
            return error_set(err, -ERROR_CORRUPT, "place %u lies past the end of the disk", i);
    }
    if (empty && level != shape->root_level)
        return error_set(err, -ERROR_CORRUPT, "it is empty and should not be there");
    return 0;
}

// All of a node, copied to `out` or only looked at (NULL).
static struct chunk_request node_request(const struct digest *id, struct map_node *out)
{
    return (struct chunk_request){
        .kind = RECORD_MAP, .id = id, .len = sizeof(*out), .count = sizeof(*out), .out = out};
}

int map_node_load(struct store *store, struct catalog_conn *conn, const struct digest *id,
                  const struct map_shape *shape, unsigned level, uint64_t index,
                  struct map_node *ret_node, struct error *err)
{
    struct error local = ERROR_INIT;
    char hex[DIGEST_HEX_SIZE];
    struct map_node node;
    struct chunk_request request = node_request(id, &node);
    int r = store_read_cached(store, conn, &request, load_node, &local);

    if (r == 0) {
        r = check_place(&node, shape, level, index, &local);
        if (r < 0)
            error_prefix(&local, "map node %s", digest_to_hex(id, hex));
    }
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    *ret_node = node;
    return 0;
}

int map_node_ids(struct store *store, const struct digest *id, const struct map_shape *shape,
                 unsigned level, uint64_t index, unsigned first, unsigned count,
                 struct digest *ret_ids, struct error *err)
{
    struct error local = ERROR_INIT;
    char hex[DIGEST_HEX_SIZE];
    struct chunk_view view;
    struct chunk_request request = node_request(id, NULL);
    int r = store_view_cached(store, &request, load_node, &view, &local);

    if (r == 0) {
        const struct map_node *node = (const void *)view.data;

        r = check_place(node, shape, level, index, &local);
        if (r == 0)
            memcpy(ret_ids, &node->ids[first], count * sizeof(*ret_ids));
        else
            error_prefix(&local, "map node %s", digest_to_hex(id, hex));
        store_release_view(store, &view);
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}
