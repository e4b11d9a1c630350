// SPDX-License-Identifier: MIT
//
// The watcher thread; see watcher.h.
#include "fs/tree/watcher.h"

#include "base/log.h"
#include "fs/tree/daemon.h"
#include "fs/tree/mount_point.h"
#include "fs/tree/tree_state.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

// Interrupts the wait in fuse_session_loop_mt(); nothing else is behind it.
#define WAKE_SIGNAL SIGUSR1
#define WAKE_INTERVAL_MS 20

// With the kernel's 128 KiB a sequential reader gets a third of what it gets with this.
#define READ_AHEAD_KB "4096"

static void on_wake(int number)
{
    (void)number;
}

static void end_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGTERM);
    sigaddset(ret_set, SIGINT);
    sigaddset(ret_set, SIGHUP);
}

void watcher_block_signals(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, wake = {.sa_handler = on_wake};
    sigset_t set;

    end_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(WAKE_SIGNAL, &wake, NULL); // no SA_RESTART: it is to interrupt
}

// --- the mount answers

// Only root may; the kernel resets it while it processes INIT, so not before that.
static void set_read_ahead(dev_t dev)
{
    char path[80];
    snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(dev), minor(dev));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, READ_AHEAD_KB, sizeof(READ_AHEAD_KB) - 1) < 0)
        log_debug("cannot set %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void prove(struct watcher *watcher)
{
    struct statfs st;
    char sentence[PATH_MAX + 80];

    if (statfs(watcher->mountpoint, &st) == 0 && st.f_type == FUSE_SUPER_MAGIC) {
        set_read_ahead(watcher->dev);
        daemon_report(watcher->report_fd, 0, NULL);
        log_info("mounted on %s", watcher->mountpoint);
        return;
    }
    // One that was taken away at once was there, and is nobody's error.
    bool gone = !mount_point_has_device(watcher->dev);
    snprintf(sentence, sizeof(sentence), "the mount on %s %s", watcher->mountpoint,
             gone ? "was taken away at once" : "does not answer");
    daemon_report(watcher->report_fd, -EIO, sentence);
    log_message(gone ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "%s", sentence);
}

// --- the end

static bool is_stopped(const struct watcher *watcher, int timeout_ms)
{
    struct pollfd fd = {.fd = watcher->stop_fd, .events = POLLIN};
    return poll(&fd, 1, timeout_ms) > 0;
}

// Ends the loop, for as long as it takes to have done so: a wake-up that comes between the loop's
// look at its flag and its sleep would be lost.
static void end_loop(struct watcher *watcher)
{
    atomic_store(&watcher->signalled, true);
    atomic_store(&watcher->tree->closing, true);
    live_close(watcher->tree);
    do {
        fuse_session_exit(watcher->session);
        pthread_kill(watcher->loop_thread, WAKE_SIGNAL);
    } while (!is_stopped(watcher, WAKE_INTERVAL_MS));
}

// The kernel tells of every change of its mount table, not of which.
static void look_at_mounts(struct watcher *watcher)
{
    if (atomic_load(&watcher->detached) || mount_point_has_device(watcher->dev))
        return;
    // Those who have files open may read on; those who wait for a job are sent home, or they would
    // keep the repository locked until it ends.
    atomic_store(&watcher->detached, true);
    live_close(watcher->tree);
}

static void watch(struct watcher *watcher, int signal_fd, int mounts_fd)
{
    struct pollfd fds[] = {{.fd = watcher->stop_fd, .events = POLLIN},
                           {.fd = signal_fd, .events = POLLIN},
                           {.fd = mounts_fd, .events = POLLPRI},
                           {.fd = watcher->tree->kernel_cache.wake_fd, .events = POLLIN}};

    for (;;) {
        if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0)
            continue;
        if (fds[0].revents)
            return;
        if (fds[1].revents) {
            log_info("ended by a signal");
            end_loop(watcher);
            return;
        }
        if (fds[2].revents)
            look_at_mounts(watcher);
        if (fds[3].revents)
            kernel_cache_drop_names(watcher->tree);
    }
}

static void *watcher_main(void *arg)
{
    struct watcher *watcher = arg;
    sigset_t set;

    end_signals(&set);
    int signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    int mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    prove(watcher);
    look_at_mounts(watcher); // what happened before the table was open
    watch(watcher, signal_fd, mounts_fd);
    if (signal_fd >= 0)
        close(signal_fd);
    if (mounts_fd >= 0)
        close(mounts_fd);
    return NULL;
}

int watcher_start(struct watcher *watcher, struct error *err)
{
    atomic_init(&watcher->detached, false);
    atomic_init(&watcher->signalled, false);
    watcher->loop_thread = pthread_self();
    watcher->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (watcher->stop_fd < 0)
        return error_set_errno(err, -errno, "cannot make an event descriptor");
    int r = pthread_create(&watcher->thread, NULL, watcher_main, watcher);
    if (r != 0) {
        close(watcher->stop_fd);
        return error_set_errno(err, -r, "cannot start a thread");
    }
    return 0;
}

void watcher_stop(struct watcher *watcher)
{
    eventfd_write(watcher->stop_fd, 1);
    pthread_join(watcher->thread, NULL);
    close(watcher->stop_fd);
}
