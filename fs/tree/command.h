// SPDX-License-Identifier: MIT
//
// What the trigger files mean: the words written to backup, restore, source, protected, cancel,
// retention and prune carried out through the engine, and what reading them says. How a write
// becomes exactly one command is trigger.h's business.
//
// Threads: any; the caller holds no lease and no lock.
#ifndef FS_TREE_COMMAND_H
#define FS_TREE_COMMAND_H

#include "base/error.h"
#include "fs/tree/node.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Longest command, in bytes: the longest source or target and words around it.
#define COMMAND_MAX (SOURCE_TEXT_SIZE + 64)

// Whether touching the file, or writing nothing or blanks to it, is a command.
bool command_has_default(enum node_kind kind);

// What is wrong with a command of this file whatever its words: found when it is opened for
// writing, where the caller can still see it. 0 or -errno.
int command_check(struct tree *tree, struct node node, struct error *err);

// Carries out one command. `words` need not end in a newline; *ret_job_id is the job it stands for,
// 0 when it makes none.
int command_run(struct tree *tree, struct node node, const char *words, size_t len,
                int64_t *ret_job_id, struct error *err);

// What reading the file gives, malloc'ed: "17 running\n" for job_id, or for the newest job of the
// trigger when that is 0 ("" when there is none); the source; "0\n" or "1\n"; the job's state; the
// policy and a comment that says whose it is.
int command_text(struct tree *tree, struct node node, int64_t job_id, char **ret_text,
                 struct error *err);

#endif
