// SPDX-License-Identifier: MIT
//
// The store: what is appended is found and read back byte for byte, in every stage of a pack's
// life; every fault on the durable path fails the writer for good; damage is told, never served.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/io.h"
#include "fs/store/chunk_cache.h"
#include "fs/store/map.h"

#include "tests/unit/store_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define CHUNK 16384

static void arm(const char *fault)
{
    if (fault)
        setenv("BACKTREE_FAULT", fault, 1);
    else
        unsetenv("BACKTREE_FAULT");
    assert_int_equal(fault_init(NULL), 0);
}

static int clean(void **state)
{
    unsetenv("BACKTREE_FAULT");
    fault_init(NULL);
    return store_fixture_clean(state);
}

static struct store_writer *writer_of(struct store_fixture *fixture)
{
    struct store_writer *writer;

    assert_int_equal(store_writer_open(fixture->store, fixture->job_id, &writer, NULL), 0);
    return writer;
}

// Chunk content number `n`: odd ones compress, even ones do not.
static void content(uint64_t n, uint8_t out[CHUNK])
{
    fill_random(out, CHUNK, n + 1);
    if (n % 2)
        memset(out + 256, (int)n, CHUNK - 256);
}

static struct digest put(struct store_writer *writer, uint64_t n)
{
    uint8_t data[CHUNK];
    struct digest id;
    struct error err = ERROR_INIT;

    content(n, data);
    if (store_writer_put(writer, RECORD_CHUNK, data, CHUNK, &id, &err) < 0)
        fail_msg("put: %s", error_message(&err));
    return id;
}

static void assert_chunk(struct store_fixture *fixture, const struct digest *id, uint64_t n)
{
    uint8_t expected[CHUNK], got[CHUNK];
    struct error err = ERROR_INIT;

    content(n, expected);
    if (store_read_chunk(fixture->store, NULL, id, CHUNK, 0, CHUNK, got, &err) < 0)
        fail_msg("chunk %llu: %s", (unsigned long long)n, error_message(&err));
    assert_memory_equal(got, expected, CHUNK);
}

static int knows(struct store_fixture *fixture, struct store_writer *writer,
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

static int add_pack(const struct pack_row *row, void *arg, struct error *err)
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

static struct pack_sum packs_of(struct store_fixture *fixture)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct pack_sum sum = {0};

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(pack_each(conn, 0, add_pack, &sum, NULL), 0);
    return sum;
}

static const char *pack_path(struct store_fixture *fixture, const char *uuid, const char *suffix)
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

static struct files files_seen;

static int see_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
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

static struct files files_of(struct store_fixture *fixture)
{
    files_seen = (struct files){0};
    assert_int_equal(nftw(scratch_path(&fixture->scratch, "packs"), see_file, 8, FTW_PHYS), 0);
    return files_seen;
}

// --- writing and reading

static void test_life_of_a_chunk(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest unknown = {{1}};
    uint8_t got[100], expected[CHUNK];
    struct digest id;

    assert_int_equal(store_writer_bytes(writer), 0);
    assert_int_equal(files_of(fixture).open, 0); // no empty packs
    id = put(writer, 0);
    assert_int_equal(knows(fixture, writer, &id), 1);
    assert_int_equal(knows(fixture, writer, &unknown), 0);
    assert_int_equal(files_of(fixture).open, 1);
    // Not readable before it is sealed and committed.
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 0, 100, got, NULL),
                     -ERROR_CORRUPT);

    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(knows(fixture, writer, &id), 1);
    assert_chunk(fixture, &id, 0);
    content(0, expected);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 1000, 100, got, NULL), 0);
    assert_memory_equal(got, expected + 1000, 100);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, CHUNK - 1, 2, got, NULL),
                     -EINVAL);
    assert_int_equal(files_of(fixture).open, 0);
    assert_int_equal(files_of(fixture).sealed, 1);

    // A second writer of the same job, and one of another, find it in the catalog.
    store_writer_close(writer);
    writer = writer_of(fixture);
    assert_int_equal(knows(fixture, writer, &id), 1);
    assert_true(digest_equal(&id, &(struct digest[]){put(writer, 0)}[0]));
    assert_int_equal(store_writer_bytes(writer), 0);
    store_writer_close(writer);
}

