// SPDX-License-Identifier: MIT
//
// Two levels: a table of pages that grows by doubling, and pages of 32768 bits.
#include "fs/store/row_bitmap.h"

#include <string.h>

#define PAGE_BYTES 4096
#define PAGE_BITS (PAGE_BYTES * 8)
#define ROW_MAX (INT64_C(1) << 40) // a row that a damaged catalog made up must not eat the memory

void row_bitmap_deinit(struct row_bitmap *map)
{
    for (size_t i = 0; i < map->room; i++)
        free(map->pages[i]);
    free(map->pages);
    *map = (struct row_bitmap){0};
}

bool row_bitmap_has(const struct row_bitmap *map, int64_t row)
{
    size_t page = (size_t)row / PAGE_BITS, bit = (size_t)row % PAGE_BITS;

    return row >= 0 && page < map->room && map->pages[page] &&
           (map->pages[page][bit / 8] & (1u << bit % 8));
}

static int reserve(struct row_bitmap *map, size_t page)
{
    size_t room = map->room ? map->room : 16;
    uint8_t **pages;

    while (room <= page)
        room *= 2;
    if (room != map->room) {
        pages = reallocarray(map->pages, room, sizeof(*pages));
        if (!pages)
            return -ENOMEM;
        memset(pages + map->room, 0, (room - map->room) * sizeof(*pages));
        map->pages = pages;
        map->room = room;
    }
    if (map->pages[page])
        return 0;
    map->pages[page] = calloc(1, PAGE_BYTES);
    map->page_count += map->pages[page] != NULL;
    return map->pages[page] ? 0 : -ENOMEM;
}

int row_bitmap_add(struct row_bitmap *map, int64_t row, struct error *err)
{
    size_t page = (size_t)row / PAGE_BITS, bit = (size_t)row % PAGE_BITS;

    if (row < 0 || row >= ROW_MAX)
        return error_set(err, -ERROR_CORRUPT, "the catalog counts a row %lld", (long long)row);
    if (reserve(map, page) < 0)
        return error_set(err, -ENOMEM, "out of memory for a set of records");
    if (map->pages[page][bit / 8] & (1u << bit % 8))
        return 0;
    map->pages[page][bit / 8] |= (uint8_t)(1u << bit % 8);
    map->count++;
    return 1;
}

int row_bitmap_set(struct row_bitmap *map, int64_t row, struct error *err)
{
    int r = row_bitmap_add(map, row, err);

    return r < 0 ? r : 0;
}

void row_bitmap_remove(struct row_bitmap *map, int64_t row)
{
    size_t page = (size_t)row / PAGE_BITS, bit = (size_t)row % PAGE_BITS;

    if (!row_bitmap_has(map, row))
        return;
    map->pages[page][bit / 8] &= (uint8_t) ~(1u << bit % 8);
    map->count--;
}
