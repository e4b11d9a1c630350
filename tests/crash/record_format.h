// SPDX-License-Identifier: MIT
//
// The log of file operations that record.c writes and trace.c reads: records one after the other,
// each a `struct record_head` in the machine's own byte order, then `name_len` bytes of a name,
// `name2_len` of another, and for RECORD_WRITE `len` bytes of data. Names are below the recorded
// root ("repo/packs", "" for the root itself). A log does not outlive the run that made it.
#ifndef TESTS_CRASH_RECORD_FORMAT_H
#define TESTS_CRASH_RECORD_FORMAT_H

#include <stdint.h>

enum record_op {
    RECORD_ROOT = 1, // `inode` is the root's; each process that is recorded begins with one
    RECORD_CREATE,   // a file: name, inode; without a name it is an O_TMPFILE
    RECORD_MKDIR,    // name, inode
    RECORD_LINK,     // inode gets another name
    RECORD_UNLINK,   // name
    RECORD_RMDIR,    // name
    RECORD_RENAME,   // name → name2
    RECORD_WRITE,    // inode, offset, len, data
    RECORD_TRUNCATE, // inode gets the size `len`
    RECORD_ZERO,     // `len` bytes of inode at offset read as zeros; flags: 1 = its size may grow
    RECORD_SYNC,     // fsync or fdatasync of inode (a file or folder) has returned 0
    RECORD_OUTSIDE,  // the recorder met what it cannot follow; the name says what
    // written by the driver, not by the recorder
    RECORD_PUT = 32,  // name is there from now on, durable, with the data that follows (a write)
    RECORD_DROP = 33, // name is gone, durable
};

struct record_head {
    uint32_t op;
    uint32_t flags;
    uint32_t name_len, name2_len;
    uint64_t inode; // the kernel's number
    uint64_t offset, len;
};

#endif
