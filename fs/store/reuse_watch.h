// SPDX-License-Identifier: MIT
//
// Whether it pays to keep chunks of which only a part was asked for. Knows no cache: it is told of
// each request for a part, and says whether a chunk that had to be loaded for one should stay.
//
// A reader of small pieces all over a disk that is much larger than the cache finds next to nothing
// in it, and pays for what he pushes out: memory that no processor has at hand, and content that
// others come back to. So requests are watched, REUSE_LOOKS of them at a time. When less than one
// in REUSE_BELOW was for something read before, the watch becomes picky: a chunk is worth keeping
// only when it is asked for again soon, which a small table of those passed over tells. When one in
// REUSE_ABOVE is, everything is worth keeping again.
//
// Threads: none of its own; whoever owns it guards it.
#ifndef FS_STORE_REUSE_WATCH_H
#define FS_STORE_REUSE_WATCH_H

#include "base/digest.h"

#include <stdbool.h>
#include <stdint.h>

#define REUSE_LOOKS 64
#define REUSE_BELOW 8
#define REUSE_ABOVE 4
#define REUSE_PASSED 64 // chunks, by their ids, the newest in each slot

struct reuse_watch {
    bool picky;
    unsigned looks, known;         // requests so far, those of them for what was read before
    uint64_t passed[REUSE_PASSED]; // chunks that were loaded, by a part of their ids; 0 = none
};

// A part of a chunk was found in the cache.
void reuse_watch_found(struct reuse_watch *watch);

// A part of the chunk `id` was not: it has to be loaded. True: it is worth keeping, also when
// something has to go for it.
bool reuse_watch_missed(struct reuse_watch *watch, const struct digest *id);

#endif
