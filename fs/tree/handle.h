// SPDX-License-Identifier: MIT
//
// Open files and folders. Every one embeds a struct handle as its first member and is known to the
// tree, so that what is still open when a mount is taken away by force can be released: then no
// release request comes any more.
//
// A handle lives until its release is served, and a request holds it only until it is answered: the
// answer may make the client close the file, on another thread, before the answering call has even
// returned. So nothing of a handle, its lock and its text included, is touched once the answer goes
// out.
//
// Threads: any. `lock` guards the list alone; what a handle holds is its module's to guard.
#ifndef FS_TREE_HANDLE_H
#define FS_TREE_HANDLE_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

#include <pthread.h>

struct handle {
    struct node node;
    void (*free)(struct tree *tree, struct handle *handle); // releases all it holds, and itself
    struct handle *prev, *next;                             // guarded by handles.lock
};

struct handles {
    pthread_mutex_t lock;
    struct handle *list;
};

void handles_init(struct handles *handles);
void handles_deinit(struct handles *handles);

// Answers an open with this handle and makes it known. When the opener has given up meanwhile, the
// handle is released here: then 0 is returned, else 1. `handle` may be gone once this returns.
int handle_reply_open(struct tree *tree, fuse_req_t req, struct fuse_file_info *fi,
                      struct handle *handle);

// Ends a handle: out of the list, freed.
void handle_close(struct tree *tree, struct handle *handle);

// Ends all that are left. No request may be served any more.
void handles_close(struct tree *tree);

// Answers a read of `len` bytes of text held by a handle with a copy of its own, and releases
// `lock`, which guards the text, before the answer goes out.
void handle_reply_text(fuse_req_t req, pthread_mutex_t *lock, const char *text, size_t len,
                       size_t size, off_t offset);

static inline void *handle_get(const struct fuse_file_info *fi)
{
    return (void *)(uintptr_t)fi->fh;
}

#endif
