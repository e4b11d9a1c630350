// SPDX-License-Identifier: MIT
//
// Packs as files. Reads through the store's backend and keeps no state. A pack that cannot be read
// for another reason than damage is an error, never an empty one.
#include "fs/store/pack_scan.h"

#include "base/grow.h"
#include "fs/store/store_members.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

#define WINDOW_MAX (1024u * 1024)

int pack_scan_list(struct store *store, pack_file_fn fn, void *arg, struct error *err)
{
    return pack_backend_list(store->backend, fn, arg, err);
}

void pack_content_deinit(struct pack_content *content)
{
    free(content->records);
    *content = (struct pack_content){0};
}

static int check_repository(const struct store *store, const struct pack_header *header,
                            const char *uuid, struct error *err)
{
    if (memcmp(header->repository_uuid, store->repository_uuid, sizeof(store->repository_uuid)) ==
        0)
        return 0;
    return error_set(err, -EXDEV, "pack %s belongs to another repository", uuid);
}

int pack_scan_index(struct store *store, const char *uuid, uint64_t bytes,
                    struct pack_content *ret_content, struct error *err)
{
    struct pack_content content = {0};
    struct pack_header header;
    int r = pack_read_index(store->backend, uuid, bytes, &header, &content.records, &content.count,
                            err);

    if (r == 0)
        r = check_repository(store, &header, uuid, err);
    if (r < 0) {
        pack_content_deinit(&content);
        return r;
    }
    content.created_at = header.created_at;
    for (size_t i = 0; i < content.count; i++)
        content.raw_bytes +=
            content.records[i].kind == RECORD_CHUNK ? content.records[i].raw_length : 0;
    *ret_content = content;
    return 0;
}

// --- salvage

struct salvage {
    struct store *store;
    const char *uuid;
    uint64_t bytes;
    struct pack_decoder *decoder;
    uint8_t *window; // what is read of the file
    uint64_t window_start;
    size_t window_size, window_len;
    bool in_step; // every header so far followed from the one before
    bool losing;  // in a run of lost bytes
    struct pack_content found;
    size_t room;
};

// `len` bytes at `offset`, borrowed until the next call; NULL with 0 when the file ends before
// that.
static int look(struct salvage *salvage, uint64_t offset, size_t len, const uint8_t **ret_bytes,
                struct error *err)
{
    ssize_t n;

    *ret_bytes = NULL;
    if (offset < salvage->window_start ||
        offset + len > salvage->window_start + salvage->window_len) {
        n = pack_backend_read(salvage->store->backend, salvage->uuid, salvage->window,
                              salvage->window_size, offset, err);
        if (n < 0)
            return (int)n;
        salvage->window_start = offset;
        salvage->window_len = (size_t)n;
    }
    if (offset + len <= salvage->window_start + salvage->window_len)
        *ret_bytes = salvage->window + (offset - salvage->window_start);
    return 0;
}

static int keep(struct salvage *salvage, const struct chunk_row *row, struct error *err)
{
    struct pack_content *found = &salvage->found;

    if (GROW(found->records, found->count, salvage->room, "the records of a pack", err) < 0)
        return -ENOMEM;
    found->records[found->count++] = *row;
    return 0;
}

// Reads which base a delta names. A payload that is not whole may name another than was written: 0.
static int take_base(struct salvage *salvage, const struct record_header *header,
                     struct chunk_row *row, struct error *err)
{
    const uint8_t *payload;
    int r = look(salvage, row->offset + PACK_RECORD_HEADER_SIZE, row->stored_length, &payload, err);

    if (r < 0)
        return r;
    if (!payload || pack_checksum(payload, row->stored_length) != header->payload_checksum)
        return 0;
    row->base = record_base(header->codec, payload, row->stored_length);
    return !digest_is_zero(&row->base) && !digest_equal(&row->base, &row->id);
}

// 1 when the record is to be believed, 0 when not.
static int prove(struct salvage *salvage, const struct chunk_row *row, struct error *err)
{
    struct chunk_location location = {.record = *row};
    struct error local = ERROR_INIT;
    int r;

    if (salvage->in_step)
        return 1;
    // A delta's base may be in a pack that nobody has looked at yet.
    if ((row->kind != RECORD_CHUNK && row->kind != RECORD_MAP) || row->codec == CODEC_DELTA) {
        salvage->found.untrusted++;
        return 0;
    }
    snprintf(location.pack_uuid, sizeof(location.pack_uuid), "%s", salvage->uuid);
    r = pack_scan_prove(salvage->store, salvage->decoder, &location, &local);
    if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT)
        return 0;
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 1;
}

// Takes the record at `offset`. *ret_next is where the next one begins, or `offset` when there is
// none here.
static int take_at(struct salvage *salvage, uint64_t offset, uint64_t *ret_next, struct error *err)
{
    struct record_header header;
    const uint8_t *bytes;
    int r = look(salvage, offset, PACK_RECORD_HEADER_SIZE, &bytes, err);

    *ret_next = offset;
    if (r < 0 || !bytes ||
        record_header_decode(bytes, PACK_RECORD_HEADER_SIZE, &header, NULL) < 0 ||
        offset + PACK_RECORD_HEADER_SIZE + header.stored_length > salvage->bytes)
        return r;
    struct chunk_row row = {
        .id = header.id,
        .kind = (uint8_t)header.kind,
        .codec = (uint8_t)header.codec,
        .offset = offset,
        .stored_length = header.stored_length,
        .raw_length = header.raw_length,
    };
    r = prove(salvage, &row, err);
    if (r <= 0)
        return r;
    // Its header says where the next record is, whatever became of its payload.
    *ret_next = offset + PACK_RECORD_HEADER_SIZE + header.stored_length;
    r = header.codec == CODEC_DELTA ? take_base(salvage, &header, &row, err) : 1;
    if (r == 0) {
        salvage->found.lost_places++;
        salvage->found.lost_bytes += *ret_next - offset;
    }
    return r > 0 ? keep(salvage, &row, err) : r;
}

