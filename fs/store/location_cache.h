// SPDX-License-Identifier: MIT
//
// Where records were found last, by id: so that reading a chunk again asks no database. Bounded in
// bytes, taken from memory only as it fills.
//
// What it says is a hint. Garbage collection moves records, cancelled jobs take theirs away, and
// nobody tells this cache: whoever cannot read a record at such a place has to look it up afresh
// before he calls anything damaged, and says nothing of the first try.
//
// Threads: any; a lock for each group of places, held for a copy.
#ifndef FS_STORE_LOCATION_CACHE_H
#define FS_STORE_LOCATION_CACHE_H

#include "base/cleanup.h"
#include "catalog/pack_index.h"

#include <stddef.h>

struct location_cache;

int location_cache_new(uint64_t bytes, struct location_cache **ret_cache, struct error *err);
struct location_cache *location_cache_free(struct location_cache *cache);

// How many places it has room for.
uint64_t location_cache_capacity(const struct location_cache *cache);

// Whether the place of a record with that kind and id is remembered.
bool location_cache_has(struct location_cache *cache, uint8_t kind, const struct digest *id);

// True and *ret_location when it is. The numbers of row and pack are not remembered and 0, nor is a
// mark of damage: a hint is good for reading, and for telling nobody.
bool location_cache_find(struct location_cache *cache, uint8_t kind, const struct digest *id,
                         struct chunk_location *ret_location);

// Remembers one, in the place of what was remembered of that id.
void location_cache_put(struct location_cache *cache, const struct chunk_location *location);

DEFINE_CLEANUP(struct location_cache *, location_cache_free)

#endif
