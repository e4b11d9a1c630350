// SPDX-License-Identifier: MIT
//
// What the catalog's unit tests share: an empty catalog in a temporary folder, and short words for
// the steps of a job. A step that is not what a test is about must not fail: it asserts.
#ifndef TESTS_UNIT_CATALOG_FIXTURE_H
#define TESTS_UNIT_CATALOG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "catalog/path.h"
#include "catalog/statement.h"

#include "tests/unit/scratch.h"

#include <string.h>

#define FIXTURE_REPOSITORY "8c5a1f0e-7c5d-4d3a-9a43-0d5f3f1f7b11"
#define FIXTURE_CHUNK_SIZE (64u * 1024)

struct fixture {
    struct scratch scratch;
    char path[PATH_MAX]; // of catalog.db
    struct catalog *catalog;
    struct catalog_conn *conn; // a write lease held over the test, see fixture_setup_writing()
};

// Fails the test with the sentence when `call` is not 0.
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        struct error assert_ok_err = ERROR_INIT;                                                   \
        struct error *err = &assert_ok_err;                                                        \
        int assert_ok_rc = (call);                                                                 \
        if (assert_ok_rc != 0)                                                                     \
            fail_msg("%s: %d: %s", #call, assert_ok_rc, error_message(err));                       \
    } while (0)

// Fails the test unless `call` returns `code` and its sentence holds `part`.
#define assert_refused(call, code, part)                                                           \
    do {                                                                                           \
        struct error assert_refused_err = ERROR_INIT;                                              \
        struct error *err = &assert_refused_err;                                                   \
        int assert_refused_rc = (call);                                                            \
        if (assert_refused_rc != (code) || !strstr(error_message(err), (part)))                    \
            fail_msg("%s: %d: %s", #call, assert_refused_rc, error_message(err));                  \
    } while (0)

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    assert_int_equal(scratch_make(&fixture->scratch), 0);
    strcpy(fixture->path, scratch_path(&fixture->scratch, "catalog.db"));
    assert_ok(catalog_create(fixture->path, FIXTURE_REPOSITORY, err));
    assert_ok(
        catalog_open(fixture->path, CATALOG_OWNER, FIXTURE_REPOSITORY, &fixture->catalog, err));
    *state = fixture;
    return 0;
}

static inline int fixture_setup_writing(void **state)
{
    int rc = fixture_setup(state);
    struct fixture *fixture = *state;
    assert_ok(catalog_write_begin(fixture->catalog, &fixture->conn, err));
    return rc;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    catalog_write_rollback(fixture->conn);
    catalog_close(fixture->catalog);
    scratch_remove(&fixture->scratch);
    free(fixture);
    return 0;
}

// One row, one number.
static inline int64_t fixture_count(struct catalog_conn *conn, const char *sql)
{
    int64_t value = -1;
    assert_ok(connection_query_int(conn, "count", sql, &value, err));
    return value;
}

static inline int64_t fixture_vm(struct catalog_conn *conn, const char *name)
{
    int64_t id = 0;
    assert_ok(context_insert(conn, name, &id, err));
    return id;
}

static inline int64_t fixture_disk(struct catalog_conn *conn, int64_t context_id, const char *name)
{
    int64_t id = 0;
    assert_ok(disk_insert(conn, context_id, name, FIXTURE_CHUNK_SIZE, &id, err));
    assert_ok(disk_set_source(conn, id, "/dev/vg0/disk", 1 << 20, err));
    return id;
}

static inline int64_t fixture_backup(struct catalog_conn *conn, int64_t context_id, int64_t disk_id)
{
    struct job_new job = {.kind = JOB_BACKUP,
                          .trigger = TRIGGER_MANUAL,
                          .mode = BACKUP_AUTO,
                          .context_id = context_id,
                          .disk_id = disk_id,
                          .tags = ""};
    int64_t id = 0;
    assert_ok(job_insert(conn, &job, &id, err));
    return id;
}

// A completion that goes to `chain_id`, or to a new chain of that number when it is 0. Fill in what
// the test is about, then pass it to snapshot_complete(). `chain` must outlive it.
static inline struct snapshot_completion fixture_completion(int64_t job_id, int64_t disk_id,
                                                            int64_t chain_id,
                                                            struct chain_row *chain, int64_t number)
{
    static unsigned serial;
    static char uuids[256][UUID_TEXT_SIZE];
    char *uuid = uuids[serial % 256];
    snprintf(uuid, UUID_TEXT_SIZE, "00000000-0000-4000-8000-%012u", serial);
    serial++;
    if (chain) {
        snprintf(chain->uuid, UUID_TEXT_SIZE, "00000000-0000-4000-9000-%012u", serial);
        snprintf(chain->source, sizeof(chain->source), "/dev/vg0/disk");
        chain->capacity = 1 << 20;
        chain->chunk_size = FIXTURE_CHUNK_SIZE;
    }
    return (struct snapshot_completion){
        .job_id = job_id,
        .disk_id = disk_id,
        .chain_id = chain_id,
        .new_chain = chain,
        .number = number,
        .kind = number == 1 ? SNAPSHOT_FULL : SNAPSHOT_INCREMENTAL,
        .uuid = uuid,
        .tags = "",
        .taken_at = INT64_C(1795244100) * CLOCK_SECOND + serial * 60 * CLOCK_SECOND,
        .capacity = 1 << 20,
        .chunk_size = FIXTURE_CHUNK_SIZE,
        .digest = {{1, 2, 3}},
        .record = {{4, 5, 6}},
        .change_id = "change",
        .data_bytes = 400,
        .read_bytes = 300,
        .changed_bytes = 200,
        .new_bytes = 100,
    };
}

// A whole backup of one disk, run to its end: the snapshot's id. chain_id 0 = a new chain of number
// `chain_number`.
static inline int64_t fixture_snapshot(struct catalog_conn *conn, int64_t context_id,
                                       int64_t disk_id, int64_t chain_id, int64_t chain_number,
                                       int64_t number, int64_t parent_id)
{
    int64_t job = fixture_backup(conn, context_id, disk_id), id = 0;
    assert_ok(job_start(conn, job, err));
    assert_ok(snapshot_start(conn, job, disk_id, err));
    struct chain_row chain = {.number = chain_number};
    struct snapshot_completion completion =
        fixture_completion(job, disk_id, chain_id, chain_id ? NULL : &chain, number);
    completion.parent_id = parent_id;
    assert_ok(snapshot_complete(conn, &completion, &id, err));
    assert_ok(job_end(conn, job, JOB_COMPLETED, "", 300, 300, err));
    return id;
}

static inline struct snapshot_row fixture_get(struct catalog_conn *conn, int64_t id)
{
    struct snapshot_row row = {0};
    assert_ok(snapshot_get(conn, id, &row, err));
    return row;
}

#endif
