// SPDX-License-Identifier: MIT
//
// A stack of buffers, linked through their first bytes.
#include "fs/store/spare_buffers.h"

#include <stdlib.h>
#include <string.h>

void spare_buffers_init(struct spare_buffers *spares)
{
    *spares = (struct spare_buffers){0};
    pthread_mutex_init(&spares->lock, NULL);
}

static void *pop(struct spare_buffers *spares) // lock held, there is one
{
    void *buffer = spares->first;

    memcpy(&spares->first, buffer, sizeof(spares->first));
    spares->count--;
    return buffer;
}

void spare_buffers_deinit(struct spare_buffers *spares)
{
    while (spares->count > 0)
        free(pop(spares));
    pthread_mutex_destroy(&spares->lock);
}

void *spare_buffers_take(struct spare_buffers *spares, size_t len)
{
    void *buffer = NULL, *useless = NULL;

    pthread_mutex_lock(&spares->lock);
    if (spares->count > 0)
        *(spares->len == len ? &buffer : &useless) = pop(spares);
    pthread_mutex_unlock(&spares->lock);
    free(useless);
    return buffer ? buffer : malloc(len);
}

void spare_buffers_give_back(struct spare_buffers *spares, void *buffer, size_t len, size_t max)
{
    if (!buffer)
        return;
    pthread_mutex_lock(&spares->lock);
    if (spares->count == 0)
        spares->len = len;
    if (len == spares->len && len >= sizeof(spares->first) && (spares->count + 1) * len <= max) {
        memcpy(buffer, &spares->first, sizeof(spares->first));
        spares->first = buffer;
        spares->count++;
        buffer = NULL;
    }
    pthread_mutex_unlock(&spares->lock);
    free(buffer);
}
