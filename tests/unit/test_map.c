// SPDX-License-Identifier: MIT
//
// Map nodes as bytes, and maps as trees: built and read back against a plain table, shared where
// equal, quick where empty, and refused where forged.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fs/store/map.h"
#include "fs/store/map_check.h"

#include "tests/unit/store_fixture.h"

#define CHUNK 16384u
#define TIB (UINT64_C(1) << 40)

static struct digest id_of(uint64_t n)
{
    struct digest id;

    fill_random(&id, sizeof(id), n + 1);
    return id;
}

// --- nodes

static size_t sample_node(struct map_node *node, uint8_t bytes[MAP_NODE_MAX])
{
    memset(node, 0, sizeof(*node));
    node->level = 1;
    node->chunk_shift = 16;
    node->ids[0] = id_of(1);
    node->ids[9] = id_of(2);
    node->ids[255] = id_of(3);
    return map_node_encode(node, bytes);
}

static void test_node_bytes(void **state)
{
    uint8_t bytes[MAP_NODE_MAX];
    struct map_node node, back;
    size_t len = sample_node(&node, bytes);
    (void)state;

    assert_int_equal(len, 16 + 32 + 3 * 32);
    assert_memory_equal(bytes, "BTMN\x01\x01\x10\x00\x03\x00", 10);
    assert_int_equal(bytes[16], 1);
    assert_int_equal(bytes[17], 2);
    assert_int_equal(bytes[47], 0x80);
    assert_memory_equal(bytes + 48, &node.ids[0], 32);
    assert_memory_equal(bytes + 80, &node.ids[9], 32);
    assert_int_equal(map_node_decode(bytes, len, &back, NULL), 0);
    assert_memory_equal(&back, &node, sizeof(back));

    for (int i = 0; i < MAP_FANOUT; i++)
        node.ids[i] = id_of((uint64_t)i);
    assert_int_equal(map_node_encode(&node, bytes), MAP_NODE_MAX);
    assert_int_equal(map_node_decode(bytes, MAP_NODE_MAX, &back, NULL), 0);
    assert_memory_equal(&back, &node, sizeof(back));
    memset(node.ids, 0, sizeof(node.ids));
    assert_int_equal(map_node_encode(&node, bytes), 48);
    assert_int_equal(map_node_decode(bytes, 48, &back, NULL), 0);
}

static void test_hostile_nodes(void **state)
{
    static const struct {
        size_t offset;
        uint8_t value;
        int code;
        const char *sentence;
    } cases[] = {
        {0, 'X', -ERROR_CORRUPT, "magic"},
        {4, 2, -EPROTONOSUPPORT, "version 2 is newer"},
        {4, 0, -ERROR_CORRUPT, "version or reserved"},
        {5, 7, -ERROR_CORRUPT, "level 7"},
        {5, 255, -ERROR_CORRUPT, "level 255"},
        {6, 13, -ERROR_CORRUPT, "chunk size 2^13"},
        {6, 23, -ERROR_CORRUPT, "chunk size 2^23"},
        {6, 255, -ERROR_CORRUPT, "chunk size 2^255"},
        {7, 1, -ERROR_CORRUPT, "reserved"},
        {8, 2, -ERROR_CORRUPT, "3 places are set, its count says 2"},
        {9, 1, -ERROR_CORRUPT, "its count says 259"},
        {10, 1, -ERROR_CORRUPT, "reserved"},
        {15, 1, -ERROR_CORRUPT, "reserved"},
        {16, 0, -ERROR_CORRUPT, "2 places are set"},
        {16, 3, -ERROR_CORRUPT, "4 places are set"},
    };
    uint8_t bytes[MAP_NODE_MAX + 1];
    struct map_node node, back;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = ERROR_INIT;
        size_t len = sample_node(&node, bytes);

        bytes[cases[i].offset] = cases[i].value;
        assert_int_equal(map_node_decode(bytes, len, &back, &err), cases[i].code);
        assert_non_null(strstr(error_message(&err), cases[i].sentence));
    }
    for (size_t len = 0; len < 145; len++) {
        sample_node(&node, bytes);
        if (len != 144)
            assert_int_equal(map_node_decode(bytes, len, &back, NULL), -ERROR_CORRUPT);
    }
    sample_node(&node, bytes);
    memset(bytes + 80, 0, 32);
    assert_int_equal(map_node_decode(bytes, 144, &back, NULL), -ERROR_CORRUPT);
}

