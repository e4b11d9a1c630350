// SPDX-License-Identifier: MIT
//
// Full I/O over descriptors, whole small files, and the one atomic file replacement of the program.
// Promises that a call moved every byte or says why not. Keeps no state and owns no descriptor past
// a call.
#include "base/io.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// The kernel moves at most this much in one call whatever is asked.
#define MOVE_MAX ((size_t)0x7ffff000)

// `offset + len` as an off_t, or an error: a damaged length must not wrap around to a valid place.
static int check_range(size_t len, uint64_t offset, const char *what, struct error *err)
{
    if (len > (uint64_t)INT64_MAX || offset > (uint64_t)INT64_MAX - len)
        return error_set(err, -EINVAL, "%s: offset %" PRIu64 " is out of range", what, offset);
    return 0;
}

ssize_t io_read_up_to(int fd, void *buf, size_t len, uint64_t offset, const char *what,
                      struct error *err)
{
    int rc = check_range(len, offset, what, err);
    if (rc < 0)
        return rc;
    size_t done = 0;
    while (done < len) {
        size_t part = len - done < MOVE_MAX ? len - done : MOVE_MAX;
        ssize_t n = pread(fd, (char *)buf + done, part, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, -errno, "cannot read %s at offset %" PRIu64, what,
                                   offset + done);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int io_read_at(int fd, void *buf, size_t len, uint64_t offset, const char *what, struct error *err)
{
    ssize_t n = io_read_up_to(fd, buf, len, offset, what, err);
    if (n < 0)
        return (int)n;
    if ((size_t)n < len)
        return error_set(err, -EIO,
                         "short read of %s: %zd of %zu bytes at offset %" PRIu64
                         ", it ends at byte %" PRIu64,
                         what, n, len, offset, offset + (uint64_t)n);
    return 0;
}

int io_write_at(int fd, const void *buf, size_t len, uint64_t offset, const char *what,
                struct error *err)
{
    int rc = check_range(len, offset, what, err);
    if (rc < 0)
        return rc;
    size_t done = 0;
    while (done < len) {
        size_t part = len - done < MOVE_MAX ? len - done : MOVE_MAX;
        ssize_t n = pwrite(fd, (const char *)buf + done, part, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, -errno, "cannot write %s at offset %" PRIu64, what,
                                   offset + done);
        // Asking again could go on for ever.
        if (n == 0)
            return error_set(err, -EIO,
                             "cannot write %s at offset %" PRIu64 ": nothing was written", what,
                             offset + done);
        done += (size_t)n;
    }
    return 0;
}

int io_fsync(int fd, const char *what, struct error *err)
{
    int rc;
    do {
        rc = fsync(fd);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? error_set_errno(err, -errno, "cannot flush %s", what) : 0;
}

int io_fdatasync(int fd, const char *what, struct error *err)
{
    int rc;
    do {
        rc = fdatasync(fd);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? error_set_errno(err, -errno, "cannot flush %s", what) : 0;
}

int io_openat(int folder, const char *path, int flags, mode_t mode)
{
    int fd;
    do {
        fd = openat(folder, path, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

DIR *io_opendir(const char *path)
{
    DIR *dir;
    do {
        dir = opendir(path);
    } while (!dir && errno == EINTR);
    return dir;
}

static int open_file(const char *path, int flags, mode_t mode, struct error *err)
{
    int fd = io_openat(AT_FDCWD, path, flags, mode);
    return fd < 0 ? error_set_errno(err, -errno, "cannot open %s", path) : fd;
}

int io_fsync_dir(const char *path, struct error *err)
{
    AUTO_CLOSE int fd = open_file(path, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return fd;
    return io_fsync(fd, path, err);
}

int io_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len, struct error *err)
{
    AUTO_CLOSE int fd = open_file(path, O_RDONLY, 0, err);
    if (fd < 0)
        return fd;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set_errno(err, -errno, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EINVAL, "%s is not a regular file", path);
    if ((uint64_t)st.st_size > max)
        return error_set(err, -EFBIG, "%s is longer than %zu bytes", path, max);

    // One byte more than its size, so that a file that grows meanwhile is noticed.
    size_t room = (size_t)st.st_size + 1;
    AUTO_FREE char *data = malloc(room + 1);
    if (!data)
        return error_set_errno(err, -ENOMEM, "cannot read %s", path);
    ssize_t n = io_read_up_to(fd, data, room, 0, path, err);
    if (n < 0)
        return (int)n;
    if ((size_t)n == room)
        return error_set(err, -EIO, "%s grew while it was read", path);
    data[n] = '\0';
    *ret_data = TAKE(data, NULL);
    *ret_len = (size_t)n;
    return 0;
}

static int write_new_file(const char *path, const void *data, size_t len, mode_t mode,
                          struct error *err)
{
    // A crash may have left one with another mode or owner; it holds nothing anyone needs.
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set_errno(err, -errno, "cannot remove %s", path);
    AUTO_CLOSE int fd = open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode, err);
    if (fd < 0)
        return fd;
    // The mode asked for, not what the umask leaves of it.
    int rc = fchmod(fd, mode) < 0 ? error_set_errno(err, -errno, "cannot set mode of %s", path) : 0;
    if (rc == 0)
        rc = io_write_at(fd, data, len, 0, path, err);
    if (rc == 0)
        rc = io_fsync(fd, path, err);
    // Some file systems report a failed write only here.
    if (close(TAKE(fd, -1)) < 0 && rc == 0 && errno != EINTR)
        rc = error_set_errno(err, -errno, "cannot close %s", path);
    return rc;
}

static int fsync_parent(const char *path, struct error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash)
        return io_fsync_dir(".", err);
    size_t len = slash == path ? 1 : (size_t)(slash - path);
    if (len >= sizeof(folder))
        return error_set_errno(err, -ENAMETOOLONG, "cannot open the folder of %s", path);
    memcpy(folder, path, len);
    folder[len] = '\0';
    return io_fsync_dir(folder, err);
}

int io_replace_file(const char *path, const void *data, size_t len, mode_t mode, struct error *err)
{
    char temp[PATH_MAX];
    int n = snprintf(temp, sizeof(temp), "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof(temp))
        return error_set_errno(err, -ENAMETOOLONG, "cannot write %s", path);

    int rc = write_new_file(temp, data, len, mode, err);
    if (rc == 0 && rename(temp, path) < 0)
        rc = error_set_errno(err, -errno, "cannot rename %s to %s", temp, path);
    if (rc < 0) {
        // The first cause is what counts; the next call removes what could not be removed here.
        unlink(temp);
        return rc;
    }
    return fsync_parent(path, err);
}
