// SPDX-License-Identifier: MIT
//
// What the engine's unit tests share: an engine without a mount over a repository in a temporary
// folder, with a VM "web1" whose disk "vda" is a file of noise. A step that is not what a test is
// about must not fail: it asserts.
#ifndef TESTS_UNIT_ENGINE_FIXTURE_H
#define TESTS_UNIT_ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/io.h"
#include "catalog/snapshot.h"
#include "fs/job/engine.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KIB 1024u
#define MIB (1024u * KIB)

struct fixture {
    struct scratch scratch;
    char repo[PATH_MAX], disk[PATH_MAX], target[PATH_MAX];
    struct engine *engine;
    int64_t context_id;
    unsigned seed;        // of the next change_disk()
    int64_t snapshots[8]; // of list_snapshots()
};

static inline void write_noise(const char *path, size_t offset, size_t len, unsigned seed)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    char *data = malloc(len);

    assert_true(fd >= 0);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        data[i] = (char)(seed >> 16);
    }
    assert_int_equal(io_write_at(fd, data, len, offset, path, NULL), 0);
    free(data);
    close(fd);
}

// Other bytes with each call.
static inline void change_disk(struct fixture *f, size_t offset, size_t len)
{
    write_noise(f->disk, offset, len, ++f->seed);
}

// Closes the engine first, if there is one.
static inline void reopen(struct fixture *f, const struct engine_options *options)
{
    struct error err = ERROR_INIT;

    f->engine = engine_close(f->engine);
    if (engine_open(f->repo, options, &f->engine, NULL, &err) < 0)
        fail_msg("%s", error_message(&err));
}

static inline struct fixture *fixture_make(const struct repository_choices *choices,
                                           const struct engine_options *options, size_t disk_bytes)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct engine_disk_spec disk = {.name = "vda"};
    struct context_row context;
    struct catalog_conn *conn;

    assert_non_null(f);
    assert_int_equal(scratch_make(&f->scratch), 0);
    snprintf(f->repo, sizeof(f->repo), "%s", scratch_path(&f->scratch, "repo"));
    snprintf(f->disk, sizeof(f->disk), "%s", scratch_path(&f->scratch, "disk.raw"));
    snprintf(f->target, sizeof(f->target), "%s", scratch_path(&f->scratch, "target.raw"));
    change_disk(f, 0, disk_bytes);
    assert_int_equal(repository_init(f->repo, choices, NULL), 0);
    reopen(f, options);
    disk.source = f->disk;
    assert_int_equal(engine_add_vm(f->engine, "web1", &disk, 1, NULL), 0);
    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(context_find(conn, "web1", &context, NULL), 0);
    catalog_read_end(conn);
    f->context_id = context.id;
    return f;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    fault_disarm();
    engine_close(f->engine);
    assert_int_equal(scratch_remove(&f->scratch), 0);
    free(f);
    return 0;
}

static inline void arm(const char *text)
{
    setenv("BACKTREE_FAULT", text, 1);
    assert_int_equal(fault_init(NULL), 0);
    unsetenv("BACKTREE_FAULT");
}

static inline enum job_state end_of(struct fixture *f, int64_t job_id)
{
    enum job_state state = JOB_STATE_UNKNOWN;

    assert_int_equal(engine_wait_job(f->engine, job_id, 60000, &state, NULL), 0);
    return state;
}

// Of the VM, by hand unless `request` says otherwise.
static inline int64_t request_backup(struct fixture *f, struct backup_request request)
{
    struct error err = ERROR_INIT;
    int64_t job_id = 0;

    request.context_id = f->context_id;
    request.mode = request.mode ? request.mode : BACKUP_AUTO;
    request.trigger = request.trigger ? request.trigger : TRIGGER_MANUAL;
    if (engine_request_backup(f->engine, &request, &job_id, NULL, &err) < 0)
        fail_msg("%s", error_message(&err));
    return job_id;
}

// Requested and completed.
static inline int64_t back_up(struct fixture *f)
{
    int64_t job_id = request_backup(f, (struct backup_request){.mode = BACKUP_AUTO});

    assert_int_equal(end_of(f, job_id), JOB_COMPLETED);
    return job_id;
}

static inline struct job_row job_of(struct fixture *f, int64_t id)
{
    struct catalog_conn *conn;
    struct job_row row;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(job_get(conn, id, &row, NULL), 0);
    catalog_read_end(conn);
    return row;
}

static inline int note_job(const struct job_row *row, void *arg, struct error *err)
{
    (void)err;
    *(struct job_row *)arg = *row;
    return 0;
}

// Of that kind; all zero when there is none.
static inline struct job_row newest_job(struct fixture *f, enum job_kind kind)
{
    struct job_filter filter = {.kind = kind};
    struct job_row row = {0};
    struct catalog_conn *conn;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(job_each(conn, &filter, note_job, &row, NULL), 0);
    catalog_read_end(conn);
    return row;
}

static inline struct snapshot_row snapshot_of(struct fixture *f, int64_t id)
{
    struct catalog_conn *conn;
    struct snapshot_row row;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(snapshot_get(conn, id, &row, NULL), 0);
    catalog_read_end(conn);
    return row;
}

// What `latest` points to.
static inline struct snapshot_row latest(struct fixture *f)
{
    struct catalog_conn *conn;
    struct disk_row disk;
    struct snapshot_row row;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(disk_find(conn, f->context_id, "vda", &disk, NULL), 0);
    assert_int_equal(snapshot_find_latest(conn, disk.id, &row, NULL), 0);
    catalog_read_end(conn);
    return row;
}

static inline int note_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct fixture *f = arg;
    (void)err;

    for (size_t i = 0; i < 8; i++) {
        if (f->snapshots[i] == 0) {
            f->snapshots[i] = row->id;
            return 0;
        }
    }
    return -E2BIG;
}

// Those that are there, oldest first, in f->snapshots; their number.
static inline int list_snapshots(struct fixture *f)
{
    struct snapshot_filter filter = {.context_id = f->context_id};
    struct catalog_conn *conn;
    int count = 0;

    memset(f->snapshots, 0, sizeof(f->snapshots));
    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(snapshot_each(conn, &filter, note_snapshot, f, NULL), 0);
    catalog_read_end(conn);
    while (count < 8 && f->snapshots[count])
        count++;
    return count;
}

#endif
