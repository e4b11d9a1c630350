// SPDX-License-Identifier: MIT
//
// Buffers of one length that are used again and again by changing threads. Given back to malloc,
// each of them would be cut from a thread's heap and grown again, with the page faults of that.
//
// Threads: any; the lock is a leaf.
#ifndef FS_STORE_SPARE_BUFFERS_H
#define FS_STORE_SPARE_BUFFERS_H

#include <pthread.h>
#include <stddef.h>

struct spare_buffers {
    pthread_mutex_t lock;
    void *first; // each begins with a pointer to the next
    size_t len, count;
};

void spare_buffers_init(struct spare_buffers *spares);
void spare_buffers_deinit(struct spare_buffers *spares);

// A buffer of `len` bytes, the caller's to give back or to free(). NULL: out of memory. One of
// those kept is freed when they have another length: in time they are of the length that is in use.
void *spare_buffers_take(struct spare_buffers *spares, size_t len);

// Keeps it, or frees it when `max` bytes are kept or those kept have another length. Accepts NULL.
void spare_buffers_give_back(struct spare_buffers *spares, void *buffer, size_t len, size_t max);

#endif
