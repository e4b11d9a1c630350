// SPDX-License-Identifier: MIT
//
// Holds on snapshots; see snapshot_holds.h.
#include "fs/job/snapshot_holds.h"

#include "base/hash.h"

#include <stdlib.h>

struct held_snapshot {
    int64_t snapshot_id;
    unsigned counts[HOLD_KINDS];
    UT_hash_handle hh;
};

void snapshot_holds_init(struct snapshot_holds *holds)
{
    holds->list = NULL;
    pthread_mutex_init(&holds->lock, NULL);
}

void snapshot_holds_deinit(struct snapshot_holds *holds)
{
    pthread_mutex_destroy(&holds->lock);
}

static struct held_snapshot *find(struct snapshot_holds *holds, int64_t snapshot_id)
{
    struct held_snapshot *held = NULL;

    HASH_FIND(hh, holds->list, &snapshot_id, sizeof(snapshot_id), held);
    return held;
}

// Lock held; NULL: out of memory.
static struct held_snapshot *find_or_add(struct snapshot_holds *holds, int64_t snapshot_id)
{
    struct held_snapshot *held = find(holds, snapshot_id);

    if (held)
        return held;
    held = calloc(1, sizeof(*held));
    if (!held)
        return NULL;
    held->snapshot_id = snapshot_id;
    HASH_ADD(hh, holds->list, snapshot_id, sizeof(held->snapshot_id), held);
    if (held->hh.tbl)
        return held;
    free(held);
    return NULL;
}

// Lock held.
static int refuse(const struct held_snapshot *held, enum snapshot_hold kind, bool though_open,
                  struct error *err)
{
    if (held->counts[HOLD_FORGETTING])
        return error_set(err, -EBUSY, "the snapshot is being forgotten");
    if (kind != HOLD_FORGETTING)
        return 0;
    if (held->counts[HOLD_READER])
        return error_set(err, -EBUSY, "the snapshot is in use: a job reads it");
    if (held->counts[HOLD_FILE] && !though_open)
        return error_set(err, -EBUSY, "the snapshot is in use: a file of it is open");
    return 0;
}

static int hold(struct snapshot_holds *holds, int64_t snapshot_id, enum snapshot_hold kind,
                bool though_open, struct error *err)
{
    pthread_mutex_lock(&holds->lock);
    struct held_snapshot *held = find_or_add(holds, snapshot_id);
    int r = held ? refuse(held, kind, though_open, err) : error_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        held->counts[kind]++;
    pthread_mutex_unlock(&holds->lock);
    return r;
}

int snapshot_hold_to_read(struct snapshot_holds *holds, int64_t snapshot_id, struct error *err)
{
    return hold(holds, snapshot_id, HOLD_READER, false, err);
}

int snapshot_hold_to_forget(struct snapshot_holds *holds, int64_t snapshot_id, bool though_open,
                            struct error *err)
{
    return hold(holds, snapshot_id, HOLD_FORGETTING, though_open, err);
}

void snapshot_hold_by_file(struct snapshot_holds *holds, int64_t snapshot_id)
{
    pthread_mutex_lock(&holds->lock);
    struct held_snapshot *held = find(holds, snapshot_id);
    held->counts[HOLD_READER]--;
    held->counts[HOLD_FILE]++;
    pthread_mutex_unlock(&holds->lock);
}

bool snapshot_is_open(struct snapshot_holds *holds, int64_t snapshot_id)
{
    pthread_mutex_lock(&holds->lock);
    struct held_snapshot *held = find(holds, snapshot_id);
    bool open = held && held->counts[HOLD_FILE];
    pthread_mutex_unlock(&holds->lock);
    return open;
}

static bool is_unheld(const struct held_snapshot *held)
{
    for (int kind = 0; kind < HOLD_KINDS; kind++) {
        if (held->counts[kind])
            return false;
    }
    return true;
}

void snapshot_release(struct snapshot_holds *holds, int64_t snapshot_id, enum snapshot_hold kind)
{
    pthread_mutex_lock(&holds->lock);
    struct held_snapshot *held = find(holds, snapshot_id);
    held->counts[kind]--;
    if (is_unheld(held)) {
        HASH_DEL(holds->list, held);
        free(held);
    }
    pthread_mutex_unlock(&holds->lock);
}
