// SPDX-License-Identifier: MIT
//
// Waiting for jobs; see live.h.
#include "fs/tree/live.h"

#include "base/log.h"
#include "fs/tree/tree_state.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct live_poll {
    struct fuse_pollhandle *handle;
    struct live_poll *next;
};

struct live_wait {
    struct tree *tree;
    fuse_req_t req;
    int64_t job_id;
    size_t size;
    off_t offset;
    // guarded by live.lock
    bool listed;
    bool interrupted; // before it was listed
    struct live_wait *prev, *next;
};

void live_init(struct live *live)
{
    pthread_mutex_init(&live->lock, NULL);
}

void live_deinit(struct live *live)
{
    pthread_mutex_destroy(&live->lock);
}

// --- files that can be polled

static void poll_free(struct live_poll *poll)
{
    if (!poll)
        return;
    fuse_pollhandle_destroy(poll->handle);
    free(poll);
}

void live_file_add(struct tree *tree, struct live_file *file, struct node node)
{
    *file = (struct live_file){.node = node, .unread = true};
    pthread_mutex_lock(&tree->live.lock);
    DL_APPEND(tree->live.files, file);
    pthread_mutex_unlock(&tree->live.lock);
}

void live_file_remove(struct tree *tree, struct live_file *file)
{
    pthread_mutex_lock(&tree->live.lock);
    DL_DELETE(tree->live.files, file);
    pthread_mutex_unlock(&tree->live.lock);
    poll_free(file->poll);
}

void live_file_mark_read(struct tree *tree, struct live_file *file)
{
    pthread_mutex_lock(&tree->live.lock);
    file->unread = false;
    pthread_mutex_unlock(&tree->live.lock);
}

// The job's state by its committed record. A record that cannot be read is told as ended: a waiter
// must not wait for what can no longer be known.
static int job_state_now(struct tree *tree, int64_t job_id, enum job_state *ret_state,
                         struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct job_row row;

    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    r = job_get(conn, job_id, &row, err);
    if (r < 0)
        return r;
    *ret_state = row.state;
    return 0;
}

static bool is_readable(struct tree *tree, struct live_file *file)
{
    enum job_state state;

    if (file->node.kind == NODE_JOB_WAIT)
        return job_state_now(tree, file->node.id, &state, NULL) < 0 || job_state_is_ended(state);
    pthread_mutex_lock(&tree->live.lock);
    bool unread = file->unread;
    pthread_mutex_unlock(&tree->live.lock);
    return unread;
}

void live_file_poll(struct tree *tree, fuse_req_t req, struct live_file *file,
                    struct fuse_pollhandle *poll_handle)
{
    if (poll_handle) {
        struct live_poll *poll = malloc(sizeof(*poll)), *old;
        if (!poll) {
            fuse_pollhandle_destroy(poll_handle);
            fuse_reply_err(req, ENOMEM);
            return;
        }
        *poll = (struct live_poll){.handle = poll_handle};
        pthread_mutex_lock(&tree->live.lock);
        old = file->poll;
        file->poll = poll;
        pthread_mutex_unlock(&tree->live.lock);
        poll_free(old);
    }
    // Only now: what happens after this look is notified.
    fuse_reply_poll(req, is_readable(tree, file) ? POLLIN | POLLRDNORM : 0);
}

static bool concerns(const struct live_file *file, enum engine_event event, int64_t job_id)
{
    if (file->node.id != job_id)
        return false;
    switch (file->node.kind) {
    case NODE_JOB_STATE:
    case NODE_JOB_WAIT:
        return event == ENGINE_JOB_STATE;
    default:
        return true; // progress and log move on both
    }
}

static void notify_files(struct live *live, enum engine_event event, int64_t job_id)
{
    struct live_poll *due = NULL, *poll, *next;
    struct live_file *file;

    pthread_mutex_lock(&live->lock);
    DL_FOREACH(live->files, file)
    {
        if (!concerns(file, event, job_id))
            continue;
        file->unread = true;
        poll = TAKE(file->poll, NULL);
        if (poll)
            LL_PREPEND(due, poll);
    }
    pthread_mutex_unlock(&live->lock);

    LL_FOREACH_SAFE(due, poll, next)
    {
        fuse_lowlevel_notify_poll(poll->handle);
        poll_free(poll);
    }
}

// --- blocked reads of `wait`

static void reply_state(fuse_req_t req, enum job_state state, size_t size, off_t offset)
{
    char text[32];
    size_t len = (size_t)snprintf(text, sizeof(text), "%s\n", job_state_to_word(state));
    size_t from = offset < 0 || (size_t)offset > len ? len : (size_t)offset;
    fuse_reply_buf(req, text + from, len - from < size ? len - from : size);
}

