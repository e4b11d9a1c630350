// SPDX-License-Identifier: MIT
//
// One open-to-close, one command; see trigger.h.
#include "fs/tree/trigger.h"

#include "fs/tree/command.h"
#include "fs/tree/tree_state.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct trigger_file {
    struct handle handle;
    bool writable;
    pid_t pid, process; // who opened it: the thread, and the process it is of

    pthread_mutex_t text_lock;
    // guarded by text_lock
    char *text;
    off_t text_base; // where the reader began
    bool text_begun;

    // guarded by triggers.lock
    unsigned references;
    bool claimed; // its command was or is being carried out
    int result;   // of the command: 0 or the positive errno
    int64_t job_id;
    size_t len;
    struct trigger_file *prev, *next;
    char data[COMMAND_MAX]; // written only by the request that holds the lock or the claim
};

void triggers_init(struct triggers *triggers)
{
    pthread_mutex_init(&triggers->lock, NULL);
}

void triggers_deinit(struct triggers *triggers)
{
    pthread_mutex_destroy(&triggers->lock);
}

static void file_unref(struct triggers *triggers, struct trigger_file *file)
{
    pthread_mutex_lock(&triggers->lock);
    bool last = --file->references == 0;
    pthread_mutex_unlock(&triggers->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&file->text_lock);
    free(file->text);
    free(file);
}

static void file_free(struct tree *tree, struct handle *handle)
{
    struct trigger_file *file = (struct trigger_file *)handle;
    if (file->writable) {
        pthread_mutex_lock(&tree->triggers.lock);
        DL_DELETE(tree->triggers.files, file);
        pthread_mutex_unlock(&tree->triggers.lock);
    }
    file_unref(&tree->triggers, file);
}

// The process a thread is of, for a runtime may open a file on one thread and touch it on another.
static pid_t process_of(pid_t thread)
{
    char path[64], line[128];
    int process = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
    FILE *status = fopen(path, "re");
    if (!status)
        return thread;
    while (fgets(line, sizeof(line), status)) {
        if (sscanf(line, "Tgid: %d", &process) == 1)
            break;
    }
    fclose(status);
    return process > 0 ? process : thread;
}

void trigger_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi)
{
    struct error err = ERROR_INIT;
    bool writable = (fi->flags & O_ACCMODE) != O_RDONLY;

    if (writable && command_check(tree, node, &err) < 0) {
        fuse_reply_err(req, refusal_record(tree, node, NULL, &err));
        return;
    }
    struct trigger_file *file = calloc(1, sizeof(*file));
    if (!file) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    file->handle = (struct handle){.node = node, .free = file_free};
    file->writable = writable;
    file->references = 1;
    pthread_mutex_init(&file->text_lock, NULL);
    if (writable) {
        file->pid = fuse_req_ctx(req)->pid;
        file->process = process_of(file->pid);
        pthread_mutex_lock(&tree->triggers.lock);
        DL_APPEND(tree->triggers.files, file);
        pthread_mutex_unlock(&tree->triggers.lock);
    }
    fi->direct_io = 1;
    handle_reply_open(tree, req, fi, &file->handle);
}

// --- the one command

// Caller holds triggers.lock. False when the file has had its command.
static bool claim(struct trigger_file *file)
{
    if (file->claimed)
        return false;
    file->claimed = true;
    file->references++;
    return true;
}

// Carries out the command of a claimed file with what was written to it. Returns 0 or the errno.
static int run_claimed(struct tree *tree, struct trigger_file *file)
{
    struct error err = ERROR_INIT;
    int64_t job_id = 0;
    int result = 0;

    if (command_run(tree, file->handle.node, file->data, file->len, &job_id, &err) < 0)
        result = refusal_record(tree, file->handle.node, NULL, &err);
    pthread_mutex_lock(&tree->triggers.lock);
    file->result = result;
    file->job_id = job_id;
    pthread_mutex_unlock(&tree->triggers.lock);
    file_unref(&tree->triggers, file);
    return result;
}

static bool is_blank(const char *buf, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!isspace((unsigned char)buf[i]))
            return false;
    }
    return true;
}

// Text after the command: the same error again where the command was refused (a writer that tries
// once more), else that there is one command an open. Caller holds triggers.lock.
static int refuse_more(const struct trigger_file *file, bool *ret_say)
{
    *ret_say = file->result == 0;
    return file->result ? file->result : EINVAL;
}

void trigger_write(struct tree *tree, fuse_req_t req, const char *buf, size_t size,
                   struct fuse_file_info *fi)
{
    struct trigger_file *file = handle_get(fi);
    const char *sentence = NULL;
    bool run = false, say = false;
    int error = 0;

    pthread_mutex_lock(&tree->triggers.lock);
    if (file->claimed) {
        if (!is_blank(buf, size))
            error = refuse_more(file, &say);
        sentence = "one open-to-close is one command, and this file has had its";
    } else if (size > sizeof(file->data) - file->len) {
        // Cut short it would be another command.
        file->claimed = say = true;
        file->result = error = EFBIG;
        sentence = "the command is too long";
    } else {
        memcpy(file->data + file->len, buf, size);
        file->len += size;
        run = file->len > 0 && file->data[file->len - 1] == '\n' && claim(file);
    }
    pthread_mutex_unlock(&tree->triggers.lock);