static void test_bytes_are_exact(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest ids[40];
    struct pack_sum sum;
    struct files files;
    uint64_t before;

    for (uint64_t i = 0; i < 40; i++)
        ids[i] = put(writer, i);
    before = store_writer_bytes(writer);
    put(writer, 7); // known: adds nothing
    assert_int_equal(store_writer_bytes(writer), before);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(store_writer_seal(writer, NULL), 0); // nothing to do
    sum = packs_of(fixture);
    files = files_of(fixture);
    assert_int_equal(sum.packs, 1);
    assert_int_equal(sum.records, 40);
    assert_int_equal(sum.raw_bytes, 40 * CHUNK);
    assert_int_equal(sum.file_bytes, files.bytes);
    assert_int_equal(store_writer_bytes(writer), files.bytes);
    assert_int_equal(sum.provisional, 1);
    for (uint64_t i = 0; i < 40; i++)
        assert_chunk(fixture, &ids[i], i);
    store_writer_close(writer);
}

static void test_packs_fill_up(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer;
    struct digest ids[100];
    struct pack_sum sum;

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 100000, 1, NULL), 0);
    writer = writer_of(fixture);
    for (uint64_t i = 0; i < 100; i++) {
        ids[i] = put(writer, i);
        // Never a moment in which what was appended is not known.
        for (uint64_t k = 0; k <= i; k += 9)
            assert_int_equal(knows(fixture, writer, &ids[k]), 1);
    }
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    sum = packs_of(fixture);
    assert_true(sum.packs > 5 && sum.records == 100);
    assert_int_equal(store_writer_bytes(writer), files_of(fixture).bytes);
    for (uint64_t i = 0; i < 100; i++)
        assert_chunk(fixture, &ids[i], i);
    store_writer_close(writer);
}

// A worker's lease may have begun before the commit that put the id into the catalog.
static void test_an_old_lease_knows_too(void **state)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest unknown = {{1}}, first, second;

    assert_int_equal(catalog_read_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(store_writer_knows(writer, conn, &unknown, NULL), 0); // its view is fixed now
    first = put(writer, 0);
    assert_int_equal(store_writer_knows(writer, conn, &first, NULL), 1);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(store_writer_knows(writer, conn, &first, NULL), 1);
    second = put(writer, 1);
    assert_int_equal(store_writer_knows(writer, conn, &first, NULL), 1);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(store_writer_knows(writer, conn, &second, NULL), 1);
    assert_int_equal(knows(fixture, writer, &first), 1); // with a lease of now
    store_writer_close(writer);
}

static void test_unsealed_pack_is_removed(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);

    put(writer, 1);
    assert_int_equal(files_of(fixture).open, 1);
    assert_null(store_writer_close(writer));
    assert_int_equal(files_of(fixture).open, 0);
    assert_int_equal(packs_of(fixture).packs, 0);
    assert_null(store_writer_close(NULL));
}

static void test_records_of_other_kinds(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest chunk, map, snapshot;
    struct error err = ERROR_INIT;
    void *data;
    size_t len;

    assert_int_equal(store_writer_put(writer, RECORD_CHUNK, "same", 4, &chunk, NULL), 0);
    assert_int_equal(store_writer_put(writer, RECORD_MAP, "same", 4, &map, NULL), 0);
    assert_int_equal(store_writer_put(writer, RECORD_SNAPSHOT, "same", 4, &snapshot, NULL), 0);
    assert_false(digest_equal(&chunk, &map) || digest_equal(&map, &snapshot));
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    assert_int_equal(
        store_get(fixture->store, NULL, RECORD_SNAPSHOT, &snapshot, false, &data, &len, NULL), 0);
    assert_int_equal(len, 4);
    assert_memory_equal(data, "same", 4);
    free(data);
    assert_int_equal(store_get(fixture->store, NULL, RECORD_CHUNK, &map, true, &data, &len, &err),
                     -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "of kind 2 instead of 1"));
    store_writer_close(writer);
}

