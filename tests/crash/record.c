// SPDX-License-Identifier: MIT
//
// A library for LD_PRELOAD that writes every operation on files below BACKTREE_RECORD_ROOT to the
// log BACKTREE_RECORD_LOG (record_format.h), in one total order: a lock is held over the operation
// and its record, so what the log has before a record had been done before it, and a sync is there
// when it has returned. Each operation is made by the system call itself.
//
// Files are told apart by inode, so what is written through a descriptor follows the file through
// renames; a file of the root is one that was opened below it. Not followed: writes through a
// mapping (of the catalog's -shm file, which is made anew by whoever opens the catalog first,
// nothing is kept; any other is told as RECORD_OUTSIDE) and calls that are not here. That nothing
// was missed is not believed: the test replays the whole log and compares every byte with the real
// tree.
//
// BACKTREE_RECORD_BLIND=CALL (rename, pwrite, …) does not record that call: the comparison must
// then fail.
// Both names of a call are here, the plain one and the one for large files.
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE

#include "tests/crash/record_format.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))
#define SEEN_MAX 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_len;
static dev_t root_dev;
static const char *blind = "";
static int log_fd = -1;

static uint64_t seen[SEEN_MAX]; // inodes that were opened below the root
static size_t seen_count;

static void put(struct record_head head, const char *name, const char *name2, const void *data)
{
    struct iovec parts[4] = {{&head, sizeof(head)}};
    size_t total = sizeof(head);

    head.name_len = name ? (uint32_t)strlen(name) : 0;
    head.name2_len = name2 ? (uint32_t)strlen(name2) : 0;
    parts[1] = (struct iovec){(void *)(uintptr_t)name, head.name_len};
    parts[2] = (struct iovec){(void *)(uintptr_t)name2, head.name2_len};
    parts[3] = (struct iovec){(void *)(uintptr_t)data, data ? head.len : 0};
    for (int i = 1; i < 4; i++)
        total += parts[i].iov_len;
    if (syscall(SYS_writev, log_fd, parts, 4) != (long)total) {
        static const char text[] = "record: cannot write the log\n";

        syscall(SYS_write, 2, text, sizeof(text) - 1);
        _exit(121);
    }
}

static void put_outside(const char *what)
{
    put((struct record_head){.op = RECORD_OUTSIDE}, what, NULL, NULL);
}

__attribute__((constructor)) static void start(void)
{
    const char *dir = getenv("BACKTREE_RECORD_ROOT"), *log = getenv("BACKTREE_RECORD_LOG");
    struct stat st;

    if (!dir || !log || !realpath(dir, root) || stat(root, &st) < 0)
        return;
    if (getenv("BACKTREE_RECORD_BLIND"))
        blind = getenv("BACKTREE_RECORD_BLIND");
    root_len = strlen(root);
    root_dev = st.st_dev;
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
    if (log_fd >= 0)
        put((struct record_head){.op = RECORD_ROOT, .inode = st.st_ino}, NULL, NULL, NULL);
}

// Takes the lock when `call` is to be recorded.
static bool enter(const char *call)
{
    if (log_fd < 0 || strcmp(blind, call) == 0)
        return false;
    pthread_mutex_lock(&lock);
    return true;
}

static void leave(bool entered)
{
    int saved = errno;

    if (entered)
        pthread_mutex_unlock(&lock);
    errno = saved;
}

// What follows the root in an absolute path, NULL when it is elsewhere.
static const char *below_root(const char *path)
{
    if (strncmp(path, root, root_len) != 0 || (path[root_len] != '/' && path[root_len] != '\0'))
        return NULL;
    return path[root_len] == '/' ? path + root_len + 1 : path + root_len;
}

static bool path_of_fd(int fd, char path[PATH_MAX])
{
    char link[64];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = '\0';
    return n > 0;
}

// The name below the root that (dir_fd, path) stands for, its folder resolved and its last part
// not; NULL when it is elsewhere.
static const char *name_below(int dir_fd, const char *path, char full[PATH_MAX])
{
    char folder[PATH_MAX], given[PATH_MAX];
    const char *slash;

    if (path[0] == '/' || dir_fd == AT_FDCWD)
        snprintf(given, sizeof(given), "%s%s", path[0] == '/' ? "" : "./", path);
    else if (!path_of_fd(dir_fd, folder) ||
             snprintf(given, sizeof(given), "%s/%s", folder, path) >= (int)sizeof(given))
        return NULL;
    slash = strrchr(given, '/');
    snprintf(folder, sizeof(folder), "%.*s", (int)(slash - given + 1), given);
    if (!realpath(folder, full) || strlen(full) + strlen(slash) >= PATH_MAX)
        return NULL;
    strcat(full, slash);
    return below_root(full);
}

