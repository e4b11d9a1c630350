// SPDX-License-Identifier: MIT
//
// Leads paths to files and block devices and refuses the places nobody may read disks from or write
// them to. Owns the list of those places. Opens nothing for data but in place_reopen().
//
// A path on the program's own mount is answered by the program itself, from another thread; so
// nothing here may be called with a lock held, and attributes are taken from the kernel's cache
// (AT_STATX_DONT_SYNC) rather than asked for.
#include "fs/source/place.h"

#include "base/io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

// Written before threads start, and never shortened.
static struct forbidden {
    char *folder; // absolute, resolved, without a final slash ("" for the root)
    char *why;
    struct forbidden *next;
} * forbidden_folders;

// The mount comes up after threads may have started: `why` is in place before the number is seen.
static _Atomic uint64_t forbidden_device;
static char *forbidden_device_why;

int place_forbid(const char *folder, const char *why, struct error *err)
{
    AUTO_FREE char *resolved = realpath(folder, NULL);
    if (!resolved)
        return error_set_errno(err, -errno, "cannot resolve %s", folder);
    if (strcmp(resolved, "/") == 0)
        resolved[0] = '\0';
    for (struct forbidden *known = forbidden_folders; known; known = known->next) {
        if (strcmp(known->folder, resolved) == 0)
            return 0;
    }
    AUTO_FREE char *reason = strdup(why);
    struct forbidden *entry = calloc(1, sizeof(*entry));
    if (!reason || !entry) {
        free(entry);
        return error_set_errno(err, -ENOMEM, "cannot note %s", folder);
    }
    entry->folder = TAKE(resolved, NULL);
    entry->why = TAKE(reason, NULL);
    entry->next = forbidden_folders;
    forbidden_folders = entry;
    return 0;
}

void place_forbid_device(uint64_t dev, const char *why)
{
    atomic_store(&forbidden_device, 0);
    free(forbidden_device_why);
    forbidden_device_why = strdup(why);
    atomic_store(&forbidden_device, dev);
}

// "/a/b" holds "/a/b" and "/a/b/c", not "/a/bc".
static bool is_below(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

// `path` is the one given, for the sentence; `real` is where it leads.
static int check_folders(const char *path, const char *real, struct error *err)
{
    for (const struct forbidden *f = forbidden_folders; f; f = f->next) {
        if (is_below(real, f->folder))
            return error_set(err, -EINVAL, "cannot use %s: %s", path, f->why);
    }
    return 0;
}

static int check_device(const char *path, dev_t dev, struct error *err)
{
    uint64_t device = atomic_load(&forbidden_device);
    if (device == 0 || device != dev)
        return 0;
    const char *why = forbidden_device_why ? forbidden_device_why : "it is on the mount itself";
    return error_set(err, -EINVAL, "cannot use %s: %s", path, why);
}

// Removes "//", "/./" and "/x/.." as text alone, so that a plain path to a forbidden place is
// refused before anybody is asked about it.
static void normalize(const char *path, char ret_text[PATH_MAX])
{
    size_t used = 0;
    while (*path) {
        size_t len = strcspn(path, "/");
        if (len == 2 && path[0] == '.' && path[1] == '.') {
            while (used > 0 && ret_text[--used] != '/')
                continue;
        } else if (len > 0 && !(len == 1 && path[0] == '.') && used + 1 + len < PATH_MAX) {
            ret_text[used++] = '/';
            memcpy(ret_text + used, path, len);
            used += len;
        }
        path += len + (path[len] == '/');
    }
    ret_text[used] = '\0';
}

int place_check_path(const char *what, const char *path, struct error *err)
{
    if (path[0] == '\0')
        return error_set(err, -EINVAL, "%s is empty", what);
    for (const char *p = path; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return error_set(err, -EINVAL, "%s holds the control character \\x%02x", what,
                             (unsigned char)*p);
    }
    if (strnlen(path, PATH_MAX) == PATH_MAX)
        return error_set(err, -EINVAL, "%s is longer than %d bytes", what, PATH_MAX - 1);
    if (path[0] != '/')
        return error_set(err, -EINVAL, "%s '%s' is not an absolute path", what, path);
    return 0;
}

static void fd_path(int fd, char ret_path[32])
{
    snprintf(ret_path, 32, "/proc/self/fd/%d", fd);
}

// An O_PATH descriptor of where `path` leads, in no forbidden folder and not on the mount.
static int open_path(const char *path, int flags, struct error *err)
{
    char text[PATH_MAX];
    normalize(path, text);
    int rc = check_folders(path, text, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int fd = io_openat(AT_FDCWD, path, O_PATH | flags, 0);
    if (fd < 0)
        return error_set_errno(err, -errno, "cannot open %s", path);

    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) < 0)
        return error_set_errno(err, -errno, "cannot look at %s", path);
    rc = check_device(path, makedev(stx.stx_dev_major, stx.stx_dev_minor), err);
    if (rc < 0)
        return rc;

    char link[32];
    fd_path(fd, link);
    ssize_t n = readlink(link, text, sizeof(text) - 1);
    if (n < 0)
        return error_set_errno(err, -errno, "cannot resolve %s", path);
    text[n] = '\0';
    rc = check_folders(path, text, err);
    return rc < 0 ? rc : TAKE(fd, -1);
}

static int check_kind(const char *path, mode_t mode, struct error *err)
{
    const char *kind = "not a known kind of file";
    if (S_ISREG(mode) || S_ISBLK(mode))
        return 0;
    if (S_ISDIR(mode))
        kind = "a directory";
    else if (S_ISFIFO(mode))
        kind = "a fifo";
    else if (S_ISSOCK(mode))
        kind = "a socket";
    else if (S_ISCHR(mode))
        kind = "a character device";
    return error_set(err, -EINVAL, "%s is %s, not a file or block device", path, kind);
}

