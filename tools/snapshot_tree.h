// SPDX-License-Identifier: MIT
//
// The tree that `backtree list` draws: lines given in order with their depth, joined by branches,
// in columns, or as plain paths. Knows nothing of the catalog.
#ifndef TOOLS_SNAPSHOT_TREE_H
#define TOOLS_SNAPSHOT_TREE_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define SNAPSHOT_TREE_DEPTHS 4 // VM, disk, chain, snapshot

struct snapshot_tree;

struct snapshot_tree_line {
    unsigned depth;   // 0 = VM … 3 = snapshot; at most one more than the line before
    const char *path; // "web1/vda"; its last part is the line's name unless `name` is set
    const char *name; // NULL, or what is shown in its place for a line that is no path
    const char *kind, *taken, *size, *added, *parent, *state; // NULL = empty
};

int snapshot_tree_new(struct snapshot_tree **ret_tree, struct error *err);
struct snapshot_tree *snapshot_tree_free(struct snapshot_tree *tree);

// Copies the line.
int snapshot_tree_add(struct snapshot_tree *tree, const struct snapshot_tree_line *line,
                      struct error *err);

// The table, its branches in UTF-8 or ASCII.
int snapshot_tree_print(const struct snapshot_tree *tree, bool utf8, bool colour, FILE *out,
                        struct error *err);

// One path a line, leaving out lines that are no path.
void snapshot_tree_print_paths(const struct snapshot_tree *tree, FILE *out);

DEFINE_CLEANUP(struct snapshot_tree *, snapshot_tree_free)

#endif
