// SPDX-License-Identifier: MIT
//
// Full I/O: every call moves all the bytes or fails, restarts on EINTR, and never trusts a short
// count. Errors carry `what` (a path or name for the sentence). No state; thread-safe.
#ifndef BASE_IO_H
#define BASE_IO_H

#include "base/error.h"

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Reads exactly `len` bytes at `offset`. -EIO with "short read" when the file ends before that.
int io_read_at(int fd, void *buf, size_t len, uint64_t offset, const char *what, struct error *err);

// Reads up to `len` bytes, fewer only at end of file. Returns the count or -errno.
ssize_t io_read_up_to(int fd, void *buf, size_t len, uint64_t offset, const char *what,
                      struct error *err);

int io_write_at(int fd, const void *buf, size_t len, uint64_t offset, const char *what,
                struct error *err);

// As openat(2) and opendir(3), with O_CLOEXEC, started again after EINTR. -1 or NULL: see errno.
int io_openat(int folder, const char *path, int flags, mode_t mode);
DIR *io_opendir(const char *path);

int io_fsync(int fd, const char *what, struct error *err);
int io_fdatasync(int fd, const char *what, struct error *err);

// fsync of the folder at `path`, which makes created, renamed and removed names in it durable.
int io_fsync_dir(const char *path, struct error *err);

// Reads a whole small file (at most `max` bytes, else -EFBIG). *ret_data is malloc'ed with a NUL
// after the last byte, which *ret_len does not count; the caller frees it.
int io_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len, struct error *err);

// Replaces `path` by `len` bytes as one atomic step: temporary file beside it with `mode`, fsync,
// rename, fsync of the folder. Readers see the old file or the new one; a crash may leave
// "path.tmp", which the next call replaces.
int io_replace_file(const char *path, const void *data, size_t len, mode_t mode, struct error *err);

#endif
