// SPDX-License-Identifier: MIT
//
// The structures of a pack: what is encoded is decoded again, fields stand where the byte tables
// say, every flipped bit is noticed, and forged fields with right checksums are refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "fs/store/pack_format.h"

#include <string.h>

static const struct pack_header sample_header = {
    .uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
    .repository_uuid = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab},
    .created_at = INT64_C(1795244100000000001),
};

static struct record_header sample_record(void)
{
    struct record_header header = {
        .kind = RECORD_MAP,
        .codec = CODEC_ZSTD,
        .raw_length = 65536,
        .stored_length = 1234,
        .payload_checksum = UINT64_C(0x1122334455667788),
    };

    memset(header.id.bytes, 0x5a, DIGEST_SIZE);
    return header;
}

static void test_header(void **state)
{
    uint8_t bytes[PACK_HEADER_SIZE];
    struct pack_header back;
    (void)state;

    pack_header_encode(&sample_header, bytes);
    assert_memory_equal(bytes, "BTPACK\r\n", 8);
    assert_int_equal(bytes_get_le16(bytes + 8), 1);
    assert_int_equal(bytes_get_le16(bytes + 10), 64);
    assert_memory_equal(bytes + 16, sample_header.uuid, 16);
    assert_memory_equal(bytes + 32, sample_header.repository_uuid, 16);
    assert_true(bytes_get_le64(bytes + 48) == (uint64_t)sample_header.created_at);
    assert_int_equal(pack_header_decode(bytes, sizeof(bytes), &back, NULL), 0);
    assert_memory_equal(&back, &sample_header, sizeof(back));
    assert_int_equal(pack_header_decode(bytes, 63, &back, NULL), -ERROR_CORRUPT);
}

static void test_record_header(void **state)
{
    struct record_header header = sample_record(), back;
    uint8_t bytes[PACK_RECORD_HEADER_SIZE];
    (void)state;

    record_header_encode(&header, bytes);
    assert_memory_equal(bytes, "BTRC", 4);
    assert_int_equal(bytes[4], 2);
    assert_int_equal(bytes[5], 1);
    assert_int_equal(bytes_get_le32(bytes + 8), 65536);
    assert_int_equal(bytes_get_le32(bytes + 12), 1234);
    assert_int_equal(bytes[16], 0x5a);
    assert_int_equal(record_header_decode(bytes, sizeof(bytes), &back, NULL), 0);
    assert_int_equal(back.kind, header.kind);
    assert_int_equal(back.codec, header.codec);
    assert_int_equal(back.raw_length, header.raw_length);
    assert_int_equal(back.stored_length, header.stored_length);
    assert_true(digest_equal(&back.id, &header.id));
    assert_true(back.payload_checksum == header.payload_checksum);
    assert_int_equal(record_header_decode(bytes, 0, &back, NULL), -ERROR_CORRUPT);
}

static void test_trailer(void **state)
{
    struct pack_trailer trailer = {.index_offset = 1000, .entry_count = 3, .index_checksum = 77};
    uint64_t size = 1000 + 3 * PACK_INDEX_ENTRY_SIZE + PACK_TRAILER_SIZE;
    uint8_t bytes[PACK_TRAILER_SIZE];
    struct pack_trailer back;
    (void)state;

    pack_trailer_encode(&trailer, bytes);
    assert_memory_equal(bytes, "BTINDEX\n", 8);
    assert_int_equal(pack_trailer_decode(bytes, sizeof(bytes), size, &back, NULL), 0);
    assert_memory_equal(&back, &trailer, sizeof(back));
    assert_int_equal(pack_trailer_decode(bytes, sizeof(bytes), size - 1, &back, NULL),
                     -ERROR_CORRUPT);
    assert_int_equal(pack_trailer_decode(bytes, sizeof(bytes), 0, &back, NULL), -ERROR_CORRUPT);

    // Bases lie between the entries and the trailer, no more of them than entries.
    trailer.base_count = 3;
    size += 3 * DIGEST_SIZE;
    pack_trailer_encode(&trailer, bytes);
    assert_int_equal(pack_trailer_decode(bytes, sizeof(bytes), size, &back, NULL), 0);
    assert_memory_equal(&back, &trailer, sizeof(back));
    assert_int_equal(pack_trailer_decode(bytes, sizeof(bytes), size - DIGEST_SIZE, &back, NULL),
                     -ERROR_CORRUPT);
    trailer.base_count = 4;
    pack_trailer_encode(&trailer, bytes);
    assert_int_equal(pack_trailer_decode(bytes, sizeof(bytes), size + DIGEST_SIZE, &back, NULL),
                     -ERROR_CORRUPT);
}

