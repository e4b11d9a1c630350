// SPDX-License-Identifier: MIT
//
// A snapshot as a qcow2 image, against a reader of the format that knows nothing of how it is made:
// it follows the tables from the header on, notes every host cluster that something points to, and
// compares that with the refcounts, with what SEEK_DATA and SEEK_HOLE tell, and the bytes with the
// disk. Where data lies in a map, piece by piece, against a walk over all chunks. Damaged maps.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "fs/store/qcow2.h"

#include "tests/unit/store_fixture.h"

#include <fcntl.h>

#define CLUSTER 65536u
#define COPIED (UINT64_C(1) << 63)

struct disk {
    uint64_t capacity;
    uint32_t chunk;
    const uint64_t *data; // numbers of the chunks that are no holes, ascending
    size_t count;
    struct digest root;
    struct image *image;
    struct qcow2_layout layout;
    uint64_t *used; // host clusters that something points to, ascending once all are known
    size_t used_count;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

// The content of a chunk, zeros past the disk's end.
static void fill_chunk(const struct disk *disk, uint64_t number, uint8_t *out)
{
    uint64_t left = disk->capacity - number * disk->chunk;

    memset(out, 0, disk->chunk);
    memset(out, (int)(number % 251 + 1), left < disk->chunk ? left : disk->chunk);
    if (left >= 8)
        bytes_put_le64(out, number + 1);
}

static void make_disk(struct store_fixture *fixture, struct disk *disk)
{
    uint8_t *chunk = malloc(disk->chunk);
    struct store_writer *writer;
    struct map_builder *builder;
    struct digest id;

    assert_int_equal(store_writer_open(fixture->store, fixture->job_id, &writer, NULL), 0);
    assert_int_equal(map_builder_new(writer, disk->capacity, disk->chunk, &builder, NULL), 0);
    for (size_t i = 0; i < disk->count; i++) {
        fill_chunk(disk, disk->data[i], chunk);
        assert_int_equal(store_writer_put(writer, RECORD_CHUNK, chunk, disk->chunk, &id, NULL), 0);
        assert_int_equal(map_builder_add(builder, disk->data[i], &id, NULL), 0);
    }
    assert_int_equal(map_builder_finish(builder, &disk->root, NULL), 0);
    map_builder_free(builder);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(
        image_open(fixture->store, &disk->root, disk->capacity, disk->chunk, &disk->image, NULL),
        0);
    assert_int_equal(qcow2_layout_init(disk->capacity, &disk->layout, NULL), 0);
    free(chunk);
}

static void drop_disk(struct disk *disk)
{
    image_close(disk->image);
    free(disk->used);
}

// Whether a chunk with data overlaps [from, to) of the disk.
static bool has_data(const struct disk *disk, uint64_t from, uint64_t to)
{
    size_t low = 0, high = disk->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if ((disk->data[middle] + 1) * disk->chunk <= from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < disk->count && disk->data[low] * disk->chunk < to;
}

// --- a reader of the format

static void read_file(const struct disk *disk, uint64_t offset, void *out, size_t len)
{
    assert_int_equal(qcow2_read(&disk->layout, disk->image, out, len, offset, NULL), len);
}

static void use(struct disk *disk, uint64_t cluster)
{
    if (disk->used_count % 1024 == 0)
        disk->used = reallocarray(disk->used, disk->used_count + 1024, sizeof(*disk->used));
    assert_non_null(disk->used);
    disk->used[disk->used_count++] = cluster;
}

static void use_entry(struct disk *disk, uint64_t entry, uint64_t flags)
{
    uint64_t offset = entry & ~flags;

    assert_int_equal(entry & flags, flags);
    assert_int_equal(offset % CLUSTER, 0);
    assert_true(offset >> 56 == 0 && offset + CLUSTER <= disk->layout.file_size);
    use(disk, offset / CLUSTER);
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

// The cluster of the disk that an L2 entry is about.
static void check_cluster(struct disk *disk, uint64_t number, uint64_t entry)
{
    uint64_t from = number * CLUSTER;
    uint8_t cluster[CLUSTER], expected[CLUSTER] = {0};

    if (from >= disk->capacity || !has_data(disk, from, from + CLUSTER)) {
        assert_int_equal(entry, 0);
        return;
    }
    use_entry(disk, entry, COPIED);
    read_file(disk, entry & ~COPIED, cluster, CLUSTER);
    assert_true(image_read(disk->image, expected, CLUSTER, from, NULL) > 0);
    assert_memory_equal(cluster, expected, CLUSTER);
}

static void walk_l2(struct disk *disk, uint64_t l1_index, uint64_t offset)
{
    uint8_t *table = malloc(CLUSTER);

    read_file(disk, offset, table, CLUSTER);
    for (size_t i = 0; i < CLUSTER / 8; i++)
        check_cluster(disk, l1_index * (CLUSTER / 8) + i, bytes_get_be64(table + 8 * i));
    free(table);
}

static void walk_l1(struct disk *disk, uint64_t offset, uint32_t size)
{
    const uint64_t span = CLUSTER / 8 * (uint64_t)CLUSTER;
    size_t len = ((uint64_t)size * 8 + CLUSTER - 1) / CLUSTER * CLUSTER;
    uint8_t *table = malloc(len);

    assert_true(size * span >= disk->capacity);
    read_file(disk, offset, table, len);
    for (size_t i = 0; i < len / CLUSTER; i++)
        use(disk, offset / CLUSTER + i);
    for (uint64_t i = 0; i < len / 8; i++) {
        uint64_t entry = bytes_get_be64(table + 8 * i);

        assert_int_equal(entry != 0, has_data(disk, i * span, (i + 1) * span));
        if (entry == 0)
            continue;
        use_entry(disk, entry, COPIED);
        walk_l2(disk, i, entry & ~COPIED);
    }
    free(table);
}

// Blocks are noted first; then everything that has a refcount is known.
static void walk_refcounts(struct disk *disk, uint64_t offset, uint32_t clusters)
{
    const uint64_t each = CLUSTER / 2;
    uint8_t *table = malloc((size_t)clusters * CLUSTER), *block = malloc(CLUSTER);
    size_t next = 0;

    read_file(disk, offset, table, (size_t)clusters * CLUSTER);
    assert_true((uint64_t)clusters * (CLUSTER / 8) * each >= disk->layout.file_size / CLUSTER);
    for (uint32_t i = 0; i < clusters; i++)
        use(disk, offset / CLUSTER + i);
    for (size_t i = 0; i < (size_t)clusters * (CLUSTER / 8); i++) {
        if (bytes_get_be64(table + 8 * i) != 0)
            use_entry(disk, bytes_get_be64(table + 8 * i), 0);
    }
    qsort(disk->used, disk->used_count, sizeof(*disk->used), compare_numbers);
    for (size_t i = 0; i < (size_t)clusters * (CLUSTER / 8); i++) {
        uint64_t at = bytes_get_be64(table + 8 * i), first = i * each;

        if (at == 0) {
            assert_true(next == disk->used_count || disk->used[next] >= first + each);
            continue;
        }
        read_file(disk, at, block, CLUSTER);
        for (uint64_t k = 0; k < each; k++) {
            bool used = next < disk->used_count && disk->used[next] == first + k;

            assert_int_equal(bytes_get_be16(block + 2 * k), used);
            next += used; // nothing is used twice, or the next would not be met
        }
    }
    assert_int_equal(next, disk->used_count);
    free(table);
    free(block);
}

// SEEK_DATA and SEEK_HOLE give exactly the clusters in use.
static void walk_seeks(const struct disk *disk)
{
    uint64_t at = 0, end = disk->layout.file_size;
    size_t next = 0;

    while (at < end) {
        int r = qcow2_seek_data(&disk->layout, disk->image, at, &at, NULL);

        if (r == -ENXIO)
            break;
        assert_int_equal(r, 0);
        assert_int_equal(at, disk->used[next] * CLUSTER);
        while (next + 1 < disk->used_count && disk->used[next + 1] == disk->used[next] + 1)
            next++;
        assert_int_equal(qcow2_seek_hole(&disk->layout, disk->image, at, &at, NULL), 0);
        assert_int_equal(at, (disk->used[next++] + 1) * CLUSTER);
    }
    assert_int_equal(next, disk->used_count);
    assert_int_equal(qcow2_seek_data(&disk->layout, disk->image, end, &at, NULL), -ENXIO);
    assert_int_equal(qcow2_seek_hole(&disk->layout, disk->image, end, &at, NULL), -ENXIO);
    assert_int_equal(qcow2_seek_hole(&disk->layout, disk->image, UINT64_MAX, &at, NULL), -ENXIO);
}

static void check_disk(struct store_fixture *fixture, struct disk *disk)
{
    uint8_t header[112];

    make_disk(fixture, disk);
    read_file(disk, 0, header, sizeof(header));
    assert_memory_equal(header, "QFI\xfb\0\0\0\3", 8);
    assert_int_equal(bytes_get_be32(header + 20), 16);
    assert_int_equal(bytes_get_be64(header + 24), (disk->capacity + 511) / 512 * 512);
    assert_int_equal(bytes_get_be32(header + 96), 4);
    assert_int_equal(bytes_get_be32(header + 100), 104);
    use(disk, 0);
    walk_l1(disk, bytes_get_be64(header + 40), bytes_get_be32(header + 36));
    walk_refcounts(disk, bytes_get_be64(header + 48), bytes_get_be32(header + 56));
    walk_seeks(disk);
}

// --- disks

static const uint32_t chunk_sizes[] = {16384, 65536, 262144, 4194304};

static void test_small_disks(void **state)
{
    static const uint64_t sizes[] = {1,       511,          512,           513,
                                     16384,   CLUSTER - 1,  CLUSTER,       CLUSTER + 1,
                                     1234567, 20 * CLUSTER, (32 << 20) + 7};

    for (size_t c = 0; c < 4; c++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            uint64_t chunks = (sizes[s] + chunk_sizes[c] - 1) / chunk_sizes[c];
            uint64_t seed = sizes[s] * 7 + 1, *data = calloc(chunks + 1, sizeof(*data));
            struct disk disk = {.capacity = sizes[s], .chunk = chunk_sizes[c], .data = data};

            for (uint64_t i = 0; i < chunks; i++) {
                if (i + 1 == chunks || next_random(&seed) % 3 == 0)
                    data[disk.count++] = i;
            }
            check_disk(*state, &disk);
            drop_disk(&disk);
            free(data);
        }
    }
}

static void test_empty_disks(void **state)
{
    static const uint64_t sizes[] = {0, 1, 1 << 20, UINT64_C(1) << 32, UINT64_C(1) << 42};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct disk disk = {.capacity = sizes[i], .chunk = 65536};

        check_disk(*state, &disk);
        assert_int_equal(disk.used_count, 4); // header, two tables, one block
        drop_disk(&disk);
    }
}

// Islands of chunks around the borders of everything: clusters, leaves, L2 tables, refcount blocks.
static void check_huge(struct store_fixture *fixture, uint64_t capacity, uint32_t chunk_size)
{
    static const uint64_t borders[] = {UINT64_C(1) << 24, UINT64_C(1) << 29, UINT64_C(1) << 31,
                                       UINT64_C(1) << 35, UINT64_C(1) << 40, UINT64_C(1) << 44};
    struct disk disk = {.capacity = capacity, .chunk = chunk_size};
    uint64_t data[24], last = UINT64_MAX;

    for (size_t i = 0; i < 6; i++) {
        for (uint64_t k = 0; k < 3; k++) {
            uint64_t chunk = borders[i] / chunk_size + k - 1;

            if (k == 1 && i % 2 == 0)
                continue;
            if (chunk != last && (chunk + 1) * chunk_size <= capacity)
                data[disk.count++] = last = chunk;
        }
    }
    data[disk.count++] = (capacity - 1) / chunk_size;
    disk.data = data;
    check_disk(fixture, &disk);
    drop_disk(&disk);
}

static void test_huge_disks(void **state)
{
    for (size_t c = 0; c < 4; c++) {
        check_huge(*state, (UINT64_C(4) << 40) + 512, chunk_sizes[c]);
        check_huge(*state, (UINT64_C(50) << 40) + 12345, chunk_sizes[c]);
    }
}

static void test_reads_and_seeks_anywhere(void **state)
{
    uint64_t data[] = {0, 1, 2, 7, 30, 31, 40}, seed = 5, found;
    struct disk disk = {.capacity = 41 * 16384 - 700, .chunk = 16384, .data = data, .count = 7};
    uint8_t *whole, *part = malloc(300000);

    make_disk(*state, &disk);
    uint64_t size = disk.layout.file_size;
    whole = malloc(size);
    read_file(&disk, 0, whole, size);
    for (int i = 0; i < 2000; i++) {
        uint64_t at = next_random(&seed) % (size + 10);
        size_t len = next_random(&seed) % (i % 10 ? 9000 : 300000);
        size_t expected = at >= size ? 0 : len < size - at ? len : size - at;

        assert_int_equal(qcow2_read(&disk.layout, disk.image, part, len, at, NULL), expected);
        assert_memory_equal(part, whole + (at < size ? at : 0), expected);
    }
    assert_int_equal(qcow2_read(&disk.layout, disk.image, part, 10, UINT64_MAX, NULL), 0);
    // Within data a seek stays, whatever the offset in the cluster.
    assert_int_equal(qcow2_seek_data(&disk.layout, disk.image, 77, &found, NULL), 0);
    assert_int_equal(found, 77);
    uint64_t hole = (disk.layout.areas[QCOW2_DATA].begin + 3) * CLUSTER;
    assert_int_equal(qcow2_seek_hole(&disk.layout, disk.image, hole + 5, &found, NULL), 0);
    assert_int_equal(found, hole + 5);
    drop_disk(&disk);
    free(whole);
    free(part);
}

// --- layouts, of sizes that no test can fill

static void test_layouts(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift <= 55; shift++) {
        for (int odd = -1; odd <= 1; odd++) {
            uint64_t capacity = (UINT64_C(1) << shift) + (uint64_t)odd;
            struct qcow2_layout layout;
            const struct qcow2_area *areas = layout.areas;

            assert_int_equal(qcow2_layout_init(capacity, &layout, NULL), 0);
            uint64_t cluster = UINT64_C(1) << layout.cluster_bits, end = 0;
            assert_true(layout.cluster_bits == 16 || capacity > UINT64_C(1) << 50);
            for (int i = 0; i < QCOW2_AREAS; i++) {
                assert_int_equal(areas[i].begin, end);
                assert_true(areas[i].always <= areas[i].count);
                end += areas[i].count;
            }
            assert_int_equal(layout.file_size, end * cluster);
            assert_true(layout.virtual_size >= capacity && layout.virtual_size < capacity + 512);
            assert_true(areas[QCOW2_DATA].count * cluster >= capacity);
            assert_true(areas[QCOW2_BLOCKS].count * (cluster / 2) >= end);
            assert_true((areas[QCOW2_BLOCKS].count - 1) * (cluster / 2) < end);
            assert_true((layout.l1_table - 1) * (cluster / 8) >= areas[QCOW2_BLOCKS].count);
            assert_true(layout.l1_size * (cluster / 8) >= areas[QCOW2_DATA].count);
            // What qemu takes.
            assert_true(layout.l1_size * 8 <= 32 << 20);
            assert_true((layout.l1_table - 1) * cluster <= 8 << 20);
            assert_true(layout.file_size <= UINT64_C(1) << 56);
            assert_true(qcow2_allocated(&layout, 0) <= 33 << 20 || layout.cluster_bits > 16);
            assert_true(qcow2_allocated(&layout, capacity) <= layout.file_size);
        }
    }
}

