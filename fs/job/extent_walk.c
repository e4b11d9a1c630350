// SPDX-License-Identifier: MIT
//
// Extents in whole chunks. A run is given out when the next extent is known not to continue it.
#include "fs/job/extent_walk.h"

#define GAP_READ_THROUGH (128u * 1024)

static int ask(struct extent_walk *walk, struct error *err)
{
    uint64_t start, end;

    if (walk->ahead_end > walk->ahead_start)
        return 1;
    if (walk->offset >= walk->capacity)
        return 0;
    int r = walk->next_data(walk->disk, walk->offset, &start, &end, err);
    if (r <= 0) {
        walk->offset = walk->capacity;
        return r;
    }
    if (start >= walk->capacity) { // a disk longer than what is walked
        walk->offset = walk->capacity;
        return 0;
    }
    if (end > walk->capacity)
        end = walk->capacity;
    if (start < walk->offset || end <= start)
        return error_set(err, -EIO, "the file system gave an extent that goes backwards");
    walk->ahead_start = start;
    walk->ahead_end = end;
    walk->offset = end;
    return 1;
}

static uint64_t chunk_after(const struct extent_walk *walk, uint64_t offset)
{
    return offset / walk->chunk_size + (offset % walk->chunk_size != 0);
}

int extent_walk_next(struct extent_walk *walk, uint64_t *ret_first, uint64_t *ret_end,
                     struct error *err)
{
    int r = ask(walk, err);
    if (r <= 0)
        return r;

    uint64_t first = walk->ahead_start / walk->chunk_size;
    uint64_t end = walk->ahead_end;
    walk->ahead_start = walk->ahead_end;
    while ((r = ask(walk, err)) > 0) {
        uint64_t reach = chunk_after(walk, end) * walk->chunk_size + GAP_READ_THROUGH;
        if (walk->ahead_start > reach)
            break;
        end = walk->ahead_end;
        walk->ahead_start = walk->ahead_end;
    }
    if (r < 0)
        return r;
    *ret_first = first;
    *ret_end = chunk_after(walk, end);
    return 1;
}
