// SPDX-License-Identifier: MIT
//
// Reads records and indexes out of sealed packs. Owns nothing but the decoders it hands out, keeps
// no state, and believes nothing it reads: every length is bounded before it is used, and a record
// must say of itself exactly what the catalog says of it.
#include "fs/store/pack_reader.h"

#include "fs/store/repo_config.h"

#include <inttypes.h>
#include <string.h>
#include <uuid/uuid.h>

// A pack is sealed long before this; a forged trailer must not make us allocate more.
#define INDEX_BYTES_MAX (256u * 1024 * 1024)

#define IDLE_MAX 8                   // decoders
#define IDLE_ROOM_MAX (1024u * 1024) // that one of them keeps for payloads, and for bases

int pack_decoder_new(struct pack_decoder **ret_decoder, struct error *err)
{
    AUTO(pack_decoder_free) struct pack_decoder *decoder = calloc(1, sizeof(*decoder));
    int r;

    if (!decoder)
        return error_set(err, -ENOMEM, "out of memory for a decoder");
    // It never compresses: any level will do.
    r = chunk_coder_new(COMPRESSION_LEVEL_DEFAULT, &decoder->coder, err);
    if (r < 0)
        return r;
    *ret_decoder = TAKE(decoder, NULL);
    return 0;
}

struct pack_decoder *pack_decoder_free(struct pack_decoder *decoder)
{
    if (!decoder)
        return NULL;
    chunk_coder_free(decoder->coder);
    free(decoder->scratch);
    free(decoder->base);
    free(decoder);
    return NULL;
}

static int decoder_reserve(struct pack_decoder *decoder, size_t need, struct error *err)
{
    uint8_t *scratch;

    if (decoder->scratch_size >= need)
        return 0;
    scratch = realloc(decoder->scratch, need);
    if (!scratch)
        return error_set(err, -ENOMEM, "out of memory to read a record of %zu bytes", need);
    decoder->scratch = scratch;
    decoder->scratch_size = need;
    return 0;
}

void pack_decoders_init(struct pack_decoders *decoders)
{
    *decoders = (struct pack_decoders){0};
    pthread_mutex_init(&decoders->lock, NULL);
}

void pack_decoders_deinit(struct pack_decoders *decoders)
{
    while (decoders->idle) {
        struct pack_decoder *decoder = decoders->idle;

        decoders->idle = decoder->next;
        pack_decoder_free(decoder);
    }
    pthread_mutex_destroy(&decoders->lock);
}

int pack_decoders_take(struct pack_decoders *decoders, struct pack_decoder **ret_decoder,
                       struct error *err)
{
    struct pack_decoder *decoder;

    pthread_mutex_lock(&decoders->lock);
    decoder = decoders->idle;
    if (decoder) {
        decoders->idle = decoder->next;
        decoders->count--;
    }
    pthread_mutex_unlock(&decoders->lock);
    if (!decoder)
        return pack_decoder_new(ret_decoder, err);
    *ret_decoder = decoder;
    return 0;
}

void pack_decoders_give_back(struct pack_decoders *decoders, struct pack_decoder *decoder)
{
    bool keep = decoder->scratch_size <= IDLE_ROOM_MAX;

    if (decoder->base_size > IDLE_ROOM_MAX) {
        free(decoder->base);
        decoder->base = NULL;
        decoder->base_size = 0;
    }
    pthread_mutex_lock(&decoders->lock);
    keep = keep && decoders->count < IDLE_MAX;
    if (keep) {
        decoder->next = decoders->idle;
        decoders->idle = decoder;
        decoders->count++;
    }
    pthread_mutex_unlock(&decoders->lock);
    if (!keep)
        pack_decoder_free(decoder);
}

int pack_decoder_base(struct pack_decoder *decoder, size_t len, void **ret_base, struct error *err)
{
    if (decoder->base_size < len) {
        // Nothing of the old one is wanted, so it need not be copied.
        free(decoder->base);
        decoder->base_size = 0;
        decoder->base = malloc(len);
        if (!decoder->base)
            return error_set(err, -ENOMEM, "out of memory for the base of a delta");
        decoder->base_size = len;
    }
    *ret_base = decoder->base;
    return 0;
}

