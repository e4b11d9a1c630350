// SPDX-License-Identifier: MIT
//
// Sets of pinned rows, a list of them; see pins.h.
#include "fs/store/pins.h"

#include <utlist.h>

void pins_init(struct pins *pins)
{
    pthread_rwlockattr_t attr;

    *pins = (struct pins){0};
    pthread_rwlockattr_init(&attr);
    // Look-ups follow one another without a gap; the commit must not wait for one.
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&pins->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
}

static void free_set(struct pins *pins, struct pin_set *set) // lock held for writing
{
    DL_DELETE(pins->sets, set);
    row_bitmap_deinit(&set->rows);
    pthread_mutex_destroy(&set->lock);
    free(set);
}

void pins_deinit(struct pins *pins)
{
    struct pin_set *set, *next;

    DL_FOREACH_SAFE(pins->sets, set, next)
    {
        free_set(pins, set);
    }
    row_bitmap_deinit(&pins->dropped);
    pthread_rwlock_destroy(&pins->lock);
}

struct pin_set *pins_open(struct pins *pins, struct error *err)
{
    struct pin_set *set = calloc(1, sizeof(*set));

    if (!set) {
        error_set(err, -ENOMEM, "out of memory for a writer");
        return NULL;
    }
    pthread_mutex_init(&set->lock, NULL);
    pthread_rwlock_wrlock(&pins->lock);
    DL_APPEND(pins->sets, set);
    pthread_rwlock_unlock(&pins->lock);
    return set;
}

void pins_close(struct pins *pins, struct pin_set *set)
{
    if (!set)
        return;
    pthread_rwlock_wrlock(&pins->lock);
    set->closed = true;
    if (!pins->collecting)
        free_set(pins, set);
    pthread_rwlock_unlock(&pins->lock);
}

void pins_look_begin(struct pins *pins)
{
    pthread_rwlock_rdlock(&pins->lock);
}

void pins_look_end(struct pins *pins)
{
    pthread_rwlock_unlock(&pins->lock);
}

bool pins_is_dropped(const struct pins *pins, int64_t pack_id)
{
    return row_bitmap_has(&pins->dropped, pack_id);
}

int pins_pin(struct pin_set *set, int64_t row, struct error *err)
{
    int r;

    pthread_mutex_lock(&set->lock);
    r = row_bitmap_set(&set->rows, row, err);
    pthread_mutex_unlock(&set->lock);
    return r;
}

int pins_collect_begin(struct pins *pins, struct error *err)
{
    bool busy;

    pthread_rwlock_wrlock(&pins->lock);
    busy = pins->collecting;
    pins->collecting = true;
    pthread_rwlock_unlock(&pins->lock);
    return busy ? error_set(err, -EBUSY, "a garbage collection is under way already") : 0;
}

void pins_collect_end(struct pins *pins)
{
    struct pin_set *set, *next;

    pthread_rwlock_wrlock(&pins->lock);
    pins->collecting = false;
    DL_FOREACH_SAFE(pins->sets, set, next)
    {
        if (set->closed)
            free_set(pins, set);
    }
    pthread_rwlock_unlock(&pins->lock);
}

bool pins_ask(struct pins *pins, int64_t row)
{
    struct pin_set *set;
    bool found = false;

    pthread_rwlock_rdlock(&pins->lock);
    DL_FOREACH(pins->sets, set)
    {
        pthread_mutex_lock(&set->lock);
        found = found || row_bitmap_has(&set->rows, row);
        pthread_mutex_unlock(&set->lock);
    }
    pthread_rwlock_unlock(&pins->lock);
    return found;
}

void pins_commit_begin(struct pins *pins)
{
    pthread_rwlock_wrlock(&pins->lock);
}

void pins_commit_end(struct pins *pins)
{
    pthread_rwlock_unlock(&pins->lock);
}

// Whoever pins holds the lock for reading, so the sets stand still.
bool pins_have(const struct pins *pins, int64_t row)
{
    const struct pin_set *set;

    DL_FOREACH(pins->sets, set)
    {
        if (row_bitmap_has(&set->rows, row))
            return true;
    }
    return false;
}

int pins_copy(struct pins *pins, int64_t from, int64_t to, struct error *err)
{
    struct pin_set *set;
    int r = 0;

    DL_FOREACH(pins->sets, set)
    {
        if (r == 0 && row_bitmap_has(&set->rows, from))
            r = row_bitmap_set(&set->rows, to, err);
    }
    return r;
}

int pins_note_dropped(struct pins *pins, int64_t pack_id, struct error *err)
{
    return row_bitmap_set(&pins->dropped, pack_id, err);
}

void pins_note_kept(struct pins *pins, int64_t pack_id)
{
    row_bitmap_remove(&pins->dropped, pack_id);
}