static void test_too_large(void **state)
{
    static const uint64_t sizes[] = {UINT64_C(1) << 56, INT64_MAX, UINT64_MAX};
    struct error err = ERROR_INIT;
    struct qcow2_layout layout;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(qcow2_layout_init(sizes[i], &layout, &err), -EFBIG);
    assert_string_equal(error_message(&err), "the disk is too large for a qcow2 image");
}

// --- where data is, piece by piece

static void check_pieces(const struct disk *disk, uint64_t offset, uint64_t piece, size_t count)
{
    bool *found = malloc(count + 1);

    found[count] = false; // not theirs
    assert_int_equal(image_find_data(disk->image, offset, piece, count, found, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        uint64_t from = offset + i * piece;
        uint64_t to = from + piece < disk->capacity ? from + piece : disk->capacity;

        assert_int_equal(found[i], from < disk->capacity && has_data(disk, from, to));
    }
    assert_false(found[count]);
    free(found);
}

static void test_find_data(void **state)
{
    const uint64_t chunks = UINT64_C(1) << 24;
    uint64_t data[400], seed = 3;
    struct disk disk = {.capacity = chunks * 16384 - 100, .chunk = 16384, .data = data};

    for (uint64_t chunk = 0; disk.count < 399 && chunk < chunks - 1;) {
        data[disk.count++] = chunk;
        chunk += next_random(&seed) % 3 ? 1 : next_random(&seed) % (chunks / 100);
    }
    data[disk.count++] = chunks - 1;
    make_disk(*state, &disk);
    for (int i = 0; i < 500; i++) {
        uint64_t piece = (UINT64_C(512) << next_random(&seed) % 26) + next_random(&seed) % 2;
        uint64_t near = data[next_random(&seed) % disk.count] * 16384;
        uint64_t back = next_random(&seed) % (20 * piece);

        check_pieces(&disk, near > back ? near - back : 0, piece, next_random(&seed) % 300);
    }
    check_pieces(&disk, 0, UINT64_C(1) << 30, 300);
    check_pieces(&disk, 0, disk.capacity / 3 - 10, 3); // data follows that was not asked for
    check_pieces(&disk, disk.capacity - 1, 4096, 3);
    check_pieces(&disk, disk.capacity, 4096, 3);
    check_pieces(&disk, UINT64_MAX / 2, 4096, 3);
    drop_disk(&disk);
}

// --- damage

// Changes a byte of the stored node with that id.
static void spoil(struct store_fixture *fixture, const struct digest *id)
{
    struct chunk_location at;
    struct catalog_conn *conn;
    char name[100];
    uint8_t byte;
    int fd;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(chunk_lookup(conn, id, -1, &at, NULL), 1);
    catalog_read_end(conn);
    snprintf(name, sizeof(name), "packs/%.2s/%s.pack", at.pack_uuid, at.pack_uuid);
    fd = open(scratch_path(&fixture->scratch, name), O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at.record.offset + 64 + 5), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at.record.offset + 64 + 5), 1);
    close(fd);
}

