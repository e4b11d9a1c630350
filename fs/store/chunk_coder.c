// SPDX-License-Identifier: MIT
//
// Contexts are made once and reused: fetching a digest and setting up zstd's tables would cost more
// than a small chunk. zstd's are made at first use, so that a coder that only reads never pays for
// a compressor. Frames carry their content size and no checksum of their own; the record's does
// that. Frames of deltas have one: what comes out depends on a second record.
#include "fs/store/chunk_coder.h"

#include "fs/store/repo_config.h"
#include "fs/store/xxh.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#define DELTA_WINDOW_MIN 16 // log2; tables of less save nothing

struct chunk_coder {
    int level;
    EVP_MD *md;
    EVP_MD_CTX *md_ctx;
    ZSTD_CCtx *compressor;       // NULL until the first encode
    ZSTD_CCtx *delta_compressor; // NULL until the first delta: it has parameters of its own
    size_t delta_length;         // of content, that these are for
    ZSTD_DCtx *decompressor;     // NULL until the first decode
};

int chunk_coder_new(int compression_level, struct chunk_coder **ret_coder, struct error *err)
{
    struct chunk_coder *coder = calloc(1, sizeof(*coder));

    if (!coder)
        return error_set(err, -ENOMEM, "out of memory for a chunk coder");
    coder->level = compression_level;
    // OpenSSL 3 sets up its context once, and uses a half-made one (a lock that is NULL) when
    // memory ran out meanwhile. Asking for it tells.
    if (OSSL_LIB_CTX_get0_global_default()) {
        coder->md = EVP_MD_fetch(NULL, "SHA256", NULL);
        coder->md_ctx = EVP_MD_CTX_new();
    }
    if (!coder->md || !coder->md_ctx) {
        chunk_coder_free(coder);
        return error_set(err, -ENOMEM, "SHA-256 is not available: %s",
                         ERR_reason_error_string(ERR_peek_last_error()) ?: "out of memory");
    }
    *ret_coder = coder;
    return 0;
}

struct chunk_coder *chunk_coder_free(struct chunk_coder *coder)
{
    if (!coder)
        return NULL;
    ZSTD_freeCCtx(coder->compressor);
    ZSTD_freeCCtx(coder->delta_compressor);
    ZSTD_freeDCtx(coder->decompressor);
    EVP_MD_CTX_free(coder->md_ctx);
    EVP_MD_free(coder->md);
    free(coder);
    return NULL;
}

// What is hashed in front of the content; chunks have none, so that sha256sum agrees with their id.
static const char *domain_of(enum record_kind kind)
{
    static const char map_domain[16] = "backtree-map";
    static const char snapshot_domain[16] = "backtree-snap";
    static const char note_domain[16] = "backtree-note";

    switch (kind) {
    case RECORD_MAP:
        return map_domain;
    case RECORD_SNAPSHOT:
        return snapshot_domain;
    case RECORD_NOTE:
        return note_domain;
    default:
        return NULL;
    }
}

// Whatever else a function of zstd's may complain of, want of memory is not that.
static int zstd_refused(size_t n, int code, const char *what, struct error *err)
{
    if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
        return error_set(err, -ENOMEM, "out of memory for zstd");
    return error_set(err, code, "%s: %s", what, ZSTD_getErrorName(n));
}

int chunk_coder_id(struct chunk_coder *coder, enum record_kind kind, const void *data, size_t len,
                   struct digest *ret_id, struct error *err)
{
    const char *domain = domain_of(kind);
    struct digest id;

    if (!domain && kind != RECORD_CHUNK)
        return error_set(err, -EINVAL, "no identity for records of kind %d", (int)kind);
    if (EVP_DigestInit_ex2(coder->md_ctx, coder->md, NULL) != 1 ||
        (domain && EVP_DigestUpdate(coder->md_ctx, domain, 16) != 1) ||
        EVP_DigestUpdate(coder->md_ctx, data, len) != 1 ||
        EVP_DigestFinal_ex(coder->md_ctx, id.bytes, NULL) != 1)
        // It can have no other reason: bytes are bytes.
        return error_set(err, -ENOMEM, "SHA-256 failed: %s",
                         ERR_reason_error_string(ERR_peek_last_error()) ?: "out of memory");
    *ret_id = id;
    return 0;
}

