// SPDX-License-Identifier: MIT
//
// Files and devices that disks are restored to. Owns the descriptors, the lock on an existing
// target, and a new file until it is published. Promises that an existing target is checked before
// it can be written, that nothing outside its size is written, and that a new file has its name
// only when it is whole. Does not compare or roll back: that is the restore's business.
//
// A new file has no name at all while it is written, where the file system can (O_TMPFILE), so that
// a crash leaves nothing behind; elsewhere it is "NAME.backtree-XXXXXX" in the same folder.
//
// Threads: fields but `published` are set once by target_open(); reads and writes name their
// offsets.
#include "fs/source/target.h"

#include "base/io.h"
#include "fs/source/in_use.h"
#include "fs/source/place.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define DIRECT_ALIGN 4096
#define DEVICE_ALIGN 512 // what BLKZEROOUT asks for
#define ZEROS_SIZE 65536
#define TEMP_SUFFIX ".backtree-XXXXXX"

static char zeros[ZEROS_SIZE]; // never written

struct target {
    char *path;
    struct place place; // what `fd` is open on
    int fd;
    int direct_fd; // O_DIRECT, -1 where there is none
    uint64_t capacity;
    // new files
    bool is_new;
    bool published;
    int folder;              // -1 for others
    char *name;              // borrowed from `path`: what follows its last slash
    char temp[NAME_MAX + 1]; // in `folder`, "" while the file has no name
};

static int target_new(const char *path, struct target **ret_target, struct error *err)
{
    int rc = place_check_path("target", path, err);
    if (rc < 0)
        return rc;
    struct target *target = calloc(1, sizeof(*target));
    char *copy = strdup(path);
    if (!target || !copy) {
        free(target);
        free(copy);
        return error_set_errno(err, -ENOMEM, "cannot open %s", path);
    }
    target->path = copy;
    target->name = strrchr(copy, '/') + 1; // an absolute path has one
    target->place.fd = -1;
    target->fd = -1;
    target->direct_fd = -1;
    target->folder = -1;
    *ret_target = target;
    return 0;
}

struct target *target_close(struct target *target)
{
    if (!target)
        return NULL;
    if (target->temp[0] && !target->published)
        unlinkat(target->folder, target->temp, 0);
    place_deinit(&target->place);
    if (target->direct_fd >= 0)
        close(target->direct_fd);
    if (target->fd >= 0)
        close(target->fd);
    if (target->folder >= 0)
        close(target->folder);
    free(target->path);
    free(target);
    return NULL;
}

// Opens what target->place found, unless it is in use or too small.
static int open_existing(struct target *target, uint64_t capacity, struct error *err)
{
    const struct place *place = &target->place;
    int rc = in_use_check(place, target->path, err);
    if (rc < 0)
        return rc;
    // On a device, O_EXCL shuts out mounts and everything else that claims it, both ways.
    struct error open_err = ERROR_INIT;
    int fd =
        place_reopen(place->fd, O_RDWR | (place->is_block ? O_EXCL : 0), target->path, &open_err);
    if (fd == -EBUSY)
        return error_set(err, -EBUSY, "%s is in use: something holds it exclusively", target->path);
    if (fd < 0)
        return error_set(err, fd, "%s", error_message(&open_err));
    target->fd = fd;

    rc = in_use_check_locks(fd, place->is_block, target->path, err);
    if (rc == 0)
        rc = place_size(fd, place->is_block, target->path, &target->capacity, err);
    if (rc == 0 && target->capacity < capacity)
        rc = error_set(err, -ENOSPC, "%s holds %" PRIu64 " bytes, the disk needs %" PRIu64,
                       target->path, target->capacity, capacity);
    return rc;
}