    if (say)
        refusal_say(tree, file->handle.node, NULL, -error, sentence);
    if (run)
        error = run_claimed(tree, file);
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_write(req, size);
}

void trigger_flush(struct tree *tree, fuse_req_t req, struct fuse_file_info *fi)
{
    struct trigger_file *file = handle_get(fi);

    pthread_mutex_lock(&tree->triggers.lock);
    bool run = file->len > 0 && claim(file);
    pthread_mutex_unlock(&tree->triggers.lock);
    fuse_reply_err(req, run ? run_claimed(tree, file) : 0);
}

void trigger_release(struct tree *tree, fuse_req_t req, struct fuse_file_info *fi)
{
    struct trigger_file *file = handle_get(fi);

    pthread_mutex_lock(&tree->triggers.lock);
    bool run = file->writable && (file->len > 0 || command_has_default(file->handle.node.kind)) &&
               claim(file);
    pthread_mutex_unlock(&tree->triggers.lock);
    if (run)
        run_claimed(tree, file);
    handle_close(tree, &file->handle);
    fuse_reply_err(req, 0);
}

// --- touching

static bool is_of(const struct trigger_file *file, struct node node)
{
    return file->handle.node.kind == node.kind && file->handle.node.id == node.id;
}

enum touch_target { TOUCH_ALONE, TOUCH_FILE, TOUCH_DONE };

// Whom a touch of `node` by `pid` is for: the caller's own open file, which is claimed. A thread
// that touches what it has open and has already given its command says nothing new. Caller holds
// triggers.lock.
static enum touch_target find_touched(struct triggers *triggers, struct node node, pid_t pid,
                                      pid_t process, struct trigger_file **ret_file)
{
    struct trigger_file *file, *done = NULL;

    DL_FOREACH(triggers->files, file)
    {
        if (!is_of(file, node) || file->pid != pid)
            continue;
        *ret_file = file;
        if (claim(file))
            return TOUCH_FILE;
        done = file;
    }
    if (done) {
        *ret_file = done;
        return TOUCH_DONE;
    }
    DL_FOREACH(triggers->files, file)
    {
        *ret_file = file;
        if (is_of(file, node) && file->process == process && claim(file))
            return TOUCH_FILE;
    }
    return TOUCH_ALONE;
}

static int touch_alone(struct tree *tree, struct node node)
{
    struct error err = ERROR_INIT;
    int64_t job_id;
    if (command_run(tree, node, "", 0, &job_id, &err) < 0)
        return refusal_record(tree, node, NULL, &err);
    return 0;
}

int trigger_touch(struct tree *tree, fuse_req_t req, struct node node)
{
    pid_t pid = fuse_req_ctx(req)->pid, process = process_of(pid);
    struct trigger_file *file = NULL;

    if (!command_has_default(node.kind))
        return refusal_say(tree, node, NULL, -EINVAL,
                           "a touch says nothing here: write the value to it");
    pthread_mutex_lock(&tree->triggers.lock);
    enum touch_target target = find_touched(&tree->triggers, node, pid, process, &file);
    int result = target == TOUCH_DONE ? file->result : 0;
    pthread_mutex_unlock(&tree->triggers.lock);
    switch (target) {
    case TOUCH_FILE:
        return run_claimed(tree, file);
    case TOUCH_DONE:
        return result;
    default:
        return touch_alone(tree, node);
    }
}

// --- reading

// A reader that wrote first begins where its writing ended, another at 0, and a poller begins
// again: so the text starts at whatever offset the first read has, at 0, and at any offset before
// it.
static bool begins_anew(const struct trigger_file *file, off_t offset)
{
    return !file->text_begun || offset == 0 || offset <= file->text_base;
}

static int begin_text(struct tree *tree, struct trigger_file *file, off_t offset, struct error *err)
{
    char *text;

    pthread_mutex_lock(&tree->triggers.lock);
    int64_t job_id = file->job_id;
    pthread_mutex_unlock(&tree->triggers.lock);
    int r = command_text(tree, file->handle.node, job_id, &text, err);
    if (r < 0)
        return r;
    free(file->text);
    file->text = text;
    file->text_base = offset;
    file->text_begun = true;
    return 0;
}

void trigger_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                  struct fuse_file_info *fi)
{
    struct trigger_file *file = handle_get(fi);
    struct error err = ERROR_INIT;
    int r = 0;

    pthread_mutex_lock(&file->text_lock);
    if (begins_anew(file, offset))
        r = begin_text(tree, file, offset, &err);
    if (r == 0) {
        handle_reply_text(req, &file->text_lock, file->text, strlen(file->text), size,
                          offset - file->text_base);
        return;
    }
    pthread_mutex_unlock(&file->text_lock);
    fuse_reply_err(req, refusal_errno(r));
}
