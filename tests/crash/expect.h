// SPDX-License-Identifier: MIT
//
// What must be true of a crashed repository once it was opened again, by how far the recorded
// commands had got. A file of lines "POSITION VERB WORD…", separated by tabs; a line counts in
// every state that holds all operations the log had when it was POSITION bytes long.
//
//   known PATH RAW      a snapshot and the file with its bytes (position 0)
//   content DISK RAW    what the disk held at some backup (position 0)
//   must PATH           it was reported: it must be there
//   may PATH            its removal was begun
//   gone PATH           its removal was reported: it must not be there
//   protected PATH      that was reported
//   open                init has reported success: there is a repository
//   rebuilding          the catalog may not be there; a rebuild must bring everything back
//   rebuilt             it was reported
//   restoring FILE OLD NEW SAFETY    a restore to FILE begins; files with what it holds before
//                       ("-": not there) and after, and the safety snapshot's path ("-": none)
//   rolledback FILE     that restore ended, and FILE holds OLD again
//   restored FILE       that restore was reported
#ifndef TESTS_CRASH_EXPECT_H
#define TESTS_CRASH_EXPECT_H

#include "tests/crash/trace.h"

#define EXPECT_SNAPSHOTS_MAX 128
#define EXPECT_CONTENTS_MAX 256
#define EXPECT_TARGETS_MAX 4

struct expect_bytes {
    uint8_t *data;
    size_t len;
};

enum expect_presence { EXPECT_MAY, EXPECT_MUST, EXPECT_GONE };

struct expect_snapshot {
    const char *path;
    struct expect_bytes bytes;
    enum expect_presence presence;
    bool protected;
};

struct expect_content {
    const char *disk;
    struct expect_bytes bytes;
};

enum expect_restore { EXPECT_NOT_BEGUN, EXPECT_RESTORING, EXPECT_ROLLED_BACK, EXPECT_RESTORED };

struct expect_target {
    const char *file;
    bool is_new; // `before` is nothing
    struct expect_bytes before, after;
    const char *safety; // NULL = none
    enum expect_restore state;
};

struct expect {
    struct expect_snapshot snapshots[EXPECT_SNAPSHOTS_MAX];
    struct expect_content contents[EXPECT_CONTENTS_MAX];
    struct expect_target targets[EXPECT_TARGETS_MAX];
    size_t snapshot_count, content_count, target_count;
    bool must_open, rebuilding;
    unsigned epoch; // how many lines count
};

struct expect_script;

// Ends the process with a sentence when it cannot be read.
struct expect_script *expect_load(const char *path);

// What must be true of the state after the first `point` operations.
void expect_at(const struct expect_script *script, const struct trace *trace, uint32_t point,
               struct expect *ret_expect);

#endif
