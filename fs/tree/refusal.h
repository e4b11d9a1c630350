// SPDX-License-Identifier: MIT
//
// Refusals: the one place where an error becomes the errno a caller sees, and where the sentence of
// the last refused command is kept for MNT/last_error.
//
// Threads: any. `lock` guards the kept sentence.
#ifndef FS_TREE_REFUSAL_H
#define FS_TREE_REFUSAL_H

#include "base/error.h"
#include "fs/tree/node.h"

#include <pthread.h>
#include <stdint.h>

struct refusals {
    pthread_mutex_t lock;
    // guarded by lock
    int64_t at; // 0 = none yet
    char path[NODE_PATH_SIZE];
    char sentence[ERROR_MESSAGE_MAX];
};

void refusals_init(struct refusals *refusals);
void refusals_deinit(struct refusals *refusals);

// The positive errno for a -errno of ours. Damage is EIO; ENOSYS never leaves the daemon, because
// the kernel would take it as "this file system has no such call, ever".
int refusal_errno(int code);

// Keeps "PATH[/NAME]: sentence" as the last refused command, logs it, and returns the errno to
// answer with. The caller holds no lease.
int refusal_record(struct tree *tree, struct node node, const char *name, const struct error *err);

// As refusal_record() for a refusal decided on the spot.
int refusal_say(struct tree *tree, struct node node, const char *name, int code,
                const char *sentence);

// The text of MNT/last_error, malloc'ed ("" when nothing was refused), and its time (0 = none).
int refusal_text(struct tree *tree, char **ret_text, struct error *err);
int64_t refusal_time(struct tree *tree);

#endif