static void test_root_level(void **state)
{
    (void)state;
    assert_int_equal(map_root_level(0, CHUNK), 0);
    assert_int_equal(map_root_level(1, CHUNK), 0);
    assert_int_equal(map_root_level(256 * (uint64_t)CHUNK, CHUNK), 0);
    assert_int_equal(map_root_level(256 * (uint64_t)CHUNK + 1, CHUNK), 1);
    assert_int_equal(map_root_level(65536 * (uint64_t)CHUNK, CHUNK), 1);
    assert_int_equal(map_root_level(65536 * (uint64_t)CHUNK + 1, CHUNK), 2);
    assert_int_equal(map_root_level(4 * TIB, 65536), 3);
    assert_int_equal(map_root_level(UINT64_MAX, CHUNK), MAP_LEVEL_MAX);
}

// --- trees

static struct store_writer *writer_of(struct store_fixture *fixture)
{
    struct store_writer *writer;

    assert_int_equal(store_writer_open(fixture->store, fixture->job_id, &writer, NULL), 0);
    return writer;
}

// A map with the chunks for which `present` says so, id_of(chunk + salt).
static struct digest build(struct store_fixture *fixture, uint64_t capacity,
                           bool (*present)(uint64_t chunk), uint64_t salt, uint64_t *ret_bytes)
{
    struct store_writer *writer = writer_of(fixture);
    struct map_builder *builder;
    struct digest root;
    struct error err = ERROR_INIT;

    assert_int_equal(map_builder_new(writer, capacity, CHUNK, &builder, NULL), 0);
    for (uint64_t chunk = 0; chunk < (capacity + CHUNK - 1) / CHUNK; chunk++) {
        struct digest id = id_of(chunk + salt);

        if (present(chunk) && map_builder_add(builder, chunk, &id, &err) < 0)
            fail_msg("%s", error_message(&err));
    }
    if (map_builder_finish(builder, &root, &err) < 0)
        fail_msg("%s", error_message(&err));
    map_builder_free(builder);
    if (ret_bytes)
        *ret_bytes = store_writer_bytes(writer);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    return root;
}

static bool leaf_has_any(uint64_t leaf, uint64_t chunks, bool (*present)(uint64_t chunk))
{
    for (uint64_t chunk = leaf * 256; chunk < leaf * 256 + 256 && chunk < chunks; chunk++) {
        if (present(chunk))
            return true;
    }
    return false;
}

static void check(struct store_fixture *fixture, const struct digest *root, uint64_t capacity,
                  bool (*present)(uint64_t chunk))
{
    uint64_t chunks = (capacity + CHUNK - 1) / CHUNK, leaves = (chunks + 255) / 256;
    struct map_reader *reader;
    uint64_t next = 0, found;

    assert_int_equal(map_reader_open(fixture->store, root, capacity, CHUNK, &reader, NULL), 0);
    for (uint64_t leaf = 0; leaf < leaves + 2; leaf++) {
        bool any = leaf_has_any(leaf, chunks, present);
        const struct map_node *node;

        assert_int_equal(map_reader_leaf(reader, leaf, &node, NULL), 0);
        if (leaves > 1 || leaf > 0)
            assert_int_equal(node != NULL, any);
        for (uint64_t i = 0; node && i < 256; i++) {
            uint64_t chunk = leaf * 256 + i;
            struct digest expected = {{0}};

            if (chunk < chunks && present(chunk))
                expected = id_of(chunk);
            assert_memory_equal(&node->ids[i], &expected, sizeof(expected));
        }
        if (any) { // the next one, from every place since the last
            for (uint64_t from = next; from <= leaf; from++) {
                assert_int_equal(map_reader_next_leaf(reader, from, &found, NULL), 1);
                assert_int_equal(found, leaf);
            }
            next = leaf + 1;
        }
    }
    assert_int_equal(map_reader_next_leaf(reader, next, &found, NULL), 0);
    assert_int_equal(map_reader_next_leaf(reader, UINT64_MAX, &found, NULL), 0);
    map_reader_close(reader);
}

static bool none(uint64_t chunk)
{
    (void)chunk;
    return false;
}

static bool all(uint64_t chunk)
{
    (void)chunk;
    return true;
}

static bool scattered(uint64_t chunk)
{
    return chunk % 1000 < 3 || (chunk > 70000 && chunk < 70600);
}

static bool last_only(uint64_t chunk)
{
    return chunk == 65536 + 300;
}