static void test_append_refuses(void **state)
{
    static uint8_t data[100];
    const struct store_record good = {.kind = RECORD_CHUNK,
                                      .codec = CODEC_RAW,
                                      .id = {{9}},
                                      .raw_length = 100,
                                      .payload = data,
                                      .payload_length = 100};
    struct store_writer *writer = writer_of(*state);
    struct store_record bad[5] = {good, good, good, good, good};

    bad[0].kind = RECORD_UNKNOWN;
    bad[1].payload_length = 99;
    bad[2].raw_length = PACK_PAYLOAD_MAX + 1;
    bad[3].id = (struct digest){{0}};
    bad[4].codec = (enum record_codec)7;
    for (int i = 0; i < 5; i++)
        assert_int_equal(store_writer_append(writer, &bad[i], NULL), -EINVAL);
    assert_int_equal(store_writer_append(writer, &good, NULL), 0); // misuse is no poison
    store_writer_close(writer);
}

// --- faults

static const struct {
    const char *fault;
    int code;
    bool sealed; // the pack's file is there afterwards
    bool known;  // and the catalog knows it
} durable_path[] = {
    {"pack-create=ENOSPC", -ENOSPC, false, false},
    {"1-pack-append=ENOSPC", -ENOSPC, false, false},
    {"2-pack-index=EIO", -EIO, false, false},
    {"2-pack-sync=EIO", -EIO, false, false},
    {"2-pack-rename=EACCES", -EACCES, false, false},
    {"2-pack-dirsync=EIO", -EIO, true, false},
    {"2-pack-sealed=EIO", -EIO, true, false},
    {"3-pack-commit=ENOSPC", -ENOSPC, true, false},
    {"3-pack-committed=EIO", -EIO, true, true},
};

static int count_sentence_calls;

static void count_sentence(const char *sentence, void *arg)
{
    count_sentence_calls++;
    if (arg)
        snprintf(arg, 1024, "%s", sentence);
}

static void test_faults_poison_the_writer(void **state)
{
    struct store_fixture *fixture = *state;
    unsigned sealed = 0, known = 0;

    for (size_t i = 0; i < sizeof(durable_path) / sizeof(durable_path[0]); i++) {
        struct store_writer *writer = writer_of(fixture);
        struct error err = ERROR_INIT, again = ERROR_INIT;
        uint8_t data[CHUNK];
        struct digest id;
        int r;

        arm(durable_path[i].fault);
        content(1000 + i, data);
        r = store_writer_put(writer, RECORD_CHUNK, data, CHUNK, &id, &err);
        if (r == 0)
            r = store_writer_seal(writer, &err);
        assert_int_equal(r, durable_path[i].code);
        assert_non_null(strstr(error_message(&err), "injected fault"));
        arm(NULL);
        // The same error for ever, on every call, though the cause is gone.
        assert_int_equal(store_writer_seal(writer, &again), durable_path[i].code);
        assert_string_equal(error_message(&again), error_message(&err));
        assert_int_equal(store_writer_put(writer, RECORD_CHUNK, data, CHUNK, &id, NULL),
                         durable_path[i].code);
        assert_int_equal(knows(fixture, writer, &id), durable_path[i].code);
        store_writer_close(writer);

        sealed += durable_path[i].sealed;
        known += durable_path[i].known;
        assert_int_equal(files_of(fixture).open, 0);
        assert_int_equal(files_of(fixture).sealed, sealed);
        assert_int_equal(packs_of(fixture).packs, known);
    }
    // What was sealed but not committed is adopted at the next start.
    count_sentence_calls = 0;
    assert_int_equal(store_reconcile(fixture->store, count_sentence, NULL, NULL), 0);
    assert_int_equal(packs_of(fixture).packs, sealed);
    assert_int_equal(packs_of(fixture).provisional, 0);
    assert_int_equal(count_sentence_calls, (int)(sealed - known) + 1);
    for (size_t i = 0; i < sizeof(durable_path) / sizeof(durable_path[0]); i++) {
        struct store_writer *writer = writer_of(fixture);

        if (durable_path[i].sealed) {
            put(writer, 1000 + i); // known, adds nothing
            assert_int_equal(store_writer_bytes(writer), 0);
        }
        store_writer_close(writer);
    }
}

