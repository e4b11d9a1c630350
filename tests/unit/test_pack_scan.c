// SPDX-License-Identifier: MIT
//
// Salvage of packs: what is whole is found wherever the damage is, nothing that is not proved
// behind damage, and what a guest wrote to look like records is not believed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/note.h"
#include "fs/store/pack_scan.h"

#include "tests/unit/store_testing.h"

#define COUNT 20

static void write_pack(struct store_fixture *fixture, struct digest ids[COUNT])
{
    struct store_writer *writer = writer_of(fixture);

    for (uint64_t n = 0; n < COUNT; n++)
        ids[n] = put(writer, n);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
}

static void poke(struct store_fixture *fixture, uint64_t offset, const void *data, size_t len)
{
    struct files files = files_of(fixture);
    int fd = open(pack_path(fixture, files.uuid, "pack"), O_WRONLY);

    assert_int_equal(pwrite(fd, data, len, (off_t)offset), (ssize_t)len);
    close(fd);
}

static struct pack_content salvage(struct store_fixture *fixture)
{
    struct files files = files_of(fixture);
    struct pack_content content;
    struct error err = ERROR_INIT;

    if (pack_scan_salvage(fixture->store, files.uuid, files.bytes, &content, &err) < 0)
        fail_msg("%s", error_message(&err));
    return content;
}

static struct pack_content by_index(struct store_fixture *fixture)
{
    struct files files = files_of(fixture);
    struct pack_content content;

    assert_int_equal(pack_scan_index(fixture->store, files.uuid, files.bytes, &content, NULL), 0);
    return content;
}

static void assert_same_rows(const struct pack_content *a, const struct pack_content *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_true(digest_equal(&a->records[i].id, &b->records[i].id));
        assert_true(a->records[i].offset == b->records[i].offset &&
                    a->records[i].kind == b->records[i].kind &&
                    a->records[i].codec == b->records[i].codec &&
                    a->records[i].stored_length == b->records[i].stored_length &&
                    a->records[i].raw_length == b->records[i].raw_length);
    }
    assert_true(a->raw_bytes == b->raw_bytes);
}

// Without its index a pack gives what its index said.
static void test_whole(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest ids[COUNT];

    write_pack(fixture, ids);
    struct pack_content index = by_index(fixture), found = salvage(fixture);
    assert_int_equal(index.count, COUNT);
    assert_same_rows(&index, &found);
    assert_true(found.created_at == index.created_at);
    assert_int_equal(found.lost_bytes, 0);
    pack_content_deinit(&index);
    pack_content_deinit(&found);
}

// Each byte of the pack's structure, one after the other: nothing but the record that was hit is
// lost.
static void test_every_damaged_header(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest ids[COUNT];

    write_pack(fixture, ids);
    struct pack_content index = by_index(fixture);
    for (size_t hit = 0; hit < COUNT; hit++) {
        uint64_t at = index.records[hit].offset + (hit * 7) % PACK_RECORD_HEADER_SIZE;
        uint8_t byte, other;
        int fd = open(pack_path(fixture, files_of(fixture).uuid, "pack"), O_RDONLY);

        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        close(fd);
        other = byte ^ 0x55;
        poke(fixture, at, &other, 1);
        struct pack_content found = salvage(fixture);
        assert_int_equal(found.count, COUNT - 1);
        for (size_t i = 0, k = 0; i < COUNT; i++) {
            if (i != hit)
                assert_true(digest_equal(&found.records[k++].id, &ids[i]));
        }
        assert_true(found.lost_places >= 1);
        pack_content_deinit(&found);
        poke(fixture, at, &byte, 1);
    }
    pack_content_deinit(&index);
}