// A loop device over a file of a forbidden place leads there as well. The kernel knows the file by
// its path; a partition has its device's folder above its own.
static int check_loop_backing(const char *path, dev_t rdev, struct error *err)
{
    static const char *const names[] = {"loop/backing_file", "../loop/backing_file"};
    for (int i = 0; i < 2; i++) {
        char name[96];
        char backing[PATH_MAX];
        snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/%s", major(rdev), minor(rdev), names[i]);
        AUTO_CLOSE int fd = io_openat(AT_FDCWD, name, O_RDONLY, 0);
        if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
            continue; // not a loop device, or none of a file
        if (fd < 0)
            return error_set_errno(err, -errno, "cannot open %s", name);
        ssize_t n = read(fd, backing, sizeof(backing) - 1);
        if (n < 0)
            return error_set_errno(err, -errno, "cannot read %s", name);
        backing[n] = '\0';
        backing[strcspn(backing, "\n")] = '\0';
        int rc = check_folders(path, backing, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int look(int fd, const char *path, struct place *ret_place, struct error *err)
{
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &stx) < 0)
        return error_set_errno(err, -errno, "cannot look at %s", path);
    int rc = check_kind(path, stx.stx_mode, err);
    if (rc < 0)
        return rc;
    ret_place->fd = fd;
    ret_place->is_block = S_ISBLK(stx.stx_mode);
    ret_place->dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
    ret_place->ino = stx.stx_ino;
    ret_place->rdev = ret_place->is_block ? makedev(stx.stx_rdev_major, stx.stx_rdev_minor) : 0;
    return ret_place->is_block ? check_loop_backing(path, ret_place->rdev, err) : 0;
}

int place_open(const char *path, struct place *ret_place, struct error *err)
{
    AUTO_CLOSE int fd = open_path(path, 0, err);
    if (fd < 0)
        return fd;
    struct place place = PLACE_INIT;
    int rc = look(fd, path, &place, err);
    if (rc < 0)
        return rc;
    place.fd = TAKE(fd, -1);
    *ret_place = place;
    return 0;
}

void place_deinit(struct place *place)
{
    if (place->fd >= 0)
        close(place->fd);
    place->fd = -1;
}

int place_open_folder(const char *path, int *ret_fd, struct error *err)
{
    AUTO_CLOSE int fd = open_path(path, O_DIRECTORY, err);
    if (fd < 0)
        return fd;
    int opened = place_reopen(fd, O_RDONLY | O_DIRECTORY, path, err);
    if (opened < 0)
        return opened;
    *ret_fd = opened;
    return 0;
}

int place_reopen(int fd, int flags, const char *path, struct error *err)
{
    char link[32];
    fd_path(fd, link);
    int opened;
    do {
        opened = io_openat(AT_FDCWD, link, flags | O_NONBLOCK | O_NOCTTY, 0);
    } while (opened < 0 && errno == EINTR);
    return opened < 0 ? error_set_errno(err, -errno, "cannot open %s", path) : opened;
}

bool place_is_same(const struct place *place, const char *path)
{
    // What is in a forbidden place is not the same, and is not touched to find that out.
    AUTO_CLOSE int fd = path[0] == '/' ? open_path(path, 0, NULL) : -1;
    struct place other = PLACE_INIT;
    if (fd < 0 || look(fd, path, &other, NULL) < 0)
        return false;
    if (place->is_block || other.is_block)
        return place->rdev == other.rdev;
    return place->dev == other.dev && place->ino == other.ino;
}

int place_size(int fd, bool is_block, const char *path, uint64_t *ret_size, struct error *err)
{
    struct stat st;
    uint64_t size;
    int rc = is_block ? ioctl(fd, BLKGETSIZE64, &size) : fstat(fd, &st);
    if (rc < 0)
        return error_set_errno(err, -errno, "cannot learn the size of %s", path);
    *ret_size = is_block ? size : (uint64_t)st.st_size;
    return 0;
}

int place_next_data(int fd, bool is_block, uint64_t capacity, uint64_t offset, uint64_t *ret_start,
                    uint64_t *ret_end, const char *path, struct error *err)
{
    if (offset >= capacity)
        return 0;
    off_t start = -1;
    off_t end = -1;
    if (!is_block) {
        // This moves the descriptor's offset, which nobody uses: every read and write names its
        // own. So threads that ask at once do not disturb each other.
        start = lseek(fd, (off_t)offset, SEEK_DATA);
        if (start < 0 && errno == ENXIO)
            return 0;
        if (start < 0 && errno != EINVAL && errno != EOPNOTSUPP)
            return error_set_errno(err, -errno, "cannot find data in %s", path);
        if (start >= 0 && (uint64_t)start >= capacity)
            return 0;
        // Failing here means that the file changed since; reading to the end is always right.
        if (start >= 0)
            end = lseek(fd, start, SEEK_HOLE);
    }
    *ret_start = start >= 0 ? (uint64_t)start : offset;
    *ret_end = end >= 0 && (uint64_t)end < capacity ? (uint64_t)end : capacity;
    return 1;
}

int place_check_range(uint64_t capacity, uint64_t len, uint64_t offset, const char *path,
                      struct error *err)
{
    if (offset <= capacity && len <= capacity - offset)
        return 0;
    return error_set(err, -EINVAL,
                     "%s: %" PRIu64 " bytes at offset %" PRIu64 " are outside its %" PRIu64
                     " bytes",
                     path, len, offset, capacity);
}
