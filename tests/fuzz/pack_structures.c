// SPDX-License-Identifier: MIT
//
// The four structures of a pack. The first byte chooses one and whether its checksum is made right.
// What decodes must encode to the bytes it came from; what is refused leaves the result alone.
#include "base/bytes.h"
#include "fs/store/pack_format.h"
#include "tests/fuzz/fuzz.h"

union decoded {
    struct pack_header header;
    struct record_header record;
    struct pack_index_entry entry;
    struct pack_trailer trailer;
};

static const size_t sizes[] = {PACK_HEADER_SIZE, PACK_RECORD_HEADER_SIZE, PACK_INDEX_ENTRY_SIZE,
                               PACK_TRAILER_SIZE};

static int decode(unsigned which, const void *data, size_t len, uint64_t file_size,
                  union decoded *ret, struct error *err)
{
    switch (which) {
    case 0:
        return pack_header_decode(data, len, &ret->header, err);
    case 1:
        return record_header_decode(data, len, &ret->record, err);
    case 2:
        return pack_index_entry_decode(data, len, &ret->entry, err);
    default:
        return pack_trailer_decode(data, len, file_size, &ret->trailer, err);
    }
}

static void encode(unsigned which, const union decoded *decoded, uint8_t *out)
{
    switch (which) {
    case 0:
        pack_header_encode(&decoded->header, out);
        break;
    case 1:
        record_header_encode(&decoded->record, out);
        break;
    case 2:
        pack_index_entry_encode(&decoded->entry, out);
        break;
    default:
        pack_trailer_encode(&decoded->trailer, out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    union decoded decoded;
    uint8_t bytes[64], again[64];

    if (size < 9 || size - 9 > sizeof(bytes))
        return 0;
    unsigned which = data[0] & 3;
    bool repair = data[0] & 4;
    uint64_t file_size = bytes_get_le64(data + 1);
    size_t len = size - 9;
    memcpy(bytes, data + 9, len);
    if (repair && which != 2 && len == sizes[which])
        bytes_put_le64(bytes + len - 8, pack_checksum(bytes, len - 8));
    memset(&decoded, 0xa5, sizeof(decoded));
    int r = decode(which, bytes, len, file_size, &decoded, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(fuzz_all(&decoded, sizeof(decoded), 0xa5));
        return 0;
    }
    MUST(len >= sizes[which]);
    encode(which, &decoded, again);
    MUST(memcmp(again, bytes, sizes[which]) == 0);
    MUST(which != 3 ||
         decoded.trailer.index_offset +
                 pack_index_size(decoded.trailer.entry_count, decoded.trailer.base_count) +
                 PACK_TRAILER_SIZE ==
             file_size);
    MUST(which != 1 || decoded.record.codec != CODEC_DELTA ||
         (decoded.record.kind == RECORD_CHUNK && decoded.record.stored_length > DIGEST_SIZE));
    return 0;
}
