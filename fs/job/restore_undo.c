// SPDX-License-Identifier: MIT
//
// Putting back what a failed restore has overwritten, chunk by chunk on the job's own thread: it is
// rare, and what matters is that it is right, not that it is fast. See restore_copy.h.
#include "fs/job/restore_copy.h"

#include "base/fault.h"
#include "base/io.h"

#include <string.h>

#define DIRECT_ALIGNMENT 4096u

static int read_before(struct restore_copy *copy, uint8_t *data, size_t len, uint64_t offset,
                       struct error *err)
{
    if (!copy->before)
        return io_read_at(copy->undo_fd, data, len, offset, "the undo file", err);
    ssize_t got = image_read(copy->before, data, len, offset, err);
    if (got >= 0 && (size_t)got != len)
        return error_set(err, -EIO, "the safety snapshot ends at %llu",
                         (unsigned long long)(offset + (uint64_t)got));
    return got < 0 ? (int)got : 0;
}

static int put_back(struct restore_copy *copy, uint64_t chunk, uint8_t *data, struct error *err)
{
    uint64_t offset = chunk * copy->chunk_size;
    size_t len = restore_copy_bytes(copy, chunk, 1);
    int r = read_before(copy, data, len, offset, err);

    if (r == 0)
        r = fault_hit(FAULT_RESTORE_ROLLBACK, err);
    if (r < 0)
        return r;
    return chunk_is_zero(data, len) ? target_write_zeros(copy->target, len, offset, err)
                                    : target_write(copy->target, data, len, offset, err);
}

static int check_put_back(struct restore_copy *copy, uint64_t chunk, uint8_t *data, uint8_t *back,
                          struct error *err)
{
    uint64_t offset = chunk * copy->chunk_size;
    size_t len = restore_copy_bytes(copy, chunk, 1);
    int r = read_before(copy, data, len, offset, err);

    if (r == 0)
        r = target_read_direct(copy->target, back, len, offset, err);
    if (r == 0 && memcmp(data, back, len) != 0)
        r = error_set(err, -EIO, "what was read back at offset %llu is not what was there before",
                      (unsigned long long)offset);
    return r;
}

static int for_each_touched(struct restore_copy *copy, uint8_t *data, uint8_t *back,
                            struct error *err)
{
    uint64_t chunks = restore_copy_chunks(copy);
    int result = 0;

    for (uint64_t at = 0; (at = restore_copy_next_touched(copy, at)) < chunks; at++) {
        int r = back ? check_put_back(copy, at, data, back, err) : put_back(copy, at, data, err);
        if (result == 0)
            result = r;
    }
    return result;
}

int restore_copy_roll_back(struct restore_copy *copy, struct error *err)
{
    AUTO_FREE uint8_t *buffers = NULL;

    if (posix_memalign((void **)&buffers, DIRECT_ALIGNMENT, 2 * (size_t)copy->chunk_size) != 0)
        return error_set(err, -ENOMEM, "out of memory");
    int r = for_each_touched(copy, buffers, NULL, err);
    int flushed = target_flush(copy->target, err);
    if (r == 0)
        r = flushed;
    if (r == 0)
        r = for_each_touched(copy, buffers, buffers + copy->chunk_size, err);
    return r;
}
