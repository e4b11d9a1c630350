// SPDX-License-Identifier: MIT
//
// A store without packs for targets that need one: its cache of decoded content is empty at each
// call, its catalog is a real one that knows no record, and its folder is in memory where there is
// such a file system. Made once a process, removed at its end.
#ifndef TESTS_FUZZ_FUZZ_STORE_H
#define TESTS_FUZZ_FUZZ_STORE_H

#include "fs/store/store_members.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/scratch.h"

#define FUZZ_REPOSITORY "ee000000-0000-4000-8000-000000000001"

static struct scratch fuzz_scratch;
static struct catalog *fuzz_catalog;
static struct store fuzz_the_store;

static inline void fuzz_store_remove(void)
{
    chunk_cache_free(fuzz_the_store.cache);
    location_cache_free(fuzz_the_store.locations);
    catalog_close(fuzz_catalog);
    scratch_remove(&fuzz_scratch);
}

static inline void fuzz_store_make(void)
{
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    MUST(scratch_make(&fuzz_scratch) == 0);
    MUST(catalog_create(scratch_path(&fuzz_scratch, "catalog.db"), FUZZ_REPOSITORY, NULL) == 0);
    MUST(catalog_open(fuzz_scratch.path, CATALOG_OWNER, FUZZ_REPOSITORY, &fuzz_catalog, NULL) == 0);
    atexit(fuzz_store_remove);
    fuzz_the_store.catalog = fuzz_catalog;
    fuzz_the_store.cache_dir = fuzz_scratch.folder;
    memset(fuzz_the_store.repository_uuid, 0xee, sizeof(fuzz_the_store.repository_uuid));
}

static inline struct store *fuzz_store(void)
{
    if (!fuzz_catalog)
        fuzz_store_make();
    fuzz_the_store.cache = chunk_cache_free(fuzz_the_store.cache);
    MUST(chunk_cache_new(64u * 1024 * 1024, &fuzz_the_store.cache, NULL) == 0);
    fuzz_the_store.locations = location_cache_free(fuzz_the_store.locations);
    MUST(location_cache_new(64u * 1024, &fuzz_the_store.locations, NULL) == 0);
    return &fuzz_the_store;
}

#endif
