// SPDX-License-Identifier: MIT
//
// Index and trailer of a pack. Keeps no state.
#include "fs/store/pack_index_make.h"

#include <stdlib.h>
#include <string.h>

static size_t count_deltas(const struct chunk_row *records, size_t count)
{
    size_t deltas = 0;

    for (size_t i = 0; i < count; i++)
        deltas += records[i].codec == CODEC_DELTA;
    return deltas;
}

int pack_index_make(const struct chunk_row *records, size_t count, uint64_t offset,
                    uint8_t **ret_bytes, size_t *ret_len, struct error *err)
{
    struct pack_trailer trailer = {
        .index_offset = offset, .entry_count = count, .base_count = count_deltas(records, count)};
    size_t len = pack_index_size(count, trailer.base_count);
    uint8_t *index = malloc(len + PACK_TRAILER_SIZE);
    uint8_t *bases;

    if (!index)
        return error_set(err, -ENOMEM, "out of memory for an index of %zu entries", count);
    bases = index + count * PACK_INDEX_ENTRY_SIZE;
    for (size_t i = 0; i < count; i++) {
        struct pack_index_entry entry = {
            .id = records[i].id,
            .offset = records[i].offset,
            .raw_length = records[i].raw_length,
            .stored_length = records[i].stored_length,
            .kind = (enum record_kind)records[i].kind,
            .codec = (enum record_codec)records[i].codec,
        };

        pack_index_entry_encode(&entry, index + i * PACK_INDEX_ENTRY_SIZE);
        if (records[i].codec != CODEC_DELTA)
            continue;
        memcpy(bases, records[i].base.bytes, DIGEST_SIZE);
        bases += DIGEST_SIZE;
    }
    trailer.index_checksum = pack_checksum(index, len);
    pack_trailer_encode(&trailer, index + len);
    *ret_bytes = index;
    *ret_len = len + PACK_TRAILER_SIZE;
    return 0;
}