// Reads exactly `len` bytes; a pack that is missing or ends early is damage, an I/O error is not.
static int read_exactly(struct pack_backend *backend, const char *uuid, void *buf, size_t len,
                        uint64_t offset, struct error *err)
{
    struct error local = ERROR_INIT;
    ssize_t n = pack_backend_read(backend, uuid, buf, len, offset, &local);

    if (n == -ENOENT)
        return error_set(err, -ERROR_CORRUPT, "the pack is missing");
    if (n < 0)
        return error_set(err, (int)n, "%s", error_message(&local));
    if ((size_t)n < len)
        return error_set(err, -ERROR_CORRUPT, "the pack ends after %zd of %zu bytes", n, len);
    return 0;
}

static int check_against_catalog(const struct record_header *header, const struct chunk_row *row,
                                 struct error *err)
{
    if (!digest_equal(&header->id, &row->id))
        return error_set(err, -ERROR_CORRUPT, "the record has another id than the catalog says");
    if (header->kind != row->kind || header->codec != row->codec)
        return error_set(err, -ERROR_CORRUPT,
                         "the record is of kind %d, codec %d, the catalog says %d, %d",
                         (int)header->kind, (int)header->codec, row->kind, row->codec);
    if (header->raw_length != row->raw_length || header->stored_length != row->stored_length)
        return error_set(err, -ERROR_CORRUPT,
                         "the record's lengths are %" PRIu32 " and %" PRIu32
                         ", the catalog says %" PRIu32 " and %" PRIu32,
                         header->raw_length, header->stored_length, row->raw_length,
                         row->stored_length);
    return 0;
}

// A delta and its row must name the same base, which is not the delta itself.
static int check_base(const struct record_header *header, const uint8_t *payload,
                      const struct chunk_row *row, const void *base, struct error *err)
{
    struct digest named = record_base(header->codec, payload, header->stored_length);

    if (!digest_equal(&named, &row->base))
        return error_set(err, -ERROR_CORRUPT, "the record has another base than the catalog says");
    if (header->codec == CODEC_DELTA && (digest_is_zero(&named) || digest_equal(&named, &row->id)))
        return error_set(err, -ERROR_CORRUPT, "the record cannot be a delta against itself");
    if (header->codec == CODEC_DELTA && !base)
        return error_set(err, -ERROR_CORRUPT, "the record is a delta without a base");
    return 0;
}

static int decode(struct pack_decoder *decoder, const struct record_header *header,
                  const uint8_t *payload, const void *base, void *out, struct error *err)
{
    if (header->codec == CODEC_DELTA)
        return chunk_coder_decode_delta(decoder->coder, payload + DIGEST_SIZE,
                                        header->stored_length - DIGEST_SIZE, base, out,
                                        header->raw_length, err);
    return chunk_coder_decode(decoder->coder, header->codec, payload, header->stored_length, out,
                              header->raw_length, err);
}

static int prove_id(struct pack_decoder *decoder, const struct chunk_row *row, const void *content,
                    struct error *err)
{
    struct digest id;
    int r = chunk_coder_id(decoder->coder, (enum record_kind)row->kind, content, row->raw_length,
                           &id, err);

    if (r < 0)
        return r;
    if (!digest_equal(&id, &row->id))
        return error_set(err, -ERROR_CORRUPT, "the content is not what its id says");
    return 0;
}

static int read_record(struct pack_backend *backend, struct pack_decoder *decoder,
                       const struct chunk_location *location, const void *base, bool prove,
                       void *out, struct error *err)
{
    const struct chunk_row *row = &location->record;
    const uint8_t *payload;
    struct record_header header;
    int r;

    if (row->raw_length > PACK_PAYLOAD_MAX || row->stored_length > PACK_PAYLOAD_MAX)
        return error_set(err, -ERROR_CORRUPT, "the catalog's lengths are out of range");
    r = decoder_reserve(decoder, PACK_RECORD_HEADER_SIZE + (size_t)row->stored_length, err);
    if (r < 0)
        return r;
    r = read_exactly(backend, location->pack_uuid, decoder->scratch,
                     PACK_RECORD_HEADER_SIZE + (size_t)row->stored_length, row->offset, err);
    if (r < 0)
        return r;
    r = record_header_decode(decoder->scratch, PACK_RECORD_HEADER_SIZE, &header, err);
    if (r == 0)
        r = check_against_catalog(&header, row, err);
    if (r < 0)
        return r;
    payload = decoder->scratch + PACK_RECORD_HEADER_SIZE;
    if (pack_checksum(payload, header.stored_length) != header.payload_checksum)
        return error_set(err, -ERROR_CORRUPT, "payload checksum does not match");
    r = check_base(&header, payload, row, base, err);
    if (r == 0)
        r = decode(decoder, &header, payload, base, out, err);
    if (r == 0 && prove)
        r = prove_id(decoder, row, out, err);
    return r;
}

