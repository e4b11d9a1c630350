// SPDX-License-Identifier: MIT
//
// Walking maps to see that all they name is there. The walk goes down one level a step and each
// level's node is kept in the walker, so depth and memory are bounded whatever a map says.
#include "fs/store/map_check.h"

#include "catalog/check_rows.h"
#include "fs/store/map_shape.h"
#include "fs/store/pack_format.h"
#include "fs/store/row_bitmap.h"

#include <stdio.h>

struct map_check {
    struct store *store;
    struct row_bitmap whole; // rows: the node there and all below it are there
    int64_t *avoided;        // packs
    size_t avoided_count;

    // the walk under way
    struct catalog_conn *conn;
    struct map_shape shape;
    uint64_t capacity;
    int (*fn)(const struct map_gap *gap, void *arg, struct error *err);
    void *arg;
    struct map_gap gap; // not told yet; length 0 = none
    char why[ERROR_MESSAGE_MAX];
    struct map_node nodes[MAP_LEVEL_MAX + 2]; // by level
};

int map_check_new(struct store *store, struct map_check **ret_check, struct error *err)
{
    struct map_check *check = calloc(1, sizeof(*check));

    if (!check)
        return error_set(err, -ENOMEM, "out of memory to check maps");
    check->store = store;
    *ret_check = check;
    return 0;
}

struct map_check *map_check_free(struct map_check *check)
{
    if (!check)
        return NULL;
    row_bitmap_deinit(&check->whole);
    free(check->avoided);
    free(check);
    return NULL;
}

int map_check_avoid(struct map_check *check, int64_t pack_id, struct error *err)
{
    void *grown = reallocarray(check->avoided, check->avoided_count + 1, sizeof(*check->avoided));

    if (!grown)
        return error_set(err, -ENOMEM, "out of memory to check maps");
    check->avoided = grown;
    check->avoided[check->avoided_count++] = pack_id;
    return 0;
}

static bool usable(int64_t pack_id, const void *arg)
{
    const struct map_check *check = arg;

    for (size_t i = 0; i < check->avoided_count; i++) {
        if (check->avoided[i] == pack_id)
            return false;
    }
    return true;
}

// --- gaps

static int tell_gap(struct map_check *check, struct error *err)
{
    struct map_gap gap = check->gap;

    if (gap.length == 0)
        return 0;
    check->gap.length = 0;
    gap.why = check->why;
    return check->fn(&gap, check->arg, err);
}

// What (level, place) stands for cannot be read.
static int add_gap(struct map_check *check, unsigned level, uint64_t place, const char *why,
                   struct error *err)
{
    unsigned shift = MAP_FANOUT_SHIFT * level + check->shape.chunk_shift;
    // A root may stand for more than a number can hold: then it stands for the whole disk.
    uint64_t offset = shift < 64 ? place << shift : 0;
    uint64_t length = shift < 63 ? (uint64_t)1 << shift : check->capacity;
    int r = 0;

    if (offset >= check->capacity)
        return 0;
    if (length > check->capacity - offset)
        length = check->capacity - offset;
    if (check->gap.length > 0 && check->gap.offset + check->gap.length == offset) {
        check->gap.length += length;
        return 0;
    }
    r = tell_gap(check, err);
    if (r != 0)
        return r;
    check->gap = (struct map_gap){.offset = offset, .length = length};
    snprintf(check->why, sizeof(check->why), "%s", why);
    return 0;
}

// --- the walk

static int find(struct map_check *check, const struct digest *id, enum record_kind kind,
                struct chunk_copy *ret_copy, char why[ERROR_MESSAGE_MAX], struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    int r = chunk_find_copy(check->conn, id, check->avoided_count ? usable : NULL, check, ret_copy,
                            err);

    if (r == 1 && ret_copy->kind != kind) {
        snprintf(why, ERROR_MESSAGE_MAX, "the record %s is of kind %d instead of %d",
                 digest_to_hex(id, hex), ret_copy->kind, (int)kind);
        return 0;
    }
    if (r == 0)
        snprintf(why, ERROR_MESSAGE_MAX, "no pack holds the record %s", digest_to_hex(id, hex));
    return r;
}

static int check_chunk(struct map_check *check, const struct digest *id, uint64_t place,
                       struct error *err)
{
    char why[ERROR_MESSAGE_MAX], hex[DIGEST_HEX_SIZE];
    struct chunk_copy copy;
    int r = find(check, id, RECORD_CHUNK, &copy, why, err);

    if (r < 0)
        return r;
    if (r == 1 && copy.raw_length == (uint32_t)1 << check->shape.chunk_shift)
        return 1;
    if (r == 1)
        snprintf(why, sizeof(why), "the chunk %s is of another size", digest_to_hex(id, hex));
    return add_gap(check, 0, place, why, err);
}

static int check_node(struct map_check *check, const struct digest *id, unsigned level,
                      uint64_t index, struct error *err);

// 1 when all places of a loaded node are whole, 0 when not.
static int check_places(struct map_check *check, unsigned level, uint64_t index, struct error *err)
{
    bool whole = true;

    for (unsigned i = 0; i < MAP_FANOUT; i++) {
        const struct digest *id = &check->nodes[level].ids[i];
        uint64_t place = index * MAP_FANOUT + i;
        int r;

        if (digest_is_zero(id))
            continue;
        r = level == 0 ? check_chunk(check, id, place, err)
                       : check_node(check, id, level - 1, place, err);
        if (r < 0)
            return r;
        whole = whole && r == 1;
    }
    return whole;
}

// 1 when the node and all below it are there, 0 when not (gaps were added), -errno.
static int check_node(struct map_check *check, const struct digest *id, unsigned level,
                      uint64_t index, struct error *err)
{
    char why[ERROR_MESSAGE_MAX];
    struct error local = ERROR_INIT;
    struct chunk_copy copy;
    int r = find(check, id, RECORD_MAP, &copy, why, err);

    if (r < 0)
        return r;
    if (r == 0)
        return add_gap(check, level + 1, index, why, err);
    if (row_bitmap_has(&check->whole, copy.row))
        return 1;
    r = map_node_load(check->store, check->conn, id, &check->shape, level, index,
                      &check->nodes[level], &local);
    if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT)
        return add_gap(check, level + 1, index, error_message(&local), err);
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    r = check_places(check, level, index, err);
    if (r == 1)
        r = row_bitmap_set(&check->whole, copy.row, err);
    else
        return r;
    return r < 0 ? r : 1;
}

int map_check_snapshot(struct map_check *check, struct catalog_conn *conn,
                       const struct digest *root, uint64_t capacity, uint32_t chunk_size,
                       int (*fn)(const struct map_gap *gap, void *arg, struct error *err),
                       void *arg, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = map_shape_init(capacity, chunk_size, &check->shape, &local);

    check->conn = conn;
    check->capacity = capacity;
    check->fn = fn;
    check->arg = arg;
    check->gap = (struct map_gap){0};
    if (r == 0)
        r = check_node(check, root, check->shape.root_level, 0, &local);
    if (r >= 0)
        r = tell_gap(check, &local);
    check->conn = NULL;
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    return r;
}
