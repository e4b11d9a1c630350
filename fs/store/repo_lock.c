// SPDX-License-Identifier: MIT
//
// The lock is the kernel's; this file takes it and keeps the text beside it. The text is written
// after the lock was taken, so a reader may find it empty, half written, or left over from an owner
// that crashed: whatever cannot be read is "unknown".
//
// repo_lock_inspect() learns whether there is an owner by trying for a shared lock, which is the
// one way that works on every file system and across pid namespaces (/proc/locks does neither). It
// holds that for an instant, in which an owner that starts would be refused; so
// repo_lock_acquire() tries for a tenth of a second before it says "busy".
#include "fs/store/repo_lock.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#define TRIES 20
#define TRY_INTERVAL_NS 5000000L
#define TEXT_SIZE_MAX (8 * PATH_MAX)

static int lock_open(const char *repo_dir, int flags, char **ret_path, struct error *err)
{
    char *path;
    int fd;

    if (asprintf(&path, "%s/lock", repo_dir) < 0)
        return error_set(err, -ENOMEM, "out of memory for a path");
    fd = io_openat(AT_FDCWD, path, flags | O_NOFOLLOW, 0600);
    *ret_path = path;
    return fd < 0 ? -errno : fd;
}

// 1 when the lock was taken, 0 when another has it.
static int try_lock(int fd, int operation, const char *path, struct error *err)
{
    while (flock(fd, operation | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return 0;
        if (errno != EINTR)
            return error_set_errno(err, -errno, "cannot lock %s", path);
    }
    return 1;
}

// --- the text

// A mountpoint may hold any byte but NUL: control characters and backslashes are written as in
// /proc/mounts, as a backslash and three octal digits, so that a line stays a line.
static void write_escaped(FILE *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p < ' ' || *p == 0x7f || *p == '\\')
            fprintf(out, "\\%03o", *p);
        else
            fputc(*p, out);
    }
}

static bool is_octal(const char *p)
{
    return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' && p[2] <= '7';
}

static void unescape(const char *from, char *out, size_t size)
{
    size_t n = 0;

    while (*from && n + 1 < size) {
        if (*from == '\\' && is_octal(from + 1)) {
            out[n++] = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            out[n++] = *from++;
        }
    }
    out[n] = '\0';
}

static void parse_line(const char *line, struct repo_lock_owner *owner)
{
    static const char pid[] = "pid ", command[] = "command ", mountpoint[] = "mountpoint ";
    char *end;

    if (strncmp(line, pid, sizeof(pid) - 1) == 0) {
        long value = strtol(line + sizeof(pid) - 1, &end, 10);

        if (*end == '\0' && value > 0 && value <= INT_MAX)
            owner->pid = (pid_t)value;
    } else if (strncmp(line, command, sizeof(command) - 1) == 0) {
        unescape(line + sizeof(command) - 1, owner->command, sizeof(owner->command));
    } else if (strncmp(line, mountpoint, sizeof(mountpoint) - 1) == 0) {
        unescape(line + sizeof(mountpoint) - 1, owner->mountpoint, sizeof(owner->mountpoint));
    }
}

// Only lines that end in a newline count: the last one may still be being written.
static int read_owner(int fd, const char *path, struct repo_lock_owner *ret_owner,
                      struct error *err)
{
    struct repo_lock_owner owner = {0};
    AUTO_FREE char *text = malloc(TEXT_SIZE_MAX + 1);
    ssize_t n;

    if (!text)
        return error_set(err, -ENOMEM, "out of memory to read %s", path);
    n = io_read_up_to(fd, text, TEXT_SIZE_MAX, 0, path, err);
    if (n < 0)
        return (int)n;
    text[n] = '\0';
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        parse_line(line, &owner);
    }
    *ret_owner = owner;
    return 0;
}

static int write_owner(int fd, const char *command, const char *mountpoint, const char *path,
                       struct error *err)
{
    AUTO(text_discard) struct text text = {0};
    FILE *out = text_begin(&text);

