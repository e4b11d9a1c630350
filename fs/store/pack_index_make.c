// SPDX-License-Identifier: MIT
//
// Index and trailer of a pack. Keeps no state.
#include "fs/store/pack_index_make.h"

#include <stdlib.h>

int pack_index_make(const struct chunk_row *records, size_t count, uint64_t offset,
                    uint8_t **ret_bytes, size_t *ret_len, struct error *err)
{
    size_t entries = count * PACK_INDEX_ENTRY_SIZE;
    uint8_t *index = malloc(entries + PACK_TRAILER_SIZE);
    struct pack_trailer trailer = {.index_offset = offset, .entry_count = count};

    if (!index)
        return error_set(err, -ENOMEM, "out of memory for an index of %zu entries", count);
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
    }
    trailer.index_checksum = pack_checksum(index, entries);
    pack_trailer_encode(&trailer, index + entries);
    *ret_bytes = index;
    *ret_len = entries + PACK_TRAILER_SIZE;
    return 0;
}
