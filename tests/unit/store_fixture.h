// SPDX-License-Identifier: MIT
//
// A small repository for tests of the store: folder, config, catalog with one VM, one disk and one
// running job, and the store opened on it.
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include "catalog/disk.h"
#include "catalog/job.h"
#include "catalog/pack_index.h"
#include "fs/store/store.h"

#include "tests/unit/scratch.h"

#include <string.h>

struct store_fixture {
    struct scratch scratch;
    struct repo_config config;
    struct catalog *catalog;
    struct store *store;
    int64_t job_id;
};

static inline int store_fixture_job(struct store_fixture *fixture, int64_t *ret_id,
                                    struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct job_new job = {
        .kind = JOB_BACKUP, .trigger = TRIGGER_MANUAL, .mode = BACKUP_AUTO, .tags = ""};
    struct context_row context;
    int64_t disk_id;
    int r = catalog_write_begin(fixture->catalog, &conn, err);

    if (r == 0 && context_find(conn, "vm", &context, NULL) == 0)
        job.context_id = context.id;
    else if (r == 0)
        r = context_insert(conn, "vm", &job.context_id, err);
    if (r == 0 && disk_find(conn, job.context_id, "disk", &(struct disk_row){0}, NULL) < 0)
        r = disk_insert(conn, job.context_id, "disk", CHUNK_SIZE_MIN, &disk_id, err);
    if (r == 0)
        r = job_insert(conn, &job, ret_id, err);
    if (r == 0)
        r = job_start(conn, *ret_id, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

// Opens (again) what is on disk. `pack_bytes` 0 = default.
static inline int store_fixture_open(struct store_fixture *fixture, uint64_t pack_bytes,
                                     uint64_t cache_bytes, struct error *err)
{
    struct store_options options = {.cache_bytes = cache_bytes, .pack_bytes = pack_bytes};
    int r = catalog_open(scratch_path(&fixture->scratch, "catalog.db"), CATALOG_OWNER,
                         fixture->config.uuid, &fixture->catalog, err);

    if (r < 0)
        return r;
    return store_open(fixture->scratch.folder, &fixture->config, fixture->catalog, &options,
                      &fixture->store, err);
}

static inline void store_fixture_shut(struct store_fixture *fixture)
{
    fixture->store = store_close(fixture->store);
    fixture->catalog = catalog_close(fixture->catalog);
}

// For cmocka: prints why the set-up failed.
static inline int store_fixture_make(void **state)
{
    struct store_fixture *fixture = calloc(1, sizeof(*fixture));
    struct error err = ERROR_INIT;
    int r = fixture ? scratch_make(&fixture->scratch) : -1;

    if (r == 0)
        r = repo_config_init(&fixture->config, CHUNK_SIZE_MIN, 1, &err);
    if (r == 0)
        r = store_create(fixture->scratch.folder, &err);
    if (r == 0)
        r = catalog_create(scratch_path(&fixture->scratch, "catalog.db"), fixture->config.uuid,
                           &err);
    if (r == 0)
        r = store_fixture_open(fixture, 0, 0, &err);
    if (r == 0)
        r = store_fixture_job(fixture, &fixture->job_id, &err);
    if (r < 0)
        fprintf(stderr, "store fixture: %s\n", error_message(&err));
    *state = fixture;
    return r;
}

static inline int store_fixture_clean(void **state)
{
    struct store_fixture *fixture = *state;
    int r;

    store_fixture_shut(fixture);
    r = scratch_remove(&fixture->scratch);
    free(fixture);
    return r;
}

// Pseudo-random bytes that do not compress; the same for the same seed.
static inline void fill_random(void *data, size_t len, uint64_t seed)
{
    uint8_t *p = data;
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = (uint8_t)(x >> 32);
    }
}

#endif
