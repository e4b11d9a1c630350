// SPDX-License-Identifier: MIT
//
// What the tests of garbage collection share: snapshots of chunks by number, packs that nobody
// refers to, and a collection that is looked at from outside.
#ifndef TESTS_UNIT_GC_TESTING_H
#define TESTS_UNIT_GC_TESTING_H

#include "base/clock.h"
#include "catalog/snapshot.h"
#include "fs/store/gc.h"
#include "fs/store/map.h"
#include "tests/unit/store_testing.h"

#define CHUNKS 100 // places of the disk

// --- snapshots

// A job of its own whose snapshot holds the chunks content(first) … content(first + count - 1),
// each at its own place. Returns the number of the snapshot.
static inline int64_t complete(struct store_fixture *fixture, int64_t job_id,
                               const struct digest *root, const struct digest *record)
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
    int64_t id = 0;
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

static inline int64_t new_job(struct store_fixture *fixture)
{
    struct error err = ERROR_INIT;
    int64_t job_id;

    if (store_fixture_job(fixture, &job_id, &err) < 0)
        fail_msg("%s", error_message(&err));
    return job_id;
}

static inline struct digest write_map(struct store_writer *writer, uint64_t first, uint64_t count)
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

static inline int64_t snapshot(struct store_fixture *fixture, uint64_t first, uint64_t count)
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

static inline void forget(struct store_fixture *fixture, int64_t id)
{
    struct catalog_conn *conn;

    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(snapshot_forget(conn, id, NULL), 0);
    assert_int_equal(catalog_write_commit(conn, NULL), 0);
}

// Durable packs that no snapshot refers to, as a failed job leaves them.
static inline void leave(struct store_fixture *fixture, uint64_t first, uint64_t count)
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

static inline struct digest id_of(uint64_t n)
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
static inline void assert_chunks(struct store_fixture *fixture, uint64_t first, uint64_t count)
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

static inline bool is_there(struct store_fixture *fixture, uint64_t n)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct chunk_location location;
    struct digest id = id_of(n);

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    return chunk_lookup(conn, &id, -1, &location, NULL) == 1;
}

static inline struct gc_result collect_with(struct store_fixture *fixture,
                                            struct gc_options options, int expected)
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

static inline struct gc_result collect(struct store_fixture *fixture)
{
    return collect_with(fixture, (struct gc_options){0}, 0);
}

static inline void assert_nothing_to_do(struct store_fixture *fixture)
{
    struct gc_result result = collect(fixture);

    assert_int_equal(result.packs_dropped + result.packs_rewritten + result.packs_passed_over, 0);
    assert_int_equal(result.freed_bytes + result.copied_bytes + result.damage, 0);
}

#endif
