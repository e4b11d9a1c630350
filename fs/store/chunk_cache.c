// SPDX-License-Identifier: MIT
//
// Sixteen shards, chosen by the id, each with a lock, a hash table and a list in order of use.
//
// An entry is LOADING (in the table, being loaded by the thread that made it), READY, or FAILED
// (out of the table, kept only by those who waited for it). A READY entry never changes, so a
// thread that holds a reference copies from it without the lock. References: one of the table
// while the entry is in it, one of each thread that uses it.
//
// Threads: any. A shard's lock is held for look-ups and list work only, never while loading,
// decoding or copying; waiters sleep on the shard's condition.
#include "fs/store/chunk_cache.h"

#include "fs/store/digest_hash.h"

#include <pthread.h>
#include <string.h>
#include <utlist.h>

#define SHARD_COUNT 16

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
    struct entry *prev, *next; // in the shard's list while READY and in the table
    enum entry_state state;
    unsigned refs;
    // written by the loader before the state changes, constant afterwards
    uint8_t *data;
    struct error *failure; // NULL also when there was no memory for it
    int failure_code;
};

struct shard {
    pthread_mutex_t lock;
    pthread_cond_t changed; // some entry left LOADING
    struct entry *table;
    struct entry *used; // READY entries, last used first
    uint64_t bytes;     // of the entries in `used`
    uint64_t hits, misses;
};

struct chunk_cache {
    uint64_t shard_bytes;
    struct shard shards[SHARD_COUNT];
};

int chunk_cache_new(uint64_t bytes, struct chunk_cache **ret_cache, struct error *err)
{
    struct chunk_cache *cache = calloc(1, sizeof(*cache));

    if (!cache)
        return error_set(err, -ENOMEM, "out of memory for the chunk cache");
    cache->shard_bytes = bytes / SHARD_COUNT;
    for (int i = 0; i < SHARD_COUNT; i++) {
        pthread_mutex_init(&cache->shards[i].lock, NULL);
        pthread_cond_init(&cache->shards[i].changed, NULL);
    }
    *ret_cache = cache;
    return 0;
}

static void entry_unref(struct entry *entry) // lock held
{
    if (--entry->refs > 0)
        return;
    free(entry->data);
    free(entry->failure);
    free(entry);
}

static uint64_t entry_bytes(const struct entry *entry)
{
    return sizeof(*entry) + entry->len;
}

static void shard_drop(struct shard *shard, struct entry *entry) // lock held, entry READY
{
    DL_DELETE(shard->used, entry);
    shard->bytes -= entry_bytes(entry);
    HASH_DEL(shard->table, entry);
    entry_unref(entry);
}

struct chunk_cache *chunk_cache_free(struct chunk_cache *cache)
{
    if (!cache)
        return NULL;
    for (int i = 0; i < SHARD_COUNT; i++) {
        struct shard *shard = &cache->shards[i];

        while (shard->used)
            shard_drop(shard, shard->used);
        pthread_cond_destroy(&shard->changed);
        pthread_mutex_destroy(&shard->lock);
    }
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

static void shard_touch(struct shard *shard, struct entry *entry) // lock held, entry READY
{
    if (shard->used == entry)
        return;
    DL_DELETE(shard->used, entry);
    DL_PREPEND(shard->used, entry);
}

static void shard_unref(struct shard *shard, struct entry *entry)
{
    pthread_mutex_lock(&shard->lock);
    entry_unref(entry);
    pthread_mutex_unlock(&shard->lock);
}

static int copy_out(const struct entry *entry, const struct chunk_request *request,
                    struct error *err)
{
    if (entry->len != request->len)
        return error_set(err, -ERROR_CORRUPT, "content is %zu bytes instead of %zu", entry->len,
                         request->len);
    memcpy(request->out, entry->data + request->from, request->count);
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
        shard_touch(shard, entry);
        shard->hits++;
        entry->refs++;
    } else {
        entry = NULL;
    }
    pthread_mutex_unlock(&shard->lock);
    if (!entry)
        return 0;
    r = copy_out(entry, request, err);
    shard_unref(shard, entry);
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
    DL_PREPEND(shard->used, entry);
    shard->bytes += entry_bytes(entry);
    while (shard->bytes > cache->shard_bytes && shard->used)
        shard_drop(shard, shard->used->prev); // the head's prev is the tail
    pthread_cond_broadcast(&shard->changed);
    pthread_mutex_unlock(&shard->lock);
}

