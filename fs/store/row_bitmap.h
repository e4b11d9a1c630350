// SPDX-License-Identifier: MIT
//
// A set of rows of the chunk index (or of packs), a bit each, in pages of 4 KiB that are made when
// their first bit is set: rows that were never met cost next to nothing. Not locked.
#ifndef FS_STORE_ROW_BITMAP_H
#define FS_STORE_ROW_BITMAP_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct row_bitmap { // all zero: empty
    uint8_t **pages;
    size_t room;       // of pages[]
    size_t page_count; // of pages that were made
    uint64_t count;    // of rows in the set
};

void row_bitmap_deinit(struct row_bitmap *map); // empty again

bool row_bitmap_has(const struct row_bitmap *map, int64_t row);

// 1 when the row is new, 0 when it was there; -ENOMEM, -ERROR_CORRUPT for a number that no table
// counts up to.
int row_bitmap_add(struct row_bitmap *map, int64_t row, struct error *err);

// The same for who does not ask: 0 or -errno.
int row_bitmap_set(struct row_bitmap *map, int64_t row, struct error *err);

void row_bitmap_remove(struct row_bitmap *map, int64_t row);

#endif
