// SPDX-License-Identifier: MIT
//
// Groups of four slots, chosen by the id; the newest of a group pushes the oldest out. An empty
// slot has no raw length, which every record has.
//
// A slot keeps 48 of the id's bits besides those that chose its group: whoever asks has the id, and
// a place that is taken for that of another is one more hint that was wrong, for a record says
// itself whose it is.
#include "fs/store/location_cache.h"

#include "base/bytes.h"

#include <pthread.h>
#include <string.h>
#include <uuid/uuid.h>

#define GROUP_SLOTS 4
#define LOCK_COUNT 16
#define TAG_SIZE 6

struct slot {
    uint8_t tag[TAG_SIZE]; // of the id, after the bytes that choose the group
    uint8_t kind, codec;
    uint64_t offset;
    uint32_t stored_length, raw_length;
    uuid_t pack;
    struct digest base;
};

struct group {
    struct slot slots[GROUP_SLOTS]; // newest first
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

uint64_t location_cache_capacity(const struct location_cache *cache)
{
    return cache->group_count * GROUP_SLOTS;
}

static uint64_t group_of(const struct location_cache *cache, const struct digest *id)
{
    return bytes_get_le64(id->bytes) % cache->group_count; // an id is as good as random
}

static const uint8_t *tag_of(const struct digest *id)
{
    return id->bytes + sizeof(uint64_t);
}

// The slot of the group that has it, or GROUP_SLOTS.
static unsigned slot_of(const struct group *group, uint8_t kind, const struct digest *id)
{
    unsigned i = 0;

    while (i < GROUP_SLOTS && (group->slots[i].raw_length == 0 || group->slots[i].kind != kind ||
                               memcmp(group->slots[i].tag, tag_of(id), TAG_SIZE) != 0))
        i++;
    return i;
}

bool location_cache_find(struct location_cache *cache, uint8_t kind, const struct digest *id,
                         struct chunk_location *ret_location)
{
    uint64_t number = group_of(cache, id);
    struct group *group = &cache->groups[number];
    struct slot found;
    unsigned slot;

    pthread_mutex_lock(&cache->locks[number % LOCK_COUNT]);
    slot = slot_of(group, kind, id);
    if (slot < GROUP_SLOTS)
        found = group->slots[slot];
    pthread_mutex_unlock(&cache->locks[number % LOCK_COUNT]);
    if (slot == GROUP_SLOTS)
        return false;
    *ret_location = (struct chunk_location){.record = {.id = *id,
                                                       .kind = found.kind,
                                                       .codec = found.codec,
                                                       .offset = found.offset,
                                                       .stored_length = found.stored_length,
                                                       .raw_length = found.raw_length,
                                                       .base = found.base}};
    uuid_unparse_lower(found.pack, ret_location->pack_uuid);
    return true;
}

bool location_cache_has(struct location_cache *cache, uint8_t kind, const struct digest *id)
{
    uint64_t number = group_of(cache, id);
    unsigned slot;

    pthread_mutex_lock(&cache->locks[number % LOCK_COUNT]);
    slot = slot_of(&cache->groups[number], kind, id);
    pthread_mutex_unlock(&cache->locks[number % LOCK_COUNT]);
    return slot < GROUP_SLOTS;
}

void location_cache_put(struct location_cache *cache, const struct chunk_location *location)
{
    const struct chunk_row *record = &location->record;
    uint64_t number = group_of(cache, &record->id);
    struct group *group = &cache->groups[number];
    struct slot put = {.kind = record->kind,
                       .codec = record->codec,
                       .offset = record->offset,
                       .stored_length = record->stored_length,
                       .raw_length = record->raw_length,
                       .base = record->base};
    unsigned slot;

    memcpy(put.tag, tag_of(&record->id), TAG_SIZE);
    if (uuid_parse(location->pack_uuid, put.pack) != 0)
        return; // no pack has such a name
    pthread_mutex_lock(&cache->locks[number % LOCK_COUNT]);
    slot = slot_of(group, record->kind, &record->id);
    if (slot == GROUP_SLOTS)
        slot--;
    memmove(&group->slots[1], &group->slots[0], slot * sizeof(group->slots[0]));
    group->slots[0] = put;
    pthread_mutex_unlock(&cache->locks[number % LOCK_COUNT]);
}