static size_t seen_at(uint64_t inode)
{
    size_t at = 0;

    while (at < seen_count && seen[at] != inode)
        at++;
    return at;
}

// Is the descriptor a file or folder of the root?
static bool is_ours(int fd, struct stat *st)
{
    return fstat(fd, st) == 0 && st->st_dev == root_dev &&
           (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) && seen_at(st->st_ino) < seen_count;
}

static void see(uint64_t inode)
{
    if (seen_at(inode) < seen_count)
        return;
    if (seen_count == SEEN_MAX)
        put_outside("more files than the recorder has room for");
    else
        seen[seen_count++] = inode;
}

// A number that a file elsewhere has got since.
static void unsee(const struct stat *st)
{
    size_t at = st->st_dev == root_dev ? seen_at(st->st_ino) : seen_count;

    if (at < seen_count)
        seen[at] = seen[--seen_count];
}

// --- opening

// With `before`, the name was there when the call was made.
static void opened(int fd, int flags, bool before)
{
    char path[PATH_MAX];
    struct stat st;
    const char *name;
    bool nameless = (flags & O_TMPFILE) == O_TMPFILE;

    if (!path_of_fd(fd, path) || fstat(fd, &st) < 0)
        return;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return;
    name = below_root(path);
    if (!name) {
        unsee(&st);
        return;
    }
    see(st.st_ino);
    if (nameless || ((flags & O_CREAT) && !before))
        put((struct record_head){.op = RECORD_CREATE, .inode = st.st_ino}, nameless ? "" : name,
            NULL, NULL);
    else if (flags & O_TRUNC)
        put((struct record_head){.op = RECORD_TRUNCATE, .inode = st.st_ino}, NULL, NULL, NULL);
}

static int open_at(int dir_fd, const char *path, int flags, mode_t mode)
{
    bool entered = enter("open");
    struct stat st;
    bool before = entered && (flags & O_CREAT) && fstatat(dir_fd, path, &st, 0) == 0;
    int fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);

    if (entered && fd >= 0)
        opened(fd, flags, before);
    leave(entered);
    return fd;
}

static mode_t mode_of(int flags, va_list *args)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(*args, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
    PUBLIC int name(const char *path, int flags, ...);                                             \
    PUBLIC int name(const char *path, int flags, ...)                                              \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = mode_of(flags, &args);                                                       \
        va_end(args);                                                                              \
        return open_at(AT_FDCWD, path, flags, mode);                                               \
    }
OPEN(open)
OPEN(open64)
OPEN(__open_2)
OPEN(__open64_2)

#define OPENAT(name)                                                                               \
    PUBLIC int name(int dir_fd, const char *path, int flags, ...);                                 \
    PUBLIC int name(int dir_fd, const char *path, int flags, ...)                                  \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = mode_of(flags, &args);                                                       \
        va_end(args);                                                                              \
        return open_at(dir_fd, path, flags, mode);                                                 \
    }
OPENAT(openat)
OPENAT(openat64)
OPENAT(__openat_2)
OPENAT(__openat64_2)

#define CREAT(name)                                                                                \
    PUBLIC int name(const char *path, mode_t mode);                                                \
    PUBLIC int name(const char *path, mode_t mode)                                                 \
    {                                                                                              \
        return open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);                        \
    }
CREAT(creat)
CREAT(creat64)

// --- content

static void wrote(int fd, const void *data, ssize_t n, off_t offset)
{
    struct stat st;

    if (n > 0 && is_ours(fd, &st))
        put((struct record_head){.op = RECORD_WRITE,
                                 .inode = st.st_ino,
                                 .offset = (uint64_t)offset,
                                 .len = (uint64_t)n},
            NULL, NULL, data);
}

static void wrote_parts(int fd, const struct iovec *parts, ssize_t n, off_t offset)
{
    for (int i = 0; n > 0; i++) {
        ssize_t part = n < (ssize_t)parts[i].iov_len ? n : (ssize_t)parts[i].iov_len;

        wrote(fd, parts[i].iov_base, part, offset);
        offset += part;
        n -= part;
    }
}

