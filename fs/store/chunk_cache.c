// SPDX-License-Identifier: MIT
//
// Sixteen shards, chosen by the id, each with a lock, a hash table and two lists: what was read, in
// order of use, and what was loaded ahead of readers, in order of age.
//
// An entry is LOADING (in the table, being loaded by the thread that made it), READY, or FAILED
// (out of the table, kept only by those who waited for it). The content of a READY entry never
// changes, so a thread that holds a reference uses it without the lock. References: one of the
// table while the entry is in it, one of each thread that uses it.
//
// What is loaded ahead counts from before its load begins until somebody reads it, over all shards
// together. When there is no room for more, the oldest of the shard gives way if nobody came for it
// in a second: its reader has gone elsewhere.
//
// A full shard keeps a chunk of which a part was asked for only when its watch says that this pays;
// else the chunk is given to its reader and dropped, and its memory is the next one's.
//
// Threads: any. A shard's lock is held for look-ups and list work only, never while loading,
// decoding or copying; waiters sleep on the shard's condition.
#include "fs/store/chunk_cache.h"

#include "base/clock.h"
#include "fs/store/digest_hash.h"
#include "fs/store/reuse_watch.h"
#include "fs/store/spare_buffers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <utlist.h>

#define SHARD_COUNT 16
#define AHEAD_SHARE 4 // one part of the cache in so many is for what is loaded ahead
#define AHEAD_PATIENCE CLOCK_SECOND

enum entry_state { ENTRY_LOADING = 1, ENTRY_READY, ENTRY_FAILED };

struct entry_key { // compared as bytes: no padding
    struct digest id;
    uint8_t kind;
};

struct entry {
    struct entry_key key;
    size_t len;
    // guarded by the shard's lock
    UT_hash_handle hh;
    struct entry *prev, *next; // in one of the shard's lists while READY and in the table
    enum entry_state state;
    bool ahead; // loaded, or being loaded, before anybody read it
    unsigned refs;
    // written by the loader before the state changes, constant afterwards
    uint8_t *data;
    struct error *failure; // NULL also when there was no memory for it
    int failure_code;
    const void *owner; // of what is loaded ahead: a name, never followed
    int64_t loaded_at; // of it; monotonic
};

struct shard {
    pthread_mutex_t lock;
    pthread_cond_t changed; // some entry left LOADING
    struct entry *table;
    struct entry *used;  // READY entries that were read, last used first
    struct entry *ahead; // READY entries that were not, oldest first
    uint64_t bytes;      // of the entries in `used`
    uint64_t hits, misses;
    uint64_t ahead_loads, ahead_used;
    struct reuse_watch watch;
};

struct chunk_cache {
    uint64_t shard_bytes, ahead_max;
    atomic_uint_fast64_t ahead_bytes;
    struct spare_buffers spares; // of chunks, in the room that nothing loaded ahead takes
    struct shard shards[SHARD_COUNT];
};

int chunk_cache_new(uint64_t bytes, struct chunk_cache **ret_cache, struct error *err)
{
    struct chunk_cache *cache = calloc(1, sizeof(*cache));

    if (!cache)
        return error_set(err, -ENOMEM, "out of memory for the chunk cache");
    cache->ahead_max = bytes / AHEAD_SHARE;
    cache->shard_bytes = (bytes - cache->ahead_max) / SHARD_COUNT;
    atomic_init(&cache->ahead_bytes, 0);
    spare_buffers_init(&cache->spares);
    for (int i = 0; i < SHARD_COUNT; i++) {
        pthread_mutex_init(&cache->shards[i].lock, NULL);
        pthread_cond_init(&cache->shards[i].changed, NULL);
    }
    *ret_cache = cache;
    return 0;
}

// Memory for content. That of chunks is used again: what pushes an old chunk out takes its memory.
static uint8_t *content_new(struct chunk_cache *cache, const struct entry *entry)
{
    return entry->key.kind == RECORD_CHUNK ? spare_buffers_take(&cache->spares, entry->len)
                                           : malloc(entry->len);
}