int pack_read_with_base(struct pack_backend *backend, struct pack_decoder *decoder,
                        const struct chunk_location *location, const void *base, bool prove,
                        void *out, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = read_record(backend, decoder, location, base, prove, out, &local);

    if (r < 0)
        return error_set(err, r, "pack %s at %" PRIu64 ": %s", location->pack_uuid,
                         location->record.offset, error_message(&local));
    return 0;
}

int pack_read_record(struct pack_backend *backend, struct pack_decoder *decoder,
                     const struct chunk_location *location, bool prove, void *out,
                     struct error *err)
{
    return pack_read_with_base(backend, decoder, location, NULL, prove, out, err);
}

static int read_header(struct pack_backend *backend, const char *uuid,
                       struct pack_header *ret_header, struct error *err)
{
    uint8_t bytes[PACK_HEADER_SIZE];
    char name[UUID_TEXT_SIZE];
    int r = read_exactly(backend, uuid, bytes, sizeof(bytes), 0, err);

    if (r == 0)
        r = pack_header_decode(bytes, sizeof(bytes), ret_header, err);
    if (r < 0)
        return r;
    uuid_unparse_lower(ret_header->uuid, name);
    if (strcmp(name, uuid) != 0)
        return error_set(err, -ERROR_CORRUPT, "its header says it is pack %s", name);
    return 0;
}

// Behind the entries stand the bases of the deltas among them, neither more nor fewer.
static int take_bases(const uint8_t *bases, const struct pack_trailer *trailer,
                      struct chunk_row *records, struct error *err)
{
    uint64_t taken = 0;

    for (uint64_t i = 0; i < trailer->entry_count; i++) {
        struct digest *base = &records[i].base;

        if (records[i].codec != CODEC_DELTA)
            continue;
        if (taken == trailer->base_count)
            return error_set(err, -ERROR_CORRUPT, "the index has %" PRIu64 " bases and more deltas",
                             trailer->base_count);
        memcpy(base->bytes, bases + taken++ * DIGEST_SIZE, DIGEST_SIZE);
        if (digest_is_zero(base) || digest_equal(base, &records[i].id))
            return error_set(err, -ERROR_CORRUPT,
                             "index entry %" PRIu64 " cannot be a delta against itself", i);
    }
    if (taken != trailer->base_count)
        return error_set(err, -ERROR_CORRUPT,
                         "the index has %" PRIu64 " bases for %" PRIu64 " deltas",
                         trailer->base_count, taken);
    return 0;
}

// Entries must follow one another in file order: the first after the header, the last up to the
// index.
static int decode_index(const uint8_t *index, const struct pack_trailer *trailer,
                        struct chunk_row *records, struct error *err)
{
    uint64_t expected = PACK_HEADER_SIZE;

    for (uint64_t i = 0; i < trailer->entry_count; i++) {
        struct pack_index_entry entry;
        int r = pack_index_entry_decode(index + i * PACK_INDEX_ENTRY_SIZE, PACK_INDEX_ENTRY_SIZE,
                                        &entry, err);

        if (r < 0)
            return r;
        if (entry.offset != expected)
            return error_set(err, -ERROR_CORRUPT,
                             "index entry %" PRIu64 " is at %" PRIu64 " instead of %" PRIu64, i,
                             entry.offset, expected);
        // Bounded: the lengths are, and so is the number of entries.
        expected += PACK_RECORD_HEADER_SIZE + (uint64_t)entry.stored_length;
        records[i] = (struct chunk_row){
            .id = entry.id,
            .kind = (uint8_t)entry.kind,
            .codec = (uint8_t)entry.codec,
            .offset = entry.offset,
            .stored_length = entry.stored_length,
            .raw_length = entry.raw_length,
        };
    }
    if (expected != trailer->index_offset)
        return error_set(err, -ERROR_CORRUPT,
                         "the index accounts for %" PRIu64 " of %" PRIu64 " bytes", expected,
                         trailer->index_offset);
    return take_bases(index + trailer->entry_count * PACK_INDEX_ENTRY_SIZE, trailer, records, err);
}

static int read_trailer(struct pack_backend *backend, const char *uuid, uint64_t file_bytes,
                        struct pack_trailer *ret_trailer, struct error *err)
{
    uint8_t bytes[PACK_TRAILER_SIZE];
    int r;

