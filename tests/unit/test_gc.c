// SPDX-License-Identifier: MIT
//
// Garbage collection of a store: what is live stays and can be read, what is dead goes, what
// running backups rely on stays although no snapshot refers to it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "catalog/gc_rows.h"
#include "catalog/snapshot.h"
#include "fs/store/gc.h"
#include "fs/store/map.h"
#include "tests/unit/store_testing.h"

#define CHUNKS 100 // places of the disk

// --- snapshots

// A job of its own whose snapshot holds the chunks content(first) … content(first + count - 1),
// each at its own place. Returns the number of the snapshot.
static int64_t complete(struct store_fixture *fixture, int64_t job_id, const struct digest *root,
                        const struct digest *record)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct chain_row chain = {.number = job_id, .capacity = CHUNKS * CHUNK, .chunk_size = CHUNK};
    struct snapshot_completion done = {.job_id = job_id,
                                       .disk_id = 1,
                                       .new_chain = &chain,
                                       .number = 1,
                                       .kind = SNAPSHOT_FULL,
                                       .uuid = chain.uuid,
                                       .tags = "",
                                       .taken_at = clock_now(),
                                       .capacity = CHUNKS * CHUNK,
                                       .chunk_size = CHUNK,
                                       .digest = *root,
                                       .record = *record,
                                       .change_id = ""};
    struct error err = ERROR_INIT;
    int64_t id;
    int r;

    snprintf(chain.uuid, sizeof(chain.uuid), "00000000-0000-4000-8000-%012lld", (long long)job_id);
    snprintf(chain.source, sizeof(chain.source), "/dev/null");
    chain.disk_id = 1;
    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    r = snapshot_start(conn, job_id, 1, &err);
    if (r == 0)
        r = snapshot_complete(conn, &done, &id, &err);
    if (r == 0)
        r = pack_make_durable(conn, job_id, &err);
    if (r == 0)
        r = job_end(conn, job_id, JOB_COMPLETED, "", 0, 0, &err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), &err);
    if (r < 0)
        fail_msg("%s", error_message(&err));
    return id;
}

static int64_t new_job(struct store_fixture *fixture)
{
    struct error err = ERROR_INIT;
    int64_t job_id;

    if (store_fixture_job(fixture, &job_id, &err) < 0)
        fail_msg("%s", error_message(&err));
    return job_id;
}

static struct digest write_map(struct store_writer *writer, uint64_t first, uint64_t count)
{
    struct map_builder *builder;
    struct digest root;

    assert_int_equal(map_builder_new(writer, CHUNKS * CHUNK, CHUNK, &builder, NULL), 0);
    for (uint64_t n = first; n < first + count; n++) {
        struct digest id = put(writer, n);

        assert_int_equal(map_builder_add(builder, n, &id, NULL), 0);
    }
    assert_int_equal(map_builder_finish(builder, &root, NULL), 0);
    map_builder_free(builder);
    return root;
}

static int64_t snapshot(struct store_fixture *fixture, uint64_t first, uint64_t count)
{
    int64_t job_id = new_job(fixture);
    struct store_writer *writer;
    struct digest root, record;
    char text[64];
    int64_t id;

    assert_int_equal(store_writer_open(fixture->store, job_id, &writer, NULL), 0);
    root = write_map(writer, first, count);
    snprintf(text, sizeof(text), "record of job %lld", (long long)job_id);
    assert_int_equal(store_writer_put(writer, RECORD_SNAPSHOT, text, strlen(text), &record, NULL),
                     0);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    id = complete(fixture, job_id, &root, &record);
    store_writer_close(writer);
    return id;
}

static void forget(struct store_fixture *fixture, int64_t id)
{
    struct catalog_conn *conn;

    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(snapshot_forget(conn, id, NULL), 0);
    assert_int_equal(catalog_write_commit(conn, NULL), 0);
}