static void test_cut_short(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest ids[COUNT];
    size_t last = COUNT;

    write_pack(fixture, ids);
    struct pack_content index = by_index(fixture);
    uint64_t size = files_of(fixture).bytes;
    for (uint64_t cut = size - 1; cut > 1000; cut = cut * 9 / 10) {
        size_t whole = 0;

        assert_int_equal(truncate(pack_path(fixture, files_of(fixture).uuid, "pack"), (off_t)cut),
                         0);
        struct pack_content found = salvage(fixture);
        for (size_t i = 0; i < COUNT; i++)
            whole += index.records[i].offset + PACK_RECORD_HEADER_SIZE +
                         index.records[i].stored_length <=
                     cut;
        assert_int_equal(found.count, whole);
        assert_true(whole <= last);
        last = whole;
        pack_content_deinit(&found);
    }
    pack_content_deinit(&index);
}

// A guest's chunk holds whole records: of a chunk with another's id, and a note with its right id.
static void forge(uint8_t data[CHUNK], const struct digest *victim)
{
    static const char note[] =
        "{\"at\":1,\"snapshot_uuid\":\"00000000-0000-4000-8000-000000000001\","
        "\"version\":1,\"what\":\"forgotten\"}";
    struct record_header header = {.kind = RECORD_CHUNK,
                                   .codec = CODEC_RAW,
                                   .raw_length = 4,
                                   .stored_length = 4,
                                   .id = *victim,
                                   .payload_checksum = pack_checksum("evil", 4)};
    struct chunk_coder *coder;

    fill_random(data, CHUNK, 99);
    record_header_encode(&header, data + 1000);
    memcpy(data + 1000 + PACK_RECORD_HEADER_SIZE, "evil", 4);
    assert_int_equal(chunk_coder_new(1, &coder, NULL), 0);
    assert_int_equal(chunk_coder_id(coder, RECORD_NOTE, note, strlen(note), &header.id, NULL), 0);
    chunk_coder_free(coder);
    header.kind = RECORD_NOTE;
    header.raw_length = header.stored_length = (uint32_t)strlen(note);
    header.payload_checksum = pack_checksum(note, strlen(note));
    record_header_encode(&header, data + 3000);
    memcpy(data + 3000 + PACK_RECORD_HEADER_SIZE, note, strlen(note));
}

static void test_forged_records(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_writer *writer = writer_of(fixture);
    struct digest victim = put(writer, 1), id;
    uint8_t data[CHUNK];

    forge(data, &victim);
    assert_int_equal(store_writer_put(writer, RECORD_CHUNK, data, CHUNK, &id, NULL), 0);
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    struct pack_content index = by_index(fixture);
    assert_int_equal(index.records[1].codec, CODEC_RAW);
    // With the headers of both damaged the scan goes through the guest's bytes.
    poke(fixture, index.records[0].offset, "x", 1);
    poke(fixture, index.records[1].offset, "x", 1);
    struct pack_content found = salvage(fixture);
    assert_int_equal(found.count, 0);
    assert_int_equal(found.untrusted, 1);
    pack_content_deinit(&found);
    pack_content_deinit(&index);
}

static void test_prove(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest ids[COUNT];
    struct pack_decoder *decoder;

    write_pack(fixture, ids);
    struct pack_content index = by_index(fixture);
    assert_int_equal(pack_scan_decoder_new(&decoder, NULL), 0);
    struct chunk_location location = {.record = index.records[2]};
    snprintf(location.pack_uuid, sizeof(location.pack_uuid), "%s", files_of(fixture).uuid);
    assert_int_equal(pack_scan_prove(fixture->store, decoder, &location, NULL), 0);
    poke(fixture, location.record.offset + PACK_RECORD_HEADER_SIZE + 5, "x", 1);
    assert_int_equal(pack_scan_prove(fixture->store, decoder, &location, NULL), -ERROR_CORRUPT);
    location.record.raw_length = UINT32_MAX;
    assert_int_equal(pack_scan_prove(fixture->store, decoder, &location, NULL), -ERROR_CORRUPT);
    pack_scan_decoder_free(decoder);
    pack_content_deinit(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_whole),     STORE_TEST(test_every_damaged_header),
        STORE_TEST(test_cut_short), STORE_TEST(test_forged_records),
        STORE_TEST(test_prove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
