// SPDX-License-Identifier: MIT
//
// Damage that readers meet: a copy of a record that a restore, a backup or a reader of the mount
// found damaged gets its mark, so that the next backup that meets the content stores it again.
//
// Threads: damage_note() is called by any reader and only notes; it takes a lock of its own, a
// leaf, and touches no file. The notifier writes what is noted every few seconds, a backup when it
// needs to know, and engine_close() what is left. What does not fit or cannot be written is
// dropped: the next reader, or a verification, meets it again.
#ifndef FS_JOB_DAMAGE_NOTES_H
#define FS_JOB_DAMAGE_NOTES_H

#include "catalog/pack_index.h"

#include <pthread.h>

#define DAMAGE_NOTES_MAX 1024

struct engine;

struct damage_notes {
    pthread_mutex_t flush_lock; // held from taking notes until they are marks; before the writer
    pthread_mutex_t lock;
    // guarded by lock
    struct damage_noted {
        int64_t pack_id;
        struct digest id;
    } notes[DAMAGE_NOTES_MAX];
    size_t count;
};

void damage_notes_init(struct damage_notes *notes);
void damage_notes_deinit(struct damage_notes *notes);

// For store_on_damage(); `arg` is the struct damage_notes.
void damage_note(const struct chunk_location *copy, void *arg);

// Marks what is noted: on return all that was noted before the call is marked, also what another
// thread was about to mark. May wait for the catalog's writer; the caller holds no lease.
void damage_notes_flush(struct engine *engine);

#endif