static void test_read_errors_are_not_damage(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest id = put(writer, 3);
    uint8_t got[CHUNK];

    assert_int_equal(store_writer_seal(writer, NULL), 0);
    arm("pack-read=EIO");
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 0, 10, got, NULL), -EIO);
    // Not kept: the next one succeeds.
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 0, 10, got, NULL), 0);
    store_writer_close(writer);
}

static void test_drop_provisional(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    int64_t other_job;
    struct digest kept, dropped;
    uint8_t got[CHUNK];

    kept = put(writer, 1);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(store_fixture_job(fixture, &other_job, NULL), 0);
    assert_int_equal(store_writer_open(fixture->store, other_job, &writer, NULL), 0);
    // What another job wrote and has not completed must be stored again.
    assert_int_equal(knows(fixture, writer, &kept), 0);
    dropped = put(writer, 2);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_chunk(fixture, &dropped, 2); // its pack is open for reading now
    assert_int_equal(files_of(fixture).sealed, 2);

    assert_int_equal(store_drop_provisional(fixture->store, 0, NULL), -EINVAL);
    assert_int_equal(store_drop_provisional(fixture->store, other_job, NULL), 0);
    assert_int_equal(files_of(fixture).sealed, 1);
    assert_int_equal(packs_of(fixture).packs, 1);
    assert_chunk(fixture, &kept, 1);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &dropped, CHUNK, 0, 10, got, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(store_drop_provisional(fixture->store, other_job, NULL), 0);
}

// --- damage

static void flip(const char *path, uint64_t offset, uint8_t mask)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= mask;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

// Every byte of a record, one after the other.
static void test_flipped_bytes(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest id = put(writer, 5);
    struct pack_sum sum;
    struct files files;
    uint64_t end;

    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    sum = packs_of(fixture);
    files = files_of(fixture);
    assert_string_equal(files.uuid, sum.last_uuid);
    end = sum.file_bytes - PACK_INDEX_ENTRY_SIZE - PACK_TRAILER_SIZE;
    for (uint64_t at = PACK_HEADER_SIZE; at < end; at++) {
        const char *path = pack_path(fixture, files.uuid, "pack");
        struct error err = ERROR_INIT;
        char begin[100];
        void *data;
        size_t len;

        flip(path, at, (uint8_t)(1 << at % 8));
        assert_true(store_get(fixture->store, NULL, RECORD_CHUNK, &id, false, &data, &len, &err) <
                    0);
        snprintf(begin, sizeof(begin), "pack %s at 64: ", files.uuid);
        assert_memory_equal(error_message(&err), begin, strlen(begin));
        if (at >= PACK_HEADER_SIZE + PACK_RECORD_HEADER_SIZE)
            assert_non_null(strstr(error_message(&err), "payload checksum does not match"));
        flip(path, at, (uint8_t)(1 << at % 8));
    }
    assert_chunk(fixture, &id, 5);
}

