// SPDX-License-Identifier: MIT
//
// The inside of a disk_state: its files and names, and the trees they are written to. Shared by
// disk_state.c, which decides what is there, and state_tree.c, which writes and compares it.
#ifndef TESTS_CRASH_STATE_TREE_H
#define TESTS_CRASH_STATE_TREE_H

#include "tests/crash/disk_state.h"

#define STATE_NAMES_MAX 4096

struct state_file {
    uint8_t *bytes;
    uint64_t len, room;
};

struct state_name {
    uint32_t dir, inode;
    const char *name;
};

struct disk_state {
    const struct trace *trace;
    struct state_file *files; // by inode
    uint32_t *per_dir;        // for disk_state.c, by inode
    struct state_name names[STATE_NAMES_MAX];
    size_t name_count;
};

// The name stands for the inode, or for none (TRACE_NOTHING).
void state_tree_set(struct disk_state *state, uint32_t dir, const char *name, uint32_t inode);

#endif