// Called by libfuse with the request's own lock held, so that the request cannot go away
// meanwhile.
static void on_interrupt(fuse_req_t req, void *data)
{
    struct live_wait *wait = data;
    struct live *live = &wait->tree->live;

    pthread_mutex_lock(&live->lock);
    bool mine = wait->listed;
    if (mine) {
        DL_DELETE(live->waits, wait);
        wait->listed = false;
    } else {
        wait->interrupted = true;
    }
    pthread_mutex_unlock(&live->lock);
    // Not listed: live_wait_read() has not got so far and will see the mark, or answer_wait() has
    // taken it and waits for us to leave.
    if (mine) {
        fuse_reply_err(req, EINTR);
        free(wait);
    }
}

// Ends a wait that was taken off the list (or never put there). error 0: with `state`.
static void answer_wait(struct live_wait *wait, int error, enum job_state state)
{
    // Waits for an on_interrupt() under way; none comes after this.
    fuse_req_interrupt_func(wait->req, NULL, NULL);
    if (error)
        fuse_reply_err(wait->req, error);
    else
        reply_state(wait->req, state, wait->size, wait->offset);
    free(wait);
}

// Takes the waits of a job off the list; job_id 0 = all.
static struct live_wait *take_waits(struct live *live, int64_t job_id)
{
    struct live_wait *taken = NULL, *wait, *next;

    pthread_mutex_lock(&live->lock);
    DL_FOREACH_SAFE(live->waits, wait, next)
    {
        if (job_id != 0 && wait->job_id != job_id)
            continue;
        DL_DELETE(live->waits, wait);
        wait->listed = false;
        DL_APPEND(taken, wait);
    }
    pthread_mutex_unlock(&live->lock);
    return taken;
}

static bool has_waits(struct live *live, int64_t job_id)
{
    struct live_wait *wait;

    pthread_mutex_lock(&live->lock);
    DL_SEARCH_SCALAR(live->waits, wait, job_id, job_id);
    pthread_mutex_unlock(&live->lock);
    return wait != NULL;
}

// Answers the waits of a job if it has ended.
static void settle_waits(struct tree *tree, int64_t job_id)
{
    struct error err = ERROR_INIT;
    enum job_state state = JOB_STATE_UNKNOWN;
    struct live_wait *taken, *wait, *next;

    if (!has_waits(&tree->live, job_id))
        return;
    int r = job_state_now(tree, job_id, &state, &err);
    if (r == 0 && !job_state_is_ended(state))
        return;
    if (r < 0)
        log_error("jobs/%lld/wait: %s", (long long)job_id, error_message(&err));
    taken = take_waits(&tree->live, job_id);
    DL_FOREACH_SAFE(taken, wait, next)
    answer_wait(wait, r < 0 ? refusal_errno(r) : 0, state);
}

// Puts the request in the list. 0, or the errno to answer with instead.
static int enlist(struct live *live, struct live_wait *wait)
{
    int error = 0;

    // Before it is listed: once it is, anybody may answer and free it.
    fuse_req_interrupt_func(wait->req, on_interrupt, wait);
    pthread_mutex_lock(&live->lock);
    if (live->closed) {
        error = ENODEV;
    } else if (wait->interrupted) {
        error = EINTR;
    } else {
        DL_APPEND(live->waits, wait);
        wait->listed = true;
    }
    pthread_mutex_unlock(&live->lock);
    return error;
}

void live_wait_read(struct tree *tree, fuse_req_t req, int64_t job_id, size_t size, off_t offset,
                    bool nonblock)
{
    struct error err = ERROR_INIT;
    enum job_state state;

    int r = job_state_now(tree, job_id, &state, &err);
    if (r < 0) {
        fuse_reply_err(req, refusal_errno(r));
        return;
    }
    if (job_state_is_ended(state)) {
        reply_state(req, state, size, offset);
        return;
    }
    struct live_wait *wait = nonblock ? NULL : malloc(sizeof(*wait));
    if (!wait) {
        fuse_reply_err(req, nonblock ? EAGAIN : ENOMEM);
        return;
    }
    *wait = (struct live_wait){
        .tree = tree, .req = req, .job_id = job_id, .size = size, .offset = offset};
    int error = enlist(&tree->live, wait);
    if (error)
        answer_wait(wait, error, state);
    else
        settle_waits(tree, job_id); // it may have ended between the look and the list
}

void live_event(enum engine_event event, int64_t job_id, void *arg)
{
    struct tree *tree = arg;

    if (event != ENGINE_JOB_STATE && event != ENGINE_JOB_PROGRESS)
        return;
    if (event == ENGINE_JOB_STATE) {
        kernel_cache_job_changed(tree, job_id); // before a waiter looks
        settle_waits(tree, job_id);
    }
    notify_files(&tree->live, event, job_id);
}

void live_close(struct tree *tree)
{
    struct live_wait *taken, *wait, *next;

    pthread_mutex_lock(&tree->live.lock);
    tree->live.closed = true;
    pthread_mutex_unlock(&tree->live.lock);
    taken = take_waits(&tree->live, 0);
    DL_FOREACH_SAFE(taken, wait, next)
    answer_wait(wait, ENODEV, JOB_STATE_UNKNOWN);
}