PUBLIC ssize_t write(int fd, const void *data, size_t len)
{
    bool entered = enter("write");
    ssize_t n = syscall(SYS_write, fd, data, len);

    if (entered && n > 0)
        wrote(fd, data, n, lseek(fd, 0, SEEK_CUR) - n);
    leave(entered);
    return n;
}

PUBLIC ssize_t writev(int fd, const struct iovec *parts, int count)
{
    bool entered = enter("writev");
    ssize_t n = syscall(SYS_writev, fd, parts, count);

    if (entered && n > 0)
        wrote_parts(fd, parts, n, lseek(fd, 0, SEEK_CUR) - n);
    leave(entered);
    return n;
}

#define PWRITE(name)                                                                               \
    PUBLIC ssize_t name(int fd, const void *data, size_t len, off_t offset);                       \
    PUBLIC ssize_t name(int fd, const void *data, size_t len, off_t offset)                        \
    {                                                                                              \
        bool entered = enter("pwrite");                                                            \
        ssize_t n = syscall(SYS_pwrite64, fd, data, len, offset);                                  \
        if (entered)                                                                               \
            wrote(fd, data, n, offset);                                                            \
        leave(entered);                                                                            \
        return n;                                                                                  \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PWRITEV(name)                                                                              \
    PUBLIC ssize_t name(int fd, const struct iovec *parts, int count, off_t offset);               \
    PUBLIC ssize_t name(int fd, const struct iovec *parts, int count, off_t offset)                \
    {                                                                                              \
        bool entered = enter("pwritev");                                                           \
        ssize_t n = syscall(SYS_pwritev, fd, parts, count, offset, 0);                             \
        if (entered)                                                                               \
            wrote_parts(fd, parts, n, offset);                                                     \
        leave(entered);                                                                            \
        return n;                                                                                  \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define FTRUNCATE(name)                                                                            \
    PUBLIC int name(int fd, off_t len);                                                            \
    PUBLIC int name(int fd, off_t len)                                                             \
    {                                                                                              \
        bool entered = enter("ftruncate");                                                         \
        int r = (int)syscall(SYS_ftruncate, fd, len);                                              \
        struct stat st;                                                                            \
        if (entered && r == 0 && is_ours(fd, &st))                                                 \
            put((struct record_head){.op = RECORD_TRUNCATE,                                        \
                                     .inode = st.st_ino,                                           \
                                     .len = (uint64_t)len},                                        \
                NULL, NULL, NULL);                                                                 \
        leave(entered);                                                                            \
        return r;                                                                                  \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

// Space alone, without zeroing, changes no byte; the kept part of a file that grows reads as zeros.
static int allocate(int fd, int mode, off_t offset, off_t len)
{
    bool entered = enter("fallocate");
    struct stat before = {0}, st;
    bool zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    int r;

    if (entered)
        fstat(fd, &before);
    r = (int)syscall(SYS_fallocate, fd, mode, offset, len);
    if (entered && r == 0 && is_ours(fd, &st)) {
        if (mode & ~(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE))
            put_outside("fallocate of another mode");
        if (zeroes)
            put((struct record_head){.op = RECORD_ZERO,
                                     .flags = !(mode & FALLOC_FL_KEEP_SIZE),
                                     .inode = st.st_ino,
                                     .offset = (uint64_t)offset,
                                     .len = (uint64_t)len},
                NULL, NULL, NULL);
        else if (st.st_size > before.st_size)
            put((struct record_head){.op = RECORD_TRUNCATE,
                                     .inode = st.st_ino,
                                     .len = (uint64_t)st.st_size},
                NULL, NULL, NULL);
    }
    leave(entered);
    return r;
}

#define FALLOCATE(name)                                                                            \
    PUBLIC int name(int fd, int mode, off_t offset, off_t len);                                    \
    PUBLIC int name(int fd, int mode, off_t offset, off_t len)                                     \
    {                                                                                              \
        return allocate(fd, mode, offset, len);                                                    \
    }
FALLOCATE(fallocate)
FALLOCATE(fallocate64)

#define POSIX_FALLOCATE(name)                                                                      \
    PUBLIC int name(int fd, off_t offset, off_t len);                                              \
    PUBLIC int name(int fd, off_t offset, off_t len)                                               \
    {                                                                                              \
        int saved = errno;                                                                         \
        int r = allocate(fd, 0, offset, len) < 0 ? errno : 0;                                      \
        errno = saved;                                                                             \
        return r;                                                                                  \
    }
POSIX_FALLOCATE(posix_fallocate)
POSIX_FALLOCATE(posix_fallocate64)

#define MMAP(name)                                                                                 \
    PUBLIC void *name(void *at, size_t len, int prot, int flags, int fd, off_t offset);            \
    PUBLIC void *name(void *at, size_t len, int prot, int flags, int fd, off_t offset)             \
    {                                                                                              \
        char path[PATH_MAX];                                                                       \
        struct stat st;                                                                            \
        if (log_fd >= 0 && fd >= 0 && (prot & PROT_WRITE) && (flags & MAP_SHARED) &&               \
            is_ours(fd, &st) && path_of_fd(fd, path) && !strstr(path, "-shm"))                     \
            put_outside("a mapping that is written");                                              \
        return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);                        \
    }
MMAP(mmap)
MMAP(mmap64)

PUBLIC ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t len,
                               unsigned flags)
{
    struct stat st;

    if (log_fd >= 0 && is_ours(to, &st))
        put_outside("copy_file_range");
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, len, flags);
}

