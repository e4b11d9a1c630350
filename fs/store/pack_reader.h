// SPDX-License-Identifier: MIT
//
// Reading sealed packs and proving what is read: one record at a known place, or a whole index.
// Every sentence about damage begins with "pack UUID at OFFSET".
#ifndef FS_STORE_PACK_READER_H
#define FS_STORE_PACK_READER_H

#include "base/cleanup.h"
#include "catalog/pack_index.h"
#include "fs/store/chunk_coder.h"
#include "fs/store/pack_backend.h"
#include "fs/store/pack_format.h"

#include <pthread.h>
#include <stdbool.h>

// What a thread needs to read records: a coder, room for a payload, and room for the content of a
// delta's base, so that neither is asked of malloc for every record. Never shared while in use.
struct pack_decoder {
    struct pack_decoder *next; // for an owner's free list
    struct chunk_coder *coder;
    uint8_t *scratch;
    size_t scratch_size;
    uint8_t *base; // what pack_decoder_base() made
    size_t base_size;
};

int pack_decoder_new(struct pack_decoder **ret_decoder, struct error *err);
struct pack_decoder *pack_decoder_free(struct pack_decoder *decoder);

// Idle decoders, a few of them, for threads that read a record now and then. Any thread may take
// one and give it back; the lock is a leaf. What an idle one keeps is bounded.
struct pack_decoders {
    pthread_mutex_t lock;
    struct pack_decoder *idle;
    unsigned count;
};

void pack_decoders_init(struct pack_decoders *decoders);
void pack_decoders_deinit(struct pack_decoders *decoders); // all have been given back
int pack_decoders_take(struct pack_decoders *decoders, struct pack_decoder **ret_decoder,
                       struct error *err);
void pack_decoders_give_back(struct pack_decoders *decoders, struct pack_decoder *decoder);

// Room for a base of `len` bytes, which no other call on the decoder touches; borrowed until the
// next call of this one.
int pack_decoder_base(struct pack_decoder *decoder, size_t len, void **ret_base, struct error *err);

// Reads the record at `location`, compares it with what the catalog says of it, checks both
// checksums and decodes its content into `out` (location->record.raw_length bytes). With `prove`
// the identity is computed anew. -ERROR_CORRUPT for anything that does not fit, a missing pack
// included. Not for deltas.
int pack_read_record(struct pack_backend *backend, struct pack_decoder *decoder,
                     const struct chunk_location *location, bool prove, void *out,
                     struct error *err);

// As pack_read_record() for any record. `base` is the content of location->record.base, as long as
// the record's own; NULL when the record is no delta.
int pack_read_with_base(struct pack_backend *backend, struct pack_decoder *decoder,
                        const struct chunk_location *location, const void *base, bool prove,
                        void *out, struct error *err);

// Reads the record at `location` as it is stored, header and payload, and checks it as
// pack_read_record() does but for its content, which is not decoded. *ret_bytes is
// PACK_RECORD_HEADER_SIZE and stored_length bytes, borrowed from the decoder until its next use.
int pack_read_stored(struct pack_backend *backend, struct pack_decoder *decoder,
                     const struct chunk_location *location, const uint8_t **ret_bytes,
                     struct error *err);

// Reads header, trailer and index of a sealed pack of `file_bytes` bytes. The entries are checked
// to cover the file from header to index without gap or overlap. *ret_records is malloc'ed.
int pack_read_index(struct pack_backend *backend, const char *uuid, uint64_t file_bytes,
                    struct pack_header *ret_header, struct chunk_row **ret_records,
                    size_t *ret_count, struct error *err);

DEFINE_CLEANUP(struct pack_decoder *, pack_decoder_free)

#endif
