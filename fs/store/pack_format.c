// SPDX-License-Identifier: MIT
//
// Encoders and decoders of the structures in pack_format.h, whose byte tables are the contract.
//
// Order of every decoder: length, magic, version (a newer structure may keep its checksum
// elsewhere), checksum, then fields. So "from the future" is told apart from "damaged", and a field
// is only looked at after its checksum held.
#include "fs/store/pack_format.h"

#include "base/bytes.h"
#include "fs/store/xxh.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static const uint8_t pack_magic[8] = {'B', 'T', 'P', 'A', 'C', 'K', '\r', '\n'};
static const uint8_t record_magic[4] = {'B', 'T', 'R', 'C'};
static const uint8_t trailer_magic[8] = {'B', 'T', 'I', 'N', 'D', 'E', 'X', '\n'};

uint64_t pack_checksum(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

static int check_frame(const char *what, const uint8_t *data, size_t len, size_t need,
                       const uint8_t *magic, size_t magic_len, struct error *err)
{
    if (len < need)
        return error_set(err, -ERROR_CORRUPT, "%s: %zu bytes instead of %zu", what, len, need);
    if (memcmp(data, magic, magic_len) != 0)
        return error_set(err, -ERROR_CORRUPT, "%s: the magic number does not match", what);
    return 0;
}

// The checksum of `size` bytes is their last eight.
static int check_sum(const char *what, const uint8_t *data, size_t size, struct error *err)
{
    if (pack_checksum(data, size - 8) != bytes_get_le64(data + size - 8))
        return error_set(err, -ERROR_CORRUPT, "%s: its checksum does not match", what);
    return 0;
}

void pack_header_encode(const struct pack_header *header, uint8_t out[PACK_HEADER_SIZE])
{
    memcpy(out, pack_magic, sizeof(pack_magic));
    bytes_put_le16(out + 8, PACK_FORMAT_VERSION);
    bytes_put_le16(out + 10, PACK_HEADER_SIZE);
    bytes_put_le32(out + 12, 0);
    memcpy(out + 16, header->uuid, 16);
    memcpy(out + 32, header->repository_uuid, 16);
    bytes_put_le64(out + 48, (uint64_t)header->created_at);
    bytes_put_le64(out + 56, pack_checksum(out, 56));
}

int pack_header_decode(const void *data, size_t len, struct pack_header *ret_header,
                       struct error *err)
{
    const uint8_t *p = data;
    int r =
        check_frame("pack header", p, len, PACK_HEADER_SIZE, pack_magic, sizeof(pack_magic), err);

    if (r < 0)
        return r;
    if (bytes_get_le16(p + 8) > PACK_FORMAT_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "pack header: format version %u is newer than this program knows (%u)",
                         bytes_get_le16(p + 8), PACK_FORMAT_VERSION);
    r = check_sum("pack header", p, PACK_HEADER_SIZE, err);
    if (r < 0)
        return r;
    if (bytes_get_le16(p + 8) != PACK_FORMAT_VERSION || bytes_get_le16(p + 10) != PACK_HEADER_SIZE)
        return error_set(err, -ERROR_CORRUPT, "pack header: version or length is wrong");
    if (bytes_get_le32(p + 12) != 0)
        return error_set(err, -EPROTONOSUPPORT, "pack header: unknown feature flags 0x%08" PRIx32,
                         bytes_get_le32(p + 12));

    memcpy(ret_header->uuid, p + 16, 16);
    memcpy(ret_header->repository_uuid, p + 32, 16);
    ret_header->created_at = (int64_t)bytes_get_le64(p + 48);
    return 0;
}

// What record headers and index entries have in common: kind, codec, flags and lengths.
static int check_record_fields(const char *what, unsigned kind, unsigned codec, unsigned flags,
                               uint32_t raw_length, uint32_t stored_length, struct error *err)
{
    if (kind == RECORD_UNKNOWN)
        return error_set(err, -ERROR_CORRUPT, "%s: kind 0 is never written", what);
    if (kind > RECORD_NOTE)
        return error_set(err, -EPROTONOSUPPORT, "%s: unknown kind %u", what, kind);
    if (codec > CODEC_DELTA)
        return error_set(err, -EPROTONOSUPPORT, "%s: unknown codec %u", what, codec);
    if (flags != 0)
        return error_set(err, -EPROTONOSUPPORT, "%s: unknown flags 0x%04x", what, flags);
    if (raw_length == 0 || raw_length > PACK_PAYLOAD_MAX || stored_length == 0 ||
        stored_length > PACK_PAYLOAD_MAX)
        return error_set(err, -ERROR_CORRUPT,
                         "%s: lengths %" PRIu32 " and %" PRIu32 " are out of range", what,
                         raw_length, stored_length);
    if (codec == CODEC_RAW && raw_length != stored_length)
        return error_set(err, -ERROR_CORRUPT,
                         "%s: stored as it is, but lengths %" PRIu32 " and %" PRIu32 " differ",
                         what, raw_length, stored_length);
    if (codec == CODEC_DELTA && (kind != RECORD_CHUNK || stored_length <= DIGEST_SIZE))
        return error_set(err, -ERROR_CORRUPT,
                         "%s: a delta of kind %u and %" PRIu32 " bytes is none", what, kind,
                         stored_length);
    return 0;
}

struct digest record_base(enum record_codec codec, const void *payload, size_t len)
{
    struct digest base = {0};

    if (codec == CODEC_DELTA && len > DIGEST_SIZE)
        memcpy(base.bytes, payload, DIGEST_SIZE);
    return base;
}

void record_header_encode(const struct record_header *header, uint8_t out[PACK_RECORD_HEADER_SIZE])
{
    memcpy(out, record_magic, sizeof(record_magic));
    out[4] = (uint8_t)header->kind;
    out[5] = (uint8_t)header->codec;
    bytes_put_le16(out + 6, 0);
    bytes_put_le32(out + 8, header->raw_length);
    bytes_put_le32(out + 12, header->stored_length);
    memcpy(out + 16, header->id.bytes, DIGEST_SIZE);
    bytes_put_le64(out + 48, header->payload_checksum);
    bytes_put_le64(out + 56, pack_checksum(out, 56));
}

int record_header_decode(const void *data, size_t len, struct record_header *ret_header,
                         struct error *err)
{
    const uint8_t *p = data;
    int r = check_frame("record header", p, len, PACK_RECORD_HEADER_SIZE, record_magic,
                        sizeof(record_magic), err);

    if (r < 0)
        return r;
    r = check_sum("record header", p, PACK_RECORD_HEADER_SIZE, err);
    if (r < 0)
        return r;
    r = check_record_fields("record header", p[4], p[5], bytes_get_le16(p + 6),
                            bytes_get_le32(p + 8), bytes_get_le32(p + 12), err);
    if (r < 0)
        return r;

    ret_header->kind = (enum record_kind)p[4];
    ret_header->codec = (enum record_codec)p[5];
    ret_header->raw_length = bytes_get_le32(p + 8);
    ret_header->stored_length = bytes_get_le32(p + 12);
    memcpy(ret_header->id.bytes, p + 16, DIGEST_SIZE);
    ret_header->payload_checksum = bytes_get_le64(p + 48);
    return 0;
}

void pack_index_entry_encode(const struct pack_index_entry *entry,
                             uint8_t out[PACK_INDEX_ENTRY_SIZE])
{
    memcpy(out, entry->id.bytes, DIGEST_SIZE);
    bytes_put_le64(out + 32, entry->offset);
    bytes_put_le32(out + 40, entry->raw_length);
    bytes_put_le32(out + 44, entry->stored_length);
    out[48] = (uint8_t)entry->kind;
    out[49] = (uint8_t)entry->codec;
    bytes_put_le16(out + 50, 0);
    bytes_put_le32(out + 52, 0);
}

// The entry has no checksum of its own: the trailer's covers the whole index.
int pack_index_entry_decode(const void *data, size_t len, struct pack_index_entry *ret_entry,
                            struct error *err)
{
    const uint8_t *p = data;
    int r;

    if (len < PACK_INDEX_ENTRY_SIZE)
        return error_set(err, -ERROR_CORRUPT, "pack index entry: %zu bytes instead of %d", len,
                         PACK_INDEX_ENTRY_SIZE);
    r = check_record_fields("pack index entry", p[48], p[49], bytes_get_le16(p + 50),
                            bytes_get_le32(p + 40), bytes_get_le32(p + 44), err);
    if (r < 0)
        return r;
    if (bytes_get_le32(p + 52) != 0)
        return error_set(err, -ERROR_CORRUPT, "pack index entry: reserved bytes are not zero");

    memcpy(ret_entry->id.bytes, p, DIGEST_SIZE);
    ret_entry->offset = bytes_get_le64(p + 32);
    ret_entry->raw_length = bytes_get_le32(p + 40);
    ret_entry->stored_length = bytes_get_le32(p + 44);
    ret_entry->kind = (enum record_kind)p[48];
    ret_entry->codec = (enum record_codec)p[49];
    return 0;
}

void pack_trailer_encode(const struct pack_trailer *trailer, uint8_t out[PACK_TRAILER_SIZE])
{
    memcpy(out, trailer_magic, sizeof(trailer_magic));
    bytes_put_le64(out + 8, trailer->index_offset);
    bytes_put_le64(out + 16, trailer->entry_count);
    bytes_put_le64(out + 24, trailer->index_checksum);
    bytes_put_le64(out + 32, trailer->base_count);
    bytes_put_le64(out + 40, pack_checksum(out, 40));
}

// Whether an index of these counts at `offset` ends where the trailer of the file begins.
static bool index_fits(uint64_t offset, uint64_t entries, uint64_t bases, uint64_t file_size)
{
    uint64_t room;

    if (offset < PACK_HEADER_SIZE || file_size < PACK_TRAILER_SIZE ||
        offset > file_size - PACK_TRAILER_SIZE)
        return false;
    room = file_size - PACK_TRAILER_SIZE - offset;
    return entries <= room / PACK_INDEX_ENTRY_SIZE && bases <= entries &&
           pack_index_size(entries, bases) == room;
}

int pack_trailer_decode(const void *data, size_t len, uint64_t file_size,
                        struct pack_trailer *ret_trailer, struct error *err)
{
    const uint8_t *p = data;
    uint64_t offset, count, bases;
    int r = check_frame("pack trailer", p, len, PACK_TRAILER_SIZE, trailer_magic,
                        sizeof(trailer_magic), err);

    if (r < 0)
        return r;
    r = check_sum("pack trailer", p, PACK_TRAILER_SIZE, err);
    if (r < 0)
        return r;
    offset = bytes_get_le64(p + 8);
    count = bytes_get_le64(p + 16);
    bases = bytes_get_le64(p + 32);
    if (!index_fits(offset, count, bases, file_size))
        return error_set(err, -ERROR_CORRUPT,
                         "pack trailer: an index of %" PRIu64 " entries and %" PRIu64
                         " bases at %" PRIu64 " does not fit a file of %" PRIu64 " bytes",
                         count, bases, offset, file_size);

    ret_trailer->index_offset = offset;
    ret_trailer->entry_count = count;
    ret_trailer->index_checksum = bytes_get_le64(p + 24);
    ret_trailer->base_count = bases;
    return 0;
}