// Counts and offsets that would wrap around, with right checksums.
static void test_trailer_overflow(void **state)
{
    const struct pack_trailer hostile[] = {
        {.index_offset = 64, .entry_count = UINT64_MAX / 56 + 1},
        {.index_offset = UINT64_MAX - 55, .entry_count = 1},
        {.index_offset = UINT64_MAX, .entry_count = UINT64_MAX},
        {.index_offset = 0, .entry_count = 1},
        {.index_offset = 63, .entry_count = 0},
        {.index_offset = 64, .entry_count = 0, .base_count = UINT64_MAX / 32 + 1},
        {.index_offset = 64, .entry_count = 1, .base_count = UINT64_MAX},
        {.index_offset = 64, .entry_count = 1, .base_count = (UINT64_C(1) << 59)},
    };
    uint8_t bytes[PACK_TRAILER_SIZE];
    struct pack_trailer back;
    (void)state;

    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        uint64_t size = hostile[i].index_offset + hostile[i].entry_count * 56 +
                        hostile[i].base_count * 32 + PACK_TRAILER_SIZE;

        pack_trailer_encode(&hostile[i], bytes);
        assert_int_equal(pack_trailer_decode(bytes, sizeof(bytes), size, &back, NULL),
                         -ERROR_CORRUPT);
    }
}

static void test_index_entry(void **state)
{
    struct pack_index_entry entry = {
        .offset = UINT64_C(0x123456789),
        .raw_length = 16384,
        .stored_length = 16384,
        .kind = RECORD_CHUNK,
        .codec = CODEC_RAW,
    };
    uint8_t bytes[PACK_INDEX_ENTRY_SIZE];
    struct pack_index_entry back;
    (void)state;

    memset(entry.id.bytes, 7, DIGEST_SIZE);
    pack_index_entry_encode(&entry, bytes);
    assert_int_equal(pack_index_entry_decode(bytes, sizeof(bytes), &back, NULL), 0);
    assert_true(back.offset == entry.offset && back.raw_length == 16384 &&
                back.stored_length == 16384 && back.kind == RECORD_CHUNK &&
                back.codec == CODEC_RAW && digest_equal(&back.id, &entry.id));
    bytes[52] = 1;
    assert_int_equal(pack_index_entry_decode(bytes, sizeof(bytes), &back, NULL), -ERROR_CORRUPT);
    bytes[52] = 0;
    bytes[50] = 1;
    assert_int_equal(pack_index_entry_decode(bytes, sizeof(bytes), &back, NULL), -EPROTONOSUPPORT);
    assert_int_equal(pack_index_entry_decode(bytes, 55, &back, NULL), -ERROR_CORRUPT);
}

static void test_every_bit_counts(void **state)
{
    struct record_header record = sample_record();
    struct pack_trailer trailer = {.index_offset = 64, .entry_count = 1};
    uint64_t size = 64 + PACK_INDEX_ENTRY_SIZE + PACK_TRAILER_SIZE;
    uint8_t header_bytes[PACK_HEADER_SIZE], record_bytes[PACK_RECORD_HEADER_SIZE];
    uint8_t trailer_bytes[PACK_TRAILER_SIZE];
    struct pack_header header;
    (void)state;

    pack_header_encode(&sample_header, header_bytes);
    record_header_encode(&record, record_bytes);
    pack_trailer_encode(&trailer, trailer_bytes);
    for (int bit = 0; bit < 64 * 8; bit++) {
        uint8_t mask = (uint8_t)(1 << bit % 8);

        header_bytes[bit / 8] ^= mask;
        assert_true(pack_header_decode(header_bytes, 64, &header, NULL) < 0);
        header_bytes[bit / 8] ^= mask;
        record_bytes[bit / 8] ^= mask;
        assert_true(record_header_decode(record_bytes, 64, &record, NULL) < 0);
        record_bytes[bit / 8] ^= mask;
        if (bit / 8 >= PACK_TRAILER_SIZE)
            continue;
        trailer_bytes[bit / 8] ^= mask;
        assert_true(pack_trailer_decode(trailer_bytes, 48, size, &trailer, NULL) < 0);
        trailer_bytes[bit / 8] ^= mask;
    }
    assert_int_equal(pack_header_decode(header_bytes, 64, &header, NULL), 0);
}

