// SPDX-License-Identifier: MIT
//
// Which leaves of a disk's map are worth having all their places looked up: a small table of leaves
// in which readers had to ask the catalog for a chunk. Knows neither catalog nor threads: a miss is
// told to it, and it answers whether the whole leaf should follow.
//
// Small reads at random come back to a leaf until they have been everywhere in it. Looking up all
// of its places costs as much as the reader's own look-ups would, but one view of the catalog
// instead of 256, and he need not wait for it. A few reads are no reason: the rest would be for
// nothing. What is spent on that is bounded by a credit: at first what the cache of places holds,
// half of it, so that a disk does not push out what was looked up for it; later a quarter of what
// readers had to look up themselves, so that one who reads more of a disk than can be remembered
// costs little more than before.
#ifndef FS_STORE_LEAF_MISSES_H
#define FS_STORE_LEAF_MISSES_H

#include <stdbool.h>
#include <stdint.h>

#define LEAF_MISSES_SLOTS 1024 // leaves that are watched; a leaf has one slot, shared with others
#define LEAF_MISSES_FIRST 16   // of a leaf, until its places are looked up
#define LEAF_MISSES_AGAIN 64   // after that: they were pushed out, or could not be looked up

struct leaf_miss {
    uint64_t leaf;
    uint16_t count;    // misses since it was watched, or since its places were looked up
    bool used, looked; // looked up as a whole
};

struct leaf_misses {
    uint64_t credit, credit_max; // in misses
    struct leaf_miss slots[LEAF_MISSES_SLOTS];
};

// `places` is how many the cache of places has room for.
void leaf_misses_init(struct leaf_misses *misses, uint64_t places);

// Notes that a reader had to ask the catalog for a chunk in leaf number `leaf`. True: the places of
// all its chunks are to be looked up now, and are paid for.
bool leaf_misses_note(struct leaf_misses *misses, uint64_t leaf);

#endif
