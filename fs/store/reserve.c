// SPDX-License-Identifier: MIT
//
// The reserve file. Its size is decided anew at each refill, because the work a full disk must
// allow (a transaction that drops a pack's rows, a pack that is rewritten) grows with the
// repository up to a bound.
#include "fs/store/reserve.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define RESERVE_MIN (4u * 1024 * 1024)
#define RESERVE_MAX (64u * 1024 * 1024)
#define SHARE 16 // of the packs, and of the file system

struct reserve {
    char *dir, *path; // constant

    pthread_mutex_t lock;
    uint64_t wanted; // bytes the file should have
    uint64_t held;   // bytes it has, as far as we know; 0: it is not there
    bool complained;
};

int reserve_open(const char *dir, struct reserve **ret_reserve, struct error *err)
{
    AUTO(reserve_close) struct reserve *reserve = calloc(1, sizeof(*reserve));
    struct stat st;

    if (!reserve)
        return error_set(err, -ENOMEM, "out of memory");
    pthread_mutex_init(&reserve->lock, NULL);
    reserve->wanted = RESERVE_MIN;
    reserve->dir = strdup(dir);
    if (!reserve->dir || asprintf(&reserve->path, "%s/cache/reserve", dir) < 0) {
        reserve->path = NULL;
        return error_set(err, -ENOMEM, "out of memory");
    }
    reserve->held = stat(reserve->path, &st) == 0 ? (uint64_t)st.st_size : 0;
    if (reserve->held > reserve->wanted)
        reserve->wanted = reserve->held;
    *ret_reserve = TAKE(reserve, NULL);
    return 0;
}

struct reserve *reserve_close(struct reserve *reserve)
{
    if (!reserve)
        return NULL;
    pthread_mutex_destroy(&reserve->lock);
    free(reserve->dir);
    free(reserve->path);
    free(reserve);
    return NULL;
}

// What this process may still write. A file system that does not tell has room: the writes will
// say.
static uint64_t free_bytes(const struct reserve *reserve, uint64_t *ret_total)
{
    struct statvfs fs;

    if (statvfs(reserve->dir, &fs) < 0 || fs.f_blocks == 0) {
        *ret_total = UINT64_MAX;
        return UINT64_MAX;
    }
    *ret_total = (uint64_t)fs.f_blocks * fs.f_frsize;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static uint64_t size_for(uint64_t stored_bytes, uint64_t total)
{
    uint64_t size = stored_bytes / SHARE;

    size = size < RESERVE_MIN ? RESERVE_MIN : size > RESERVE_MAX ? RESERVE_MAX : size;
    return size < total / SHARE ? size : total / SHARE;
}

static int write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const char zeros[65536];
    int r = 0;

    for (uint64_t at = from; r == 0 && at < to; at += sizeof(zeros))
        r = io_write_at(fd, zeros, sizeof(zeros), at, "cache/reserve", NULL);
    return r;
}

// Grows the file to `size`. 0 or -errno.
static int allocate(const struct reserve *reserve, uint64_t size)
{
    AUTO_CLOSE int fd = open(reserve->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_blocks * 512 >= size)
        return 0;
    if (fallocate(fd, 0, 0, (off_t)size) == 0)
        return 0;
    return errno == EOPNOTSUPP ? write_zeros(fd, (uint64_t)st.st_size, size) : -errno;
}

void reserve_refill(struct reserve *reserve, uint64_t stored_bytes)
{
    uint64_t total, left = free_bytes(reserve, &total);
    uint64_t size = size_for(stored_bytes, total);
    int r = 0;

    pthread_mutex_lock(&reserve->lock);
    reserve->wanted = size > reserve->held ? size : reserve->held;
    if (size > reserve->held && left / 2 >= size) {
        r = allocate(reserve, size);
        if (r < 0)
            unlink(reserve->path); // half of one helps nobody
        reserve->held = r == 0 ? size : 0;
        if (r < 0 && !reserve->complained)
            log_warning("no space is kept for a full disk: cannot allocate %s: %s", reserve->path,
                        strerror(-r));
        reserve->complained = r < 0;
    }
    pthread_mutex_unlock(&reserve->lock);
}

uint64_t reserve_floor(struct reserve *reserve)
{
    uint64_t bytes;

    pthread_mutex_lock(&reserve->lock);
    bytes = reserve->wanted / 2;
    pthread_mutex_unlock(&reserve->lock);
    return bytes;
}

bool reserve_make_room(struct reserve *reserve)
{
    uint64_t total, left = free_bytes(reserve, &total);
    bool given = false;

    pthread_mutex_lock(&reserve->lock);
    if (reserve->held > 0 && left < reserve->wanted / 2) {
        given = unlink(reserve->path) == 0;
        if (given)
            log_info("the disk is full: the reserve of %" PRIu64 " bytes is given up; forget "
                     "snapshots and collect garbage",
                     reserve->held);
        reserve->held = 0;
    }
    pthread_mutex_unlock(&reserve->lock);
    return given;
}

// What backups leave alone: the floor, and what was given up, or never could be kept, as well.
static uint64_t kept(struct reserve *reserve)
{
    uint64_t bytes;

    pthread_mutex_lock(&reserve->lock);
    bytes = reserve->wanted / 2 + reserve->wanted - reserve->held;
    pthread_mutex_unlock(&reserve->lock);
    return bytes;
}

int reserve_check(struct reserve *reserve, uint64_t bytes, struct error *err)
{
    uint64_t total, left, keep;

    if (!reserve)
        return 0;
    left = free_bytes(reserve, &total);
    keep = kept(reserve);
    if (left < bytes || left - bytes < keep)
        return error_set(err, -ENOSPC,
                         "No space left for a backup: %" PRIu64 " bytes are free, and the last "
                         "%" PRIu64 " are kept for forgetting snapshots and collecting garbage",
                         left, keep);
    return 0;
}

uint64_t reserve_held(const char *dir)
{
    AUTO_FREE char *path = NULL;
    struct stat st;

    if (asprintf(&path, "%s/cache/reserve", dir) < 0) {
        path = NULL;
        return 0;
    }
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}
