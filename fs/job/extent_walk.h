// SPDX-License-Identifier: MIT
//
// The extents of a source in whole chunks: rounded outwards, in order, never overlapping, with
// small gaps read through (asking the file system costs more than reading a few zero pages).
#ifndef FS_JOB_EXTENT_WALK_H
#define FS_JOB_EXTENT_WALK_H

#include "base/error.h"

#include <stdint.h>

struct extent_walk {
    // Next extent that may hold data at or after `offset` (source_next_data, target_next_data).
    int (*next_data)(void *disk, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end,
                     struct error *err);
    void *disk;
    uint64_t capacity; // bytes
    uint32_t chunk_size;
    // private
    uint64_t offset;                 // where to ask next, bytes
    uint64_t ahead_start, ahead_end; // an extent asked for and not given yet, bytes; equal = none
};

// The next run of chunks [first, end). Returns 1, 0 at the end, -errno.
int extent_walk_next(struct extent_walk *walk, uint64_t *ret_first, uint64_t *ret_end,
                     struct error *err);

#endif
