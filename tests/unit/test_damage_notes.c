// SPDX-License-Identifier: MIT
//
// What readers note becomes marks, and whoever has asked for that finds all of it marked, also when
// another thread is at it.
#include "tests/unit/engine_fixture.h"

#include "catalog/damage.h"
#include "catalog/pack_index.h"
#include "fs/job/damage_notes.h"
#include "fs/job/engine_state.h"

#include <pthread.h>
#include <stdatomic.h>

static int setup(void **state)
{
    struct engine_options options = {.command = "test"};
    struct fixture *f = fixture_make(&(struct repository_choices){0}, &options, MIB);

    back_up(f);
    *state = f;
    return 0;
}

static struct chunk_location place_of(struct fixture *f, const struct digest *id)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct chunk_location place;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(chunk_lookup(conn, id, 0, &place, NULL), 1);
    return place;
}

static size_t noted(struct fixture *f)
{
    struct damage_notes *notes = &f->engine->damage_notes;

    pthread_mutex_lock(&notes->lock);
    size_t count = notes->count;
    pthread_mutex_unlock(&notes->lock);
    return count;
}

static void noted_once_and_marked(void **state)
{
    struct fixture *f = *state;
    struct digest id = latest(f).digest;
    struct chunk_location place = place_of(f, &id);

    damage_note(&place, &f->engine->damage_notes);
    damage_note(&place, &f->engine->damage_notes);
    assert_true(noted(f) <= 1); // the notifier may have been there
    damage_notes_flush(f->engine);
    assert_int_equal(noted(f), 0);
    place = place_of(f, &id);
    assert_true(place.damaged);
    damage_note(&place, &f->engine->damage_notes); // known
    assert_int_equal(noted(f), 0);
}

struct flusher {
    struct fixture *f;
    atomic_bool done;
};

static void *flush(void *arg)
{
    struct flusher *flusher = arg;

    damage_notes_flush(flusher->f->engine);
    atomic_store(&flusher->done, true);
    return NULL;
}

// One has taken the notes and waits for the catalog's writer; another finds none and must not go on
// as if they were marked.
static void a_second_flush_waits_for_the_first(void **state)
{
    struct fixture *f = *state;
    struct digest id = latest(f).digest;
    struct chunk_location place = place_of(f, &id);
    struct flusher flushers[2] = {{.f = f}, {.f = f}};
    pthread_t threads[2];
    struct catalog_conn *conn;

    assert_int_equal(catalog_write_begin(engine_catalog(f->engine), &conn, NULL), 0);
    damage_note(&place, &f->engine->damage_notes);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, flush, &flushers[i]), 0);
        while (noted(f) > 0)
            usleep(1000);
    }
    usleep(50 * 1000);
    assert_false(atomic_load(&flushers[0].done));
    assert_false(atomic_load(&flushers[1].done));
    catalog_write_rollback(conn);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(place_of(f, &id).damaged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
        TEST(noted_once_and_marked),
        TEST(a_second_flush_waits_for_the_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
