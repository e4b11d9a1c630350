// SPDX-License-Identifier: MIT
//
// The ring of batches: indexes only grow, slot = index % depth; [taken, submitted) are under way.
#include "fs/job/ring.h"

#include <stdint.h>

struct ring {
    struct pool *pool;
    unsigned depth;
    size_t slot_size;
    int (*take)(void *slot, void *arg);
    void *arg;
    uint64_t taken, submitted;
    char *slots;
};

int ring_new(struct pool *pool, unsigned depth, size_t slot_size,
             int (*take)(void *slot, void *arg), void *arg, struct ring **ret_ring,
             struct error *err)
{
    struct ring *ring = calloc(1, sizeof(*ring));

    if (!ring || !(ring->slots = calloc(depth, slot_size))) {
        free(ring);
        return error_set(err, -ENOMEM, "out of memory");
    }
    ring->pool = pool;
    ring->depth = depth;
    ring->slot_size = slot_size;
    ring->take = take;
    ring->arg = arg;
    *ret_ring = ring;
    return 0;
}

void *ring_at(struct ring *ring, unsigned i)
{
    return ring->slots + (size_t)i * ring->slot_size;
}

unsigned ring_depth(const struct ring *ring)
{
    return ring->depth;
}

static void *slot_of(struct ring *ring, uint64_t index)
{
    return ring_at(ring, (unsigned)(index % ring->depth));
}

static void *wait_oldest(struct ring *ring)
{
    void *slot = slot_of(ring, ring->taken);

    pool_wait(ring->pool, slot);
    ring->taken++;
    return slot;
}

void *ring_slot(struct ring *ring, int *ret_result)
{
    *ret_result = 0;
    if (ring->submitted - ring->taken == ring->depth) {
        *ret_result = ring->take(wait_oldest(ring), ring->arg);
        if (*ret_result < 0)
            return NULL;
    }
    return slot_of(ring, ring->submitted);
}

void ring_submit(struct ring *ring)
{
    pool_submit(ring->pool, slot_of(ring, ring->submitted++));
}

int ring_drain(struct ring *ring)
{
    int result = 0;

    while (ring->taken < ring->submitted) {
        void *slot = wait_oldest(ring);
        if (result == 0)
            result = ring->take(slot, ring->arg);
    }
    return result;
}

void ring_quiesce(struct ring *ring)
{
    while (ring && ring->taken < ring->submitted)
        wait_oldest(ring);
}

struct ring *ring_free(struct ring *ring)
{
    if (!ring)
        return NULL;
    ring_quiesce(ring);
    free(ring->slots);
    free(ring);
    return NULL;
}
