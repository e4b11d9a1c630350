// SPDX-License-Identifier: MIT
//
// From readers to marks, by way of a short list.
#include "fs/job/damage_notes.h"

#include "base/log.h"
#include "catalog/damage.h"
#include "fs/job/engine_state.h"

#include <string.h>

void damage_notes_init(struct damage_notes *notes)
{
    pthread_mutex_init(&notes->flush_lock, NULL);
    pthread_mutex_init(&notes->lock, NULL);
    notes->count = 0;
}

void damage_notes_deinit(struct damage_notes *notes)
{
    pthread_mutex_destroy(&notes->lock);
    pthread_mutex_destroy(&notes->flush_lock);
}

static bool is_noted(const struct damage_notes *notes, const struct chunk_location *copy)
{
    for (size_t i = 0; i < notes->count; i++) {
        if (notes->notes[i].pack_id == copy->pack_id &&
            digest_equal(&notes->notes[i].id, &copy->record.id))
            return true;
    }
    return false;
}

void damage_note(const struct chunk_location *copy, void *arg)
{
    struct damage_notes *notes = arg;

    if (copy->damaged) // known
        return;
    pthread_mutex_lock(&notes->lock);
    if (notes->count < DAMAGE_NOTES_MAX && !is_noted(notes, copy))
        notes->notes[notes->count++] =
            (struct damage_noted){.pack_id = copy->pack_id, .id = copy->record.id};
    pthread_mutex_unlock(&notes->lock);
}

static size_t take(struct damage_notes *notes, struct damage_noted **ret_taken)
{
    size_t count, size;

    pthread_mutex_lock(&notes->lock);
    count = notes->count;
    size = count * sizeof(**ret_taken);
    *ret_taken = count > 0 ? malloc(size) : NULL;
    if (*ret_taken)
        memcpy(*ret_taken, notes->notes, size);
    notes->count = 0;
    pthread_mutex_unlock(&notes->lock);
    return *ret_taken ? count : 0;
}

static int write_marks(struct engine *engine, const struct damage_noted *taken, size_t count,
                       struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(engine->repository.catalog, &conn, err);

    for (size_t i = 0; r == 0 && i < count; i++)
        r = damage_mark(conn, taken[i].pack_id, &taken[i].id, NULL, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static void flush(struct engine *engine) // flush_lock held
{
    AUTO_FREE struct damage_noted *taken = NULL;
    struct error err = ERROR_INIT;
    size_t count = take(&engine->damage_notes, &taken);

    if (count == 0)
        return;
    if (write_marks(engine, taken, count, &err) < 0)
        log_warning("%zu records that were found damaged are not marked: %s", count,
                    error_message(&err));
    else
        log_warning("%zu records were found damaged while they were read: verify tells what they "
                    "belong to, a backup that meets their content heals them",
                    count);
}

void damage_notes_flush(struct engine *engine)
{
    pthread_mutex_lock(&engine->damage_notes.flush_lock);
    flush(engine);
    pthread_mutex_unlock(&engine->damage_notes.flush_lock);
}
