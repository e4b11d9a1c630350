// SPDX-License-Identifier: MIT
//
// A pool of worker threads for computation, shared by every job of a process.
//
// A task is embedded in its owner's structure, submitted, and waited for. Results are taken in the
// order the owner chooses (it waits for its oldest task first), so the pool needs no ordering of
// its own. A pool of 0 threads runs every task inside pool_submit(): the serial twin, with
// byte-identical results. Tasks must not submit tasks or wait for others. Tasks of all owners share
// one queue, first come, first served.
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>

struct pool;

struct pool_task {
    void (*run)(struct pool_task *task, unsigned worker); // worker: 0 .. pool_size() - 1
    // private to the pool, guarded by its lock
    struct pool_task *next;
    bool done;
};

// Starts `threads` workers (0 = serial). Never blocks signals on behalf of the caller; workers
// block all.
int pool_new(unsigned threads, struct pool **ret_pool, struct error *err);

// Waits for running tasks, ends the threads. Queued tasks must have been waited for. Accepts NULL.
struct pool *pool_free(struct pool *pool);

// Number of distinct `worker` values a task may see: threads, or 1 when serial.
unsigned pool_size(const struct pool *pool);

// Queues `task`; its memory must stay until pool_wait() returned.
void pool_submit(struct pool *pool, struct pool_task *task);

// Blocks until `task` has run. Happens-before: everything the task wrote is visible after.
void pool_wait(struct pool *pool, struct pool_task *task);

DEFINE_CLEANUP(struct pool *, pool_free)

#endif
