// SPDX-License-Identifier: MIT
//
// A pack without a usable index, from a backend that is a piece of memory. The first byte says what
// is made right wherever the mark of a record is, so that forged records are reached: 1 the pack's
// header, 2 checksums of records, 4 ids of those that are stored as they are.
//
// Against a model: of the records from the front to the first damaged header every id is found, but
// for deltas that do not tell their base; behind it only chunks and map nodes that prove their id.
// Nothing overlaps, no id is found twice, and what is found and what is lost fits into the file.
#include "base/bytes.h"
#include "fs/store/pack_scan.h"
#include "fs/store/store_members.h"
#include "tests/fuzz/fuzz.h"

static const char uuid[] = "1f000000-0000-4000-8000-000000000001";
static const uint8_t repository[16] = "\xee\0\0\0\0\0\x40\0\x80\0\0\0\0\0\0\1";
static uint8_t pack[65536];
static size_t pack_size;
static struct pack_decoder *decoder;

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

static void repair_record(unsigned what, uint8_t *p, size_t left)
{
    uint8_t *payload = p + PACK_RECORD_HEADER_SIZE;
    uint32_t raw = bytes_get_le32(p + 8), stored = bytes_get_le32(p + 12);
    enum record_kind kind = (enum record_kind)p[4];
    struct digest id;

    if (stored > left - PACK_RECORD_HEADER_SIZE)
        return;
    if ((what & 4) && p[5] == CODEC_RAW && raw == stored && kind >= RECORD_CHUNK &&
        kind <= RECORD_NOTE && chunk_coder_id(decoder->coder, kind, payload, raw, &id, NULL) == 0)
        memcpy(p + 16, id.bytes, DIGEST_SIZE);
    if (what & 2) {
        bytes_put_le64(p + 48, pack_checksum(payload, stored));
        bytes_put_le64(p + 56, pack_checksum(p, 56));
    }
}

// From the back, for a record may lie within another's payload.
static void repair(unsigned what)
{
    if (what & 1)
        bytes_put_le64(pack + 56, pack_checksum(pack, 56));
    for (size_t at = pack_size; at-- > PACK_HEADER_SIZE;) {
        if (pack_size - at >= PACK_RECORD_HEADER_SIZE && memcmp(pack + at, "BTRC", 4) == 0)
            repair_record(what, pack + at, pack_size - at);
    }
}

// The record at `at` as far as its header tells: 0 when there is none, else where it ends.
static size_t record_end(size_t at, struct record_header *ret_header)
{
    size_t left = pack_size - at;

    if (left < PACK_RECORD_HEADER_SIZE ||
        record_header_decode(pack + at, PACK_RECORD_HEADER_SIZE, ret_header, NULL) < 0 ||
        ret_header->stored_length > left - PACK_RECORD_HEADER_SIZE)
        return 0;
    return at + PACK_RECORD_HEADER_SIZE + ret_header->stored_length;
}

static bool has_id(const struct pack_content *content, const struct digest *id)
{
    size_t count = 0;

    for (size_t i = 0; i < content->count; i++)
        count += digest_equal(&content->records[i].id, id);
    MUST(count <= 1);
    return count == 1;
}

// A delta is lost when its payload, which names its base, is not whole or names none.
static bool tells_base(size_t at, const struct record_header *header)
{
    const uint8_t *payload = pack + at + PACK_RECORD_HEADER_SIZE;
    struct digest base;

    if (header->codec != CODEC_DELTA)
        return true;
    base = record_base(header->codec, payload, header->stored_length);
    return pack_checksum(payload, header->stored_length) == header->payload_checksum &&
           !digest_is_zero(&base) && !digest_equal(&base, &header->id);
}

// Where the records end that follow from one another; each of their ids must be found.
static size_t check_in_step(const struct pack_content *content)
{
    struct record_header header;
    size_t at = PACK_HEADER_SIZE;

    for (size_t end; at < pack_size && (end = record_end(at, &header)) > 0; at = end)
        MUST(has_id(content, &header.id) || !tells_base(at, &header));
    return at;
}

static void check_proved(struct pack_backend *backend, const struct chunk_row *row)
{
    struct chunk_location location = {.record = *row};
    uint8_t *content = malloc(row->raw_length);

    MUST(row->kind == RECORD_CHUNK || row->kind == RECORD_MAP);
    memcpy(location.pack_uuid, uuid, sizeof(uuid));
    MUST(pack_read_record(backend, decoder, &location, true, content, NULL) == 0);
    free(content);
}

static void check_content(struct pack_backend *backend, const struct pack_content *content)
{
    size_t in_step = check_in_step(content), free_from = PACK_HEADER_SIZE, used = 0;
    uint64_t raw_bytes = 0;

    for (size_t i = 0; i < content->count; i++) {
        const struct chunk_row *row = &content->records[i];
        struct record_header header;

        MUST(row->offset >= free_from && row->offset < pack_size);
        free_from = record_end((size_t)row->offset, &header);
        MUST(free_from > 0 && digest_equal(&header.id, &row->id) && has_id(content, &row->id));
        MUST(row->kind == header.kind && row->codec == header.codec);
        MUST(row->raw_length == header.raw_length && row->stored_length == header.stored_length);
        used += free_from - (size_t)row->offset;
        raw_bytes += row->kind == RECORD_CHUNK ? row->raw_length : 0;
        if (row->offset >= in_step)
            check_proved(backend, row);
    }
    MUST(raw_bytes == content->raw_bytes);
    MUST(used + content->lost_bytes + PACK_HEADER_SIZE <= pack_size);
    MUST(content->lost_places <= content->lost_bytes && content->untrusted <= content->lost_bytes);
    MUST(content->lost_bytes == 0 || content->lost_places > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pack_backend_ops ops = {.read = memory_read};
    struct pack_backend backend = {.ops = &ops};
    struct store store = {.backend = &backend};
    struct pack_content content = {0};
    struct pack_header header;
    struct error err = ERROR_INIT;

    if (size < 1 + PACK_HEADER_SIZE || size - 1 > sizeof(pack))
        return 0;
    if (!decoder)
        MUST(pack_decoder_new(&decoder, NULL) == 0);
    memcpy(store.repository_uuid, repository, sizeof(repository));
    memcpy(pack, data + 1, pack_size = size - 1);
    repair(data[0]);
    bool whole = pack_header_decode(pack, PACK_HEADER_SIZE, &header, NULL) == 0;
    bool strange = whole && memcmp(header.repository_uuid, repository, sizeof(repository)) != 0;
    int r = pack_scan_salvage(&store, uuid, pack_size, &content, &err);
    MUST(r == (strange ? -EXDEV : 0));
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(!content.records && content.count == 0);
        return 0;
    }
    MUST(content.created_at == (whole ? header.created_at : 0));
    check_content(&backend, &content);
    pack_content_deinit(&content);
    return 0;
}
