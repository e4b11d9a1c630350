// SPDX-License-Identifier: MIT
//
// How a new chunk is stored: plain, or as a delta against what the parent has at the same place
// (or, when that is itself a delta, against its base: a base has none). A delta makes every read of
// the chunk a read of two, so it is made only when it saves enough.
//
// One a thread; nothing here waits for another thread.
#ifndef FS_JOB_DELTA_CHOICE_H
#define FS_JOB_DELTA_CHOICE_H

#include "base/cleanup.h"
#include "fs/store/store.h"

struct delta_choice;

// `coder` is borrowed and the thread's own; `writer` is where chunks are going to be appended.
int delta_choice_new(struct store *store, struct store_writer *writer, struct chunk_coder *coder,
                     uint32_t chunk_size, struct delta_choice **ret_choice, struct error *err);
struct delta_choice *delta_choice_free(struct delta_choice *choice);

// Encodes a chunk into out[0 … chunk_coder_bound(chunk_size)); codec and length as
// chunk_coder_encode() gives them, and CODEC_DELTA besides. `before` is the id of the parent's
// chunk at this place, zero = none; that it cannot be read costs bytes, not the backup.
int delta_choice_encode(struct delta_choice *choice, struct catalog_conn *conn,
                        const struct digest *before, const void *data, void *out, size_t *ret_len,
                        enum record_codec *ret_codec, struct error *err);

DEFINE_CLEANUP(struct delta_choice *, delta_choice_free)

#endif