size_t chunk_coder_bound(size_t len)
{
    return ZSTD_compressBound(len);
}

int chunk_coder_encode(struct chunk_coder *coder, const void *data, size_t len, void *out,
                       size_t *ret_len, enum record_codec *ret_codec, struct error *err)
{
    size_t n;

    if (!coder->compressor && !(coder->compressor = ZSTD_createCCtx()))
        return error_set(err, -ENOMEM, "out of memory for zstd");
    n = ZSTD_compressCCtx(coder->compressor, out, chunk_coder_bound(len), data, len, coder->level);
    if (ZSTD_isError(n))
        return zstd_refused(n, -EIO, "zstd cannot compress a record", err);
    if (n > len - len / 32 || n >= len) {
        *ret_len = len;
        *ret_codec = CODEC_RAW;
    } else {
        *ret_len = n;
        *ret_codec = CODEC_ZSTD;
    }
    return 0;
}

int chunk_coder_decode(struct chunk_coder *coder, enum record_codec codec, const void *payload,
                       size_t len, void *out, size_t raw_length, struct error *err)
{
    size_t n;

    if (codec == CODEC_RAW) {
        if (len != raw_length)
            return error_set(err, -ERROR_CORRUPT, "payload is %zu bytes instead of %zu", len,
                             raw_length);
        memcpy(out, payload, len);
        return 0;
    }
    if (codec != CODEC_ZSTD)
        return error_set(err, -EPROTONOSUPPORT, "unknown codec %d", (int)codec);
    if (!coder->decompressor && !(coder->decompressor = ZSTD_createDCtx()))
        return error_set(err, -ENOMEM, "out of memory for zstd");
    n = ZSTD_decompressDCtx(coder->decompressor, out, raw_length, payload, len);
    if (ZSTD_isError(n))
        return zstd_refused(n, -ERROR_CORRUPT, "payload does not decompress", err);
    if (n != raw_length)
        return error_set(err, -ERROR_CORRUPT, "payload decompresses to %zu bytes instead of %zu", n,
                         raw_length);
    return 0;
}

// --- deltas

// The window must reach from the end of the content back to the beginning of the base. A level's
// own tables are made for the content alone and would forget most of the base.
static int set_up_deltas(struct chunk_coder *coder, size_t len, struct error *err)
{
    int window = 1;
    size_t n;

    if (coder->delta_length == len)
        return 0;
    if (!coder->delta_compressor && !(coder->delta_compressor = ZSTD_createCCtx()))
        return error_set(err, -ENOMEM, "out of memory for zstd");
    while (((size_t)1 << window) < 2 * len)
        window++;
    struct {
        ZSTD_cParameter what;
        int value;
    } parameters[] = {{ZSTD_c_compressionLevel, coder->level},
                      {ZSTD_c_windowLog, window > DELTA_WINDOW_MIN ? window : DELTA_WINDOW_MIN},
                      {ZSTD_c_hashLog, window > DELTA_WINDOW_MIN ? window : DELTA_WINDOW_MIN},
                      {ZSTD_c_chainLog, window > DELTA_WINDOW_MIN ? window : DELTA_WINDOW_MIN},
                      {ZSTD_c_checksumFlag, 1}};
    n = ZSTD_CCtx_reset(coder->delta_compressor, ZSTD_reset_session_and_parameters);
    for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]) && !ZSTD_isError(n); i++)
        n = ZSTD_CCtx_setParameter(coder->delta_compressor, parameters[i].what,
                                   parameters[i].value);
    if (ZSTD_isError(n))
        return zstd_refused(n, -EIO, "zstd cannot be set up for deltas", err);
    coder->delta_length = len;
    return 0;
}

