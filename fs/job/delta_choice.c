// SPDX-License-Identifier: MIT
//
// The choice is made in the order of what it costs: look-up of a base, reading it, comparing it
// block by block with the chunk, and only for chunks that are alike the delta itself. Plain
// compression is left out when the delta is small beside what the base took, which is what the
// chunk would take too.
#include "fs/job/delta_choice.h"

#include <string.h>

#define BLOCK 64       // bytes that are compared at once
#define ALIKE_ONE_IN 2 // so many blocks must be the base's
#define SAVES_ONE_IN 2 // a delta must not be more than this part of the plain payload

struct delta_choice {
    struct store *store;
    struct store_writer *writer;
    struct chunk_coder *coder;
    uint32_t chunk_size;
    uint8_t *base;  // content
    uint8_t *delta; // payload
};

int delta_choice_new(struct store *store, struct store_writer *writer, struct chunk_coder *coder,
                     uint32_t chunk_size, struct delta_choice **ret_choice, struct error *err)
{
    AUTO(delta_choice_free) struct delta_choice *choice = calloc(1, sizeof(*choice));

    if (choice) {
        choice->store = store;
        choice->writer = writer;
        choice->coder = coder;
        choice->chunk_size = chunk_size;
        choice->base = malloc(chunk_size);
        choice->delta = malloc(chunk_size);
    }
    if (!choice || !choice->base || !choice->delta)
        return error_set(err, -ENOMEM, "out of memory for deltas");
    *ret_choice = TAKE(choice, NULL);
    return 0;
}

struct delta_choice *delta_choice_free(struct delta_choice *choice)
{
    if (!choice)
        return NULL;
    free(choice->base);
    free(choice->delta);
    free(choice);
    return NULL;
}

static bool is_alike(const struct delta_choice *choice, const uint8_t *data)
{
    uint32_t blocks = choice->chunk_size / BLOCK, equal = 0;

    for (uint32_t i = 0; i < blocks; i++)
        equal += memcmp(data + i * BLOCK, choice->base + i * BLOCK, BLOCK) == 0;
    return equal >= blocks / ALIKE_ONE_IN;
}

// 1 with the base's content at hand, 0 when there is nothing to make a delta against.
static int find_base(struct delta_choice *choice, struct catalog_conn *conn,
                     const struct digest *before, struct store_base *ret_base, struct error *err)
{
    int r =
        digest_is_zero(before) ? 0 : store_writer_base(choice->writer, conn, before, ret_base, err);

    if (r <= 0 || ret_base->raw_length != choice->chunk_size)
        return r < 0 ? r : 0;
    return store_read_base(choice->store, conn, &ret_base->id, choice->chunk_size, choice->base,
                           NULL) == 0;
}

// The payload of a delta into choice->delta. 1 made, 0 it would take more than the base does.
static int make_delta(struct delta_choice *choice, const struct store_base *base, const void *data,
                      size_t *ret_len, struct error *err)
{
    size_t room =
        base->stored_length < choice->chunk_size ? base->stored_length : choice->chunk_size;
    size_t len;
    int r;

    if (room <= DIGEST_SIZE)
        return 0;
    memcpy(choice->delta, base->id.bytes, DIGEST_SIZE);
    r = chunk_coder_encode_delta(choice->coder, data, choice->chunk_size, choice->base,
                                 choice->delta + DIGEST_SIZE, room - DIGEST_SIZE, &len, err);
    if (r == -ENOSPC) {
        error_clear(err);
        return 0;
    }
    if (r == 0)
        *ret_len = DIGEST_SIZE + len;
    return r < 0 ? r : 1;
}

int delta_choice_encode(struct delta_choice *choice, struct catalog_conn *conn,
                        const struct digest *before, const void *data, void *out, size_t *ret_len,
                        enum record_codec *ret_codec, struct error *err)
{
    struct store_base base;
    size_t delta = 0; // length, 0 = none
    int r = find_base(choice, conn, before, &base, err);

    if (r > 0 && is_alike(choice, data))
        r = make_delta(choice, &base, data, &delta, err);
    if (r < 0)
        return r;
    if (delta == 0 || delta > base.stored_length / SAVES_ONE_IN) {
        r = chunk_coder_encode(choice->coder, data, choice->chunk_size, out, ret_len, ret_codec,
                               err);
        if (r < 0 || delta == 0 || delta > *ret_len / SAVES_ONE_IN)
            return r;
    }
    memcpy(out, choice->delta, delta);
    *ret_len = delta;
    *ret_codec = CODEC_DELTA;
    return 0;
}
