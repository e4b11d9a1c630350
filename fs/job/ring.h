// SPDX-License-Identifier: MIT
//
// A ring of equal batches on the worker pool: submitted in order, finished in any, taken back in
// order. This is what bounds a job's memory (depth × batch) and makes its result the same with one
// worker or many. One thread owns a ring.
#ifndef FS_JOB_RING_H
#define FS_JOB_RING_H

#include "base/cleanup.h"
#include "base/pool.h"

struct ring;

// `depth` slots of `slot_size` bytes each, whose first member is a struct pool_task; zeroed.
// take(slot, arg) is called in the order of submission, after the slot's task has run; what it
// returns (0 or -errno) comes out of the call that took the slot.
int ring_new(struct pool *pool, unsigned depth, size_t slot_size,
             int (*take)(void *slot, void *arg), void *arg, struct ring **ret_ring,
             struct error *err);

// The next free slot; when all are under way the oldest is waited for and taken first. NULL and
// *ret_result < 0 when that failed.
void *ring_slot(struct ring *ring, int *ret_result);
// Submits the slot ring_slot() has just given.
void ring_submit(struct ring *ring);
// Waits for and takes all that are under way; the first failure is returned, the rest are waited
// for but not taken.
int ring_drain(struct ring *ring);

// For setting up and releasing what slots own: slot number i < depth.
void *ring_at(struct ring *ring, unsigned i);
unsigned ring_depth(const struct ring *ring);

// Waits for what is under way without taking it. The slots' own memory is the owner's to release
// before. Accepts NULL.
void ring_quiesce(struct ring *ring);
struct ring *ring_free(struct ring *ring);

DEFINE_CLEANUP(struct ring *, ring_free)

#endif
