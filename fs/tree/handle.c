// SPDX-License-Identifier: MIT
//
// The list of open files and folders; see handle.h.
#include "fs/tree/handle.h"

#include "fs/tree/tree_state.h"

#include <errno.h>
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
