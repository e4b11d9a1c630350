// SPDX-License-Identifier: MIT
//
// The qcow2 face of a snapshot; see qcow2.h.
//
// All tables are arrays over the whole file: entry n of the refcount blocks, taken together, is
// host cluster n, entry n of the L2 tables is cluster n of the disk. So a read is answered by pages
// of entries, and a page asks the image once which of its entries have data.
//
//   offset  size  header field, big-endian like all numbers of the format
//        0     4  "QFI\xfb"
//        4     4  version, 3
//        8    12  backing file: none
//       20     4  log2 of the cluster size
//       24     8  virtual size, bytes
//       32     4  encryption: none
//       36     4  entries of the L1 table
//       40     8  offset of the L1 table
//       48     8  offset of the refcount table
//       56     4  clusters of the refcount table
//       60    12  snapshots: none
//       72    24  incompatible, compatible and autoclear features: none
//       96     4  log2 of a refcount's bits, 4
//      100     4  header length, 104
//      104     8  end of the header extensions
#include "fs/store/qcow2.h"

#include "base/bytes.h"

#include <limits.h>

#define HEADER_SIZE 104
#define SECTOR 512
#define CLUSTER_BITS_MIN 16
#define CLUSTER_BITS_MAX 21
#define COPIED (UINT64_C(1) << 63) // the refcount of what an entry points to is 1

// What qemu accepts of a file's tables, and what an entry has bits for.
#define L1_BYTES_MAX (32u << 20)
#define REFCOUNT_TABLE_BYTES_MAX (8u << 20)
#define FILE_BITS_MAX 56

#define PAGE_BYTES 4096
#define PAGE_ENTRIES (PAGE_BYTES / 2) // at most: refcounts

static uint64_t divide_up(uint64_t value, uint64_t by)
{
    return value / by + (value % by != 0);
}

// --- layout

// The refcount table and blocks count themselves: they grow until they fit.
static void lay_out(uint64_t capacity, unsigned bits, struct qcow2_layout *layout)
{
    const uint64_t cluster = UINT64_C(1) << bits, entries = cluster / 8, refcounts = cluster / 2;
    uint64_t data = divide_up(capacity, cluster), tables = divide_up(data, entries);
    uint64_t l1, table = 1, blocks = 1, fixed, before_data, total;
    bool fits;

    if (tables == 0)
        tables = 1;
    l1 = divide_up(tables, entries);
    do {
        fixed = 1 + table + l1;
        before_data = fixed + blocks + tables;
        total = before_data + data;
        fits = table >= divide_up(blocks, entries) && blocks >= divide_up(total, refcounts);
        if (!fits) {
            blocks = divide_up(total, refcounts);
            table = divide_up(blocks, entries);
        }
    } while (!fits);
    *layout = (struct qcow2_layout){
        .cluster_bits = bits,
        .virtual_size = divide_up(capacity, SECTOR) * SECTOR,
        .file_size = total << bits,
        .refcount_table = 1,
        .l1_table = 1 + table,
        .l1_size = tables,
        .areas = {
            [QCOW2_FIXED] = {.begin = 0, .count = fixed, .always = fixed},
            [QCOW2_BLOCKS] = {.begin = fixed,
                              .count = blocks,
                              .always = divide_up(before_data, refcounts),
                              .span = refcounts << bits,
                              .before = before_data << bits},
            [QCOW2_TABLES] = {.begin = fixed + blocks, .count = tables, .span = entries << bits},
            [QCOW2_DATA] = {.begin = before_data, .count = data, .span = cluster},
        }};
}

int qcow2_layout_init(uint64_t capacity, struct qcow2_layout *ret_layout, struct error *err)
{
    for (unsigned bits = CLUSTER_BITS_MIN; bits <= CLUSTER_BITS_MAX; bits++) {
        struct qcow2_layout layout;

        if (capacity > UINT64_C(1) << FILE_BITS_MAX)
            break;
        lay_out(capacity, bits, &layout);
        if (layout.l1_size * 8 <= L1_BYTES_MAX &&
            (layout.l1_table - layout.refcount_table) << bits <= REFCOUNT_TABLE_BYTES_MAX &&
            layout.file_size <= UINT64_C(1) << FILE_BITS_MAX) {
            *ret_layout = layout;
            return 0;
        }
    }
    return error_set(err, -EFBIG, "the disk is too large for a qcow2 image");
}

uint64_t qcow2_allocated(const struct qcow2_layout *layout, uint64_t data_bytes)
{
    const struct qcow2_area *areas = layout->areas;
    uint64_t clusters = areas[QCOW2_FIXED].count + areas[QCOW2_BLOCKS].always +
                        divide_up(data_bytes, areas[QCOW2_TABLES].span) +
                        divide_up(data_bytes, areas[QCOW2_DATA].span);

    return clusters << layout->cluster_bits;
}

// --- which clusters are allocated