int chunk_coder_encode_delta(struct chunk_coder *coder, const void *data, size_t len,
                             const void *base, void *out, size_t room, size_t *ret_len,
                             struct error *err)
{
    size_t n;
    int r = set_up_deltas(coder, len, err);

    if (r < 0)
        return r;
    // A prefix is good for one frame, and what failed half-way has not ended its own.
    n = ZSTD_CCtx_reset(coder->delta_compressor, ZSTD_reset_session_only);
    if (!ZSTD_isError(n))
        n = ZSTD_CCtx_refPrefix(coder->delta_compressor, base, len);
    if (!ZSTD_isError(n))
        n = ZSTD_compress2(coder->delta_compressor, out, room, data, len);
    if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
        return error_set(err, -ENOSPC, "a delta does not fit %zu bytes", room);
    if (ZSTD_isError(n))
        return zstd_refused(n, -EIO, "zstd cannot make a delta", err);
    *ret_len = n;
    return 0;
}

// One frame and nothing else, with a checksum of its content (RFC 8878, 3.1.1.1.1: bit 2 of the
// byte after the magic number).
static bool is_delta_frame(const uint8_t *frame, size_t len)
{
    static const uint8_t magic[4] = {0x28, 0xb5, 0x2f, 0xfd};

    return len > sizeof(magic) && memcmp(frame, magic, sizeof(magic)) == 0 && (frame[4] & 4) &&
           ZSTD_findFrameCompressedSize(frame, len) == len;
}

int chunk_coder_decode_delta(struct chunk_coder *coder, const void *frame, size_t len,
                             const void *base, void *out, size_t raw_length, struct error *err)
{
    size_t n;

    if (!is_delta_frame(frame, len))
        return error_set(err, -ERROR_CORRUPT, "payload is no delta");
    if (!coder->decompressor && !(coder->decompressor = ZSTD_createDCtx()))
        return error_set(err, -ENOMEM, "out of memory for zstd");
    n = ZSTD_DCtx_refPrefix(coder->decompressor, base, raw_length);
    if (!ZSTD_isError(n))
        n = ZSTD_decompressDCtx(coder->decompressor, out, raw_length, frame, len);
    // Whatever came of it, the next frame has no prefix.
    ZSTD_DCtx_refPrefix(coder->decompressor, NULL, 0);
    if (ZSTD_isError(n))
        return zstd_refused(n, -ERROR_CORRUPT, "the delta does not go with its base", err);
    if (n != raw_length)
        return error_set(err, -ERROR_CORRUPT, "payload decompresses to %zu bytes instead of %zu", n,
                         raw_length);
    return 0;
}

// Data differs from zero early as a rule, so the first bytes are tested alone; then "every byte
// equals the one before it" is one memcmp(3) of the buffer with itself, shifted by a block, which
// the C library does with the widest registers the processor has.
bool chunk_is_zero(const void *data, size_t len)
{
    static const uint8_t zeros[64];
    const uint8_t *p = data;

    if (len <= sizeof(zeros))
        return memcmp(p, zeros, len) == 0;
    return memcmp(p, zeros, sizeof(zeros)) == 0 &&
           memcmp(p, p + sizeof(zeros), len - sizeof(zeros)) == 0;
}

struct fingerprint fingerprint_of(const void *data, size_t len, const uint8_t *secret)
{
    XXH128_hash_t hash = XXH3_128bits_withSecret(data, len, secret, FINGERPRINT_SECRET_SIZE);
    XXH128_canonical_t canonical;
    struct fingerprint fingerprint;

    XXH128_canonicalFromHash(&canonical, hash);
    _Static_assert(sizeof(canonical.digest) == sizeof(fingerprint.bytes), "XXH128 is 16 bytes");
    memcpy(fingerprint.bytes, canonical.digest, sizeof(fingerprint.bytes));
    return fingerprint;
}