static void content_free(struct chunk_cache *cache, const struct entry *entry)
{
    uint64_t held = atomic_load(&cache->ahead_bytes), max = cache->ahead_max;

    if (entry->key.kind == RECORD_CHUNK)
        spare_buffers_give_back(&cache->spares, entry->data, entry->len,
                                held < max ? max - held : 0);
    else
        free(entry->data);
}

static void entry_unref(struct chunk_cache *cache, struct entry *entry) // lock held
{
    if (--entry->refs > 0)
        return;
    content_free(cache, entry);
    free(entry->failure);
    free(entry);
}

static uint64_t entry_bytes(const struct entry *entry)
{
    return sizeof(*entry) + entry->len;
}

// Lock held, entry in `used`.
static void shard_drop(struct chunk_cache *cache, struct shard *shard, struct entry *entry)
{
    DL_DELETE(shard->used, entry);
    shard->bytes -= entry_bytes(entry);
    HASH_DEL(shard->table, entry);
    entry_unref(cache, entry);
}

// Takes an entry out of the list of what nobody has read. Lock held.
static void ahead_leave(struct chunk_cache *cache, struct shard *shard, struct entry *entry)
{
    DL_DELETE(shard->ahead, entry);
    entry->ahead = false;
    atomic_fetch_sub(&cache->ahead_bytes, entry_bytes(entry));
}

static void ahead_drop(struct chunk_cache *cache, struct shard *shard, struct entry *entry)
{
    ahead_leave(cache, shard, entry);
    HASH_DEL(shard->table, entry);
    entry_unref(cache, entry);
}

struct chunk_cache *chunk_cache_free(struct chunk_cache *cache)
{
    if (!cache)
        return NULL;
    for (int i = 0; i < SHARD_COUNT; i++) {
        struct shard *shard = &cache->shards[i];

        while (shard->used)
            shard_drop(cache, shard, shard->used);
        while (shard->ahead)
            ahead_drop(cache, shard, shard->ahead);
        pthread_cond_destroy(&shard->changed);
        pthread_mutex_destroy(&shard->lock);
    }
    spare_buffers_deinit(&cache->spares);
    free(cache);
    return NULL;
}

static struct shard *shard_of(struct chunk_cache *cache, const struct digest *id)
{
    // Any byte serves; the table's own hash mixes all of them.
    return &cache->shards[id->bytes[DIGEST_SIZE - 1] % SHARD_COUNT];
}

// Borrowed while the lock is held.
static struct entry *shard_find(struct shard *shard, const struct chunk_request *request)
{
    struct entry_key key = {.id = *request->id, .kind = (uint8_t)request->kind};
    struct entry *entry;

    HASH_FIND(hh, shard->table, &key, sizeof(key), entry);
    return entry;
}

// A READY entry that is in no list becomes the one that was used last. Lock held.
static void shard_keep(struct chunk_cache *cache, struct shard *shard, struct entry *entry)
{
    DL_PREPEND(shard->used, entry);
    shard->bytes += entry_bytes(entry);
    while (shard->bytes > cache->shard_bytes && shard->used)
        shard_drop(cache, shard, shard->used->prev); // the head's prev is the tail
}

// Notes that somebody who holds a reference reads a READY entry of the table; `whole`: all of it.
// Lock held.
static void shard_use(struct chunk_cache *cache, struct shard *shard, struct entry *entry,
                      bool whole)
{
    if (entry->ahead) {
        shard->ahead_used++;
        if (whole) {
            ahead_drop(cache, shard, entry);
            return;
        }
        ahead_leave(cache, shard, entry);
        shard_keep(cache, shard, entry);
        return;
    }
    if (shard->used == entry)
        return;
    DL_DELETE(shard->used, entry);
    DL_PREPEND(shard->used, entry);
}

static bool is_whole(const struct chunk_request *request)
{
    return request->kind == RECORD_CHUNK && request->count == request->len;
}

static void shard_unref(struct chunk_cache *cache, struct shard *shard, struct entry *entry)
{
    pthread_mutex_lock(&shard->lock);
    entry_unref(cache, entry);
    pthread_mutex_unlock(&shard->lock);
}

static int check_length(const struct entry *entry, const struct chunk_request *request,
                        struct error *err)
{
    if (entry->len != request->len)
        return error_set(err, -ERROR_CORRUPT, "content is %zu bytes instead of %zu", entry->len,
                         request->len);
    return 0;
}