// Opens the folder that is to hold a new file, and sees that the name can be had there.
static int open_folder(struct target *target, struct error *err)
{
    struct stat st;
    if (lstat(target->path, &st) == 0)
        return error_set(err, -EINVAL, "%s is a symbolic link to nothing", target->path);
    if (target->name[0] == '\0')
        return error_set(err, -EINVAL, "%s names no file", target->path);
    if (strlen(target->name) > NAME_MAX)
        return error_set_errno(err, -ENAMETOOLONG, "cannot create %s", target->path);

    AUTO_FREE char *folder = strndup(target->path, (size_t)(target->name - target->path));
    if (!folder)
        return error_set_errno(err, -ENOMEM, "cannot open %s", target->path);
    int rc = place_open_folder(folder, &target->folder, err);
    if (rc < 0)
        return rc;
    if (faccessat(target->folder, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return error_set_errno(err, -errno, "cannot create %s", target->path);
    return 0;
}

// Finds the existing target, or the folder of a new one.
static int find(struct target *target, struct error *err)
{
    struct error open_err = ERROR_INIT;
    int rc = place_open(target->path, &target->place, &open_err);
    if (rc == -ENOENT) {
        target->is_new = true;
        return open_folder(target, err);
    }
    return rc < 0 ? error_set(err, rc, "%s", error_message(&open_err)) : 0;
}

int target_check(const char *path, uint64_t capacity, struct error *err)
{
    AUTO(target_close) struct target *target = NULL;
    int rc = target_new(path, &target, err);
    if (rc == 0)
        rc = find(target, err);
    return rc < 0 || target->is_new ? rc : open_existing(target, capacity, err);
}

// A named temporary file beside the wanted name, which is cut so that the suffix fits.
static int create_named(struct target *target, struct error *err)
{
    const int room = NAME_MAX - (int)strlen(TEMP_SUFFIX);
    char temp[NAME_MAX + 1];
    char path[NAME_MAX + 64];
    snprintf(temp, sizeof(temp), "%.*s" TEMP_SUFFIX, room, target->name);
    int prefix = snprintf(path, sizeof(path), "/proc/self/fd/%d/", target->folder);
    strcpy(path + prefix, temp);
    target->fd = mkostemp(path, O_CLOEXEC);
    if (target->fd < 0)
        return error_set_errno(err, -errno, "cannot create %s", target->path);
    strcpy(target->temp, path + prefix);
    return 0;
}

static int create(struct target *target, uint64_t capacity, struct error *err)
{
    target->fd = io_openat(target->folder, ".", O_TMPFILE | O_RDWR, 0600);
    if (target->fd < 0) {
        // EISDIR is what a kernel or file system says that does not know O_TMPFILE.
        if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
            return error_set_errno(err, -errno, "cannot create %s", target->path);
        int rc = create_named(target, err);
        if (rc < 0)
            return rc;
    }
    if (fchmod(target->fd, 0600) < 0)
        return error_set_errno(err, -errno, "cannot set the mode of %s", target->path);
    if (capacity > INT64_MAX)
        return error_set_errno(err, -EFBIG, "cannot create %s", target->path);
    if (ftruncate(target->fd, (off_t)capacity) < 0)
        return error_set_errno(err, -errno, "cannot give %s its size of %" PRIu64 " bytes",
                               target->path, capacity);
    target->capacity = capacity;
    return 0;
}

int target_open(const char *path, uint64_t capacity, struct target **ret_target, struct error *err)
{
    AUTO(target_close) struct target *target = NULL;
    int rc = target_new(path, &target, err);
    if (rc == 0)
        rc = find(target, err);
    if (rc == 0)
        rc = target->is_new ? create(target, capacity, err) : open_existing(target, capacity, err);
    if (rc == 0)
        rc = in_use_lock(target->fd, path, err);
    if (rc < 0)
        return rc;
    // The same file or device again, by descriptor: a path could lead elsewhere by now. Where
    // there is no O_DIRECT, target_read_direct() has another way.
    target->direct_fd = place_reopen(target->fd, O_RDONLY | O_DIRECT, path, NULL);
    *ret_target = TAKE(target, NULL);
    return 0;
}

bool target_is_new(const struct target *target)
{
    return target->is_new;
}

uint64_t target_capacity(const struct target *target)
{
    return target->capacity;
}

bool target_is_source(const struct target *target, const char *text)
{
    return !target->is_new && place_is_same(&target->place, text);
}

bool target_paths_meet(const char *path, const char *other)
{
    AUTO(place_deinit) struct place place = PLACE_INIT;

    return place_open(path, &place, NULL) == 0 && place_is_same(&place, other);
}

int target_next_data(struct target *target, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end,
                     struct error *err)
{
    return place_next_data(target->fd, target->place.is_block, target->capacity, offset, ret_start,
                           ret_end, target->path, err);
}

int target_read(struct target *target, void *buf, size_t len, uint64_t offset, struct error *err)
{
    int rc = place_check_range(target->capacity, len, offset, target->path, err);
    return rc < 0 ? rc : io_read_at(target->fd, buf, len, offset, target->path, err);
}

int target_write(struct target *target, const void *buf, size_t len, uint64_t offset,
                 struct error *err)
{
    int rc = place_check_range(target->capacity, len, offset, target->path, err);
    return rc < 0 ? rc : io_write_at(target->fd, buf, len, offset, target->path, err);
}

static int punch(struct target *target, size_t len, uint64_t offset)
{
    if (!target->place.is_block)
        return fallocate(target->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                         (off_t)len);
    if (len % DEVICE_ALIGN || offset % DEVICE_ALIGN) {
        errno = EINVAL;
        return -1;
    }
    uint64_t range[2] = {offset, len};
    return ioctl(target->fd, BLKZEROOUT, range);
}

int target_write_zeros(struct target *target, size_t len, uint64_t offset, struct error *err)
{
    int rc = place_check_range(target->capacity, len, offset, target->path, err);
    if (rc < 0 || len == 0)
        return rc;
    do {
        rc = punch(target, len, offset);
    } while (rc < 0 && errno == EINTR);
    if (rc == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL && errno != ENOTTY)
        return error_set_errno(err, -errno, "cannot write %s at offset %" PRIu64, target->path,
                               offset);
    rc = 0;
    while (len > 0 && rc == 0) {
        size_t part = len < ZEROS_SIZE ? len : ZEROS_SIZE;
        rc = io_write_at(target->fd, zeros, part, offset, target->path, err);
        offset += part;
        len -= part;
    }
    return rc;
}

void target_start_write_back(struct target *target, uint64_t offset, size_t len)
{
    // A write-back that fails is reported by the flush.
    sync_file_range(target->fd, (off64_t)offset, (off64_t)len, SYNC_FILE_RANGE_WRITE);
}

int target_flush(struct target *target, struct error *err)
{
    int rc = io_fsync(target->fd, target->path, err);
    if (rc < 0 || !target->place.is_block)
        return rc;
    // Drops the device's cache, for root alone; the data is safe without it and a direct read asks
    // the device anyway.
    if (ioctl(target->fd, BLKFLSBUF, 0) < 0 && errno != EACCES && errno != EPERM && errno != ENOTTY)
        return error_set_errno(err, -errno, "cannot flush %s", target->path);
    return 0;
}

// Reads `room` bytes, a multiple of the alignment; the end of the file may cut the last block short
// but not into the `len` bytes that count. Returns 1 when the file system refuses direct reads.
static int read_direct(struct target *target, char *buf, size_t len, size_t room, uint64_t offset,
                       struct error *err)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(target->direct_fd, buf + done, room - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EINVAL || errno == EOPNOTSUPP))
            return 1;
        if (n < 0)
            return error_set_errno(err, -errno, "cannot read %s at offset %" PRIu64, target->path,
                                   offset + done);
        if (n == 0)
            return error_set(err, -EIO, "%s ended at byte %" PRIu64 " of %" PRIu64, target->path,
                             offset + done, target->capacity);
        done += (size_t)n;
    }
    return 0;
}

