// SPDX-License-Identifier: MIT
//
// Groups of four slots, chosen by the id; the newest of a group pushes the oldest out. An empty
// slot has pack id 0, which no pack has.
#include "fs/store/location_cache.h"

#include "base/bytes.h"

#include <pthread.h>
#include <string.h>

#define GROUP_SLOTS 4
#define LOCK_COUNT 16

struct group {
    struct chunk_location slots[GROUP_SLOTS]; // newest first
};

struct location_cache {
    uint64_t group_count;
    pthread_mutex_t locks[LOCK_COUNT]; // locks[n % LOCK_COUNT] guards group n
    struct group groups[];
};

int location_cache_new(uint64_t bytes, struct location_cache **ret_cache, struct error *err)
{
    uint64_t count = bytes / sizeof(struct group) + 1;
    // Zeroed pages of the kernel's: what is never used is never there.
    struct location_cache *cache = calloc(1, sizeof(*cache) + count * sizeof(struct group));

    if (!cache)
        return error_set(err, -ENOMEM, "out of memory for the places of chunks");
    cache->group_count = count;
    for (int i = 0; i < LOCK_COUNT; i++)
        pthread_mutex_init(&cache->locks[i], NULL);
    *ret_cache = cache;
    return 0;
}

struct location_cache *location_cache_free(struct location_cache *cache)
{
    if (!cache)
        return NULL;
    for (int i = 0; i < LOCK_COUNT; i++)
        pthread_mutex_destroy(&cache->locks[i]);
    free(cache);
    return NULL;
}

static uint64_t group_of(const struct location_cache *cache, const struct digest *id)
{
    return bytes_get_le64(id->bytes) % cache->group_count; // an id is as good as random
}

// The slot of the group that has it, or GROUP_SLOTS.
static unsigned slot_of(const struct group *group, uint8_t kind, const struct digest *id)
{
    unsigned i = 0;

    while (i < GROUP_SLOTS &&
           (group->slots[i].pack_id == 0 || group->slots[i].record.kind != kind ||
            !digest_equal(&group->slots[i].record.id, id)))
        i++;
    return i;
}

bool location_cache_find(struct location_cache *cache, uint8_t kind, const struct digest *id,
                         struct chunk_location *ret_location)
{
    uint64_t number = group_of(cache, id);
    struct group *group = &cache->groups[number];
    unsigned slot;

    pthread_mutex_lock(&cache->locks[number % LOCK_COUNT]);
    slot = slot_of(group, kind, id);
    if (slot < GROUP_SLOTS)
        *ret_location = group->slots[slot];
    pthread_mutex_unlock(&cache->locks[number % LOCK_COUNT]);
    return slot < GROUP_SLOTS;
}

void location_cache_put(struct location_cache *cache, const struct chunk_location *location)
{
    uint64_t number = group_of(cache, &location->record.id);
    struct group *group = &cache->groups[number];
    unsigned slot;

    pthread_mutex_lock(&cache->locks[number % LOCK_COUNT]);
    slot = slot_of(group, location->record.kind, &location->record.id);
    if (slot == GROUP_SLOTS)
        slot--;
    memmove(&group->slots[1], &group->slots[0], slot * sizeof(group->slots[0]));
    group->slots[0] = *location;
    pthread_mutex_unlock(&cache->locks[number % LOCK_COUNT]);
}
