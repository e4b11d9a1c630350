// SPDX-License-Identifier: MIT
//
// The cache of decoded content: chunks and map nodes, by kind and id, bounded in bytes, least
// recently used first to go. Its content needs no invalidation: an id names its content for ever.
//
// When many threads ask for the same content at once, one of them loads it and the others wait for
// that. A load that fails is not kept, and each waiter gets the error as its own.
#ifndef FS_STORE_CHUNK_CACHE_H
#define FS_STORE_CHUNK_CACHE_H

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"
#include "fs/store/pack_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chunk_cache;

// What is wanted: `count` bytes from `from` of the content of `id`, which is `len` bytes.
struct chunk_request {
    enum record_kind kind;
    const struct digest *id;
    size_t len;
    size_t from, count;
    void *out;
};

// Puts all request->len bytes of the content into `content`. Called with no lock held.
typedef int (*chunk_cache_load_fn)(const struct chunk_request *request, void *content, void *arg,
                                   struct error *err);

// `bytes` bounds what the cache holds, prefetched content included; content in use at the moment
// comes on top.
int chunk_cache_new(uint64_t bytes, struct chunk_cache **ret_cache, struct error *err);
struct chunk_cache *chunk_cache_free(struct chunk_cache *cache);

// Copies out what is there already. Returns 1 done, 0 not there (also while another loads it). Does
// not wait. -ERROR_CORRUPT when the content has another length than the request says.
int chunk_cache_find(struct chunk_cache *cache, const struct chunk_request *request,
                     struct error *err);

// Copies out, after loading it when it is not there. May wait for another thread's load; the loader
// must not itself need anything that a waiting caller holds. A request for all of a chunk loads
// straight into `out` and leaves the cache as it was: who reads whole chunks reads each once, and
// above us the kernel caches them too.
// Of a chunk that is asked for in part all stays in the cache, unless the cache is full and it does
// not pay (reuse_watch.h).
int chunk_cache_read(struct chunk_cache *cache, const struct chunk_request *request,
                     chunk_cache_load_fn load, void *arg, struct error *err);

// The bytes a request asks for, where they stand: in the cache, or in request->out. They stay until
// chunk_view_release().
struct chunk_view {
    const uint8_t *data;
    struct entry *entry; // the cache's; NULL: `data` is the caller's own memory
};

// As chunk_cache_read(), but copies nothing; request->out is used only when all of a chunk is asked
// for and has to be loaded.
int chunk_cache_view(struct chunk_cache *cache, const struct chunk_request *request,
                     chunk_cache_load_fn load, void *arg, struct chunk_view *ret_view,
                     struct error *err);
void chunk_view_release(struct chunk_cache *cache, struct chunk_view *view);

// --- prefetched content
//
// It has a quarter of the cache for itself, so that it pushes nothing out that was read. Read as a
// whole it leaves the cache with that; read in part it becomes content like any other.

// Loads the content (kind, id and len of the request) unless it is there or being loaded. `owner`
// is only a name for chunk_cache_forget_ahead(). 1 loaded, 0 nothing to do, -ENOSPC no room, or the
// loader's error, which nobody else gets to see: who waited meanwhile loads himself.
int chunk_cache_load_ahead(struct chunk_cache *cache, const struct chunk_request *request,
                           const void *owner, chunk_cache_load_fn load, void *arg,
                           struct error *err);

// Drops what was loaded ahead for `owner` and not read.
void chunk_cache_forget_ahead(struct chunk_cache *cache, const void *owner);

// How much may be loaded ahead, for all readers together.
uint64_t chunk_cache_ahead_max(const struct chunk_cache *cache);

struct chunk_cache_counts {
    uint64_t hits, misses;            // requests answered from the cache, requests that loaded
    uint64_t bytes;                   // held now, prefetched content included
    uint64_t ahead_loads, ahead_used; // contents loaded ahead; those of them that were read
    uint64_t ahead_bytes;             // held now: loaded ahead, or being loaded, and not read yet
};

struct chunk_cache_counts chunk_cache_counts(struct chunk_cache *cache);

DEFINE_CLEANUP(struct chunk_cache *, chunk_cache_free)

#endif
