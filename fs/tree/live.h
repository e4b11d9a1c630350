// SPDX-License-Identifier: MIT
//
// What waits for a job: reads of jobs/N/wait that are not answered yet, and polls of state,
// progress, log and wait. A blocked read keeps its request and holds no thread.
//
// No event is lost: a waiter is in the list before the job is looked at, and the engine reports
// after it has committed, so whatever the look misses the event finds. A reader's file is marked as
// read before its text is made.
//
// Threads: the registry is used by handlers and by live_event() on the engine's thread, which holds
// no lock. Notifications and answers go out with `lock` not held, for libfuse calls back into
// on_interrupt() with locks of its own.
#ifndef FS_TREE_LIVE_H
#define FS_TREE_LIVE_H

#include "fs/job/engine.h"
#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

#include <pthread.h>
#include <stdbool.h>

struct live_poll; // a poll that waits for one notification
struct live_wait; // a read of `wait` that is not answered yet

// Embedded in the handle of every open NODE_LIVE file; guarded by live.lock.
struct live_file {
    struct node node;
    bool unread; // something has happened since the text was last made
    struct live_poll *poll;
    struct live_file *prev, *next;
};

struct live {
    pthread_mutex_t lock;
    // guarded by lock
    struct live_file *files;
    struct live_wait *waits;
    bool closed;
};

void live_init(struct live *live);
void live_deinit(struct live *live); // after live_close(), with no file left

void live_file_add(struct tree *tree, struct live_file *file, struct node node);
void live_file_remove(struct tree *tree, struct live_file *file);

// To be called before the text is made anew.
void live_file_mark_read(struct tree *tree, struct live_file *file);

// Answers a poll of a live file: `state`, `progress` and `log` are readable while this file has not
// read the newest, `wait` once its job has ended. Takes over `poll_handle` (may be NULL).
void live_file_poll(struct tree *tree, fuse_req_t req, struct live_file *file,
                    struct fuse_pollhandle *poll_handle);

// Answers a read of jobs/N/wait now or when the job ends: with its last state from `offset` on;
// with EAGAIN at once when it has not ended and `nonblock` is set; EINTR when the reader is
// interrupted; ENODEV when the mount goes away.
void live_wait_read(struct tree *tree, fuse_req_t req, int64_t job_id, size_t size, off_t offset,
                    bool nonblock);

// The engine's listener; `arg` is the tree.
void live_event(enum engine_event event, int64_t job_id, void *arg);

// Answers every waiting read with ENODEV, now and from now on.
void live_close(struct tree *tree);

#endif