int chunk_cache_find(struct chunk_cache *cache, const struct chunk_request *request,
                     struct error *err)
{
    struct shard *shard = shard_of(cache, request->id);
    struct entry *entry;
    int r;

    pthread_mutex_lock(&shard->lock);
    entry = shard_find(shard, request);
    if (entry && entry->state == ENTRY_READY) {
        shard->hits++;
        entry->refs++;
        shard_use(cache, shard, entry, is_whole(request));
    } else {
        entry = NULL;
    }
    pthread_mutex_unlock(&shard->lock);
    if (!entry)
        return 0;
    r = check_length(entry, request, err);
    if (r == 0)
        memcpy(request->out, entry->data + request->from, request->count);
    shard_unref(cache, shard, entry);
    return r < 0 ? r : 1;
}

// A new LOADING entry with a reference of the caller's; NULL when out of memory.
static struct entry *shard_add(struct shard *shard, const struct chunk_request *request)
{
    struct entry *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return NULL;
    entry->key = (struct entry_key){.id = *request->id, .kind = (uint8_t)request->kind};
    entry->len = request->len;
    entry->state = ENTRY_LOADING;
    entry->refs = 2;
    HASH_ADD(hh, shard->table, key, sizeof(entry->key), entry);
    if (!entry->hh.tbl) {
        free(entry);
        return NULL;
    }
    return entry;
}

// The loader's last word on its entry: it is kept as READY.
static void publish_ready(struct chunk_cache *cache, struct shard *shard, struct entry *entry)
{
    pthread_mutex_lock(&shard->lock);
    entry->state = ENTRY_READY;
    shard_keep(cache, shard, entry);
    pthread_cond_broadcast(&shard->changed);
    pthread_mutex_unlock(&shard->lock);
}

static void publish_failed(struct chunk_cache *cache, struct shard *shard, struct entry *entry,
                           int code, const struct error *failure)
{
    struct error *copy = malloc(sizeof(*copy));

    if (copy)
        *copy = *failure;
    pthread_mutex_lock(&shard->lock);
    entry->state = ENTRY_FAILED;
    entry->failure = copy;
    entry->failure_code = code;
    HASH_DEL(shard->table, entry);
    entry_unref(cache, entry); // the table's
    pthread_cond_broadcast(&shard->changed);
    pthread_mutex_unlock(&shard->lock);
}

// Takes a loaded entry out again when nobody waits for it. True when that was so.
static bool withdraw(struct chunk_cache *cache, struct shard *shard, struct entry *entry)
{
    bool alone;

    pthread_mutex_lock(&shard->lock);
    alone = entry->refs == 2;
    if (alone) {
        HASH_DEL(shard->table, entry);
        entry_unref(cache, entry); // the table's
    }
    pthread_mutex_unlock(&shard->lock);
    return alone;
}

// Loads into the request's own buffer; only if somebody came to wait meanwhile is a copy made for
// the cache.
static int load_whole(struct chunk_cache *cache, struct shard *shard, struct entry *entry,
                      const struct chunk_request *request, chunk_cache_load_fn load, void *arg,
                      struct error *err)
{
    int r = load(request, request->out, arg, err);

    if (r < 0)
        return r;
    if (withdraw(cache, shard, entry))
        return 0;
    entry->data = content_new(cache, entry);
    if (!entry->data)
        return error_set(err, -ENOMEM, "out of memory for %zu bytes of content", entry->len);
    memcpy(entry->data, request->out, entry->len);
    publish_ready(cache, shard, entry);
    return 0;
}

// Whether a chunk whose part is asked for and that has to be loaded is to be kept. Lock held.
static bool shard_wants(struct chunk_cache *cache, struct shard *shard,
                        const struct chunk_request *request)
{
    if (request->kind != RECORD_CHUNK)
        return true;
    return reuse_watch_missed(&shard->watch, request->id) ||
           shard->bytes + request->len < cache->shard_bytes;
}

