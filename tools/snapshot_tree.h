// SPDX-License-Identifier: MIT
//
// The tree that `backtree list` and `show` draw: lines given in order with their depth, joined by
// branches, in columns; or one path a line with plain columns, for programs; or paths alone. Knows
// nothing of the catalog.
#ifndef TOOLS_SNAPSHOT_TREE_H
#define TOOLS_SNAPSHOT_TREE_H

#include "base/cleanup.h"
#include "base/error.h"
#include "tools/table.h"

#include <stdint.h>

#define SNAPSHOT_TREE_DEPTHS 4 // VM, disk, chain, snapshot

// What is to be seen of a line at a glance.
enum snapshot_tree_mark { MARK_NONE, MARK_PROTECTED, MARK_BAD, MARK_HERE };

struct snapshot_tree;

struct snapshot_tree_line {
    unsigned depth;   // 0 = VM … 3 = snapshot; at most one more than the line before
    const char *path; // "web1/vda"; its last part is the line's name unless `name` is set
    const char *name; // NULL, or what is shown in its place for a line that is no path
    const char *kind, *taken, *parent, *state; // NULL = empty
    bool sized;                                // it has a capacity
    uint64_t capacity;                         // bytes
    bool counted;                              // it has the figures that follow
    uint64_t added, data;                      // bytes added to the repository; not holes
    enum snapshot_tree_mark mark;
};

int snapshot_tree_new(struct snapshot_tree **ret_tree, struct error *err);
struct snapshot_tree *snapshot_tree_free(struct snapshot_tree *tree);

// Copies the line.
int snapshot_tree_add(struct snapshot_tree *tree, const struct snapshot_tree_line *line,
                      struct error *err);

// Drawn, for a terminal: branches in UTF-8 or ASCII, sizes as people read them, the state without
// the word `usual`, which most lines begin with (NULL = none).
int snapshot_tree_print(const struct snapshot_tree *tree, const struct table_look *look,
                        const char *usual, FILE *out, struct error *err);

// The same columns for programs: paths in the place of names, sizes in bytes, "-" for nothing.
int snapshot_tree_print_plain(const struct snapshot_tree *tree, FILE *out, struct error *err);

// One path a line, leaving out lines that are no path.
void snapshot_tree_print_paths(const struct snapshot_tree *tree, FILE *out);

DEFINE_CLEANUP(struct snapshot_tree *, snapshot_tree_free)

#endif