// Of `count` clusters of an area, from number `first` of it on; those past its end are not.
static int find_allocated(const struct qcow2_area *area, struct image *image, uint64_t first,
                          size_t count, bool *ret_allocated, struct error *err)
{
    size_t known = 0, asked;
    int r = 0;

    memset(ret_allocated, 0, count * sizeof(*ret_allocated));
    while (known < count && first + known < area->always)
        ret_allocated[known++] = true;
    asked = count - known;
    first += known;
    if (first < area->count && asked > area->count - first)
        asked = area->count - first;
    if (asked > 0 && first < area->count)
        r = image_find_data(image, first * area->span - area->before, area->span, asked,
                            ret_allocated + known, err);
    return r;
}

// The first cluster of the area, from number `from` on, that is (not) allocated; its count when
// there is none.
static int find_first(const struct qcow2_area *area, struct image *image, uint64_t from,
                      bool allocated, uint64_t *ret_number, struct error *err)
{
    bool page[PAGE_ENTRIES];

    if (from < area->always)
        from = allocated ? from : area->always;
    while (from < area->count && (from >= area->always || !allocated)) {
        size_t count = PAGE_ENTRIES;
        int r;

        if (count > area->count - from)
            count = area->count - from;
        r = find_allocated(area, image, from, count, page, err);
        if (r < 0)
            return r;
        for (size_t i = 0; i < count; i++, from++) {
            if (page[i] == allocated) {
                *ret_number = from;
                return 0;
            }
        }
    }
    *ret_number = from;
    return 0;
}

// --- tables, a page at a time

static void fill_header(const struct qcow2_layout *layout, uint8_t *out, size_t len)
{
    uint8_t header[HEADER_SIZE + 8] = {'Q', 'F', 'I', 0xfb};
    unsigned bits = layout->cluster_bits;

    bytes_put_be32(header + 4, 3);
    bytes_put_be32(header + 20, bits);
    bytes_put_be64(header + 24, layout->virtual_size);
    bytes_put_be32(header + 36, (uint32_t)layout->l1_size);
    bytes_put_be64(header + 40, layout->l1_table << bits);
    bytes_put_be64(header + 48, layout->refcount_table << bits);
    bytes_put_be32(header + 56, (uint32_t)(layout->l1_table - layout->refcount_table));
    bytes_put_be32(header + 96, 4);
    bytes_put_be32(header + 100, HEADER_SIZE);
    memset(out, 0, len);
    memcpy(out, header, sizeof(header));
}

// Entries that point to the clusters of an area: a table of 64-bit offsets.
static int fill_offsets(const struct qcow2_layout *layout, enum qcow2_area_kind kind,
                        struct image *image, uint64_t first, uint64_t flags, uint8_t *out,
                        struct error *err)
{
    const struct qcow2_area *area = &layout->areas[kind];
    bool allocated[PAGE_BYTES / 8];
    int r = find_allocated(area, image, first, PAGE_BYTES / 8, allocated, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < PAGE_BYTES / 8; i++) {
        uint64_t entry = ((area->begin + first + i) << layout->cluster_bits) | flags;

        bytes_put_be64(out + 8 * i, allocated[i] ? entry : 0);
    }
    return 0;
}

static int fill_refcounts(const struct qcow2_layout *layout, struct image *image, uint64_t first,
                          uint8_t *out, struct error *err)
{
    bool allocated[PAGE_ENTRIES] = {false};

    for (int kind = 0; kind < QCOW2_AREAS; kind++) {
        const struct qcow2_area *area = &layout->areas[kind];
        uint64_t from = first > area->begin ? first : area->begin;
        uint64_t to = first + PAGE_ENTRIES;
        int r;

        if (to > area->begin + area->count)
            to = area->begin + area->count;
        if (from >= to)
            continue;
        r = find_allocated(area, image, from - area->begin, to - from, allocated + (from - first),
                           err);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < PAGE_ENTRIES; i++)
        bytes_put_be16(out + 2 * i, allocated[i]);
    return 0;
}

// The page of 4096 bytes at `offset`, which lies before the data clusters.
static int fill_page(const struct qcow2_layout *layout, struct image *image, uint64_t offset,
                     uint8_t *out, struct error *err)
{
    const struct qcow2_area *areas = layout->areas;
    unsigned bits = layout->cluster_bits;
    uint64_t cluster = offset >> bits;

    if (cluster >= areas[QCOW2_TABLES].begin) {
        offset -= areas[QCOW2_TABLES].begin << bits;
        return fill_offsets(layout, QCOW2_DATA, image, offset / 8, COPIED, out, err);
    }
    if (cluster >= areas[QCOW2_BLOCKS].begin) {
        offset -= areas[QCOW2_BLOCKS].begin << bits;
        return fill_refcounts(layout, image, offset / 2, out, err);
    }
    if (cluster >= layout->l1_table) {
        offset -= layout->l1_table << bits;
        return fill_offsets(layout, QCOW2_TABLES, image, offset / 8, COPIED, out, err);
    }
    if (cluster >= layout->refcount_table) {
        offset -= layout->refcount_table << bits;
        return fill_offsets(layout, QCOW2_BLOCKS, image, offset / 8, 0, out, err);
    }
    if (offset == 0)
        fill_header(layout, out, PAGE_BYTES);
    else
        memset(out, 0, PAGE_BYTES);
    return 0;
}

