// SPDX-License-Identifier: MIT
//
// Raw files and block devices as sources. Owns the descriptor and the capacity as it was found.
// Promises that every read gives exactly the bytes asked for or says why not. Takes no lock: a disk
// is backed up while its VM runs.
//
// Threads: reads name their offsets (pread); the fields are set once by source_open().
#include "fs/source/source.h"

#include "base/io.h"
#include "fs/source/place.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct source {
    int fd;
    bool is_block;
    uint64_t capacity;
    char *path;
};

// The length of "nbd+unix" in "nbd+unix:///disk", 0 when `text` begins with no such word.
static size_t format_length(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    return text[len] == ':' ? len : 0;
}

int source_check(const char *text, struct error *err)
{
    size_t len = format_length(text);
    if (len > 0)
        return error_set(err, -EINVAL,
                         "source format '%.*s' is not known; a source is the absolute path of a "
                         "raw file or block device",
                         len < 64 ? (int)len : 64, text);
    return place_check_path("source", text, err);
}

int source_forbid(const char *folder, const char *why, struct error *err)
{
    return place_forbid(folder, why, err);
}

void source_forbid_device(uint64_t dev, const char *why)
{
    place_forbid_device(dev, why);
}

int source_open(const char *text, struct source **ret_source, struct error *err)
{
    int rc = source_check(text, err);
    if (rc < 0)
        return rc;
    AUTO(place_deinit) struct place place = PLACE_INIT;
    rc = place_open(text, &place, err);
    if (rc < 0)
        return rc;

    AUTO(source_close) struct source *source = calloc(1, sizeof(*source));
    if (!source)
        return error_set_errno(err, -ENOMEM, "cannot open %s", text);
    source->fd = -1;
    source->is_block = place.is_block;
    source->path = strdup(text);
    if (!source->path)
        return error_set_errno(err, -ENOMEM, "cannot open %s", text);
    source->fd = place_reopen(place.fd, O_RDONLY, text, err);
    if (source->fd < 0)
        return source->fd;
    rc = place_size(source->fd, source->is_block, text, &source->capacity, err);
    if (rc < 0)
        return rc;
    // O_NONBLOCK opens a drive without a medium too; an empty file, though, is an empty disk.
    if (source->is_block && source->capacity == 0)
        return error_set_errno(err, -ENOMEDIUM, "cannot open %s", text);
    // Advice; a file system without read-ahead reads all the same.
    posix_fadvise(source->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    *ret_source = TAKE(source, NULL);
    return 0;
}

struct source *source_close(struct source *source)
{
    if (!source)
        return NULL;
    if (source->fd >= 0)
        close(source->fd);
    free(source->path);
    free(source);
    return NULL;
}

uint64_t source_capacity(const struct source *source)
{
    return source->capacity;
}

int source_read(struct source *source, void *buf, size_t len, uint64_t offset, struct error *err)
{
    int rc = place_check_range(source->capacity, len, offset, source->path, err);
    if (rc < 0)
        return rc;
    ssize_t n = io_read_up_to(source->fd, buf, len, offset, source->path, err);
    if (n < 0)
        return (int)n;
    if ((size_t)n < len)
        return error_set(err, -EIO, "%s ended at byte %" PRIu64 " of %" PRIu64, source->path,
                         offset + (uint64_t)n, source->capacity);
    return 0;
}

int source_next_data(struct source *source, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end,
                     struct error *err)
{
    return place_next_data(source->fd, source->is_block, source->capacity, offset, ret_start,
                           ret_end, source->path, err);
}

int source_check_unchanged(struct source *source, struct error *err)
{
    uint64_t size;
    int rc = place_size(source->fd, source->is_block, source->path, &size, err);
    if (rc < 0)
        return rc;
    if (size != source->capacity)
        return error_set(err, -EIO,
                         "%s changed its size from %" PRIu64 " to %" PRIu64
                         " bytes while it was read",
                         source->path, source->capacity, size);
    return 0;
}
