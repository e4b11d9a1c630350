// SPDX-License-Identifier: MIT
//
// Texts of any size; see spool.h.
#include "fs/tree/spool.h"

#include "base/io.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEMORY_MAX ((size_t)1 << 20)
#define MEMORY_FIRST 4096

struct spool {
    const char *dir;
    struct reserve *reserve;
    char *memory; // all of a small text; what is not in the file yet of one that is written
    size_t used, room;
    int fd;           // -1: all of it is in memory
    uint64_t in_file; // bytes
};

int spool_new(const char *dir, struct reserve *reserve, struct spool **ret_spool, struct error *err)
{
    struct spool *spool = calloc(1, sizeof(*spool));

    if (!spool)
        return error_set(err, -ENOMEM, "out of memory");
    spool->dir = dir;
    spool->reserve = reserve;
    spool->fd = -1;
    *ret_spool = spool;
    return 0;
}

struct spool *spool_free(struct spool *spool)
{
    if (!spool)
        return NULL;
    if (spool->fd >= 0)
        close(spool->fd);
    free(spool->memory);
    free(spool);
    return NULL;
}

static int grow(struct spool *spool, struct error *err)
{
    size_t room = spool->room ? 2 * spool->room : MEMORY_FIRST;
    char *memory = realloc(spool->memory, room);

    if (!memory)
        return error_set(err, -ENOMEM, "out of memory");
    spool->memory = memory;
    spool->room = room;
    return 0;
}

// EISDIR and EOPNOTSUPP are what kernels and file systems say that do not know O_TMPFILE: there the
// file has a name for a moment.
static int open_nameless(const char *dir, struct error *err)
{
    char path[PATH_MAX];
    int fd;

    mkdir(dir, 0700); // cache/ may be deleted by anybody at any time
    fd = io_openat(AT_FDCWD, dir, O_TMPFILE | O_RDWR, 0600);
    if (fd < 0 && (errno == EISDIR || errno == EOPNOTSUPP) &&
        snprintf(path, sizeof(path), "%s/spool-XXXXXX.tmp", dir) < (int)sizeof(path)) {
        fd = mkostemps(path, 4, O_CLOEXEC);
        if (fd >= 0)
            unlink(path);
    }
    if (fd < 0)
        return error_set_errno(err, -errno, "cannot make a temporary file in %s", dir);
    return fd;
}

static int write_out(struct spool *spool, struct error *err)
{
    int r = spool->reserve ? reserve_check(spool->reserve, spool->used, err) : 0;

    if (r < 0)
        return r;
    if (spool->fd < 0) {
        r = open_nameless(spool->dir, err);
        if (r < 0)
            return r;
        spool->fd = r;
    }
    r = io_write_at(spool->fd, spool->memory, spool->used, spool->in_file, "a temporary file", err);
    if (r < 0)
        return r;
    spool->in_file += spool->used;
    spool->used = 0;
    return 0;
}

int spool_add(struct spool *spool, const char *text, size_t len, struct error *err)
{
    int r = 0;

    if (spool->used + len > MEMORY_MAX)
        r = write_out(spool, err);
    if (r == 0 && spool->used + len > spool->room)
        r = grow(spool, err);
    if (r < 0)
        return r;
    memcpy(spool->memory + spool->used, text, len);
    spool->used += len;
    return 0;
}

int spool_finish(struct spool *spool, struct error *err)
{
    int r = spool->fd >= 0 && spool->used ? write_out(spool, err) : 0;

    if (r == 0 && spool->fd >= 0) {
        free(spool->memory);
        spool->memory = NULL;
    }
    return r;
}

uint64_t spool_length(const struct spool *spool)
{
    return spool->in_file + spool->used;
}

ssize_t spool_read(const struct spool *spool, void *buf, size_t len, uint64_t offset,
                   struct error *err)
{
    uint64_t length = spool_length(spool);

    if (offset >= length)
        return 0;
    if (len > length - offset)
        len = (size_t)(length - offset);
    if (spool->fd >= 0)
        return io_read_up_to(spool->fd, buf, len, offset, "a temporary file", err);
    memcpy(buf, spool->memory + offset, len);
    return (ssize_t)len;
}
