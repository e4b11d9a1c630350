// SPDX-License-Identifier: MIT
//
// Garbage collection where a record needs another one, or cannot be read.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "catalog/damage.h"
#include "catalog/gc_rows.h"
#include "tests/unit/gc_testing.h"

// --- deltas: their bases

// Makes the row of chunk `n` in the newest pack say that it is a delta against chunk `base`.
struct pretend {
    struct chunk_row rows[CHUNKS * 2];
    size_t count, made;
    struct digest delta, base;
};

static int pretend_row(const struct chunk_location *row, void *arg, struct error *err)
{
    struct pretend *pretend = arg;

    (void)err;
    pretend->rows[pretend->count] = row->record;
    if (digest_equal(&row->record.id, &pretend->delta)) {
        pretend->rows[pretend->count].base = pretend->base;
        pretend->made++;
    }
    pretend->count++;
    return 0;
}

static int note_last_pack(const struct pack_row *row, void *arg, struct error *err)
{
    (void)err;
    *(struct pack_row *)arg = *row;
    return 0;
}

static void make_delta(struct store_fixture *fixture, uint64_t n, uint64_t base)
{
    struct pretend pretend = {.delta = id_of(n), .base = id_of(base)};
    struct catalog_conn *conn;
    struct pack_row pack;
    int64_t id;

    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(pack_each(conn, 0, note_last_pack, &pack, NULL), 0);
    assert_int_equal(chunk_each_of_pack(conn, pack.id, pretend_row, &pretend, NULL), 0);
    assert_int_equal(pretend.made, 1);
    assert_int_equal(pack_delete(conn, pack.id, NULL), 0);
    assert_int_equal(pack_insert(conn, &pack, pretend.rows, pretend.count, &id, NULL), 0);
    assert_int_equal(catalog_write_commit(conn, NULL), 0);
}

static void test_bases_stay_with_their_deltas(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 20), second = snapshot(fixture, 30, 3);

    make_delta(fixture, 31, 5);
    forget(fixture, first);
    assert_int_equal(collect(fixture).packs_rewritten, 1);
    assert_true(is_there(fixture, 5));
    assert_false(is_there(fixture, 6));
    assert_nothing_to_do(fixture);
    forget(fixture, second);
    collect(fixture);
    assert_false(is_there(fixture, 31));
    assert_false(is_there(fixture, 5));
}

static void test_a_delta_that_is_copied(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 20), second = snapshot(fixture, 30, 20);

    make_delta(fixture, 31, 5);
    make_delta(fixture, 32, 6);
    snapshot(fixture, 31, 1);
    forget(fixture, first);
    forget(fixture, second);
    assert_int_equal(collect(fixture).packs_rewritten, 2);
    assert_true(is_there(fixture, 31));
    assert_true(is_there(fixture, 5));
    assert_false(is_there(fixture, 32)); // it goes, and so does its base
    assert_false(is_there(fixture, 6));
    assert_nothing_to_do(fixture);
}

// A dead delta in a pack that stays keeps its base: whoever reads all records can decode it. One in
// a pack that goes does not.
static void test_dead_deltas(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 20), second = snapshot(fixture, 30, 20);

    make_delta(fixture, 31, 5);
    snapshot(fixture, 32, 18);
    forget(fixture, first);
    forget(fixture, second);
    collect(fixture);
    assert_true(is_there(fixture, 31));
    assert_true(is_there(fixture, 5));
    assert_false(is_there(fixture, 6));
    assert_nothing_to_do(fixture);

    leave(fixture, 60, 2);
    make_delta(fixture, 61, 60);
    collect(fixture);
    assert_false(is_there(fixture, 60));
}

static void test_a_pinned_delta_pins_its_base(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest delta = id_of(31), orphan = id_of(41);

    leave(fixture, 0, 10);
    leave(fixture, 30, 3);
    make_delta(fixture, 31, 5);
    assert_int_equal(knows(fixture, writer, &delta), 1);
    collect(fixture);
    assert_true(is_there(fixture, 31));
    assert_true(is_there(fixture, 5));
    assert_false(is_there(fixture, 6));
    assert_int_equal(knows(fixture, writer, &delta), 1);
    leave(fixture, 40, 3);
    make_delta(fixture, 41, 77); // a base that is nowhere
    assert_int_equal(knows(fixture, writer, &orphan), 0);
    store_writer_close(writer);
}