// Durable packs that no snapshot refers to, as a failed job leaves them.
static void leave(struct store_fixture *fixture, uint64_t first, uint64_t count)
{
    int64_t job_id = new_job(fixture);
    struct store_writer *writer;
    struct catalog_conn *conn;

    assert_int_equal(store_writer_open(fixture->store, job_id, &writer, NULL), 0);
    write_map(writer, first, count);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(pack_make_durable(conn, job_id, NULL), 0);
    assert_int_equal(job_end(conn, job_id, JOB_FAILED, "x", 0, 0, NULL), 0);
    assert_int_equal(catalog_write_commit(conn, NULL), 0);
}

static struct digest id_of(uint64_t n)
{
    struct chunk_coder *coder;
    uint8_t data[CHUNK];
    struct digest id;

    content(n, data);
    assert_int_equal(chunk_coder_new(1, &coder, NULL), 0);
    assert_int_equal(chunk_coder_id(coder, RECORD_CHUNK, data, CHUNK, &id, NULL), 0);
    chunk_coder_free(coder);
    return id;
}

// Past the cache of decoded chunks: the store is opened anew.
static void assert_chunks(struct store_fixture *fixture, uint64_t first, uint64_t count)
{
    for (uint64_t n = first; n < first + count; n++) {
        struct digest id = id_of(n);
        size_t len;
        void *data;
        uint8_t expected[CHUNK];
        struct error err = ERROR_INIT;

        if (store_get(fixture->store, NULL, RECORD_CHUNK, &id, true, &data, &len, &err) < 0)
            fail_msg("chunk %llu: %s", (unsigned long long)n, error_message(&err));
        content(n, expected);
        assert_int_equal(len, CHUNK);
        assert_memory_equal(data, expected, CHUNK);
        free(data);
    }
}

static bool is_there(struct store_fixture *fixture, uint64_t n)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct chunk_location location;
    struct digest id = id_of(n);

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    return chunk_lookup(conn, &id, -1, &location, NULL) == 1;
}

static struct gc_result collect_with(struct store_fixture *fixture, struct gc_options options,
                                     int expected)
{
    struct gc_result result;
    struct error err = ERROR_INIT;
    struct files files;
    struct pack_sum sum;
    int r = store_gc(fixture->store, &options, &result, &err);

    if (r != expected)
        fail_msg("gc: %d instead of %d: %s", r, expected, error_message(&err));
    files = files_of(fixture);
    sum = packs_of(fixture);
    assert_int_equal(files.open, 0);
    assert_int_equal(files.sealed, sum.packs);
    assert_int_equal(files.bytes, sum.file_bytes);
    return result;
}

static struct gc_result collect(struct store_fixture *fixture)
{
    return collect_with(fixture, (struct gc_options){0}, 0);
}

static void assert_nothing_to_do(struct store_fixture *fixture)
{
    struct gc_result result = collect(fixture);

    assert_int_equal(result.packs_dropped + result.packs_rewritten + result.packs_passed_over, 0);
    assert_int_equal(result.freed_bytes + result.copied_bytes + result.damage, 0);
}

// --- what goes and what stays

static void test_dead_packs_go(void **state)
{
    struct store_fixture *fixture = *state;
    struct gc_result result;
    uint64_t before;

    snapshot(fixture, 0, 10);
    leave(fixture, 20, 10);
    leave(fixture, 40, 10);
    before = files_of(fixture).bytes;
    result = collect(fixture);
    assert_int_equal(result.packs, 3);
    assert_int_equal(result.snapshots, 1);
    assert_int_equal(result.packs_dropped, 2);
    assert_int_equal(result.packs_rewritten, 0);
    assert_int_equal(files_of(fixture).bytes, before - result.freed_bytes);
    assert_true(result.freed_bytes > 10 * CHUNK);
    assert_chunks(fixture, 0, 10);
    assert_false(is_there(fixture, 20));
    assert_nothing_to_do(fixture);
}

static void test_rewriting(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 30);
    struct gc_result result;
    uint64_t before;

    snapshot(fixture, 0, 10); // shares these
    before = files_of(fixture).bytes;
    assert_nothing_to_do(fixture);
    forget(fixture, first);
    result = collect(fixture);
    assert_int_equal(result.packs_dropped, 0);
    assert_int_equal(result.packs_rewritten, 1);
    assert_int_equal(result.packs_made, 1);
    assert_int_equal(before - result.freed_bytes, files_of(fixture).bytes);
    assert_true(result.dead_bytes >= result.freed_bytes - 100);
    assert_chunks(fixture, 0, 10);
    assert_false(is_there(fixture, 10));
    assert_nothing_to_do(fixture);
}