// What is not `wanted` is the caller's alone, unless somebody came to wait for it.
static int load_part(struct chunk_cache *cache, struct shard *shard, struct entry *entry,
                     bool wanted, const struct chunk_request *request, chunk_cache_load_fn load,
                     void *arg, struct error *err)
{
    int r;

    entry->data = content_new(cache, entry);
    if (!entry->data)
        return error_set(err, -ENOMEM, "out of memory for %zu bytes of content", entry->len);
    r = load(request, entry->data, arg, err);
    if (r == 0 && (wanted || !withdraw(cache, shard, entry)))
        publish_ready(cache, shard, entry);
    return r;
}

// The entry of a request with a reference of the caller's: loaded, failed, or (*ret_found false)
// for the caller to load. NULL when out of memory. Waits for the load of another thread; what a
// load ahead failed on is looked at anew. Lock held.
static struct entry *claim(struct chunk_cache *cache, struct shard *shard,
                           const struct chunk_request *request, bool *ret_found)
{
    struct entry *entry;

    while ((entry = shard_find(shard, request)) != NULL) {
        entry->refs++;
        while (entry->state == ENTRY_LOADING)
            pthread_cond_wait(&shard->changed, &shard->lock);
        if (entry->state == ENTRY_FAILED && entry->ahead) {
            entry_unref(cache, entry);
            continue;
        }
        // It may have been dropped again while this thread waited.
        if (entry->state == ENTRY_READY && shard_find(shard, request) == entry)
            shard_use(cache, shard, entry, is_whole(request));
        if (request->kind == RECORD_CHUNK && !is_whole(request))
            reuse_watch_found(&shard->watch);
        shard->hits++;
        *ret_found = true;
        return entry;
    }
    shard->misses++;
    *ret_found = false;
    return shard_add(shard, request);
}

static int check_found(const struct entry *entry, const struct chunk_request *request,
                       struct error *err)
{
    if (entry->state == ENTRY_READY)
        return check_length(entry, request, err);
    if (entry->failure)
        return error_set(err, entry->failure_code, "%s", error_message(entry->failure));
    return error_set(err, entry->failure_code, "content could not be loaded");
}

int chunk_cache_view(struct chunk_cache *cache, const struct chunk_request *request,
                     chunk_cache_load_fn load, void *arg, struct chunk_view *ret_view,
                     struct error *err)
{
    struct shard *shard = shard_of(cache, request->id);
    struct error local = ERROR_INIT;
    bool found, wanted = false, own_memory = false;
    struct entry *entry;
    int r;

    pthread_mutex_lock(&shard->lock);
    entry = claim(cache, shard, request, &found);
    if (entry && !found && !is_whole(request))
        wanted = shard_wants(cache, shard, request);
    pthread_mutex_unlock(&shard->lock);
    if (!entry)
        return error_set(err, -ENOMEM, "out of memory for the chunk cache");

    if (found) {
        r = check_found(entry, request, &local);
    } else {
        own_memory = is_whole(request);
        r = own_memory ? load_whole(cache, shard, entry, request, load, arg, &local)
                       : load_part(cache, shard, entry, wanted, request, load, arg, &local);
        if (r < 0 && entry->state == ENTRY_LOADING)
            publish_failed(cache, shard, entry, r, &local);
    }
    if (r < 0 || own_memory)
        shard_unref(cache, shard, entry);
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    *ret_view = own_memory ? (struct chunk_view){.data = request->out}
                           : (struct chunk_view){entry->data + request->from, entry};
    return 0;
}

void chunk_view_release(struct chunk_cache *cache, struct chunk_view *view)
{
    if (view->entry)
        shard_unref(cache, shard_of(cache, &view->entry->key.id), view->entry);
    *view = (struct chunk_view){0};
}

int chunk_cache_read(struct chunk_cache *cache, const struct chunk_request *request,
                     chunk_cache_load_fn load, void *arg, struct error *err)
{
    struct chunk_view view;
    int r = chunk_cache_view(cache, request, load, arg, &view, err);

    if (r < 0)
        return r;
    if (view.data != request->out)
        memcpy(request->out, view.data, request->count);
    chunk_view_release(cache, &view);
    return 0;
}

// --- ahead of readers

static bool ahead_reserve(struct chunk_cache *cache, uint64_t bytes)
{
    uint64_t held = atomic_fetch_add(&cache->ahead_bytes, bytes);

    if (held + bytes <= cache->ahead_max)
        return true;
    atomic_fetch_sub(&cache->ahead_bytes, bytes);
    return false;
}

