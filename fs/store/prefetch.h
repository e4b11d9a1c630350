// SPDX-License-Identifier: MIT
//
// Threads that work ahead of readers, one a core, shared by all images of a store. They are
// started when the first work comes.
//
// Work is a hint: when the queue is full it is forgotten, and its errors are nobody's; whoever
// reads what could not be prefetched meets them himself. A piece of work must not wait for a
// reader.
//
// Threads: any. The lock guards the queue and is not held while work is done.
#ifndef FS_STORE_PREFETCH_H
#define FS_STORE_PREFETCH_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdint.h>

struct prefetch;

// Chunks [first, first + count) of what `owner` is, wanted by that stream of its readers.
struct prefetch_range {
    uint64_t first;
    uint32_t count;
    unsigned stream;
};
typedef void (*prefetch_fn)(void *owner, const struct prefetch_range *range);

int prefetch_new(struct prefetch **ret_prefetch, struct error *err);
// Ends the threads. Every owner has cancelled. Accepts NULL.
struct prefetch *prefetch_free(struct prefetch *prefetch);

// Queues a piece of work, or forgets it.
void prefetch_submit(struct prefetch *prefetch, prefetch_fn fn, void *owner,
                     const struct prefetch_range *range);

// The same for work that no reader is about to need: it is done when nothing else is queued.
void prefetch_submit_idle(struct prefetch *prefetch, prefetch_fn fn, void *owner,
                          const struct prefetch_range *range);

// Forgets what is queued for `owner` and waits for what is under way: afterwards nothing works for
// him. He submits nothing meanwhile.
void prefetch_cancel(struct prefetch *prefetch, const void *owner);

DEFINE_CLEANUP(struct prefetch *, prefetch_free)

#endif