static void test_short_and_missing_packs(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest id = put(writer, 4);
    struct error err = ERROR_INIT;
    uint8_t got[CHUNK];
    const char *path;

    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    path = pack_path(fixture, files_of(fixture).uuid, "pack");
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 0, CHUNK, got, &err),
                     -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "the pack ends after 936 of "));
    store_fixture_shut(fixture);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(store_fixture_open(fixture, 0, 0, NULL), 0);
    error_clear(&err);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, CHUNK, 0, CHUNK, got, &err),
                     -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "the pack is missing"));
    // The wrong length is damage too.
    error_clear(&err);
    assert_int_equal(store_read_chunk(fixture->store, NULL, &id, 2 * CHUNK, 0, CHUNK, got, &err),
                     -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "16384 bytes instead of 32768"));
}

// A record whose checksums are right and whose content is not what its id says.
static void test_proof_of_identity(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    uint8_t data[CHUNK];
    struct store_record forged = {.kind = RECORD_CHUNK,
                                  .codec = CODEC_RAW,
                                  .id = {{1, 2, 3}},
                                  .raw_length = CHUNK,
                                  .payload = data,
                                  .payload_length = CHUNK};
    struct error err = ERROR_INIT;
    void *got;
    size_t len;

    content(0, data);
    assert_int_equal(store_writer_append(writer, &forged, NULL), 0);
    forged.kind = RECORD_MAP;
    forged.id.bytes[0] = 2;
    assert_int_equal(store_writer_append(writer, &forged, NULL), 0);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(
        store_get(fixture->store, NULL, RECORD_MAP, &forged.id, false, &got, &len, &err),
        -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "not what its id says"));
    forged.id.bytes[0] = 1;
    assert_int_equal(
        store_get(fixture->store, NULL, RECORD_CHUNK, &forged.id, true, &got, &len, NULL),
        -ERROR_CORRUPT);
}

// --- start-up