static void test_threshold(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 20);
    struct gc_result result;

    snapshot(fixture, 0, 18); // two of twenty are dead, and the map
    forget(fixture, first);
    assert_nothing_to_do(fixture);
    result = collect_with(fixture, (struct gc_options){.threshold = 100}, 0);
    assert_int_equal(result.packs_rewritten, 0);
    assert_true(is_there(fixture, 19));
    result = collect_with(fixture, (struct gc_options){.threshold = 5}, 0);
    assert_int_equal(result.packs_rewritten, 1);
    assert_false(is_there(fixture, 19));
    assert_chunks(fixture, 0, 18);
}

static void test_small_packs_are_merged(void **state)
{
    struct store_fixture *fixture = *state;
    struct gc_result result;

    for (uint64_t i = 0; i < 15; i++)
        snapshot(fixture, i, 2);
    assert_nothing_to_do(fixture);
    snapshot(fixture, 15, 2);
    result = collect(fixture);
    assert_int_equal(result.packs_rewritten, 16);
    assert_int_equal(result.packs_made, 1);
    assert_int_equal(files_of(fixture).sealed, 1);
    assert_chunks(fixture, 0, 17);
    assert_nothing_to_do(fixture);
}

// With packs of 64 KiB a collection takes many steps.
static void test_many_steps(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first;
    struct gc_result result;

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 65536, 0, NULL), 0);
    first = snapshot(fixture, 0, 60);
    snapshot(fixture, 20, 20);
    leave(fixture, 70, 20);
    forget(fixture, first);
    result = collect(fixture);
    assert_true(result.packs_dropped > 4 && result.packs_made >= 1);
    assert_chunks(fixture, 20, 20);
    assert_false(is_there(fixture, 0));
    assert_false(is_there(fixture, 75));
    assert_nothing_to_do(fixture);
}

static void test_a_dry_run_foretells(void **state)
{
    struct store_fixture *fixture = *state;
    struct gc_result told, done;
    uint64_t before;
    int64_t first;

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 100000, 0, NULL), 0);
    first = snapshot(fixture, 0, 60);
    for (uint64_t i = 0; i < 20; i++)
        snapshot(fixture, i * 3, 1);
    forget(fixture, first);
    leave(fixture, 70, 9);
    before = files_of(fixture).bytes;
    told = collect_with(fixture, (struct gc_options){.dry_run = true}, 0);
    assert_int_equal(files_of(fixture).bytes, before);
    done = collect(fixture);
    assert_memory_equal(&told, &done, sizeof(told));
    assert_int_equal(files_of(fixture).bytes, before - done.freed_bytes);
    assert_true(done.packs_dropped > 0 && done.packs_rewritten > 0);
}

// --- what running backups rely on

static void test_provisional_packs_stay(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);

    write_map(writer, 0, 5);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_nothing_to_do(fixture);
    store_writer_close(writer);
    assert_nothing_to_do(fixture);
    assert_chunks(fixture, 0, 5);
}

static void test_pins(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest id = id_of(3);
    struct gc_result result;

    leave(fixture, 0, 10);
    assert_int_equal(knows(fixture, writer, &id), 1);
    result = collect(fixture);
    assert_int_equal(result.packs_dropped, 0);
    assert_chunks(fixture, 3, 1);
    assert_false(is_there(fixture, 4));
    // The pin went with the copy.
    collect(fixture);
    assert_chunks(fixture, 3, 1);
    assert_int_equal(knows(fixture, writer, &id), 1);
    store_writer_close(writer);
    result = collect(fixture);
    assert_int_equal(result.packs_dropped, 1);
    assert_false(is_there(fixture, 3));
}

struct beside {
    struct store_fixture *fixture;
    struct store_writer *writer;
    uint64_t chunk;
    int calls, at;
    int64_t snapshot; // of 0: none is made
    bool makes;
};