static struct digest child_of(struct store_fixture *fixture, const struct digest *id,
                              unsigned place)
{
    struct map_node node;
    void *data;
    size_t len;

    assert_int_equal(store_get(fixture->store, NULL, RECORD_MAP, id, true, &data, &len, NULL), 0);
    assert_int_equal(map_node_decode(data, len, &node, NULL), 0);
    free(data);
    return node.ids[place];
}

// A leaf covers 16 MiB, the node above it 4 GiB. `leaf` or all of that is what cannot be told.
static void check_damaged(struct store_fixture *fixture, bool leaf)
{
    const uint64_t leaf_bytes = UINT64_C(1) << 24;
    uint64_t data[] = {0, 300, 600, 70000}; // leaves 0, 1 and 2, and another node
    struct disk disk = {.capacity = UINT64_C(1) << 33, .chunk = 65536, .data = data, .count = 4};
    uint64_t from = leaf ? leaf_bytes : 0, to = leaf ? 2 * leaf_bytes : UINT64_C(1) << 32;
    uint8_t entries[512 * 8];
    struct digest id;
    uint8_t byte;

    make_disk(fixture, &disk);
    id = child_of(fixture, &disk.root, 0);
    if (leaf)
        id = child_of(fixture, &id, 1);
    spoil(fixture, &id);
    uint64_t tables = disk.layout.areas[QCOW2_TABLES].begin * CLUSTER;
    uint64_t begin = disk.layout.areas[QCOW2_DATA].begin * CLUSTER;
    for (uint64_t first = 0; first < disk.capacity / CLUSTER; first += 512) {
        read_file(&disk, tables + first * 8, entries, sizeof(entries));
        for (uint64_t i = 0; i < 512; i++) {
            uint64_t at = (first + i) * CLUSTER;
            bool unknown = at >= from && at < to;

            assert_int_equal(bytes_get_be64(entries + 8 * i) != 0,
                             unknown || has_data(&disk, at, at + CLUSTER));
            if (unknown && i % 64 == 0)
                assert_int_equal(qcow2_read(&disk.layout, disk.image, &byte, 1, begin + at, NULL),
                                 -ERROR_CORRUPT);
        }
    }
    read_file(&disk, begin + 70000 * UINT64_C(65536), &byte, 1);
    assert_int_equal(byte, (70001 & 255));
    drop_disk(&disk);
}

static void test_a_damaged_leaf(void **state)
{
    check_damaged(*state, true);
}

static void test_a_damaged_node(void **state)
{
    check_damaged(*state, false);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_fixture_make, store_fixture_clean)
    const struct CMUnitTest tests[] = {
        TEST(test_small_disks),
        TEST(test_empty_disks),
        TEST(test_huge_disks),
        TEST(test_reads_and_seeks_anywhere),
        TEST(test_find_data),
        TEST(test_a_damaged_leaf),
        TEST(test_a_damaged_node),
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
