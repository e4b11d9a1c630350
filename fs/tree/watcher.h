// SPDX-License-Identifier: MIT
//
// The watcher: the one thread of a mounted tree that is neither libfuse's nor the engine's. It
// proves that the mount answers and says so, receives SIGTERM, SIGINT and SIGHUP and ends the FUSE
// loop, sees it when the mount was taken away lazily, so that no read of `wait` keeps a session
// alive that nobody can reach any more, and tells the kernel what handlers may not
// (kernel_cache.h).
#ifndef FS_TREE_WATCHER_H
#define FS_TREE_WATCHER_H

#include "base/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

struct tree;
struct fuse_session;

struct watcher {
    struct tree *tree;
    struct fuse_session *session;
    const char *mountpoint;
    int report_fd; // told by daemon_report() once the mount answers; -1 = nobody
    dev_t dev;     // of the mount
    pthread_t loop_thread;
    int stop_fd; // eventfd
    pthread_t thread;
    atomic_bool detached;  // the mount was taken away, perhaps while files are open in it
    atomic_bool signalled; // a signal ended the loop
};

// Blocks the signals in the calling thread, and so in all that it starts. Before any thread starts.
void watcher_block_signals(void);

// Starts the thread. The caller is about to enter the FUSE loop and sets every field up to dev.
int watcher_start(struct watcher *watcher, struct error *err);

// Ends it. The FUSE loop has ended.
void watcher_stop(struct watcher *watcher);

#endif