// A whole backup that finds a dead chunk, or only its first step, while a collection is marking.
static int work_beside(uint64_t done, uint64_t total, void *arg, struct error *err)
{
    struct beside *beside = arg;
    struct digest id = id_of(beside->chunk);

    (void)done;
    (void)total;
    (void)err;
    if (beside->calls++ != beside->at)
        return 0;
    if (beside->makes) {
        beside->snapshot = snapshot(beside->fixture, beside->chunk, 1);
        return 0;
    }
    assert_int_equal(knows(beside->fixture, beside->writer, &id), 1);
    store_writer_close(TAKE(beside->writer, NULL));
    return 0;
}

static void test_pins_outlive_their_writer(void **state)
{
    struct store_fixture *fixture = *state;
    struct beside beside = {.fixture = fixture, .writer = writer_of(fixture), .chunk = 3};
    struct gc_options options = {.progress = work_beside, .arg = &beside};

    snapshot(fixture, 20, 1);
    leave(fixture, 0, 10);
    collect_with(fixture, options, 0);
    assert_null(beside.writer);
    assert_chunks(fixture, 3, 1);
    collect(fixture);
    assert_false(is_there(fixture, 3));
}

static void test_a_backup_beside(void **state)
{
    struct store_fixture *fixture = *state;

    // At every moment at which a collection tells how far it is.
    for (int at = 0, calls = 1; at < calls; at++) {
        struct beside beside = {.fixture = fixture, .chunk = 34, .at = at, .makes = true};
        struct gc_options options = {.progress = work_beside, .arg = &beside};
        int64_t kept = snapshot(fixture, 0, 20), other = snapshot(fixture, 20, 30);

        snapshot(fixture, 20, 5);
        forget(fixture, other);
        collect_with(fixture, options, 0);
        calls = beside.calls;
        assert_true(beside.snapshot > 0);
        assert_chunks(fixture, 34, 1);
        assert_chunks(fixture, 0, 25);
        collect(fixture);
        assert_chunks(fixture, 34, 1);
        forget(fixture, beside.snapshot);
        forget(fixture, kept);
        collect_with(fixture, (struct gc_options){.threshold = 1}, 0);
        assert_false(is_there(fixture, 34));
    }
}

static void test_a_lease_from_before(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct catalog_conn *old;
    struct digest dead = id_of(3), live = id_of(20);
    int64_t first = snapshot(fixture, 20, 30);

    snapshot(fixture, 20, 5);
    forget(fixture, first);
    leave(fixture, 0, 10);
    assert_int_equal(catalog_read_begin(fixture->catalog, &old, NULL), 0);
    collect(fixture);
    assert_int_equal(store_writer_knows(writer, old, &dead, NULL), 0);
    assert_int_equal(store_writer_knows(writer, old, &live, NULL), 1);
    catalog_read_end(old);
    store_writer_close(writer);
}

// A reader with an old lease finds what was moved.
static void test_readers_look_again(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 30);
    struct catalog_conn *old;
    struct digest id = id_of(7);
    size_t len;
    void *data;

    snapshot(fixture, 0, 10);
    forget(fixture, first);
    assert_int_equal(catalog_read_begin(fixture->catalog, &old, NULL), 0);
    assert_int_equal(collect(fixture).packs_rewritten, 1);
    assert_int_equal(store_get(fixture->store, old, RECORD_CHUNK, &id, true, &data, &len, NULL), 0);
    free(data);
    catalog_read_end(old);
}

// --- deltas: their bases

// Makes the row of chunk `n` say that it is a delta against chunk `base`.
struct pretend {
    struct chunk_row rows[CHUNKS * 2];
    size_t count;
    struct digest delta, base;
};