static void write_file(struct store_fixture *fixture, const char *name, const char *text)
{
    int fd = open(scratch_path(&fixture->scratch, name), O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void test_reconcile(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest id = put(writer, 1);
    char sentence[1024] = "";

    count_sentence_calls = 0;
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(store_reconcile(fixture->store, count_sentence, sentence, NULL), 0);
    assert_int_equal(count_sentence_calls, 1);
    assert_non_null(strstr(sentence, "kept the packs of the interrupted job"));
    assert_int_equal(packs_of(fixture).provisional, 0);
    assert_int_equal(store_reconcile(fixture->store, count_sentence, NULL, NULL), 0);
    assert_int_equal(count_sentence_calls, 1); // nothing more to find

    assert_int_equal(mkdir(scratch_path(&fixture->scratch, "packs/ab"), 0700), 0);
    write_file(fixture, "packs/ab/abcdef00-1111-4222-8333-444455556666.open", "half a pack");
    write_file(fixture, "packs/ab/abcdef00-1111-4222-8333-444455556667.pack", "not a pack");
    write_file(fixture, "packs/ab/notes.txt", "hello");
    write_file(fixture, "packs/readme", "hello");
    write_file(fixture, "packs/ab/00cdef00-1111-4222-8333-444455556667.pack", "wrong folder");
    write_file(fixture, "cache/x.fingerprints.tmp", "half");
    write_file(fixture, "cache/x.fingerprints", "whole");
    count_sentence_calls = 0;
    assert_int_equal(store_reconcile(fixture->store, count_sentence, NULL, NULL), 0);
    assert_int_equal(count_sentence_calls, 6);
    assert_int_equal(files_of(fixture).open, 0);
    assert_int_equal(files_of(fixture).sealed, 3); // none removed
    assert_int_equal(files_of(fixture).other, 2);
    assert_int_equal(access(scratch_path(&fixture->scratch, "cache/x.fingerprints.tmp"), F_OK), -1);
    assert_int_equal(access(scratch_path(&fixture->scratch, "cache/x.fingerprints"), F_OK), 0);
    assert_int_equal(packs_of(fixture).packs, 1);
    assert_chunk(fixture, &id, 1);
}

static void test_reconcile_reports_damage(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    char sentence[1024] = "", path[PATH_MAX];

    put(writer, 1);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(store_reconcile(fixture->store, NULL, NULL, NULL), 0);
    strcpy(path, pack_path(fixture, files_of(fixture).uuid, "pack"));
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(store_reconcile(fixture->store, count_sentence, sentence, NULL), 0);
    assert_non_null(strstr(sentence, "has 100 bytes instead of "));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(store_reconcile(fixture->store, count_sentence, sentence, NULL), 0);
    assert_non_null(strstr(sentence, "is missing"));
    assert_int_equal(packs_of(fixture).packs, 1); // left alone
}

// A pack of another repository, or one whose index was changed, is not taken in.
static void test_reconcile_is_choosy(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct pack_sum sum;
    char sentence[1024] = "", path[PATH_MAX];

    arm("3-pack-commit=EIO");
    put(writer, 1);
    assert_int_equal(store_writer_seal(writer, NULL), -EIO);
    arm(NULL);
    store_writer_close(writer);
    strcpy(path, pack_path(fixture, files_of(fixture).uuid, "pack"));
    for (uint64_t back = 1; back <= PACK_TRAILER_SIZE + PACK_INDEX_ENTRY_SIZE; back++) {
        uint64_t at = files_of(fixture).bytes - back;

        flip(path, at, 0x10);
        assert_int_equal(store_reconcile(fixture->store, count_sentence, sentence, NULL), 0);
        assert_non_null(strstr(sentence, "left alone"));
        flip(path, at, 0x10);
    }
    flip(path, 40, 1); // in the header
    assert_int_equal(store_reconcile(fixture->store, count_sentence, sentence, NULL), 0);
    assert_non_null(strstr(sentence, "left alone"));
    flip(path, 40, 1);
    assert_int_equal(packs_of(fixture).packs, 0);

    arm("reconcile=EIO");
    assert_int_equal(store_reconcile(fixture->store, count_sentence, sentence, NULL), -EIO);
    arm(NULL);
    assert_int_equal(store_reconcile(fixture->store, count_sentence, sentence, NULL), 0);
    assert_non_null(strstr(sentence, "adopted the sealed pack"));
    sum = packs_of(fixture);
    assert_int_equal(sum.packs, 1);
    assert_int_equal(sum.records, 1);
    assert_int_equal(sum.raw_bytes, CHUNK);
    assert_int_equal(sum.file_bytes, files_of(fixture).bytes);
}

static void test_another_repository(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    char sentence[1024] = "";
    struct repo_config other;

    arm("3-pack-commit=EIO");
    put(writer, 1);
    assert_int_equal(store_writer_seal(writer, NULL), -EIO);
    arm(NULL);
    store_writer_close(writer);
    store_close(fixture->store);
    assert_int_equal(repo_config_init(&other, CHUNK, 1, NULL), 0);
    assert_int_equal(
        store_open(fixture->scratch.folder, &other, fixture->catalog, NULL, &fixture->store, NULL),
        0);
    assert_int_equal(store_reconcile(fixture->store, count_sentence, sentence, NULL), 0);
    assert_non_null(strstr(sentence, "belongs to another repository"));
    assert_int_equal(packs_of(fixture).packs, 0);
    fixture->store = store_close(fixture->store);
}

// --- many threads

#define READERS 4
#define CHUNKS 60

struct crowd {
    struct store_fixture *fixture;
    struct store_writer *writer;
    struct digest ids[CHUNKS];
    atomic_int appended;
    atomic_int failures;
};

// A worker: everything appended so far is known at every moment, with a lease of any age.
static void *ask(void *arg)
{
    struct crowd *crowd = arg;
    int n = 0;

    while (n < CHUNKS) {
        struct catalog_conn *conn;

        if (catalog_read_begin(crowd->fixture->catalog, &conn, NULL) < 0) {
            atomic_fetch_add(&crowd->failures, 1);
            return NULL;
        }
        n = atomic_load(&crowd->appended);
        for (int i = n > 4 ? n - 4 : 0; i < n; i++) {
            if (store_writer_knows(crowd->writer, conn, &crowd->ids[i], NULL) != 1)
                atomic_fetch_add(&crowd->failures, 1);
        }
        catalog_read_end(conn);
    }
    return NULL;
}

static void test_workers_ask_while_the_owner_appends(void **state)
{
    struct store_fixture *fixture = *state;
    struct crowd crowd = {.fixture = fixture};
    pthread_t threads[READERS];

    store_fixture_shut(fixture);
    assert_int_equal(store_fixture_open(fixture, 100000, 0, NULL), 0);
    crowd.writer = writer_of(fixture);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &crowd), 0);
    for (int i = 0; i < CHUNKS; i++) {
        crowd.ids[i] = put(crowd.writer, (uint64_t)i);
        atomic_store(&crowd.appended, i + 1);
    }
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    store_writer_close(crowd.writer);
}