// --- names

static int rename_at(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    char full[PATH_MAX], full2[PATH_MAX];
    bool entered = enter("rename");
    const char *name = entered ? name_below(from_fd, from, full) : NULL;
    const char *name2 = entered ? name_below(to_fd, to, full2) : NULL;
    int r = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);

    if (r == 0 && name && name2 && !(flags & ~1u)) // RENAME_NOREPLACE is 1
        put((struct record_head){.op = RECORD_RENAME}, name, name2, NULL);
    else if (r == 0 && (name || name2))
        put_outside("a rename across the root, or an exchange");
    leave(entered);
    return r;
}

PUBLIC int rename(const char *from, const char *to)
{
    return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0);
}

PUBLIC int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return rename_at(from_fd, from, to_fd, to, 0);
}

PUBLIC int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    return rename_at(from_fd, from, to_fd, to, flags);
}

PUBLIC int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    char full[PATH_MAX];
    bool entered = enter("link");
    const char *name = entered ? name_below(to_fd, to, full) : NULL;
    int r = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
    struct stat st;

    if (r == 0 && name && lstat(full, &st) == 0)
        put((struct record_head){.op = RECORD_LINK, .inode = st.st_ino}, name, NULL, NULL);
    leave(entered);
    return r;
}

PUBLIC int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

PUBLIC int unlinkat(int dir_fd, const char *path, int flags)
{
    char full[PATH_MAX];
    bool entered = enter("unlink");
    const char *name = entered ? name_below(dir_fd, path, full) : NULL;
    int r = (int)syscall(SYS_unlinkat, dir_fd, path, flags);

    if (r == 0 && name)
        put((struct record_head){.op = flags & AT_REMOVEDIR ? RECORD_RMDIR : RECORD_UNLINK}, name,
            NULL, NULL);
    leave(entered);
    return r;
}

PUBLIC int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

PUBLIC int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

PUBLIC int mkdirat(int dir_fd, const char *path, mode_t mode)
{
    char full[PATH_MAX];
    bool entered = enter("mkdir");
    const char *name = entered ? name_below(dir_fd, path, full) : NULL;
    int r = (int)syscall(SYS_mkdirat, dir_fd, path, mode);
    struct stat st;

    if (r == 0 && name && lstat(full, &st) == 0) {
        see(st.st_ino);
        put((struct record_head){.op = RECORD_MKDIR, .inode = st.st_ino}, name, NULL, NULL);
    }
    leave(entered);
    return r;
}

PUBLIC int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

// --- syncs

static int sync_fd(long number, const char *call, int fd)
{
    bool entered = enter(call);
    int r = (int)syscall(number, fd);
    struct stat st;

    if (entered && r == 0 && is_ours(fd, &st))
        put((struct record_head){.op = RECORD_SYNC, .inode = st.st_ino}, NULL, NULL, NULL);
    leave(entered);
    return r;
}

PUBLIC int fsync(int fd)
{
    return sync_fd(SYS_fsync, "fsync", fd);
}

PUBLIC int fdatasync(int fd)
{
    return sync_fd(SYS_fdatasync, "fdatasync", fd);
}
