// SPDX-License-Identifier: MIT
//
// Becoming a daemon; see daemon.h.
#include "fs/tree/daemon.h"

#include "base/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct report {
    int code;
    char sentence[ERROR_MESSAGE_MAX];
};

static ssize_t read_full(int fd, void *buf, size_t len)
{
    size_t used = 0;
    while (used < len) {
        ssize_t n = read(fd, (char *)buf + used, len - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    return (ssize_t)used;
}

static int await(int fd, struct error *err)
{
    struct report report;
    ssize_t n = read_full(fd, &report, sizeof(report));
    close(fd);
    if (n != (ssize_t)sizeof(report))
        return error_set(err, -EIO, "the daemon ended before the mount answered");
    report.sentence[sizeof(report.sentence) - 1] = '\0';
    return report.code < 0 ? error_set(err, report.code, "%s", report.sentence) : 0;
}

int daemon_fork(bool *ret_parent, int *ret_report_fd, struct error *err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_set_errno(err, -errno, "cannot make a pipe");
    pid_t pid = fork();
    if (pid < 0) {
        int r = error_set_errno(err, -errno, "cannot fork");
        close(fds[0]);
        close(fds[1]);
        return r;
    }
    if (pid > 0) {
        close(fds[1]);
        *ret_parent = true;
        int r = await(fds[0], err);
        if (r < 0)
            waitpid(pid, NULL, 0); // it is on its way out; the repository is free when we return
        return r;
    }
    close(fds[0]);
    setsid();
    *ret_parent = false;
    *ret_report_fd = fds[1];
    return 0;
}

void daemon_report(int report_fd, int code, const char *sentence)
{
    struct report report = {.code = code};

    if (report_fd < 0)
        return;
    strncpy(report.sentence, sentence ? sentence : "", sizeof(report.sentence) - 1);
    // Shorter than PIPE_BUF, so it is written whole. A parent that was killed need not know.
    if (write(report_fd, &report, sizeof(report)) < 0)
        log_debug("the starting process has gone");
    close(report_fd);
}

void daemon_detach(void)
{
    log_use_syslog(true);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        if (null > STDERR_FILENO)
            close(null);
    }
    if (chdir("/") < 0)
        log_warning("cannot leave the working folder: it cannot be unmounted while this runs");
}
