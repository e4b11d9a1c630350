// SPDX-License-Identifier: MIT
//
// Asks the kernel who uses a file or block device: /proc/self/mountinfo, /proc/swaps, sysfs, loop
// devices, record locks, and the open files of other processes. Owns nothing between calls.
//
// The last of these is there because the others miss the worst case: a running VM opens its block
// device without O_EXCL, and under libvirt through a device node of its own, whose locks do not
// show on ours.
#include "fs/source/in_use.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

// A device and, for a partition of the device that is asked about, its name.
struct subject {
    dev_t rdev;
    const char *path;      // as the user gave it
    const char *partition; // "sda1", NULL for the device itself
};

static void close_file_at(FILE **file)
{
    if (*file)
        fclose(*file);
}

static void close_folder_at(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}

static int open_text(const char *path, FILE **ret_file, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set_errno(err, -errno, "cannot open %s", path);
    *ret_file = file;
    return 0;
}

static int open_folder(const char *path, DIR **ret_folder, struct error *err)
{
    DIR *folder = opendir(path);
    if (!folder)
        return error_set_errno(err, -errno, "cannot list %s", path);
    *ret_folder = folder;
    return 0;
}

// The next name but "." and "..". NULL at the end; then *ret_rc says whether it was the end.
static const char *next_name(DIR *folder, const char *path, int *ret_rc, struct error *err)
{
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) {
            *ret_rc = errno ? error_set_errno(err, -errno, "cannot list %s", path) : 0;
            return NULL;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return entry->d_name;
    }
}

static int busy(const struct subject *subject, const char *how, const char *where,
                struct error *err)
{
    if (subject->partition)
        return error_set(err, -EBUSY, "%s is in use: its partition %s %s%s", subject->path,
                         subject->partition, how, where);
    return error_set(err, -EBUSY, "%s is in use: it %s%s", subject->path, how, where);
}

// The kernel writes blanks and the like as \ooo in its tables; in place.
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        unsigned value = 0;
        int digits = 0;
        while (from[0] == '\\' && digits < 3 && from[1 + digits] >= '0' && from[1 + digits] <= '7')
            value = value * 8 + (unsigned)(from[1 + digits++] - '0');
        *to = digits == 3 ? (char)value : *from;
        from += digits == 3 ? 4 : 1;
    }
    *to = '\0';
}

static bool is_device(const char *path, dev_t rdev)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == rdev;
}

// One line of mountinfo: "36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/sda1 rw". A file
// system of several devices (btrfs) shows a number of its own, so the device named is compared too.
static bool line_mounts(char *line, dev_t rdev, const char **ret_where)
{
    unsigned maj;
    unsigned min;
    char *rest = line;
    char *fields[5];
    for (int i = 0; i < 5; i++) {
        fields[i] = strsep(&rest, " ");
        if (!fields[i] || !rest)
            return false;
    }
    if (sscanf(fields[2], "%u:%u", &maj, &min) != 2)
        return false;
    unescape(fields[4]);
    *ret_where = fields[4];
    if (makedev(maj, min) == rdev)
        return true;

    char *tail = strstr(rest, " - ");
    if (!tail)
        return false;
    tail += strlen(" - ");
    strsep(&tail, " "); // the type
    char *named = strsep(&tail, " ");
    if (!named)
        return false;
    unescape(named);
    return strncmp(named, "/dev/", strlen("/dev/")) == 0 && is_device(named, rdev);
}

static int check_mounted(const struct subject *subject, struct error *err)
{
    AUTO(close_file) FILE *table = NULL;
    int rc = open_text("/proc/self/mountinfo", &table, err);
    if (rc < 0)
        return rc;
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    const char *where;
    while (getline(&line, &size, table) >= 0) {
        if (line_mounts(line, subject->rdev, &where))
            return busy(subject, "is mounted on ", where, err);
    }
    return ferror(table) ? error_set(err, -EIO, "cannot read /proc/self/mountinfo") : 0;
}

