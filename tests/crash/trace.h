// SPDX-License-Identifier: MIT
//
// A recorded log as a list of operations on inodes: names are resolved as they were at the time, so
// that each operation says which inode's content or which folder's name it changes, and with which
// later operation it becomes durable. Inodes are numbers of our own, from 0 (the root), so that one
// the kernel uses twice is two.
//
// What makes durable is taken strictly, as POSIX leaves it and as Pillai et al. state it ("All File
// Systems Are Not Created Equal", OSDI 2014): fsync or fdatasync of a file makes its content and
// size durable and no name of it; fsync of a folder makes the names in it durable and no content.
// Nothing else does.
#ifndef TESTS_CRASH_TRACE_H
#define TESTS_CRASH_TRACE_H

#include "tests/crash/record_format.h"

#include <stdbool.h>
#include <stddef.h>

#define TRACE_NEVER UINT32_MAX
#define TRACE_NOTHING UINT32_MAX // no inode

struct trace_op {
    enum record_op op; // one of CREATE … SYNC
    uint32_t inode;    // whose content, or who is named
    uint32_t flags;
    // CREATE, MKDIR, LINK, RENAME: `name` in `dir` stands for the inode from here on. UNLINK,
    // RMDIR: for none. RENAME: `name2` in `dir2` for none, in the same moment. NULL for a CREATE
    // without a name.
    uint32_t dir, dir2;
    const char *name, *name2;
    uint64_t offset, len;
    const uint8_t *data;
    uint32_t durable_at; // the sync that makes it so; 0 = durable at once; TRACE_NEVER
    uint64_t log_end;    // where its record ends in the log
};

struct trace_inode {
    bool is_dir;
    bool rebuilt;      // the catalog's -shm, whose content is not followed
    const char *named; // the first name it got, "" for none
};

struct trace {
    struct trace_op *ops;
    struct trace_inode *inodes;
    uint32_t op_count, inode_count;
};

// Reads the log. Syncs of inodes whose first name contains `ignore` (NULL = none) are taken not to
// have happened; "folders" stands for those of every folder. Ends the process with a sentence when
// the log holds what cannot be followed: an operation was missed, or cannot be replayed.
struct trace *trace_load(const char *path, const char *ignore);

// "write inode 7 (packs/ab/….open) 4096+512", for people.
void trace_describe(const struct trace *trace, uint32_t op, char *text, size_t size);

#endif
