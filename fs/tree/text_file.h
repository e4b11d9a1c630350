// SPDX-License-Identifier: MIT
//
// Open generated files. The text is made at open and stays the same within that open, so that a
// reader never sees the head of one version and the tail of another. Live files differ in how they
// move on: a read at offset 0 of state and progress makes the text anew (as procfs does, so a
// poller can pread again), a read at the end of log asks for more lines (so `tail -f` works), and
// wait has no text but blocks (live.h).
//
// Threads: several may read one open file; `lock` is held while a text is made.
#ifndef FS_TREE_TEXT_FILE_H
#define FS_TREE_TEXT_FILE_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

// The node is NODE_TEXT or NODE_LIVE. Opening for writing is EPERM.
void text_file_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi);
void text_file_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                    struct fuse_file_info *fi);
void text_file_seek(struct tree *tree, fuse_req_t req, off_t offset, int whence,
                    struct fuse_file_info *fi);
void text_file_poll(struct tree *tree, fuse_req_t req, struct fuse_file_info *fi,
                    struct fuse_pollhandle *poll_handle);

#endif