// Is what begins at `offset` the index or trailer of the pack? Only asked where no record is.
static int at_index(struct salvage *salvage, uint64_t offset, bool *ret_is, struct error *err)
{
    const struct pack_content *found = &salvage->found;
    const uint8_t *bytes;
    int r = look(salvage, offset, DIGEST_SIZE, &bytes, err);

    // An index begins with the id of the first record.
    *ret_is = r == 0 && bytes && salvage->in_step && found->count > 0 &&
              memcmp(bytes, found->records[0].id.bytes, DIGEST_SIZE) == 0;
    return r;
}

static int scan(struct salvage *salvage, struct error *err)
{
    uint64_t offset = PACK_HEADER_SIZE;
    bool index = false;
    int r = 0;

    while (r == 0 && offset < salvage->bytes) {
        uint64_t next;

        r = take_at(salvage, offset, &next, err);
        if (r == 0 && next == offset)
            r = at_index(salvage, offset, &index, err);
        if (r < 0 || index)
            break;
        if (next > offset) {
            salvage->losing = false;
            offset = next;
            continue;
        }
        salvage->in_step = false;
        salvage->found.lost_places += !salvage->losing;
        salvage->losing = true;
        salvage->found.lost_bytes++;
        offset++;
    }
    return r;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct chunk_row *)a)->id.bytes, ((const struct chunk_row *)b)->id.bytes,
                  DIGEST_SIZE);
}

static int by_offset(const void *a, const void *b)
{
    uint64_t x = ((const struct chunk_row *)a)->offset, y = ((const struct chunk_row *)b)->offset;

    return (x > y) - (x < y);
}

// A pack holds an id once; what was found twice lay inside another record.
static void drop_copies(struct pack_content *found)
{
    size_t kept = 0;

    if (found->count == 0)
        return;
    qsort(found->records, found->count, sizeof(*found->records), by_id);
    for (size_t i = 0; i < found->count; i++) {
        if (kept == 0 || !digest_equal(&found->records[kept - 1].id, &found->records[i].id))
            found->records[kept++] = found->records[i];
    }
    found->count = kept;
    qsort(found->records, found->count, sizeof(*found->records), by_offset);
    for (size_t i = 0; i < found->count; i++)
        found->raw_bytes +=
            found->records[i].kind == RECORD_CHUNK ? found->records[i].raw_length : 0;
}

// The header, when it is whole, must be of this pack and repository.
static int check_header(struct salvage *salvage, struct error *err)
{
    struct pack_header header;
    const uint8_t *bytes;
    int r = look(salvage, 0, PACK_HEADER_SIZE, &bytes, err);

    if (r < 0 || !bytes || pack_header_decode(bytes, PACK_HEADER_SIZE, &header, NULL) < 0)
        return r;
    salvage->found.created_at = header.created_at;
    return check_repository(salvage->store, &header, salvage->uuid, err);
}

int pack_scan_salvage(struct store *store, const char *uuid, uint64_t bytes,
                      struct pack_content *ret_content, struct error *err)
{
    AUTO(pack_decoder_free) struct pack_decoder *decoder = NULL;
    size_t window_size = bytes < WINDOW_MAX ? (size_t)bytes : WINDOW_MAX;
    AUTO_FREE uint8_t *window = malloc(window_size + 1);
    struct salvage salvage = {.store = store,
                              .uuid = uuid,
                              .bytes = bytes,
                              .window = window,
                              .window_size = window_size,
                              .in_step = true};
    int r = window ? pack_decoder_new(&decoder, err)
                   : error_set(err, -ENOMEM, "out of memory to salvage a pack");

    salvage.decoder = decoder;
    if (r == 0)
        r = check_header(&salvage, err);
    if (r == 0)
        r = scan(&salvage, err);
    if (r < 0) {
        pack_content_deinit(&salvage.found);
        return r;
    }
    drop_copies(&salvage.found);
    *ret_content = salvage.found;
    return 0;
}

// --- proving

int pack_scan_decoder_new(struct pack_decoder **ret_decoder, struct error *err)
{
    return pack_decoder_new(ret_decoder, err);
}

struct pack_decoder *pack_scan_decoder_free(struct pack_decoder *decoder)
{
    return pack_decoder_free(decoder);
}

int pack_scan_prove(struct store *store, struct pack_decoder *decoder,
                    const struct chunk_location *location, struct error *err)
{
    const struct chunk_row *row = &location->record;
    AUTO_FREE void *content = NULL, *base = NULL;
    struct error local = ERROR_INIT;
    int r;

    // Damage in the catalog must not make us allocate more than any record may hold.
    if (row->raw_length == 0 || row->raw_length > PACK_PAYLOAD_MAX)
        return error_set(err, -ERROR_CORRUPT,
                         "pack %s at %" PRIu64 ": the catalog's lengths are out of range",
                         location->pack_uuid, row->offset);
    content = malloc(row->raw_length);
    base = digest_is_zero(&row->base) ? NULL : malloc(row->raw_length);
    if (!content || (!base && !digest_is_zero(&row->base)))
        return error_set(err, -ENOMEM, "out of memory to read a record");
    r = base ? store_read_base(store, NULL, &row->base, row->raw_length, base, &local) : 0;
    if (r < 0)
        return error_set(err, r, "pack %s at %" PRIu64 ": a delta: %s", location->pack_uuid,
                         row->offset, error_message(&local));
    return pack_read_with_base(store->backend, decoder, location, base, true, content, err);
}