static void make_durable(struct store_fixture *fixture, int64_t job_id)
{
    struct catalog_conn *conn;

    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(pack_make_durable(conn, job_id, NULL), 0);
    assert_int_equal(catalog_write_commit(conn, NULL), 0);
}

static struct chunk_location where(struct store_fixture *fixture, const struct digest *id, int copy)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct chunk_location copies[4];

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_true(chunk_copies(conn, id, -1, copies, 4, NULL) > copy);
    return copies[copy];
}

// A chunk stands plain and as a delta, and both copies are copied: the plain one as the base of
// another delta, the other one for a backup that met it while the plain one was another job's.
static void test_a_plain_copy_beside_a_delta(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *plain = writer_of(fixture), *backup;
    struct digest id = put(plain, 5);
    struct chunk_location best;
    struct gc_result result;

    put(plain, 6); // dead
    assert_int_equal(store_writer_seal(plain, NULL), 0);
    leave(fixture, 50, 1);
    leave(fixture, 5, 4);
    make_delta(fixture, 5, 50);
    snapshot(fixture, 7, 1);
    assert_int_equal(store_writer_open(fixture->store, new_job(fixture), &backup, NULL), 0);
    assert_int_equal(knows(fixture, backup, &id), 1);
    make_durable(fixture, fixture->job_id);
    store_writer_close(plain);
    snapshot(fixture, 60, 2);
    make_delta(fixture, 61, 5);

    result = collect(fixture);
    assert_int_equal(result.packs_rewritten, 3);
    assert_int_equal(result.packs_made, 2); // both copies were to go into one pack
    best = where(fixture, &id, 0);
    assert_true(digest_is_zero(&best.record.base));
    assert_int_equal(knows(fixture, backup, &id), 1);
    store_writer_close(backup);
    collect(fixture);
    assert_chunks(fixture, 5, 1);
}

// --- damage

static void flip_chunk(struct store_fixture *fixture, const struct chunk_location *at)
{
    int fd = open(pack_path(fixture, at->pack_uuid, "pack"), O_RDWR);
    uint8_t byte;
    off_t place = (off_t)at->record.offset + PACK_RECORD_HEADER_SIZE + 100;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, place), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, place), 1);
    close(fd);
}

static void count_tellings(const char *sentence, void *arg)
{
    assert_non_null(strstr(sentence, "pack "));
    ++*(int *)arg;
}

static void test_what_cannot_be_read_stays(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 30);
    int told = 0;
    struct gc_options options = {.tell = count_tellings, .arg = &told};
    struct digest id = id_of(4);
    struct chunk_location at = where(fixture, &id, 0);
    struct gc_result result;

    snapshot(fixture, 0, 10);
    leave(fixture, 50, 10);
    forget(fixture, first);
    flip_chunk(fixture, &at);
    result = collect_with(fixture, options, 0);
    assert_int_equal(result.packs_dropped, 1); // the others go all the same
    assert_int_equal(result.packs_rewritten, 0);
    assert_int_equal(result.packs_passed_over, 1);
    assert_int_equal(result.damage, 1);
    assert_int_equal(told, 1);
    assert_int_equal(access(pack_path(fixture, at.pack_uuid, "pack"), F_OK), 0);
    assert_chunks(fixture, 0, 4);
    assert_chunks(fixture, 5, 5);
}

// Two copies, the one that would be kept is damaged and nobody knows yet.
static void test_the_copy_that_is_whole_stays(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *one = writer_of(fixture), *two;
    int told = 0;
    struct gc_options options = {.tell = count_tellings, .arg = &told};
    struct chunk_location at;
    struct digest id = put(one, 4);

    assert_int_equal(store_writer_open(fixture->store, new_job(fixture), &two, NULL), 0);
    put(two, 4);
    assert_int_equal(store_writer_seal(one, NULL), 0);
    assert_int_equal(store_writer_seal(two, NULL), 0);
    store_writer_close(one);
    store_writer_close(two);
    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 0, 0, NULL), 0);
    assert_int_equal(store_reconcile(fixture->store, NULL, NULL, NULL), 0); // both durable
    snapshot(fixture, 4, 1);
    at = where(fixture, &id, 0);
    flip_chunk(fixture, &at);
    assert_int_equal(collect_with(fixture, options, 0).packs_dropped, 1);
    assert_int_equal(told, 1);
    assert_int_not_equal(access(pack_path(fixture, at.pack_uuid, "pack"), F_OK), 0);
    assert_chunks(fixture, 4, 1);
}