// Swap is listed by path. `file` is what is asked about, or NULL for the subject's device.
static int check_swap(const struct subject *subject, const struct place *file, struct error *err)
{
    AUTO(close_file) FILE *table = fopen("/proc/swaps", "re");
    if (!table && errno == ENOENT)
        return 0; // a kernel that cannot swap
    if (!table)
        return error_set_errno(err, -errno, "cannot open /proc/swaps");
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, table) >= 0) {
        line[strcspn(line, " \t\n")] = '\0';
        unescape(line);
        if (file ? place_is_same(file, line) : is_device(line, subject->rdev))
            return busy(subject, "is used as swap", "", err);
    }
    return ferror(table) ? error_set(err, -EIO, "cannot read /proc/swaps") : 0;
}

// What is stacked on a device: device mapper, RAID, bcache.
static int check_holders(const struct subject *subject, struct error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(subject->rdev),
             minor(subject->rdev));
    AUTO(close_folder) DIR *folder = NULL;
    int rc = open_folder(path, &folder, err);
    if (rc < 0)
        return rc;
    const char *holder = next_name(folder, path, &rc, err);
    return holder ? busy(subject, "is part of /dev/", holder, err) : rc;
}

static int check_device(const struct subject *subject, struct error *err)
{
    int rc = check_mounted(subject, err);
    if (rc == 0)
        rc = check_swap(subject, NULL, err);
    if (rc == 0)
        rc = check_holders(subject, err);
    return rc;
}

// "8:1" of a partition's folder; false when the folder is none of a partition.
static bool partition_number(const char *device, const char *name, dev_t *ret_rdev)
{
    char path[PATH_MAX];
    unsigned maj;
    unsigned min;
    snprintf(path, sizeof(path), "%s/%s/partition", device, name);
    if (access(path, F_OK) < 0)
        return false;
    snprintf(path, sizeof(path), "%s/%s/dev", device, name);
    AUTO(close_file) FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%u:%u", &maj, &min) != 2)
        return false; // the partition went away between two looks
    *ret_rdev = makedev(maj, min);
    return true;
}

static int check_partitions(const struct place *place, const char *path, struct error *err)
{
    char device[64];
    snprintf(device, sizeof(device), "/sys/dev/block/%u:%u", major(place->rdev),
             minor(place->rdev));
    AUTO(close_folder) DIR *folder = NULL;
    int rc = open_folder(device, &folder, err);
    const char *name;
    while (rc == 0 && (name = next_name(folder, device, &rc, err)) != NULL) {
        struct subject subject = {.path = path, .partition = name};
        if (partition_number(device, name, &subject.rdev))
            rc = check_device(&subject, err);
    }
    return rc;
}

// Asks the loop device itself, which answers by numbers, right also for a file renamed or removed
// since. False when the device may not be opened or has nothing attached.
static bool ask_loop(const char *name, struct loop_info64 *ret_info)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "/dev/%s", name);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, ret_info) == 0;
}

// Whoever may not open loop devices gets the path from sysfs.
static bool loop_uses(const char *name, const struct place *place)
{
    struct loop_info64 info = {0};
    if (ask_loop(name, &info))
        return place->is_block ? info.lo_rdevice == place->rdev
                               : info.lo_device == place->dev && info.lo_inode == place->ino;
    char path[PATH_MAX];
    char backing[PATH_MAX];
    snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", name);
    AUTO(close_file) FILE *file = fopen(path, "re");
    if (!file || !fgets(backing, sizeof(backing), file))
        return false; // nothing is attached
    backing[strcspn(backing, "\n")] = '\0';
    return place_is_same(place, backing);
}

static int check_loops(const struct place *place, const struct subject *subject, struct error *err)
{
    static const char path[] = "/sys/block";
    AUTO(close_folder) DIR *folder = NULL;
    int rc = open_folder(path, &folder, err);
    const char *name;
    while (rc == 0 && (name = next_name(folder, path, &rc, err)) != NULL) {
        if (strncmp(name, "loop", 4) != 0)
            continue;
        if (loop_uses(name, place))
            rc = busy(subject, "is attached to /dev/", name, err);
    }
    return rc;
}

// Asks for no more than type and numbers and takes them from the cache: an open file may lie on a
// server that hangs, or on our own mount.
static bool is_open_here(int folder, const char *name, const struct place *place)
{
    struct statx stx;
    if (statx(folder, name, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &stx) < 0)
        return false;
    if (place->is_block)
        return S_ISBLK(stx.stx_mode) &&
               makedev(stx.stx_rdev_major, stx.stx_rdev_minor) == place->rdev;
    return stx.stx_ino == place->ino && makedev(stx.stx_dev_major, stx.stx_dev_minor) == place->dev;
}