static void *read_all(void *arg)
{
    struct crowd *crowd = arg;
    uint8_t expected[CHUNK], got[CHUNK];

    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < CHUNKS; i++) {
            size_t from = round % 2 ? 0 : 100, count = round % 2 ? CHUNK : 5000;

            content((uint64_t)i, expected);
            if (store_read_chunk(crowd->fixture->store, NULL, &crowd->ids[i], CHUNK, from, count,
                                 got, NULL) < 0 ||
                memcmp(got, expected + from, count) != 0)
                atomic_fetch_add(&crowd->failures, 1);
        }
    }
    return NULL;
}

static void test_many_readers(void **state)
{
    struct store_fixture *fixture = *state;
    struct crowd crowd = {.fixture = fixture};
    pthread_t threads[READERS];

    store_fixture_shut(fixture);
    // A cache too small for everything, so that entries come and go under the readers.
    assert_int_equal(store_fixture_open(fixture, 100000, 20 * CHUNK, NULL), 0);
    crowd.writer = writer_of(fixture);
    for (int i = 0; i < CHUNKS; i++)
        crowd.ids[i] = put(crowd.writer, (uint64_t)i);
    assert_int_equal(store_writer_seal(crowd.writer, NULL), 0);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &crowd), 0);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    store_writer_close(crowd.writer);
}

struct herd {
    struct chunk_cache *cache;
    struct digest id;
    atomic_int loads;
    atomic_int good, bad;
    bool whole;
    int result;
};

static int slow_load(const struct chunk_request *request, void *out, void *arg, struct error *err)
{
    struct herd *herd = arg;

    atomic_fetch_add(&herd->loads, 1);
    usleep(50000);
    if (herd->result < 0)
        return error_set(err, herd->result, "it could not be loaded");
    memset(out, 0x42, request->len);
    return 0;
}

static void *join_herd(void *arg)
{
    struct herd *herd = arg;
    uint8_t got[100] = {0};
    struct chunk_request request = {.kind = RECORD_CHUNK,
                                    .id = &herd->id,
                                    .len = 100,
                                    .count = herd->whole ? 100 : 10,
                                    .out = got};
    struct error err = ERROR_INIT;
    int r = chunk_cache_read(herd->cache, &request, slow_load, herd, &err);

    if (r == 0 && got[9] == 0x42)
        atomic_fetch_add(&herd->good, 1);
    if (r < 0 && strcmp(error_message(&err), "it could not be loaded") == 0 && err.code == r)
        atomic_fetch_add(&herd->bad, 1);
    return NULL;
}

static void run_herd(struct herd *herd)
{
    pthread_t threads[READERS];

    atomic_store(&herd->loads, 0);
    atomic_store(&herd->good, 0);
    atomic_store(&herd->bad, 0);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, join_herd, herd), 0);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
}