// One field of a right structure is set and the checksum made right again.
static void test_forged_headers(void **state)
{
    static const struct {
        size_t offset;
        uint8_t value;
        int code;
        const char *sentence;
    } cases[] = {
        {8, 2, -EPROTONOSUPPORT, "version 2 is newer"},
        {8, 0, -ERROR_CORRUPT, "version or length"},
        {10, 65, -ERROR_CORRUPT, "version or length"},
        {12, 1, -EPROTONOSUPPORT, "feature flags 0x00000001"},
        {15, 0x80, -EPROTONOSUPPORT, "feature flags 0x80000000"},
    };
    uint8_t bytes[PACK_HEADER_SIZE];
    struct pack_header header;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = ERROR_INIT;

        pack_header_encode(&sample_header, bytes);
        bytes[cases[i].offset] = cases[i].value;
        bytes_put_le64(bytes + 56, pack_checksum(bytes, 56));
        assert_int_equal(pack_header_decode(bytes, 64, &header, &err), cases[i].code);
        assert_non_null(strstr(error_message(&err), cases[i].sentence));
    }
}

static void test_forged_records(void **state)
{
    static const struct {
        enum record_kind kind;
        enum record_codec codec;
        uint32_t raw, stored;
        int code;
    } cases[] = {
        {RECORD_CHUNK, CODEC_RAW, 100, 100, 0},
        {RECORD_CHUNK, CODEC_ZSTD, PACK_PAYLOAD_MAX, PACK_PAYLOAD_MAX, 0},
        {RECORD_UNKNOWN, CODEC_RAW, 100, 100, -ERROR_CORRUPT},
        {(enum record_kind)5, CODEC_RAW, 100, 100, -EPROTONOSUPPORT},
        {RECORD_CHUNK, (enum record_codec)3, 100, 100, -EPROTONOSUPPORT},
        {RECORD_CHUNK, CODEC_DELTA, 100, 100, 0},
        {RECORD_CHUNK, CODEC_DELTA, 100, DIGEST_SIZE + 1, 0},
        {RECORD_CHUNK, CODEC_DELTA, 100, DIGEST_SIZE, -ERROR_CORRUPT},
        {RECORD_MAP, CODEC_DELTA, 100, 100, -ERROR_CORRUPT},
        {RECORD_SNAPSHOT, CODEC_DELTA, 100, 100, -ERROR_CORRUPT},
        {RECORD_CHUNK, CODEC_RAW, 100, 99, -ERROR_CORRUPT},
        {RECORD_CHUNK, CODEC_ZSTD, 0, 10, -ERROR_CORRUPT},
        {RECORD_CHUNK, CODEC_ZSTD, 10, 0, -ERROR_CORRUPT},
        {RECORD_CHUNK, CODEC_ZSTD, PACK_PAYLOAD_MAX + 1, 10, -ERROR_CORRUPT},
        {RECORD_CHUNK, CODEC_ZSTD, 10, PACK_PAYLOAD_MAX + 1, -ERROR_CORRUPT},
        {RECORD_CHUNK, CODEC_ZSTD, UINT32_MAX, UINT32_MAX, -ERROR_CORRUPT},
    };
    uint8_t bytes[PACK_RECORD_HEADER_SIZE], entry_bytes[PACK_INDEX_ENTRY_SIZE];
    struct record_header back;
    struct pack_index_entry entry_back;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct record_header header = {.kind = cases[i].kind,
                                       .codec = cases[i].codec,
                                       .raw_length = cases[i].raw,
                                       .stored_length = cases[i].stored};
        struct pack_index_entry entry = {.kind = cases[i].kind,
                                         .codec = cases[i].codec,
                                         .raw_length = cases[i].raw,
                                         .stored_length = cases[i].stored};

        record_header_encode(&header, bytes);
        assert_int_equal(record_header_decode(bytes, sizeof(bytes), &back, NULL), cases[i].code);
        pack_index_entry_encode(&entry, entry_bytes);
        assert_int_equal(
            pack_index_entry_decode(entry_bytes, sizeof(entry_bytes), &entry_back, NULL),
            cases[i].code);
    }
    record_header_encode(
        &(struct record_header){.kind = RECORD_CHUNK, .raw_length = 1, .stored_length = 1}, bytes);
    bytes[6] = 1; // kept for encryption
    bytes_put_le64(bytes + 56, pack_checksum(bytes, 56));
    assert_int_equal(record_header_decode(bytes, sizeof(bytes), &back, NULL), -EPROTONOSUPPORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),         cmocka_unit_test(test_record_header),
        cmocka_unit_test(test_trailer),        cmocka_unit_test(test_trailer_overflow),
        cmocka_unit_test(test_index_entry),    cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_forged_headers), cmocka_unit_test(test_forged_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