    if (file_bytes < PACK_HEADER_SIZE + PACK_TRAILER_SIZE)
        return error_set(err, -ERROR_CORRUPT, "%" PRIu64 " bytes are no sealed pack", file_bytes);
    r = read_exactly(backend, uuid, bytes, sizeof(bytes), file_bytes - sizeof(bytes), err);
    if (r == 0)
        r = pack_trailer_decode(bytes, sizeof(bytes), file_bytes, ret_trailer, err);
    if (r < 0)
        return r;
    // The trailer fits the file, so its counts do not overflow.
    if (pack_index_size(ret_trailer->entry_count, ret_trailer->base_count) > INDEX_BYTES_MAX)
        return error_set(err, -ERROR_CORRUPT, "an index of %" PRIu64 " entries is too large",
                         ret_trailer->entry_count);
    return 0;
}

static int read_index(struct pack_backend *backend, const char *uuid, uint64_t file_bytes,
                      struct pack_header *ret_header, struct chunk_row **ret_records,
                      size_t *ret_count, struct error *err)
{
    AUTO_FREE struct chunk_row *records = NULL;
    AUTO_FREE uint8_t *index = NULL;
    struct pack_trailer trailer;
    size_t bytes;
    int r = read_header(backend, uuid, ret_header, err);

    if (r == 0)
        r = read_trailer(backend, uuid, file_bytes, &trailer, err);
    if (r < 0)
        return r;
    bytes = pack_index_size(trailer.entry_count, trailer.base_count);
    index = malloc(bytes + 1);
    records = calloc(trailer.entry_count + 1, sizeof(*records));
    if (!index || !records)
        return error_set(err, -ENOMEM, "out of memory for an index of %" PRIu64 " entries",
                         trailer.entry_count);
    r = read_exactly(backend, uuid, index, bytes, trailer.index_offset, err);
    if (r < 0)
        return r;
    if (pack_checksum(index, bytes) != trailer.index_checksum)
        return error_set(err, -ERROR_CORRUPT, "the index's checksum does not match");
    r = decode_index(index, &trailer, records, err);
    if (r < 0)
        return r;
    *ret_records = TAKE(records, NULL);
    *ret_count = trailer.entry_count;
    return 0;
}

int pack_read_index(struct pack_backend *backend, const char *uuid, uint64_t file_bytes,
                    struct pack_header *ret_header, struct chunk_row **ret_records,
                    size_t *ret_count, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = read_index(backend, uuid, file_bytes, ret_header, ret_records, ret_count, &local);

    if (r < 0)
        return error_set(err, r, "pack %s: %s", uuid, error_message(&local));
    return 0;
}

// --- as it is stored

static int read_stored(struct pack_backend *backend, struct pack_decoder *decoder,
                       const struct chunk_location *location, struct error *err)
{
    const struct chunk_row *row = &location->record;
    size_t size = PACK_RECORD_HEADER_SIZE + (size_t)row->stored_length;
    struct record_header header;
    int r;

    if (row->raw_length > PACK_PAYLOAD_MAX || row->stored_length > PACK_PAYLOAD_MAX)
        return error_set(err, -ERROR_CORRUPT, "the catalog's lengths are out of range");
    r = decoder_reserve(decoder, size, err);
    if (r == 0)
        r = read_exactly(backend, location->pack_uuid, decoder->scratch, size, row->offset, err);
    if (r == 0)
        r = record_header_decode(decoder->scratch, PACK_RECORD_HEADER_SIZE, &header, err);
    if (r == 0)
        r = check_against_catalog(&header, row, err);
    if (r == 0 && pack_checksum(decoder->scratch + PACK_RECORD_HEADER_SIZE, row->stored_length) !=
                      header.payload_checksum)
        r = error_set(err, -ERROR_CORRUPT, "payload checksum does not match");
    return r;
}

int pack_read_stored(struct pack_backend *backend, struct pack_decoder *decoder,
                     const struct chunk_location *location, const uint8_t **ret_bytes,
                     struct error *err)
{
    struct error local = ERROR_INIT;
    int r = read_stored(backend, decoder, location, &local);

    if (r < 0)
        return error_set(err, r, "pack %s at %" PRIu64 ": %s", location->pack_uuid,
                         location->record.offset, error_message(&local));
    *ret_bytes = decoder->scratch;
    return 0;
}