// All ask within the 50 ms that a load takes: one load serves all, and an error reaches all.
static void test_one_load_for_many(void **state)
{
    struct herd herd = {.id = {{1}}};
    uint8_t got[10];
    struct chunk_request request = {
        .kind = RECORD_CHUNK, .id = &herd.id, .len = 100, .count = 10, .out = got};
    (void)state;

    assert_int_equal(chunk_cache_new(1 << 20, &herd.cache, NULL), 0);
    herd.result = -EIO;
    run_herd(&herd);
    assert_int_equal(atomic_load(&herd.bad), READERS);
    assert_true(atomic_load(&herd.loads) < READERS);
    assert_int_equal(chunk_cache_find(herd.cache, &request, NULL), 0); // failures are not kept
    herd.result = 0;
    run_herd(&herd);
    assert_int_equal(atomic_load(&herd.good), READERS);
    assert_int_equal(atomic_load(&herd.loads), 1);
    assert_int_equal(chunk_cache_find(herd.cache, &request, NULL), 1);
    run_herd(&herd);
    assert_int_equal(atomic_load(&herd.loads), 0);
    // The same id as another kind is another entry.
    request.kind = RECORD_MAP;
    assert_int_equal(chunk_cache_find(herd.cache, &request, NULL), 0);
    request.kind = RECORD_CHUNK;
    request.len = 101;
    assert_int_equal(chunk_cache_find(herd.cache, &request, NULL), -ERROR_CORRUPT);

    herd.id.bytes[0] = 2;
    herd.whole = true;
    run_herd(&herd);
    assert_int_equal(atomic_load(&herd.good), READERS);
    assert_true(atomic_load(&herd.loads) < READERS);
    chunk_cache_free(herd.cache);
}

static int quick_load(const struct chunk_request *request, void *out, void *arg, struct error *err)
{
    (void)err;
    memset(out, request->id->bytes[0], request->len);
    ++*(int *)arg;
    return 0;
}

static void test_the_cache_is_bounded(void **state)
{
    struct chunk_cache *cache;
    struct digest id = {{0}};
    uint8_t got[1];
    struct chunk_request request = {
        .kind = RECORD_CHUNK, .id = &id, .len = 1000, .count = 1, .out = got};
    int loads = 0;
    (void)state;

    // Sixteen shards; all these ids fall into one, which has room for a few.
    assert_int_equal(chunk_cache_new(16 * 5000, &cache, NULL), 0);
    for (int i = 0; i < 100; i++) {
        id.bytes[0] = (uint8_t)i;
        assert_int_equal(chunk_cache_read(cache, &request, quick_load, &loads, NULL), 0);
        assert_int_equal(got[0], i);
        // Used again and again, so it is not the one that goes.
        id.bytes[0] = 0;
        assert_int_equal(chunk_cache_find(cache, &request, NULL), 1);
    }
    assert_int_equal(loads, 100);
    loads = 0;
    for (int i = 0; i < 100; i++) {
        id.bytes[0] = (uint8_t)i;
        loads += chunk_cache_find(cache, &request, NULL);
    }
    assert_true(loads >= 2 && loads <= 5);
    chunk_cache_free(cache);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_fixture_make, clean)
    const struct CMUnitTest tests[] = {
        TEST(test_life_of_a_chunk),
        TEST(test_bytes_are_exact),
        TEST(test_packs_fill_up),
        TEST(test_an_old_lease_knows_too),
        TEST(test_unsealed_pack_is_removed),
        TEST(test_records_of_other_kinds),
        TEST(test_append_refuses),
        TEST(test_faults_poison_the_writer),
        TEST(test_read_errors_are_not_damage),
        TEST(test_drop_provisional),
        TEST(test_flipped_bytes),
        TEST(test_short_and_missing_packs),
        TEST(test_proof_of_identity),
        TEST(test_reconcile),
        TEST(test_reconcile_reports_damage),
        TEST(test_reconcile_is_choosy),
        TEST(test_another_repository),
        TEST(test_workers_ask_while_the_owner_appends),
        TEST(test_many_readers),
        cmocka_unit_test(test_one_load_for_many),
        cmocka_unit_test(test_the_cache_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
