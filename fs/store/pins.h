// SPDX-License-Identifier: MIT
//
// Pins: what running backups rely on although no snapshot refers to it yet. A writer that is told
// "this chunk is stored already" puts the chunk's row into its pins; garbage collection drops no
// pack with a pinned row that it did not copy.
//
// Time: a look-up and the pin it leads to are one step under the lock held for reading; the last
// check of pins and the commit that drops packs are one step under the lock held for writing. So a
// writer is either told before that check, and its pin is seen, or after that commit, and then a
// location in a dropped pack (its read lease may be older) is not believed: `dropped` tells.
//
// A writer's pins outlive it while a collection is under way: the snapshot it worked for may have
// been committed after the collection had listed the snapshots.
//
// Threads: all. Each writer's set has a lock of its own, a leaf, for several workers pin at once.
// Lock order: the catalog's writer lease, then pins->lock, then a set's. Whoever holds pins->lock
// for reading may take a read lease, never the writer.
#ifndef FS_STORE_PINS_H
#define FS_STORE_PINS_H

#include "base/error.h"
#include "fs/store/row_bitmap.h"

#include <pthread.h>

struct pin_set {
    pthread_mutex_t lock;
    struct row_bitmap rows; // guarded by lock
    bool closed;            // guarded by pins->lock: its writer has ended
    struct pin_set *prev, *next;
};

struct pins {
    pthread_rwlock_t lock;
    // guarded by lock
    struct pin_set *sets;
    struct row_bitmap dropped; // packs, since the store was opened; pack ids are not used twice
    bool collecting;
};

void pins_init(struct pins *pins);
void pins_deinit(struct pins *pins); // no set is open any more

// A writer's set. NULL and the error: out of memory.
struct pin_set *pins_open(struct pins *pins, struct error *err);
void pins_close(struct pins *pins, struct pin_set *set); // accepts NULL

// A look-up: between begin and end, pin() what is told to be there.
void pins_look_begin(struct pins *pins);
void pins_look_end(struct pins *pins);
bool pins_is_dropped(const struct pins *pins, int64_t pack_id); // lock held
int pins_pin(struct pin_set *set, int64_t row, struct error *err);

// A collection. One at a time: -EBUSY.
int pins_collect_begin(struct pins *pins, struct error *err);
void pins_collect_end(struct pins *pins);

// Whether anybody relies on the row, at this moment.
bool pins_ask(struct pins *pins, int64_t row);

// The commit of a collection, under the lock held for writing.
void pins_commit_begin(struct pins *pins);
void pins_commit_end(struct pins *pins);
bool pins_have(const struct pins *pins, int64_t row);
// Whoever relies on `from` relies on `to` as well.
int pins_copy(struct pins *pins, int64_t from, int64_t to, struct error *err);
int pins_note_dropped(struct pins *pins, int64_t pack_id, struct error *err);
void pins_note_kept(struct pins *pins, int64_t pack_id); // the commit failed

#endif