static void test_trees(void **state)
{
    static const struct {
        uint64_t chunks;
        bool (*present)(uint64_t chunk);
    } cases[] = {
        {0, none},          {1, all},      {255, all},         {256, all},
        {257, all},         {300, none},   {1000, all},        {1000, scattered},
        {66000, scattered}, {66000, none}, {65837, last_only}, {140000, scattered},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t capacity = cases[i].chunks * CHUNK;
        struct digest root, odd;

        root = build(*state, capacity, cases[i].present, 0, NULL);
        check(*state, &root, capacity, cases[i].present);
        if (capacity == 0)
            continue;
        // A last chunk that is not a whole one.
        odd = build(*state, capacity - 1000, cases[i].present, 0, NULL);
        assert_true(digest_equal(&root, &odd));
        check(*state, &odd, capacity - 1000, cases[i].present);
    }
}

static void test_equal_parts_are_shared(void **state)
{
    struct store_fixture *fixture = *state;
    uint64_t capacity = 66000 * (uint64_t)CHUNK, first, second, third;
    struct digest a = build(fixture, capacity, all, 0, &first);
    struct digest b = build(fixture, capacity, all, 0, &second);
    struct store_writer *writer = writer_of(fixture);
    struct map_builder *builder;
    struct digest c;

    assert_true(digest_equal(&a, &b));
    assert_int_equal(second, 0);
    assert_int_equal(map_builder_new(writer, capacity, CHUNK, &builder, NULL), 0);
    for (uint64_t chunk = 0; chunk < 66000; chunk++) {
        struct digest id = id_of(chunk == 5 ? 1000000 : chunk);

        assert_int_equal(map_builder_add(builder, chunk, &id, NULL), 0);
    }
    assert_int_equal(map_builder_finish(builder, &c, NULL), 0);
    map_builder_free(builder);
    third = store_writer_bytes(writer);
    store_writer_close(writer);
    // One leaf and the path to the root, of 258 leaves.
    assert_true(third > 8192 && third < 3 * 8500);
    assert_true(first > 258 * 8192);
}

static void test_builder_refuses(void **state)
{
    struct store_writer *writer = writer_of(*state);
    struct map_builder *builder;
    struct digest id = id_of(1), zero = {{0}};

    assert_int_equal(map_builder_new(writer, CHUNK, CHUNK + 1, &builder, NULL), -EINVAL);
    assert_int_equal(map_builder_new(writer, CHUNK, 8192, &builder, NULL), -EINVAL);
    assert_int_equal(map_builder_new(writer, 10 * CHUNK, CHUNK, &builder, NULL), 0);
    assert_int_equal(map_builder_add(builder, 10, &id, NULL), -EINVAL);
    assert_int_equal(map_builder_add(builder, 4, &zero, NULL), -EINVAL);
    assert_int_equal(map_builder_add(builder, 4, &id, NULL), 0);
    assert_int_equal(map_builder_add(builder, 4, &id, NULL), -EINVAL);
    assert_int_equal(map_builder_add(builder, 3, &id, NULL), -EINVAL);
    assert_int_equal(map_builder_add(builder, 9, &id, NULL), 0);
    map_builder_free(builder);
    assert_null(map_builder_free(NULL));
    store_writer_close(writer);
}

// A large disk with little on it costs what is on it.
static void test_a_sparse_giant_is_quick(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    uint64_t capacity = 4 * TIB, chunks = capacity / CHUNK, leaves = 0, leaf = 0;
    struct map_builder *builder;
    struct map_reader *reader;
    struct digest root;
    int64_t start = clock_monotonic();

    assert_int_equal(map_builder_new(writer, capacity, CHUNK, &builder, NULL), 0);
    for (uint64_t i = 0; i < 1000; i++) {
        struct digest id = id_of(i);

        assert_int_equal(map_builder_add(builder, chunks / 1000 * i, &id, NULL), 0);
    }
    assert_int_equal(map_builder_finish(builder, &root, NULL), 0);
    map_builder_free(builder);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_true(store_writer_bytes(writer) < 1000 * 500);
    store_writer_close(writer);
    assert_int_equal(map_reader_open(fixture->store, &root, capacity, CHUNK, &reader, NULL), 0);
    while (map_reader_next_leaf(reader, leaf, &leaf, NULL) == 1) {
        leaves++;
        leaf++;
    }
    assert_int_equal(leaves, 1000);
    map_reader_close(reader);
    // Four million leaves looked at one by one would take minutes under a sanitizer.
    assert_true(clock_monotonic() - start < 30 * CLOCK_SECOND);
}

// --- forged maps: every id and checksum is right, the structure is not

static struct digest put_node(struct store_writer *writer, unsigned level, unsigned shift,
                              unsigned place, const struct digest *id)
{
    struct map_node node = {.level = (uint8_t)level, .chunk_shift = (uint8_t)shift};
    uint8_t bytes[MAP_NODE_MAX];
    struct digest written;
    size_t len;

    if (id)
        node.ids[place] = *id;
    len = map_node_encode(&node, bytes);
    assert_int_equal(store_writer_put(writer, RECORD_MAP, bytes, len, &written, NULL), 0);
    return written;
}

