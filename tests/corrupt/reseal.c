// SPDX-License-Identifier: MIT
//
// Makes every checksum of a pack right, whatever its content says: header, records where the index
// says they are (as far as they lie within the file), index, trailer. `reseal PACK…`
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/store/pack_format.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static void reseal_record(uint8_t *pack, size_t size, const uint8_t *entry)
{
    uint64_t offset = bytes_get_le64(entry + 32);
    uint32_t stored = bytes_get_le32(entry + 44);

    if (offset > size - PACK_RECORD_HEADER_SIZE)
        return;
    if (stored <= size - PACK_RECORD_HEADER_SIZE - offset)
        bytes_put_le64(pack + offset + 48,
                       pack_checksum(pack + offset + PACK_RECORD_HEADER_SIZE, stored));
    bytes_put_le64(pack + offset + 56, pack_checksum(pack + offset, 56));
}

static int reseal(uint8_t *pack, size_t size)
{
    uint8_t *trailer = pack + size - PACK_TRAILER_SIZE;
    uint64_t index;

    if (size < PACK_HEADER_SIZE + PACK_TRAILER_SIZE)
        return -1;
    bytes_put_le64(pack + 56, pack_checksum(pack, 56));
    index = bytes_get_le64(trailer + 8);
    if (index <= size - PACK_TRAILER_SIZE) {
        uint64_t entries = bytes_get_le64(trailer + 16), at = index;

        for (; entries-- > 0 && at + PACK_INDEX_ENTRY_SIZE <= size - PACK_TRAILER_SIZE;
             at += PACK_INDEX_ENTRY_SIZE)
            reseal_record(pack, size, pack + at);
        bytes_put_le64(trailer + 24, pack_checksum(pack + index, size - PACK_TRAILER_SIZE - index));
    }
    bytes_put_le64(trailer + 40, pack_checksum(trailer, 40));
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        AUTO_FREE char *pack = NULL;
        AUTO_CLOSE int fd = open(argv[i], O_WRONLY);
        size_t size;

        if (fd < 0 || io_read_file(argv[i], 1 << 28, &pack, &size, NULL) < 0 ||
            reseal((uint8_t *)pack, size) < 0 || pwrite(fd, pack, size, 0) != (ssize_t)size) {
            fprintf(stderr, "reseal: cannot do %s\n", argv[i]);
            return 1;
        }
    }
    return argc > 1 ? 0 : 2;
}