int target_read_direct(struct target *target, void *buf, size_t len, uint64_t offset,
                       struct error *err)
{
    int rc = place_check_range(target->capacity, len, offset, target->path, err);
    if (rc < 0)
        return rc;
    size_t room = (len + DIRECT_ALIGN - 1) / DIRECT_ALIGN * DIRECT_ALIGN;
    rc = target->direct_fd >= 0 ? read_direct(target, buf, len, room, offset, err) : 1;
    if (rc <= 0)
        return rc;
    // Only pages on stable storage are dropped, and only whole ones.
    rc = io_fdatasync(target->fd, target->path, err);
    if (rc < 0)
        return rc;
    posix_fadvise(target->fd, (off_t)offset, (off_t)room, POSIX_FADV_DONTNEED);
    return io_read_at(target->fd, buf, len, offset, target->path, err);
}

// Gives the file its name unless there is one. Returns 0 or -errno.
static int take_name(struct target *target)
{
    int folder = target->folder;
    if (target->temp[0] == '\0') {
        char link[32];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", target->fd);
        return linkat(AT_FDCWD, link, folder, target->name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
    }
    if (renameat2(folder, target->temp, folder, target->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (linkat(folder, target->temp, folder, target->name, 0) < 0)
        return -errno;
    if (unlinkat(folder, target->temp, 0) == 0)
        return 0;
    int rc = -errno;
    unlinkat(folder, target->name, 0);
    return rc;
}

int target_publish(struct target *target, struct error *err)
{
    if (!target->is_new || target->published)
        return 0;
    int rc = take_name(target);
    if (rc == -EEXIST)
        return error_set(err, rc, "%s has been created by somebody else meanwhile", target->path);
    if (rc < 0)
        return error_set_errno(err, rc, "cannot create %s", target->path);
    // From here target_close() takes back the wanted name, until the folder is known to hold it.
    strcpy(target->temp, target->name);
    rc = io_fsync(target->folder, target->path, err);
    target->published = rc == 0;
    return rc;
}
