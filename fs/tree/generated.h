// SPDX-License-Identifier: MIT
//
// The text of generated files and the targets of links, made from the catalog and the engine at the
// moment of the call. Holds no state.
//
// Threads: any; the caller holds no lease.
#ifndef FS_TREE_GENERATED_H
#define FS_TREE_GENERATED_H

#include "base/error.h"
#include "fs/tree/node.h"

#include <stddef.h>

// The content of a NODE_TEXT or NODE_LIVE node, malloc'ed with a NUL that *ret_len does not count.
// `wait` has its job's last state once that has ended, and nothing before. -ENOENT when what the
// node belongs to is gone.
int generated_text(struct tree *tree, struct node node, char **ret_text, size_t *ret_len,
                   struct error *err);

// Where a NODE_LINK points, relative to the folder it is in; malloc'ed.
int generated_link(struct tree *tree, struct node node, char **ret_target, struct error *err);

#endif