// The reservation of an entry that is about to be loaded, at the cost of what nobody came for. Lock
// held.
static bool ahead_make_room(struct chunk_cache *cache, struct shard *shard, uint64_t bytes)
{
    int64_t now = clock_monotonic();

    while (!ahead_reserve(cache, bytes)) {
        if (!shard->ahead || now - shard->ahead->loaded_at < AHEAD_PATIENCE)
            return false;
        ahead_drop(cache, shard, shard->ahead);
    }
    return true;
}

// A new LOADING entry with a reference of the caller's; NULL with *ret_code 0 when it is there.
static struct entry *ahead_add(struct chunk_cache *cache, struct shard *shard,
                               const struct chunk_request *request, int *ret_code) // lock held
{
    uint64_t bytes = sizeof(struct entry) + request->len;
    struct entry *entry;

    *ret_code = 0;
    if (shard_find(shard, request))
        return NULL;
    if (!ahead_make_room(cache, shard, bytes)) {
        *ret_code = -ENOSPC;
        return NULL;
    }
    entry = shard_add(shard, request);
    if (!entry) {
        atomic_fetch_sub(&cache->ahead_bytes, bytes);
        *ret_code = -ENOMEM;
        return NULL;
    }
    entry->ahead = true;
    return entry;
}

static void publish_ahead(struct shard *shard, struct entry *entry)
{
    pthread_mutex_lock(&shard->lock);
    entry->state = ENTRY_READY;
    DL_APPEND(shard->ahead, entry);
    shard->ahead_loads++;
    pthread_cond_broadcast(&shard->changed);
    pthread_mutex_unlock(&shard->lock);
}

int chunk_cache_load_ahead(struct chunk_cache *cache, const struct chunk_request *request,
                           const void *owner, chunk_cache_load_fn load, void *arg,
                           struct error *err)
{
    struct shard *shard = shard_of(cache, request->id);
    struct error local = ERROR_INIT;
    struct entry *entry;
    int r;

    pthread_mutex_lock(&shard->lock);
    entry = ahead_add(cache, shard, request, &r);
    pthread_mutex_unlock(&shard->lock);
    if (!entry)
        return r < 0 ? error_set(err, r, "no room to load ahead") : 0;

    entry->owner = owner;
    entry->loaded_at = clock_monotonic();
    entry->data = content_new(cache, entry);
    r = entry->data ? load(request, entry->data, arg, &local)
                    : error_set(&local, -ENOMEM, "out of memory to load ahead");
    if (r < 0) {
        atomic_fetch_sub(&cache->ahead_bytes, entry_bytes(entry));
        publish_failed(cache, shard, entry, r, &local);
    } else {
        publish_ahead(shard, entry);
    }
    shard_unref(cache, shard, entry);
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 1;
}

void chunk_cache_forget_ahead(struct chunk_cache *cache, const void *owner)
{
    for (int i = 0; i < SHARD_COUNT; i++) {
        struct shard *shard = &cache->shards[i];
        struct entry *entry, *next;

        pthread_mutex_lock(&shard->lock);
        DL_FOREACH_SAFE(shard->ahead, entry, next)
        {
            if (entry->owner == owner)
                ahead_drop(cache, shard, entry);
        }
        pthread_mutex_unlock(&shard->lock);
    }
}

uint64_t chunk_cache_ahead_max(const struct chunk_cache *cache)
{
    return cache->ahead_max;
}

struct chunk_cache_counts chunk_cache_counts(struct chunk_cache *cache)
{
    struct chunk_cache_counts counts = {0};

    for (int i = 0; i < SHARD_COUNT; i++) {
        struct shard *shard = &cache->shards[i];

        pthread_mutex_lock(&shard->lock);
        counts.hits += shard->hits;
        counts.misses += shard->misses;
        counts.bytes += shard->bytes;
        counts.ahead_loads += shard->ahead_loads;
        counts.ahead_used += shard->ahead_used;
        pthread_mutex_unlock(&shard->lock);
    }
    counts.ahead_bytes = atomic_load(&cache->ahead_bytes);
    counts.bytes += counts.ahead_bytes;
    return counts;
}
