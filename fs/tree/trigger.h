// SPDX-License-Identifier: MIT
//
// Trigger files: how writing, touching or merely opening one becomes exactly one command.
//
// A command belongs to one open-to-close. For every way of writing there is one moment when it is
// carried out, and the earliest at which the writer can still be told:
//   write of text that ends in a newline   there, so write(2) carries the errno (echo, dd, cp)
//   text without a newline                 at the first flush after it, so close(2) does (printf)
//   touch, utime                           at the setattr, by the open file of the same process;
//                                          by itself when that process has none open
//   nothing at all (`: > T`, cp /dev/null) at the release, which can tell nobody: last_error does
// A shell flushes a redirected file before it writes to it, so a flush of nothing is nothing. After
// the command, blanks and flushes are nothing, and further text is refused.
//
// Threads: handlers of one open file may run at once. A file is claimed for its one command under
// `triggers.lock`; the command runs with no lock held, on a reference of its own, for its file may
// be released meanwhile. Lock order: trigger_file.text_lock, then triggers.lock.
#ifndef FS_TREE_TRIGGER_H
#define FS_TREE_TRIGGER_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

#include <pthread.h>

struct trigger_file;

struct triggers {
    pthread_mutex_t lock;
    struct trigger_file *files; // open for writing
};

void triggers_init(struct triggers *triggers);
void triggers_deinit(struct triggers *triggers);

void trigger_open(struct tree *tree, fuse_req_t req, struct node node, struct fuse_file_info *fi);
void trigger_write(struct tree *tree, fuse_req_t req, const char *buf, size_t size,
                   struct fuse_file_info *fi);
void trigger_flush(struct tree *tree, fuse_req_t req, struct fuse_file_info *fi);
void trigger_release(struct tree *tree, fuse_req_t req, struct fuse_file_info *fi);

// Reads what the trigger stands for: the command of this open file, else the newest.
void trigger_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                  struct fuse_file_info *fi);

// The touch in a setattr, which does not say through which open file it came: the default, for a
// file that the calling thread, else its process, has open, else by itself. 0 or the errno to
// answer with.
int trigger_touch(struct tree *tree, fuse_req_t req, struct node node);

#endif
