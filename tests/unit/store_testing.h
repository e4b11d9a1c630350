// SPDX-License-Identifier: MIT
//
// What the tests of the store share: content by number, a writer, and looks at packs and files.
#ifndef TESTS_UNIT_STORE_TESTING_H
#define TESTS_UNIT_STORE_TESTING_H

#include "base/fault.h"
#include "base/io.h"
#include "tests/unit/store_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#define CHUNK 16384

static inline void arm(const char *fault)
{
    if (fault)
        setenv("BACKTREE_FAULT", fault, 1);
    else
        unsetenv("BACKTREE_FAULT");
    assert_int_equal(fault_init(NULL), 0);
}

static inline int clean(void **state)
{
    unsetenv("BACKTREE_FAULT");
    fault_init(NULL);
    return store_fixture_clean(state);
}

static inline struct store_writer *writer_of(struct store_fixture *fixture)
{
    struct store_writer *writer;

    assert_int_equal(store_writer_open(fixture->store, fixture->job_id, &writer, NULL), 0);
    return writer;
}

// Chunk content number `n`: odd ones compress, even ones do not.
static inline void content(uint64_t n, uint8_t out[CHUNK])
{
    fill_random(out, CHUNK, n + 1);
    if (n % 2)
        memset(out + 256, (int)n, CHUNK - 256);
}

static inline struct digest put(struct store_writer *writer, uint64_t n)
{
    uint8_t data[CHUNK];
    struct digest id;
    struct error err = ERROR_INIT;

    content(n, data);
    if (store_writer_put(writer, RECORD_CHUNK, data, CHUNK, &id, &err) < 0)
        fail_msg("put: %s", error_message(&err));
    return id;
}

static inline void assert_chunk(struct store_fixture *fixture, const struct digest *id, uint64_t n)
{
    uint8_t expected[CHUNK], got[CHUNK];
    struct error err = ERROR_INIT;

    content(n, expected);
    if (store_read_chunk(fixture->store, NULL, id, CHUNK, 0, CHUNK, got, &err) < 0)
        fail_msg("chunk %llu: %s", (unsigned long long)n, error_message(&err));
    assert_memory_equal(got, expected, CHUNK);
}

static inline int knows(struct store_fixture *fixture, struct store_writer *writer,
                        const struct digest *id)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    return store_writer_knows(writer, conn, id, NULL);
}

struct pack_sum {
    uint64_t packs, file_bytes, raw_bytes, records, provisional;
    char last_uuid[UUID_TEXT_SIZE];
};

static inline int add_pack(const struct pack_row *row, void *arg, struct error *err)
{
    struct pack_sum *sum = arg;

    (void)err;
    sum->packs++;
    sum->file_bytes += row->file_bytes;
    sum->raw_bytes += row->raw_bytes;
    sum->records += row->record_count;
    sum->provisional += row->job_id != 0;
    memcpy(sum->last_uuid, row->uuid, sizeof(sum->last_uuid));
    return 0;
}

static inline struct pack_sum packs_of(struct store_fixture *fixture)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct pack_sum sum = {0};

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(pack_each(conn, 0, add_pack, &sum, NULL), 0);
    return sum;
}

static inline const char *pack_path(struct store_fixture *fixture, const char *uuid,
                                    const char *suffix)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof(path), "%.2000s/packs/%.2s/%s.%s", fixture->scratch.folder, uuid, uuid,
             suffix);
    return path;
}

struct files {
    unsigned open, sealed, other;
    uint64_t bytes; // of sealed ones
    char uuid[UUID_TEXT_SIZE];
};

static struct files files_seen __attribute__((unused));

static inline int see_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    size_t len = strlen(path);

    if (type != FTW_F)
        return 0;
    if (strcmp(path + len - 5, ".open") == 0) {
        files_seen.open++;
    } else if (strcmp(path + len - 5, ".pack") == 0) {
        files_seen.sealed++;
        files_seen.bytes += (uint64_t)st->st_size;
        memcpy(files_seen.uuid, path + ftw->base, 36);
    } else {
        files_seen.other++;
    }
    return 0;
}

static inline struct files files_of(struct store_fixture *fixture)
{
    files_seen = (struct files){0};
    assert_int_equal(nftw(scratch_path(&fixture->scratch, "packs"), see_file, 8, FTW_PHYS), 0);
    return files_seen;
}

static int count_sentence_calls __attribute__((unused));

static inline void count_sentence(const char *sentence, void *arg)
{
    count_sentence_calls++;
    if (arg)
        snprintf(arg, 1024, "%s", sentence);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_fixture_make, clean)

#endif