static void assert_refused(struct store_fixture *fixture, const struct digest *root,
                           uint64_t capacity, const char *sentence)
{
    struct error err = ERROR_INIT;
    struct map_reader *reader;
    const struct map_node *leaf;
    int r = map_reader_open(fixture->store, root, capacity, CHUNK, &reader, &err);

    if (r == 0) {
        r = map_reader_leaf(reader, 0, &leaf, &err);
        map_reader_close(reader);
    }
    assert_int_equal(r, -ERROR_CORRUPT);
    if (!strstr(error_message(&err), sentence))
        fail_msg("'%s' does not say '%s'", error_message(&err), sentence);
}

static void test_forged_maps(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    uint64_t two_levels = 1000 * (uint64_t)CHUNK;
    struct digest chunk = id_of(1), missing = id_of(99);
    struct digest leaf = put_node(writer, 0, 14, 0, &chunk);
    struct digest root = put_node(writer, 1, 14, 0, &leaf);
    struct digest other_shift = put_node(writer, 0, 16, 0, &chunk);
    struct digest empty = put_node(writer, 0, 14, 0, NULL);
    struct digest junk;
    struct digest forged[6];

    forged[0] = put_node(writer, 1, 14, 0, &root);        // not one level down
    forged[1] = put_node(writer, 1, 14, 0, &other_shift); // another chunk size
    forged[2] = put_node(writer, 1, 14, 0, &empty);
    forged[3] = put_node(writer, 1, 14, 4, &leaf); // of four leaves
    forged[4] = put_node(writer, 1, 14, 0, &missing);
    assert_int_equal(store_writer_put(writer, RECORD_MAP, "junk", 4, &junk, NULL), 0);
    forged[5] = put_node(writer, 1, 14, 0, &junk);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);

    assert_refused(fixture, &forged[0], two_levels, "of level 1 instead of 0");
    assert_refused(fixture, &forged[1], two_levels, "chunks of 2^16 bytes instead of 2^14");
    assert_refused(fixture, &forged[2], two_levels, "it is empty");
    assert_refused(fixture, &forged[3], two_levels, "place 4 lies past the end");
    assert_refused(fixture, &forged[4], two_levels, "no pack holds the record");
    assert_refused(fixture, &forged[5], two_levels, "too few");
    assert_refused(fixture, &leaf, two_levels, "of level 0 instead of 1");
    assert_refused(fixture, &root, 256 * CHUNK, "of level 1 instead of 0");
    assert_refused(fixture, &leaf, 0, "past the end");
}

// --- giving a walk up

static int count_gap(const struct map_gap *gap, void *arg, struct error *err)
{
    (void)err;
    *(uint64_t *)arg += gap->length;
    return 0;
}

static int tick(void *arg, struct error *err)
{
    int *left = arg;

    return --*left == 0 ? error_set(err, -ECANCELED, "told to end") : 0;
}

static void test_a_walk_can_be_ended(void **state)
{
    struct store_fixture *fixture = *state;
    uint64_t capacity = 2000 * (uint64_t)CHUNK, missing = 0; // a root and 8 leaves
    struct digest root = build(fixture, capacity, all, 0, NULL);
    struct catalog_conn *conn;
    struct map_check *check;
    int left = 100;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(map_check_new(fixture->store, &check, NULL), 0);
    map_check_tick(check, tick, &left);
    assert_int_equal(
        map_check_snapshot(check, conn, &root, capacity, CHUNK, count_gap, &missing, NULL), 0);
    assert_int_equal(100 - left, 1 + 8);
    assert_true(missing == capacity); // no chunk was ever stored
    for (int nodes = 1; nodes <= 9; nodes++) {
        struct error err = ERROR_INIT;

        left = nodes;
        assert_int_equal(
            map_check_snapshot(check, conn, &root, capacity, CHUNK, count_gap, &missing, &err),
            -ECANCELED);
        assert_string_equal(error_message(&err), "told to end");
        assert_int_equal(left, 0);
    }
    map_check_free(check);
    catalog_read_end(conn);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_fixture_make, store_fixture_clean)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_bytes),  cmocka_unit_test(test_hostile_nodes),
        cmocka_unit_test(test_root_level),  TEST(test_trees),
        TEST(test_equal_parts_are_shared),  TEST(test_builder_refuses),
        TEST(test_a_sparse_giant_is_quick), TEST(test_forged_maps),
        TEST(test_a_walk_can_be_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