static void publish_failed(struct shard *shard, struct entry *entry, int code,
                           const struct error *failure)
{
    struct error *copy = malloc(sizeof(*copy));

    if (copy)
        *copy = *failure;
    pthread_mutex_lock(&shard->lock);
    entry->state = ENTRY_FAILED;
    entry->failure = copy;
    entry->failure_code = code;
    HASH_DEL(shard->table, entry);
    entry_unref(entry); // the table's
    pthread_cond_broadcast(&shard->changed);
    pthread_mutex_unlock(&shard->lock);
}

// Takes a loaded entry out again when nobody waits for it. True when that was so.
static bool withdraw(struct shard *shard, struct entry *entry)
{
    bool alone;

    pthread_mutex_lock(&shard->lock);
    alone = entry->refs == 2;
    if (alone) {
        HASH_DEL(shard->table, entry);
        entry_unref(entry); // the table's
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
    if (withdraw(shard, entry))
        return 0;
    entry->data = malloc(entry->len);
    if (!entry->data)
        return error_set(err, -ENOMEM, "out of memory for %zu bytes of content", entry->len);
    memcpy(entry->data, request->out, entry->len);
    publish_ready(cache, shard, entry);
    return 0;
}

static int load_part(struct chunk_cache *cache, struct shard *shard, struct entry *entry,
                     const struct chunk_request *request, chunk_cache_load_fn load, void *arg,
                     struct error *err)
{
    int r;

    entry->data = malloc(entry->len);
    if (!entry->data)
        return error_set(err, -ENOMEM, "out of memory for %zu bytes of content", entry->len);
    r = load(request, entry->data, arg, err);
    if (r < 0)
        return r;
    publish_ready(cache, shard, entry);
    return copy_out(entry, request, err);
}

// Waits until the entry is loaded; the caller holds the lock and a reference.
static void wait_loaded(struct shard *shard, struct entry *entry)
{
    while (entry->state == ENTRY_LOADING)
        pthread_cond_wait(&shard->changed, &shard->lock);
}

static int take_loaded(const struct entry *entry, const struct chunk_request *request,
                       struct error *err)
{
    if (entry->state == ENTRY_READY)
        return copy_out(entry, request, err);
    if (entry->failure)
        return error_set(err, entry->failure_code, "%s", error_message(entry->failure));
    return error_set(err, entry->failure_code, "content could not be loaded");
}

int chunk_cache_read(struct chunk_cache *cache, const struct chunk_request *request,
                     chunk_cache_load_fn load, void *arg, struct error *err)
{
    struct shard *shard = shard_of(cache, request->id);
    bool whole = request->kind == RECORD_CHUNK && request->count == request->len;
    struct error local = ERROR_INIT;
    struct entry *entry;
    bool found;
    int r;

    pthread_mutex_lock(&shard->lock);
    entry = shard_find(shard, request);
    found = entry != NULL;
    shard->hits += found;
    shard->misses += !found;
    if (found) {
        entry->refs++;
        wait_loaded(shard, entry);
        // It may have been dropped again while this thread waited.
        if (entry->state == ENTRY_READY && shard_find(shard, request) == entry)
            shard_touch(shard, entry);
    } else {
        entry = shard_add(shard, request);
    }
    pthread_mutex_unlock(&shard->lock);
    if (!entry)
        return error_set(err, -ENOMEM, "out of memory for the chunk cache");

    if (found) {
        r = take_loaded(entry, request, &local);
    } else {
        r = (whole ? load_whole : load_part)(cache, shard, entry, request, load, arg, &local);
        if (r < 0 && entry->state == ENTRY_LOADING)
            publish_failed(shard, entry, r, &local);
    }
    shard_unref(shard, entry);
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
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
        pthread_mutex_unlock(&shard->lock);
    }
    return counts;
}