static int pretend_row(const struct chunk_location *row, void *arg, struct error *err)
{
    struct pretend *pretend = arg;

    (void)err;
    pretend->rows[pretend->count] = row->record;
    if (digest_equal(&row->record.id, &pretend->delta))
        pretend->rows[pretend->count].base = pretend->base;
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
    struct chunk_location at;
    struct catalog_conn *conn;
    struct pack_row pack;
    int64_t id;

    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(pack_each(conn, 0, note_last_pack, &pack, NULL), 0);
    assert_int_equal(chunk_lookup(conn, &pretend.delta, -1, &at, NULL), 1);
    assert_int_equal(at.pack_id, pack.id);
    assert_int_equal(gc_rows_of_pack(conn, pack.id, pretend_row, &pretend, NULL), 0);
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

static struct chunk_location where(struct store_fixture *fixture, const struct digest *id, int copy)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct chunk_location copies[4];

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_true(chunk_copies(conn, id, -1, copies, 4, NULL) > copy);
    return copies[copy];
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

// --- ends

static int end_at(uint64_t done, uint64_t total, void *arg, struct error *err)
{
    int *left = arg;

    assert_true(done <= total);
    return (*left)-- == 0 ? error_set(err, -ECANCELED, "enough") : 0;
}

static void test_ending_anywhere(void **state)
{
    struct store_fixture *fixture = *state;
    int64_t first;
    int ended = 0;

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 100000, 0, NULL), 0);
    first = snapshot(fixture, 0, 60);
    snapshot(fixture, 20, 20);
    leave(fixture, 70, 20);
    forget(fixture, first);
    for (int calls = 0; calls < 500; calls++) {
        int left = calls;
        struct gc_options options = {.progress = end_at, .arg = &left};
        struct gc_result result;
        int r = store_gc(fixture->store, &options, &result, NULL);

        assert_chunks(fixture, 20, 20);
        assert_int_equal(files_of(fixture).sealed, packs_of(fixture).packs);
        assert_int_equal(files_of(fixture).open, 0);
        if (r == 0)
            break;
        assert_int_equal(r, -ECANCELED);
        ended++;
    }
    assert_true(ended > 5);
    assert_false(is_there(fixture, 0));
    assert_false(is_there(fixture, 75));
    assert_nothing_to_do(fixture);
}

static void test_faults(void **state)
{
    static const char *const faults[] = {
        "gc-mark=EIO",       "gc-copied=EIO",      "gc-commit=EIO",
        "gc-committed=EIO",  "pack-create=ENOSPC", "pack-read=EIO",
        "1-pack-append=EIO", "2-pack-sync=EIO",    "2-pack-rename=EIO"};
    struct store_fixture *fixture = *state;
    int64_t first = snapshot(fixture, 0, 30);

    snapshot(fixture, 0, 10);
    forget(fixture, first);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct gc_result result;

        arm(faults[i]);
        assert_true(store_gc(fixture->store, &(struct gc_options){0}, &result, NULL) < 0);
        arm(NULL);
        assert_int_equal(files_of(fixture).open, 0);
        assert_int_equal(files_of(fixture).sealed, packs_of(fixture).packs);
        assert_chunks(fixture, 0, 10);
        if (strcmp(faults[i], "gc-committed=EIO") == 0) {
            leave(fixture, 40, 30); // something to do again
            forget(fixture, snapshot(fixture, 40, 30));
            snapshot(fixture, 40, 9);
        }
    }
    collect(fixture);
    assert_chunks(fixture, 0, 10);
    assert_chunks(fixture, 40, 9);
    assert_nothing_to_do(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_dead_packs_go),
        STORE_TEST(test_rewriting),
        STORE_TEST(test_threshold),
        STORE_TEST(test_small_packs_are_merged),
        STORE_TEST(test_many_steps),
        STORE_TEST(test_a_dry_run_foretells),
        STORE_TEST(test_provisional_packs_stay),
        STORE_TEST(test_pins),
        STORE_TEST(test_pins_outlive_their_writer),
        STORE_TEST(test_a_backup_beside),
        STORE_TEST(test_a_lease_from_before),
        STORE_TEST(test_readers_look_again),
        STORE_TEST(test_bases_stay_with_their_deltas),
        STORE_TEST(test_dead_deltas),
        STORE_TEST(test_a_pinned_delta_pins_its_base),
        STORE_TEST(test_what_cannot_be_read_stays),
        STORE_TEST(test_the_copy_that_is_whole_stays),
        STORE_TEST(test_a_map_that_cannot_be_read_stops_it),
        STORE_TEST(test_ending_anywhere),
        STORE_TEST(test_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
