// SPDX-License-Identifier: MIT
//
// A whole pack, from a backend that is a piece of memory. The first byte says which checksums are
// made right (1 header, 2 index and trailer, 4 records), so that hostile content is reached.
// What the index says covers the file without gap or overlap; a record that is read has exactly its
// raw length, and with a proof the content is what its id says. A delta names the base its row
// names, and is read with the content of the first record, whatever that is.
#include "base/bytes.h"
#include "fs/store/pack_reader.h"
#include "tests/fuzz/fuzz.h"

static const char uuid[] = "1f000000-0000-4000-8000-000000000001";
static uint8_t pack[65536];
static size_t pack_size;

static ssize_t memory_read(struct pack_backend *backend, const char *name, void *buf, size_t len,
                           uint64_t offset, struct error *err)
{
    (void)backend;
    if (strcmp(name, uuid) != 0)
        return error_set(err, -ENOENT, "there is no such pack");
    size_t left = offset < pack_size ? pack_size - offset : 0;
    memcpy(buf, pack + (left ? offset : 0), len < left ? len : left);
    return (ssize_t)(len < left ? len : left);
}

static void repair(unsigned what)
{
    uint8_t *end = pack + pack_size - PACK_TRAILER_SIZE;
    uint64_t index = bytes_get_le64(end + 8);

    if (what & 1)
        bytes_put_le64(pack + 56, pack_checksum(pack, 56));
    if ((what & 2) && index <= pack_size - PACK_TRAILER_SIZE) {
        bytes_put_le64(end + 24,
                       pack_checksum(pack + index, pack_size - PACK_TRAILER_SIZE - index));
        bytes_put_le64(end + 40, pack_checksum(end, 40));
    }
}

static void repair_record(const struct chunk_row *row)
{
    uint8_t *p = pack + row->offset;

    bytes_put_le64(p + 48, pack_checksum(p + PACK_RECORD_HEADER_SIZE, row->stored_length));
    bytes_put_le64(p + 56, pack_checksum(p, 56));
}

static void check_record(struct pack_backend *backend, struct pack_decoder *decoder,
                         const struct chunk_row *row, const uint8_t *base)
{
    struct chunk_location location = {.record = *row};
    struct error err = ERROR_INIT, proof = ERROR_INIT;
    uint8_t *content = malloc(row->raw_length);
    struct digest id;

    memcpy(location.pack_uuid, uuid, sizeof(uuid));
    int r = pack_read_with_base(backend, decoder, &location, base, false, content, &err);
    int proved = pack_read_with_base(backend, decoder, &location, base, true, content, &proof);
    if (r < 0)
        fuzz_check_refusal(r, &err);
    if (proved < 0)
        fuzz_check_refusal(proved, &proof);
    MUST(proved < 0 || r == 0);
    MUST(r < 0 || (row->codec == CODEC_DELTA) == !digest_is_zero(&row->base));
    if (row->codec == CODEC_DELTA)
        MUST(pack_read_record(backend, decoder, &location, false, content, NULL) < 0);
    if (proved == 0) {
        MUST(chunk_coder_id(decoder->coder, (enum record_kind)row->kind, content, row->raw_length,
                            &id, NULL) == 0);
        MUST(digest_equal(&id, &row->id));
    }
    free(content);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pack_backend_ops ops = {.read = memory_read};
    static struct pack_decoder *decoder;
    struct pack_backend backend = {.ops = &ops};
    struct error err = ERROR_INIT;
    struct pack_header header;
    AUTO_FREE struct chunk_row *rows = NULL;
    size_t count = 12345;

    if (size < 1 + PACK_HEADER_SIZE + PACK_TRAILER_SIZE || size - 1 > sizeof(pack))
        return 0;
    if (!decoder)
        MUST(pack_decoder_new(&decoder, NULL) == 0);
    memcpy(pack, data + 1, pack_size = size - 1);
    repair(data[0]);
    int r = pack_read_index(&backend, uuid, pack_size, &header, &rows, &count, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(!rows && count == 12345);
        return 0;
    }
    static uint8_t base[PACK_PAYLOAD_MAX];
    uint64_t at = PACK_HEADER_SIZE, deltas = 0;
    for (size_t i = 0; i < count; i++) {
        MUST(rows[i].offset == at);
        at += PACK_RECORD_HEADER_SIZE + (uint64_t)rows[i].stored_length;
        if (data[0] & 4)
            repair_record(&rows[i]);
        deltas += rows[i].codec == CODEC_DELTA;
        check_record(&backend, decoder, &rows[i], base);
        if (i == 0) {
            struct chunk_location first = {.record = rows[0]};

            memcpy(first.pack_uuid, uuid, sizeof(uuid));
            pack_read_record(&backend, decoder, &first, false, base, NULL);
        }
    }
    MUST(at + pack_index_size(count, deltas) + PACK_TRAILER_SIZE == pack_size);
    return 0;
}
