// SPDX-License-Identifier: MIT
//
// What is computed on content: identity (SHA-256), fingerprint (XXH3-128), zero test, compression.
//
// Ids: a chunk's id is SHA-256 of its raw content, always a whole chunk (a disk's last, short chunk
// is filled up with zeros), so `sha256sum` agrees. Map nodes, snapshot records and notes are hashed
// with a 16-byte domain tag in front ("backtree-map\0…", "backtree-snap\0…", "backtree-note\0…"),
// so that no guest can write a chunk that passes for one.
//
// A chunk_coder holds the contexts of OpenSSL and zstd: one a thread, never shared.
#ifndef FS_STORE_CHUNK_CODER_H
#define FS_STORE_CHUNK_CODER_H

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"
#include "fs/store/pack_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chunk_coder;

int chunk_coder_new(int compression_level, struct chunk_coder **ret_coder, struct error *err);
struct chunk_coder *chunk_coder_free(struct chunk_coder *coder);

int chunk_coder_id(struct chunk_coder *coder, enum record_kind kind, const void *data, size_t len,
                   struct digest *ret_id, struct error *err);

// Upper bound of an encoded payload for `len` bytes of content.
size_t chunk_coder_bound(size_t len);

// Compresses into out[0 … chunk_coder_bound(len)). When zstd does not save at least 1/32,
// *ret_codec is CODEC_RAW, *ret_len is `len` and nothing useful is in `out`: store the content
// itself.
int chunk_coder_encode(struct chunk_coder *coder, const void *data, size_t len, void *out,
                       size_t *ret_len, enum record_codec *ret_codec, struct error *err);

// Decodes a payload into exactly `raw_length` bytes, else -ERROR_CORRUPT.
int chunk_coder_decode(struct chunk_coder *coder, enum record_codec codec, const void *payload,
                       size_t len, void *out, size_t raw_length, struct error *err);

// Compresses `data` with `base`, another content of the same length, as prefix: one frame with a
// checksum of the content, small when the two are alike. -ENOSPC when it needs more than `room`
// bytes.
int chunk_coder_encode_delta(struct chunk_coder *coder, const void *data, size_t len,
                             const void *base, void *out, size_t room, size_t *ret_len,
                             struct error *err);

// The other way round, into exactly `raw_length` bytes; `base` is as long. -ERROR_CORRUPT also when
// the frame has no checksum of its content, or it does not match: then this is not its base.
int chunk_coder_decode_delta(struct chunk_coder *coder, const void *frame, size_t len,
                             const void *base, void *out, size_t raw_length, struct error *err);

// True when all `len` bytes are zero. Fast on both answers.
bool chunk_is_zero(const void *data, size_t len);

struct fingerprint {
    uint8_t bytes[16];
};

// XXH3-128 with the repository's secret (FINGERPRINT_SECRET_SIZE bytes). Change detection only,
// never an identity.
struct fingerprint fingerprint_of(const void *data, size_t len, const uint8_t *secret);

DEFINE_CLEANUP(struct chunk_coder *, chunk_coder_free)

#endif
