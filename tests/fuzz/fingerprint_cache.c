// SPDX-License-Identifier: MIT
//
// The fingerprint cache. Input: u8 flags (1: header as it should be, 2: trailer too), then records
// in short: u64 leaf number, u8 what is in it, u8 flags (1: its checksum is wrong); what is left
// over is put behind as it is. Against a model: exactly the records before the first that is
// damaged or out of order are given, and nothing when the frame does not fit.
#include "fs/store/fingerprint_cache.h"
#include "base/bytes.h"
#include "fs/store/xxh.h"
#include "tests/fuzz/fuzz_store.h"

#include <fcntl.h>

#define LEAF 4112
#define RECORDS_MAX 8
#define NONCE 77

static const char disk[] = "d1000000-0000-4000-8000-000000000001";
static uint8_t file[96 + RECORDS_MAX * LEAF + 32 + 256];

static void put_header(void)
{
    static const uint8_t begin[16] = "BTFPRNT\n\1\0\x60";

    memset(file, 0, 96);
    memcpy(file, begin, sizeof(begin));
    memcpy(file + 16, "\xd1\0\0\0\0\0\x40\0\x80\0\0\0\0\0\0\1", 16);
    memcpy(file + 32, "\xd1\0\0\0\0\0\x40\0\x80\0\0\0\0\0\0\1", 16);
    bytes_put_le64(file + 48, 1u << 30);
    bytes_put_le32(file + 56, 65536);
    memset(file + 64, 0xee, 16);
    bytes_put_le64(file + 80, NONCE);
    bytes_put_le64(file + 88, XXH3_64bits(file, 88));
}

// Leaves are asked for in ascending order, as the reader wants it.
static void check(struct fingerprint_reader *reader, const uint8_t *data, size_t count)
{
    static struct fingerprint_leaf leaf;
    uint64_t previous = 0;
    bool intact = true;

    for (size_t i = 0; i < count; i++, data += 10) {
        uint64_t number = bytes_get_le64(data);

        intact = intact && (i == 0 || number > previous) && !(data[9] & 1);
        if (i > 0 && number <= previous)
            continue;
        previous = number;
        MUST(fingerprint_reader_leaf(reader, number, &leaf) == intact);
        MUST(!intact || (leaf.leaf == number && fuzz_all(leaf.chunk, sizeof(leaf.chunk), data[8])));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct store *store; // nothing of it changes
    static int fd = -1;
    struct fingerprint_reader *reader = NULL;

    if (size < 1)
        return 0;
    size_t count = (size - 1) / 10 < RECORDS_MAX ? (size - 1) / 10 : RECORDS_MAX;
    size_t rest = size - 1 - count * 10 < 256 ? size - 1 - count * 10 : 256;
    if (!store)
        store = fuzz_store();
    if (fd < 0)
        fd = open(scratch_path(&fuzz_scratch, "d1000000-0000-4000-8000-000000000001.fingerprints"),
                  O_RDWR | O_CREAT, 0600);
    memset(file, 0, 96);
    if (data[0] & 1)
        put_header();
    for (size_t i = 0; i < count; i++) {
        uint8_t *p = file + 96 + i * LEAF;

        memcpy(p, data + 1 + i * 10, 8);
        memset(p + 8, data[1 + i * 10 + 8], LEAF - 16);
        bytes_put_le64(p + LEAF - 8,
                       XXH3_64bits_withSeed(p, LEAF - 8, NONCE) ^ (data[1 + i * 10 + 9] & 1));
    }
    uint8_t *end = file + 96 + count * LEAF;
    bool frame = (data[0] & 3) == 3;
    if (frame) {
        memcpy(end, "BTFPEND\n", 8);
        bytes_put_le64(end + 8, count);
        bytes_put_le64(end + 16, 0);
        bytes_put_le64(end + 24, XXH3_64bits_withSeed(end, 24, NONCE));
    }
    memcpy(end + (frame ? 32 : 0), data + 1 + count * 10, rest);
    size_t len = 96 + count * LEAF + rest + (frame ? 32 : 0);
    MUST(pwrite(fd, file, len, 0) == (ssize_t)len && ftruncate(fd, (off_t)len) == 0);
    MUST(fingerprint_reader_open(store, disk, disk, 1u << 30, 65536, &reader, NULL) == 0);
    MUST(!frame || (reader != NULL) == (rest == 0));
    if (reader && frame)
        check(reader, data + 1, count);
    fingerprint_reader_close(reader);
    return 0;
}
