// SPDX-License-Identifier: MIT
//
// Hostile maps: any nodes, with any levels and places, that refer to each other in any way, are put
// into the cache of decoded content and read as a disk. A walk must end, go forward only, and stay
// within the disk; a reader that jumps must see what a fresh one sees; damage is damage. The first
// two nodes are also compared as the roots of two disks: extents go forward, apart from each other.
//
// Input: u64 capacity, then u8 log2 of the chunk size, then the nodes, numbered from 1 on: u8
// level, u8 log2 of the chunk size, u8 count, and count × (u8 place, u8 number of a node). A
// number without a node is a node that no pack holds.
#include "base/bytes.h"
#include "fs/store/image.h"
#include "fs/store/map_diff.h"
#include "tests/fuzz/fuzz_store.h"

#define LEAVES_MAX 16
#define STEPS_MAX 600

static struct digest id_of(unsigned number)
{
    return (struct digest){.bytes = {(uint8_t)number}};
}

static int give_node(const struct chunk_request *request, void *content, void *arg,
                     struct error *err)
{
    (void)err;
    memcpy(content, arg, request->len);
    return 0;
}

static void put_nodes(struct store *store, const uint8_t *p, const uint8_t *end)
{
    static struct map_node node, out;

    for (unsigned number = 1; number < 256 && end - p >= 3; number++) {
        unsigned count = p[2];
        struct digest id = id_of(number);
        struct chunk_request request = {RECORD_MAP, &id, sizeof(node), 0, sizeof(node), &out};

        memset(&node, 0, sizeof(node));
        node.level = p[0] % (MAP_LEVEL_MAX + 1);
        node.chunk_shift = p[1];
        for (p += 3; count > 0 && end - p >= 2; p += 2, count--)
            node.ids[p[0]] = id_of(p[1]);
        MUST(chunk_cache_read(store->cache, &request, give_node, &node, NULL) == 0);
    }
}

static void check_jump(struct store *store, struct map_reader *walker, uint64_t leaf,
                       const struct digest *root, uint64_t capacity, uint32_t chunk_size)
{
    const struct map_node *seen = NULL, *fresh = NULL;
    struct map_reader *reader = NULL;

    MUST(map_reader_open(store, root, capacity, chunk_size, &reader, NULL) == 0);
    int r = map_reader_leaf(walker, leaf, &seen, NULL);
    MUST(r == map_reader_leaf(reader, leaf, &fresh, NULL) && (r == 0 || r == -ERROR_CORRUPT));
    MUST(r < 0 || !seen == !fresh);
    if (r == 0 && seen) {
        uint64_t chunks = capacity / chunk_size + (capacity % chunk_size != 0);
        MUST(memcmp(seen, fresh, sizeof(*seen)) == 0 && seen->level == 0);
        for (uint64_t i = 0; i < MAP_FANOUT; i++)
            MUST(digest_is_zero(&seen->ids[i]) || leaf * MAP_FANOUT + i < chunks);
    }
    map_reader_close(reader);
}

struct comparison {
    uint64_t end, limit; // of the last extent, of the larger disk
    unsigned steps;
};

static int check_extent(uint64_t offset, uint64_t length, void *arg, struct error *err)
{
    struct comparison *seen = arg;

    (void)err;
    MUST(length > 0 && offset < seen->limit && length <= seen->limit - offset);
    MUST(offset == 0 || seen->end == 0 || offset > seen->end);
    seen->end = offset + length;
    return 0;
}

// A map of a few nodes may stand for any number of them: no end is waited for.
static int count_step(void *arg, struct error *err)
{
    struct comparison *seen = arg;

    return ++seen->steps > STEPS_MAX ? error_set(err, -ECANCELED, "enough") : 0;
}

static void compare(struct store *store, uint64_t capacity, uint64_t other, uint32_t chunk_size)
{
    struct map_diff_side a = {"a", id_of(1), capacity, chunk_size};
    struct map_diff_side b = {"b", id_of(2), other, chunk_size};

    for (int i = 0; i < 3; i++) {
        struct comparison seen = {.limit = capacity > other || i == 2 ? capacity : other};
        struct map_diff_walk walk = {check_extent, count_step, &seen};
        struct error err = ERROR_INIT;
        int r = map_diff(store, i == 0 ? &a : i == 1 ? &b : NULL, i == 0 ? &b : &a, &walk, &err);

        MUST(r == 0 || r == -ECANCELED || r == -ERROR_CORRUPT);
        if (r < 0)
            fuzz_check_refusal(r, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest root = id_of(1);
    struct map_reader *reader = NULL;
    struct error err = ERROR_INIT;
    uint64_t leaf = 0, found = 0;
    int r;

    if (size < 10 || data[8] > 40)
        return 0;
    struct store *store = fuzz_store();
    uint64_t capacity = bytes_get_le64(data);
    uint32_t chunk_size = data[8] < 32 ? 1u << data[8] : 0;
    put_nodes(store, data + 9, data + size);
    r = map_reader_open(store, &root, capacity, chunk_size, &reader, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        return 0;
    }
    compare(store, capacity, data[size - 1] % 2 ? capacity : capacity >> data[size - 1] % 64,
            chunk_size);
    for (int i = 0; i < LEAVES_MAX; i++, leaf = found + 1) {
        error_clear(&err);
        r = map_reader_next_leaf(reader, leaf, &found, &err);
        if (r <= 0)
            break;
        MUST(found >= leaf && found <= capacity / chunk_size / MAP_FANOUT);
        check_jump(store, reader, found, &root, capacity, chunk_size);
        check_jump(store, reader, found ^ data[size - 1], &root, capacity, chunk_size);
    }
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(r == -ERROR_CORRUPT);
    }
    map_reader_close(reader);
    return 0;
}
