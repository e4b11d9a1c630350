// SPDX-License-Identifier: MIT
//
// The list of open files and folders; see handle.h.
#include "fs/tree/handle.h"

#include "base/cleanup.h"
#include "fs/tree/tree_state.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

void handles_init(struct handles *handles)
{
    pthread_mutex_init(&handles->lock, NULL);
}

void handles_deinit(struct handles *handles)
{
    pthread_mutex_destroy(&handles->lock);
}

int handle_reply_open(struct tree *tree, fuse_req_t req, struct fuse_file_info *fi,
                      struct handle *handle)
{
    // Known before the answer goes out: the opener may close it before we run on.
    pthread_mutex_lock(&tree->handles.lock);
    DL_APPEND(tree->handles.list, handle);
    pthread_mutex_unlock(&tree->handles.lock);

    fi->fh = (uintptr_t)handle;
    if (fuse_reply_open(req, fi) == 0)
        return 1;
    // Interrupted or gone: the kernel will send no release for this open.
    handle_close(tree, handle);
    return 0;
}

void handle_close(struct tree *tree, struct handle *handle)
{
    pthread_mutex_lock(&tree->handles.lock);
    DL_DELETE(tree->handles.list, handle);
    pthread_mutex_unlock(&tree->handles.lock);
    handle->free(tree, handle);
}

void handles_close(struct tree *tree)
{
    while (tree->handles.list)
        handle_close(tree, tree->handles.list);
}

void handle_reply_text(fuse_req_t req, pthread_mutex_t *lock, const char *text, size_t len,
                       size_t size, off_t offset)
{
    size_t from = offset < 0 || (size_t)offset > len ? len : (size_t)offset;
    size_t count = len - from < size ? len - from : size;
    AUTO_FREE char *copy = malloc(count ? count : 1);

    if (copy)
        memcpy(copy, text + from, count);
    pthread_mutex_unlock(lock);
    if (copy)
        fuse_reply_buf(req, copy, count);
    else
        fuse_reply_err(req, ENOMEM);
}
