// SPDX-License-Identifier: MIT
//
// The end of a pack as bytes: its index and trailer, made from the rows of its records.
#ifndef FS_STORE_PACK_INDEX_MAKE_H
#define FS_STORE_PACK_INDEX_MAKE_H

#include "catalog/pack_index.h"
#include "fs/store/pack_format.h"

// `offset` is where the index will stand: the length of the pack so far. *ret_bytes is malloc'ed.
int pack_index_make(const struct chunk_row *records, size_t count, uint64_t offset,
                    uint8_t **ret_bytes, size_t *ret_len, struct error *err);

#endif
