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
    map_check_judge_fn judge;
    void *judge_arg;
    uint64_t from, to;                         // bytes that are looked at
    int (*tick)(void *arg, struct error *err); // NULL: none
    void *tick_arg;

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

static int look_up(struct catalog_conn *conn, const struct digest *id, enum record_kind kind,
                   uint32_t raw_length, int64_t *ret_row, char why[ERROR_MESSAGE_MAX], void *arg,
                   struct error *err);

int map_check_new(struct store *store, struct map_check **ret_check, struct error *err)
{
    struct map_check *check = calloc(1, sizeof(*check));

    if (!check)
        return error_set(err, -ENOMEM, "out of memory to check maps");
    check->store = store;
    check->judge = look_up;
    check->judge_arg = check;
    check->to = UINT64_MAX;
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

void map_check_judge(struct map_check *check, map_check_judge_fn fn, void *arg)
{
    check->judge = fn;
    check->judge_arg = arg;
}

void map_check_range(struct map_check *check, uint64_t from, uint64_t to)
{
    check->from = from;
    check->to = to;
}

void map_check_tick(struct map_check *check, int (*fn)(void *arg, struct error *err), void *arg)
{
    check->tick = fn;
    check->tick_arg = arg;
}

static bool is_limited(const struct map_check *check)
{
    return check->from > 0 || check->to < UINT64_MAX;
}

// Which copies of an id count.
struct copy_filter {
    const struct map_check *check;
    bool deltas;        // those alone, else those without a base
    int64_t after_pack; // packs already seen
};

static bool counts(const struct chunk_copy *copy, const void *arg)
{
    const struct copy_filter *filter = arg;

    if (digest_is_zero(&copy->base) == filter->deltas || copy->pack_id <= filter->after_pack)
        return false;
    for (size_t i = 0; i < filter->check->avoided_count; i++) {
        if (filter->check->avoided[i] == copy->pack_id)
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

// The bytes of the disk that (level, place) stands for, as far as they are looked at; length 0:
// nothing. A chunk is of level 0.
static struct map_gap bytes_of(const struct map_check *check, unsigned level, uint64_t place)
{
    unsigned shift = MAP_FANOUT_SHIFT * level + check->shape.chunk_shift;
    // A root may stand for more than a number can hold: then it stands for the whole disk.
    uint64_t start = shift < 64 ? place << shift : 0;
    uint64_t length = shift < 63 ? (uint64_t)1 << shift : check->capacity;
    uint64_t end = check->capacity;

    if (start < end && length < end - start)
        end = start + length;
    if (start < check->from)
        start = check->from;
    if (end > check->to)
        end = check->to;
    return (struct map_gap){.offset = start, .length = start < end ? end - start : 0};
}

static int add_gap(struct map_check *check, unsigned level, uint64_t place, const char *why,
                   struct error *err)
{
    struct map_gap gap = bytes_of(check, level, place);
    int r = 0;

    if (gap.length == 0)
        return 0;
    if (check->gap.length > 0 && check->gap.offset + check->gap.length == gap.offset) {
        check->gap.length += gap.length;
        return 0;
    }
    r = tell_gap(check, err);
    if (r != 0)
        return r;
    check->gap = gap;
    snprintf(check->why, sizeof(check->why), "%s", why);
    return 0;
}

// --- the walk

// A copy that needs no other.
static int find_plain(const struct map_check *check, struct catalog_conn *conn,
                      const struct digest *id, struct chunk_copy *ret_copy, struct error *err)
{
    struct copy_filter filter = {.check = check};

    return chunk_find_copy(conn, id, counts, &filter, ret_copy, err);
}

// A delta whose base is there. 0 with a sentence in `why`, "" when there is no delta at all.
static int find_delta(const struct map_check *check, struct catalog_conn *conn,
                      const struct digest *id, struct chunk_copy *ret_copy,
                      char why[ERROR_MESSAGE_MAX], struct error *err)
{
    struct copy_filter filter = {.check = check, .deltas = true};
    char hex[DIGEST_HEX_SIZE], base_hex[DIGEST_HEX_SIZE];
    struct chunk_copy base;
    int r;

    why[0] = '\0';
    while ((r = chunk_find_copy(conn, id, counts, &filter, ret_copy, err)) > 0) {
        r = find_plain(check, conn, &ret_copy->base, &base, err);
        if (r < 0)
            return r;
        if (r > 0 && base.kind == RECORD_CHUNK && base.raw_length == ret_copy->raw_length)
            return 1;
        snprintf(why, ERROR_MESSAGE_MAX, "the record %s is a delta and no pack holds its base %s",
                 digest_to_hex(id, hex), digest_to_hex(&ret_copy->base, base_hex));
        filter.after_pack = ret_copy->pack_id;
    }
    return r;
}

static int look_up(struct catalog_conn *conn, const struct digest *id, enum record_kind kind,
                   uint32_t raw_length, int64_t *ret_row, char why[ERROR_MESSAGE_MAX], void *arg,
                   struct error *err)
{
    const struct map_check *check = arg;
    char hex[DIGEST_HEX_SIZE];
    struct chunk_copy copy;
    int r = find_plain(check, conn, id, &copy, err);

    why[0] = '\0';
    if (r == 0)
        r = find_delta(check, conn, id, &copy, why, err);
    if (r < 0)
        return r;
    if (r == 0 && !why[0])
        snprintf(why, ERROR_MESSAGE_MAX, "no pack holds the record %s", digest_to_hex(id, hex));
    else if (r == 1 && copy.kind != kind)
        snprintf(why, ERROR_MESSAGE_MAX, "the record %s is of kind %d instead of %d",
                 digest_to_hex(id, hex), copy.kind, (int)kind);
    else if (r == 1 && raw_length && copy.raw_length != raw_length)
        snprintf(why, ERROR_MESSAGE_MAX, "the chunk %s is of another size", digest_to_hex(id, hex));
    else if (r == 1)
        *ret_row = copy.row;
    return r == 1 && !why[0];
}

static int check_chunk(struct map_check *check, const struct digest *id, uint64_t place,
                       struct error *err)
{
    char why[ERROR_MESSAGE_MAX];
    int64_t row;
    int r = check->judge(check->conn, id, RECORD_CHUNK, (uint32_t)1 << check->shape.chunk_shift,
                         &row, why, check->judge_arg, err);

    return r != 0 ? r : add_gap(check, 0, place, why, err);
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

        if (digest_is_zero(id) || bytes_of(check, level, place).length == 0)
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
    int64_t row = 0;
    int r = check->judge(check->conn, id, RECORD_MAP, 0, &row, why, check->judge_arg, err);

    if (r < 0)
        return r;
    if (r == 0)
        return add_gap(check, level + 1, index, why, err);
    if (row_bitmap_has(&check->whole, row))
        return 1;
    r = check->tick ? check->tick(check->tick_arg, err) : 0;
    if (r != 0)
        return r;
    r = map_node_load(check->store, check->conn, id, &check->shape, level, index,
                      &check->nodes[level], &local);
    if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT)
        return add_gap(check, level + 1, index, error_message(&local), err);
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    r = check_places(check, level, index, err);
    if (r == 1 && !is_limited(check))
        r = row_bitmap_set(&check->whole, row, err) < 0 ? err->code : 1;
    return r;
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
