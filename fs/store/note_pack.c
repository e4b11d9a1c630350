// SPDX-License-Identifier: MIT
//
// Packs that hold notes: a few hundred bytes each, sealed like any other. They have no job, so they
// are never provisional; the transaction that adds one is the one that does what it says. Keeps no
// state.
#include "fs/store/note.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "fs/store/store_members.h"

#include <string.h>
#include <uuid/uuid.h>

static int append_note(struct note_pack *pack, struct pack_sink *sink, struct chunk_coder *coder,
                       const struct note *note, struct error *err)
{
    AUTO_FREE char *text = NULL;
    struct record_header header = {.kind = RECORD_NOTE, .codec = CODEC_RAW};
    uint8_t bytes[PACK_RECORD_HEADER_SIZE];
    int r = note_format(note, &text, err);

    if (r < 0)
        return r;
    header.raw_length = header.stored_length = (uint32_t)strlen(text);
    header.payload_checksum = pack_checksum(text, header.stored_length);
    r = chunk_coder_id(coder, RECORD_NOTE, text, header.raw_length, &header.id, err);
    if (r < 0)
        return r;
    // Two equal notes of one pack are one.
    for (size_t i = 0; i < pack->count; i++) {
        if (digest_equal(&pack->records[i].id, &header.id))
            return 0;
    }
    record_header_encode(&header, bytes);
    r = pack_sink_append(sink, bytes, sizeof(bytes), err);
    if (r == 0)
        r = pack_sink_append(sink, text, header.stored_length, err);
    if (r < 0)
        return r;
    pack->records[pack->count++] = (struct chunk_row){
        .id = header.id,
        .kind = RECORD_NOTE,
        .codec = CODEC_RAW,
        .offset = pack->bytes,
        .stored_length = header.stored_length,
        .raw_length = header.raw_length,
    };
    pack->bytes += sizeof(bytes) + (uint64_t)header.stored_length;
    return 0;
}

static int seal(struct note_pack *pack, struct pack_sink *sink, struct error *err)
{
    size_t entries = pack->count * PACK_INDEX_ENTRY_SIZE;
    AUTO_FREE uint8_t *index = malloc(entries + PACK_TRAILER_SIZE);
    struct pack_trailer trailer = {.index_offset = pack->bytes, .entry_count = pack->count};

    if (!index)
        return error_set(err, -ENOMEM, "out of memory for a note");
    for (size_t i = 0; i < pack->count; i++) {
        const struct chunk_row *row = &pack->records[i];
        struct pack_index_entry entry = {
            .id = row->id,
            .offset = row->offset,
            .raw_length = row->raw_length,
            .stored_length = row->stored_length,
            .kind = RECORD_NOTE,
            .codec = CODEC_RAW,
        };

        pack_index_entry_encode(&entry, index + i * PACK_INDEX_ENTRY_SIZE);
    }
    trailer.index_checksum = pack_checksum(index, entries);
    pack_trailer_encode(&trailer, index + entries);
    pack->bytes += entries + PACK_TRAILER_SIZE;
    return pack_sink_seal(sink, index, entries + PACK_TRAILER_SIZE, err);
}

static int write_pack(struct store *store, struct note_pack *pack, const struct note *notes,
                      size_t count, struct error *err)
{
    AUTO(pack_sink_close) struct pack_sink *sink = NULL;
    AUTO(chunk_coder_free) struct chunk_coder *coder = NULL;
    struct pack_header header = {.created_at = clock_now()};
    uint8_t bytes[PACK_HEADER_SIZE];
    int r = chunk_coder_new(store->config->compression_level, &coder, err);

    if (r < 0)
        return r;
    uuid_generate_random(header.uuid);
    uuid_unparse_lower(header.uuid, pack->uuid);
    memcpy(header.repository_uuid, store->repository_uuid, sizeof(header.repository_uuid));
    r = pack_backend_create(store->backend, pack->uuid, &sink, err);
    if (r < 0)
        return r;
    pack_header_encode(&header, bytes);
    r = pack_sink_append(sink, bytes, sizeof(bytes), err);
    pack->bytes = sizeof(bytes);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = append_note(pack, sink, coder, &notes[i], err);
    if (r == 0)
        r = seal(pack, sink, err);
    if (r == 0)
        r = fault_hit(FAULT_NOTE_SEALED, err);
    return r;
}

int note_pack_write(struct store *store, const struct note *notes, size_t count,
                    struct note_pack *ret_pack, struct error *err)
{
    struct note_pack pack = {.records = calloc(count, sizeof(*pack.records))};

    if (store->reserve)
        reserve_make_room(store->reserve);
    int r = pack.records ? write_pack(store, &pack, notes, count, err)
                         : error_set(err, -ENOMEM, "out of memory for a note");

    if (r < 0) {
        note_pack_deinit(&pack);
        return r;
    }
    *ret_pack = pack;
    return 0;
}

int note_pack_insert(struct catalog_conn *conn, const struct note_pack *pack, struct error *err)
{
    struct pack_row row = {.file_bytes = pack->bytes, .sealed_at = clock_now()};
    int64_t pack_id;

    if (pack->uuid[0] == '\0')
        return 0;
    memcpy(row.uuid, pack->uuid, sizeof(row.uuid));
    return pack_insert(conn, &row, pack->records, pack->count, &pack_id, err);
}

void note_pack_discard(struct store *store, const struct note_pack *pack)
{
    struct error err = ERROR_INIT;

    if (pack->uuid[0] != '\0' &&
        pack_backend_remove(store->backend, pack->uuid, PACK_FILE_SEALED, &err) < 0)
        log_warning("a note about something that was refused stays: %s", error_message(&err));
}

void note_pack_deinit(struct note_pack *pack)
{
    free(pack->records);
    pack->records = NULL;
    pack->count = 0;
    pack->uuid[0] = '\0';
}
