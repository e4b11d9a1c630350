// SPDX-License-Identifier: MIT
//
// Every structure of a pack file, byte by byte. Little-endian. docs/FORMAT.md says the same for an
// independent reader.
//
// pack   := pack header, record*, index, trailer     (a sealed pack; an open one ends after a
// record) record := record header, payload[stored_length] index  := index entry*, base id*
//
// Pack header, 64 bytes:
//    0 |  8 | bytes | magic "BTPACK\r\n"
//    8 |  2 | u16   | format version, 1
//   10 |  2 | u16   | header length, 64
//   12 |  4 | u32   | feature flags a reader must know (none are defined; unknown → refuse)
//   16 | 16 | bytes | pack uuid
//   32 | 16 | bytes | repository uuid
//   48 |  8 | u64   | created, nanoseconds since the epoch
//   56 |  8 | u64   | XXH3-64 of bytes 0 … 55
//
// Record header, 64 bytes:
//    0 |  4 | bytes | magic "BTRC"
//    4 |  1 | u8    | kind: 1 chunk, 2 map node, 3 snapshot, 4 note
//    5 |  1 | u8    | codec: 0 stored as it is, 1 zstd frame, 2 delta (chunks only)
//    6 |  2 | u16   | flags a reader must know (none are defined; bit 0 is kept for encryption)
//    8 |  4 | u32   | raw length: bytes of content
//   12 |  4 | u32   | stored length: bytes of payload
//   16 | 32 | bytes | id of the content (see chunk_coder.h)
//   48 |  8 | u64   | XXH3-64 of the payload
//   56 |  8 | u64   | XXH3-64 of bytes 0 … 55
//
// Payload of a delta: the 32-byte id of its base, then one zstd frame made with the base's content
// as prefix, with a checksum of the content. The base is a chunk of the same raw length that is
// stored without a base: depth one, so a read costs at most two decompressions.
//
// Index entry, 56 bytes, one a record in file order:
//    0 | 32 | bytes | id
//   32 |  8 | u64   | offset of the record header from the start of the pack
//   40 |  4 | u32   | raw length
//   44 |  4 | u32   | stored length
//   48 |  1 | u8    | kind
//   49 |  1 | u8    | codec
//   50 |  2 | u16   | flags
//   52 |  4 | u32   | zero
// After the entries: for each delta among them, in order, the 32-byte id of its base.
//
// Trailer, 48 bytes, the last of a sealed pack:
//    0 |  8 | bytes | magic "BTINDEX\n"
//    8 |  8 | u64   | offset of the index
//   16 |  8 | u64   | number of index entries
//   24 |  8 | u64   | XXH3-64 of the index
//   32 |  8 | u64   | number of base ids
//   40 |  8 | u64   | XXH3-64 of bytes 0 … 39
#ifndef FS_STORE_PACK_FORMAT_H
#define FS_STORE_PACK_FORMAT_H

#include "base/digest.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define PACK_FORMAT_VERSION 1
#define PACK_HEADER_SIZE 64
#define PACK_RECORD_HEADER_SIZE 64
#define PACK_INDEX_ENTRY_SIZE 56
#define PACK_TRAILER_SIZE 48
#define PACK_PAYLOAD_MAX (8u * 1024 * 1024) // no record may claim more, stored or raw

enum record_kind {
    RECORD_UNKNOWN,
    RECORD_CHUNK = 1,
    RECORD_MAP = 2,
    RECORD_SNAPSHOT = 3,
    RECORD_NOTE = 4
};
enum record_codec { CODEC_RAW = 0, CODEC_ZSTD = 1, CODEC_DELTA = 2 };

struct pack_header {
    uint8_t uuid[16];
    uint8_t repository_uuid[16];
    int64_t created_at;
};

struct record_header {
    enum record_kind kind;
    enum record_codec codec;
    uint32_t raw_length, stored_length;
    struct digest id;
    uint64_t payload_checksum;
};

struct pack_index_entry {
    struct digest id;
    uint64_t offset;
    uint32_t raw_length, stored_length;
    enum record_kind kind;
    enum record_codec codec;
};

struct pack_trailer {
    uint64_t index_offset, entry_count, index_checksum;
    uint64_t base_count; // never more than entries
};

// Encoders write exactly the sizes above. Decoders take the bytes and their length, trust nothing,
// and return 0, -ERROR_CORRUPT (a field or checksum is wrong), or -EPROTONOSUPPORT (a version,
// codec or flag from the future).
void pack_header_encode(const struct pack_header *header, uint8_t out[PACK_HEADER_SIZE]);
int pack_header_decode(const void *data, size_t len, struct pack_header *ret_header,
                       struct error *err);
void record_header_encode(const struct record_header *header, uint8_t out[PACK_RECORD_HEADER_SIZE]);
int record_header_decode(const void *data, size_t len, struct record_header *ret_header,
                         struct error *err);
void pack_index_entry_encode(const struct pack_index_entry *entry,
                             uint8_t out[PACK_INDEX_ENTRY_SIZE]);
int pack_index_entry_decode(const void *data, size_t len, struct pack_index_entry *ret_entry,
                            struct error *err);
void pack_trailer_encode(const struct pack_trailer *trailer, uint8_t out[PACK_TRAILER_SIZE]);
// `file_size` bounds offset and count.
int pack_trailer_decode(const void *data, size_t len, uint64_t file_size,
                        struct pack_trailer *ret_trailer, struct error *err);

// Bytes of an index. No overflow: both counts are bounded by a file's size.
static inline uint64_t pack_index_size(uint64_t entry_count, uint64_t base_count)
{
    return entry_count * PACK_INDEX_ENTRY_SIZE + base_count * DIGEST_SIZE;
}

// The base of a delta, as its payload names it; zero for other codecs. `len` is the payload's,
// which is long enough when a record header said so.
struct digest record_base(enum record_codec codec, const void *payload, size_t len);

// XXH3-64, seed 0: the checksum of every structure above.
uint64_t pack_checksum(const void *data, size_t len);

#endif