static void mark(struct store_fixture *fixture, const struct chunk_location *at, bool damaged)
{
    struct catalog_conn *conn;

    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(damaged ? damage_mark(conn, at->pack_id, &at->record.id, NULL, NULL)
                             : damage_clear(conn, at->pack_id, &at->record.id, NULL, NULL),
                     0);
    assert_int_equal(catalog_write_commit(conn, NULL), 0);
}

struct marking {
    struct store_fixture *fixture;
    struct chunk_location at;
    uint64_t packs; // bytes of them: the total while it is being planned
};

static int mark_while_copying(uint64_t done, uint64_t total, void *arg, struct error *err)
{
    const struct marking *marking = arg;

    (void)done;
    (void)err;
    if (total > marking->packs)
        mark(marking->fixture, &marking->at, true);
    return 0;
}

// A verification beside the collection finds a record damaged that is about to move.
static void test_a_mark_moves_along(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 30);
    struct digest id = id_of(4);
    struct marking marking = {.fixture = fixture, .at = where(fixture, &id, 0)};
    struct gc_options options = {.progress = mark_while_copying, .arg = &marking};
    struct chunk_location at;

    snapshot(fixture, 0, 10);
    forget(fixture, first);
    marking.packs = packs_of(fixture).file_bytes;
    assert_int_equal(collect_with(fixture, options, 0).packs_rewritten, 1);
    at = where(fixture, &id, 0);
    assert_true(at.pack_id != marking.at.pack_id);
    assert_true(at.damaged);
    id = id_of(5);
    at = where(fixture, &id, 0);
    assert_false(at.damaged);
}

// Two deltas of one chunk: the older one is whole, and its base is not.
static void test_the_delta_whose_base_is_whole_stays(void **state)
{
    struct store_fixture *fixture = *state;
    int told = 0;
    struct gc_options options = {.tell = count_tellings, .arg = &told};
    struct digest id = id_of(5), base = id_of(50), other = id_of(51);
    struct chunk_location at, old;

    leave(fixture, 50, 1);
    leave(fixture, 51, 1);
    leave(fixture, 5, 1);
    make_delta(fixture, 5, 50);
    at = where(fixture, &base, 0);
    old = where(fixture, &id, 0);
    mark(fixture, &at, true);
    snapshot(fixture, 5, 1); // stored again
    make_delta(fixture, 5, 51);
    mark(fixture, &at, false);
    mark(fixture, &old, false);
    flip_chunk(fixture, &at);
    collect_with(fixture, options, 0);
    at = where(fixture, &id, 0);
    assert_memory_equal(&at.record.base, &other, sizeof(other));
    assert_true(is_there(fixture, 51));
    assert_int_equal(told, 1);
    assert_nothing_to_do(fixture);
}

static void test_a_map_that_cannot_be_read_stops_it(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 10);
    struct error err = ERROR_INIT;
    struct gc_result result;
    struct chunk_location at;
    struct snapshot_row row;
    struct catalog_conn *conn;
    uint64_t before;

    snapshot(fixture, 20, 5);
    leave(fixture, 50, 10);
    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(snapshot_get(conn, first, &row, NULL), 0);
    catalog_read_end(conn);
    at = where(fixture, &row.digest, 0);
    flip_chunk(fixture, &at);
    before = files_of(fixture).bytes;
    assert_int_equal(store_gc(fixture->store, &(struct gc_options){0}, &result, &err),
                     -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "snapshot vm/disk/chain-"));
    assert_non_null(strstr(error_message(&err), "forgotten"));
    assert_int_equal(files_of(fixture).bytes, before);
    forget(fixture, first); // the way out
    assert_true(collect(fixture).packs_dropped >= 1);
    assert_chunks(fixture, 20, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_bases_stay_with_their_deltas),
        STORE_TEST(test_a_delta_that_is_copied),
        STORE_TEST(test_dead_deltas),
        STORE_TEST(test_a_pinned_delta_pins_its_base),
        STORE_TEST(test_a_plain_copy_beside_a_delta),
        STORE_TEST(test_what_cannot_be_read_stays),
        STORE_TEST(test_the_copy_that_is_whole_stays),
        STORE_TEST(test_a_mark_moves_along),
        STORE_TEST(test_the_delta_whose_base_is_whole_stays),
        STORE_TEST(test_a_map_that_cannot_be_read_stops_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