    if (!out)
        return error_set(err, -ENOMEM, "out of memory to write %s", path);
    fprintf(out, "pid %ld\ncommand ", (long)getpid());
    write_escaped(out, command);
    if (mountpoint) {
        fputs("\nmountpoint ", out);
        write_escaped(out, mountpoint);
    }
    fputc('\n', out);
    if (!text_end(&text))
        return error_set(err, -ENOMEM, "out of memory to write %s", path);
    if (ftruncate(fd, 0) < 0)
        return error_set_errno(err, -errno, "cannot empty %s", path);
    return io_write_at(fd, text.data, text.len, 0, path, err);
}

int repo_lock_describe(int fd, const char *command, const char *mountpoint, struct error *err)
{
    return write_owner(fd, command, mountpoint, "the repository's lock file", err);
}

// --- the lock

static int refuse_busy(int fd, const char *path, struct repo_lock_owner *ret_owner,
                       struct error *err)
{
    struct repo_lock_owner owner = {0};
    char text[64] = "another process";
    int r = read_owner(fd, path, &owner, err);

    if (r < 0)
        return r;
    if (ret_owner)
        *ret_owner = owner;
    if (owner.pid)
        snprintf(text, sizeof(text), "pid %ld", (long)owner.pid);
    if (owner.mountpoint[0])
        return error_set(err, -EBUSY, "busy, owned by %s (mounted at %s)", text, owner.mountpoint);
    if (owner.command[0])
        return error_set(err, -EBUSY, "busy, owned by %s (%s)", text, owner.command);
    return error_set(err, -EBUSY, "busy, owned by %s", text);
}

int repo_lock_acquire(const char *repo_dir, const char *command, const char *mountpoint,
                      int *ret_fd, struct repo_lock_owner *ret_owner, struct error *err)
{
    const struct timespec interval = {.tv_nsec = TRY_INTERVAL_NS};
    AUTO_FREE char *path = NULL;
    AUTO_CLOSE int fd = lock_open(repo_dir, O_RDWR | O_CREAT, &path, err);
    int r = 0;

    if (fd < 0)
        return error_set_errno(err, fd, "cannot open %s", path ? path : repo_dir);
    for (int i = 0; i < TRIES && r == 0; i++) {
        if (i > 0)
            nanosleep(&interval, NULL);
        r = try_lock(fd, LOCK_EX, path, err);
    }
    if (r == 0)
        return refuse_busy(fd, path, ret_owner, err);
    if (r < 0)
        return r;
    r = write_owner(fd, command, mountpoint, path, err);
    if (r < 0)
        return r;
    *ret_fd = TAKE(fd, -1);
    return 0;
}

void repo_lock_release(int fd)
{
    if (fd < 0)
        return;
    // What is left behind when this fails is text that nobody believes without the lock.
    while (ftruncate(fd, 0) < 0 && errno == EINTR)
        ;
    close(fd);
}

int repo_lock_inspect(const char *repo_dir, bool *ret_owned, struct repo_lock_owner *ret_owner,
                      struct error *err)
{
    struct repo_lock_owner owner = {0};
    AUTO_FREE char *path = NULL;
    AUTO_CLOSE int fd = lock_open(repo_dir, O_RDONLY, &path, err);
    int r;

    if (fd == -ENOENT) { // never owned so far
        *ret_owned = false;
        if (ret_owner)
            *ret_owner = owner;
        return 0;
    }
    if (fd < 0)
        return error_set_errno(err, fd, "cannot open %s", path ? path : repo_dir);
    r = try_lock(fd, LOCK_SH, path, err);
    if (r < 0)
        return r;
    if (r == 0) {
        int read = read_owner(fd, path, &owner, err);

        if (read < 0)
            return read;
    }
    *ret_owned = r == 0;
    if (ret_owner)
        *ret_owner = owner;
    return 0;
}
