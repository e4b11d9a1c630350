// SPDX-License-Identifier: MIT
//
// Damage in packs is found, told, and never served; start-up deals with what a crash left.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/store_testing.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_flipped_bytes),
        STORE_TEST(test_short_and_missing_packs),
        STORE_TEST(test_proof_of_identity),
        STORE_TEST(test_reconcile),
        STORE_TEST(test_reconcile_reports_damage),
        STORE_TEST(test_reconcile_is_choosy),
        STORE_TEST(test_another_repository),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
