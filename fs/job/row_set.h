// SPDX-License-Identifier: MIT
//
// A set of rows of the chunk index: a bit each, for the numbers are small and dense. One thread may
// change it; many may look while none does.
#ifndef FS_JOB_ROW_SET_H
#define FS_JOB_ROW_SET_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct row_set { // zeroed = empty
    uint8_t *bits;
    size_t size; // bytes
    uint64_t count;
};

static inline bool row_set_has(const struct row_set *set, int64_t row)
{
    size_t byte = (size_t)row / 8;

    return byte < set->size && (set->bits[byte] & (1u << row % 8));
}

// 1 when it is new, 0 when it was there, -ENOMEM.
static inline int row_set_add(struct row_set *set, int64_t row, struct error *err)
{
    size_t byte = (size_t)row / 8;

    if (row < 0)
        return error_set(err, -ERROR_CORRUPT, "a record has the row %lld", (long long)row);
    if (byte >= set->size) {
        size_t size = (byte + 1) * 2;
        uint8_t *grown = realloc(set->bits, size);

        if (!grown)
            return error_set(err, -ENOMEM, "out of memory for a set of rows");
        memset(grown + set->size, 0, size - set->size);
        set->bits = grown;
        set->size = size;
    }
    if (set->bits[byte] & (1u << row % 8))
        return 0;
    set->bits[byte] |= (uint8_t)(1u << row % 8);
    set->count++;
    return 1;
}

static inline void row_set_deinit(struct row_set *set)
{
    free(set->bits);
    *set = (struct row_set){0};
}

#endif
