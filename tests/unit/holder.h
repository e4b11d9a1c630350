// SPDX-License-Identifier: MIT
//
// Another process that holds a file: a child that opens it, takes a lock or none, and lives until
// it is released. Uses cmocka's assertions.
#ifndef TESTS_UNIT_HOLDER_H
#define TESTS_UNIT_HOLDER_H

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

struct holder {
    pid_t pid;
    int told; // closing it ends the child
};

static inline struct holder hold(const char *path, int (*take)(int fd), int flags)
{
    int ready[2];
    int told[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(told), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(told[1]);
        int fd = open(path, flags);
        if (fd < 0 || take(fd) < 0 || write(ready[1], "r", 1) != 1)
            _exit(1);
        _exit(read(told[0], &byte, 1) < 0);
    }
    assert_true(pid > 0);
    close(ready[1]);
    close(told[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return (struct holder){pid, told[1]};
}

static inline void release(struct holder holder)
{
    int status;
    close(holder.told);
    assert_int_equal(waitpid(holder.pid, &status, 0), holder.pid);
    assert_int_equal(status, 0);
}

static inline int take_flock(int fd)
{
    return flock(fd, LOCK_SH);
}

// As QEMU does: shared locks on single bytes, on a descriptor that may be read-only.
static inline int take_ofd(int fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

static inline int take_posix(int fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
    return fcntl(fd, F_SETLK, &lock);
}

static inline int take_nothing(int fd)
{
    (void)fd;
    return 0;
}

#endif