// fdinfo gives open(2)'s flags in octal.
static bool is_for_writing(const char *pid, const char *fd)
{
    char path[PATH_MAX];
    char line[128];
    unsigned flags = 0;
    snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, fd);
    AUTO(close_file) FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "flags: %o", &flags) == 1)
            return !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY;
    }
    return false;
}

static int busy_process(const struct subject *subject, const char *pid, struct error *err)
{
    char path[PATH_MAX];
    char comm[64] = "";
    char where[160];
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    AUTO(close_file) FILE *file = fopen(path, "re");
    if (file && fgets(comm, sizeof(comm), file))
        comm[strcspn(comm, "\n")] = '\0';
    snprintf(where, sizeof(where), "%.32s (%s)", pid, comm);
    return busy(subject, "is open for writing by process ", where, err);
}

// Processes come and go, and others' files may be hidden from us: what cannot be looked at is
// passed over, as the contract says.
static int check_process(const struct place *place, const struct subject *subject, const char *pid,
                         struct error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    AUTO(close_folder) DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL) {
        if (is_open_here(dirfd(folder), entry->d_name, place) && is_for_writing(pid, entry->d_name))
            return busy_process(subject, pid, err);
    }
    return 0;
}

static int check_processes(const struct place *place, const struct subject *subject,
                           struct error *err)
{
    static const char path[] = "/proc";
    AUTO(close_folder) DIR *folder = NULL;
    int rc = open_folder(path, &folder, err);
    const char *name;
    while (rc == 0 && (name = next_name(folder, path, &rc, err)) != NULL) {
        bool is_number = name[strspn(name, "0123456789")] == '\0';
        if (is_number && strtol(name, NULL, 10) != getpid())
            rc = check_process(place, subject, name, err);
    }
    return rc;
}

int in_use_check(const struct place *place, const char *path, struct error *err)
{
    const struct subject subject = {.rdev = place->rdev, .path = path};
    int rc = place->is_block ? check_device(&subject, err) : check_swap(&subject, place, err);
    if (rc == 0 && place->is_block)
        rc = check_partitions(place, path, err);
    if (rc == 0)
        rc = check_loops(place, &subject, err);
    if (rc == 0)
        rc = check_processes(place, &subject, err);
    return rc;
}

// No locks on this file system, so nobody can hold one.
static bool knows_no_locks(int code)
{
    return code == ENOLCK || code == EOPNOTSUPP || code == ENOSYS;
}

static int busy_lock(const char *path, pid_t holder, struct error *err)
{
    // The holder of an open file description's lock, as QEMU's, is not told.
    if (holder > 0)
        return error_set(err, -EBUSY, "%s is in use: process %d holds a lock on it", path,
                         (int)holder);
    return error_set(err, -EBUSY, "%s is in use: another process holds a lock on it", path);
}

static int check_flock(int fd, const char *path, struct error *err)
{
    int rc;
    do {
        rc = flock(fd, LOCK_EX | LOCK_NB);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0 && errno == EWOULDBLOCK)
        return busy_lock(path, 0, err);
    if (rc < 0)
        return knows_no_locks(errno) ? 0 : error_set_errno(err, -errno, "cannot lock %s", path);
    // Not kept: a file system that makes record locks of flock would lock us out ourselves.
    if (flock(fd, LOCK_UN) < 0)
        return error_set_errno(err, -errno, "cannot unlock %s", path);
    return 0;
}

int in_use_check_locks(int fd, bool is_block, const char *path, struct error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0) {
        if (!knows_no_locks(errno))
            return error_set_errno(err, -errno, "cannot ask for locks on %s", path);
    } else if (lock.l_type != F_UNLCK) {
        return busy_lock(path, lock.l_pid, err);
    }
    // udev keeps a flock on any device while it looks at it.
    return is_block ? 0 : check_flock(fd, path, err);
}

int in_use_lock(int fd, const char *path, struct error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0 || knows_no_locks(errno))
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return busy_lock(path, 0, err);
    return error_set_errno(err, -errno, "cannot lock %s", path);
}