// --- reading

// Some bytes from `offset` on, at most `len`, up to the next page or the end of the clusters that
// are read at once. Returns the count.
static ssize_t read_some(const struct qcow2_layout *layout, struct image *image, uint8_t *out,
                         size_t len, uint64_t offset, struct error *err)
{
    uint64_t data = layout->areas[QCOW2_DATA].begin << layout->cluster_bits;
    uint8_t page[PAGE_BYTES];
    size_t skip = offset % PAGE_BYTES;
    ssize_t n;
    int r;

    if (offset >= data) {
        n = image_read(image, out, len, offset - data, err);
        if (n < 0)
            return n;
        memset(out + n, 0, len - (size_t)n); // the last cluster goes on after the disk's end
        return (ssize_t)len;
    }
    if (len > PAGE_BYTES - skip)
        len = PAGE_BYTES - skip;
    r = fill_page(layout, image, offset - skip, page, err);
    if (r < 0)
        return r;
    memcpy(out, page + skip, len);
    return (ssize_t)len;
}

ssize_t qcow2_read(const struct qcow2_layout *layout, struct image *image, void *buf, size_t len,
                   uint64_t offset, struct error *err)
{
    size_t done = 0;

    if (offset >= layout->file_size)
        return 0;
    if (len > layout->file_size - offset)
        len = layout->file_size - offset;
    if (len > SSIZE_MAX)
        len = SSIZE_MAX;
    while (done < len) {
        ssize_t n = read_some(layout, image, (uint8_t *)buf + done, len - done, offset + done, err);

        if (n < 0)
            return n;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

// --- seeking

// Skips what has no data a table at a time, so that a large hole costs little.
static int find_first_data(const struct qcow2_layout *layout, struct image *image, uint64_t from,
                           uint64_t *ret_number, struct error *err)
{
    const struct qcow2_area *tables = &layout->areas[QCOW2_TABLES];
    struct qcow2_area part = layout->areas[QCOW2_DATA];
    uint64_t whole = part.count, each = tables->span / part.span, table, found;
    int r;

    for (table = from / each; from < whole; table++) {
        r = find_first(tables, image, table, true, &table, err);
        if (r < 0)
            return r;
        if (table >= tables->count)
            break;
        if (from < table * each)
            from = table * each;
        part.count = whole < (table + 1) * each ? whole : (table + 1) * each;
        r = find_first(&part, image, from, true, &found, err);
        if (r < 0)
            return r;
        if (found < part.count) {
            *ret_number = found;
            return 0;
        }
        from = part.count;
    }
    *ret_number = whole;
    return 0;
}

static int seek(const struct qcow2_layout *layout, struct image *image, uint64_t offset,
                bool allocated, uint64_t *ret_offset, struct error *err)
{
    uint64_t cluster = offset >> layout->cluster_bits;

    for (int kind = 0; kind < QCOW2_AREAS; kind++) {
        const struct qcow2_area *area = &layout->areas[kind];
        uint64_t number;
        int r;

        if (cluster >= area->begin + area->count)
            continue;
        number = cluster - area->begin;
        if (kind == QCOW2_DATA && allocated)
            r = find_first_data(layout, image, number, &number, err);
        else
            r = find_first(area, image, number, allocated, &number, err);
        if (r < 0)
            return r;
        cluster = area->begin + number;
        if (number < area->count)
            break;
    }
    *ret_offset = cluster << layout->cluster_bits;
    if (*ret_offset < offset)
        *ret_offset = offset;
    return 0;
}

static int check_seek(const struct qcow2_layout *layout, uint64_t offset, struct error *err)
{
    if (offset >= layout->file_size)
        return error_set(err, -ENXIO, "offset %llu is past the end of the image",
                         (unsigned long long)offset);
    return 0;
}

int qcow2_seek_data(const struct qcow2_layout *layout, struct image *image, uint64_t offset,
                    uint64_t *ret_offset, struct error *err)
{
    uint64_t found;
    int r = check_seek(layout, offset, err);

    if (r == 0)
        r = seek(layout, image, offset, true, &found, err);
    if (r < 0)
        return r;
    if (found >= layout->file_size)
        return error_set(err, -ENXIO, "only holes follow offset %llu", (unsigned long long)offset);
    *ret_offset = found;
    return 0;
}

int qcow2_seek_hole(const struct qcow2_layout *layout, struct image *image, uint64_t offset,
                    uint64_t *ret_offset, struct error *err)
{
    int r = check_seek(layout, offset, err);

    return r < 0 ? r : seek(layout, image, offset, false, ret_offset, err);
}
