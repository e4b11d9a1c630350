// SPDX-License-Identifier: MIT
//
// What a disk may hold after a crash: the operations before a point of a trace, those of them that
// were not durable kept, lost or torn as a policy says.
//
// The model, after ALICE (Pillai et al., OSDI 2014) and CrashMonkey (Mohan et al., OSDI 2018), and
// at least as strict as what ext4, XFS and Btrfs are known to do:
//   - A process that dies loses nothing: the kernel has every operation.
//   - A power cut keeps what was synced (trace.h). Of the rest, each write of content is there, not
//     there, or there in some of its sectors (512 or 4096 bytes); a file that grew by a write that
//     is not there has its old size, or the new one with zeros or with garbage (ext4's
//     data=writeback shows what the blocks held before). Writes of one file do not wait for each
//     other: a later one may be there without an earlier one. A change of size and zeroing are
//     writes in this.
//   - Names: a rename is one change and never half there. ORDERED policies keep a beginning of each
//     folder's unsynced changes, as a journal does; the REORDERED one keeps any of them.
//   - A write never changes bytes outside its range (SQLite's "powersafe overwrite"; a 4 KiB
//     sector under 512-byte writes is not simulated), and nothing synced is lost.
#ifndef TESTS_CRASH_DISK_STATE_H
#define TESTS_CRASH_DISK_STATE_H

#include "tests/crash/trace.h"

enum crash_policy {
    CRASH_DIES,        // the process dies: everything is there
    CRASH_DIES_TORN,   // and the last write was cut short at a page
    CRASH_LOSES_ALL,   // power cut: nothing unsynced is there
    CRASH_NAMES_ONLY,  // unsynced names and sizes are there, content reads as zeros
    CRASH_DATA_ONLY,   // unsynced content is there, names are not
    CRASH_LAST_ONLY,   // of what was unsynced the last operation alone is there
    CRASH_ALL_BUT_ONE, // one unsynced operation alone is not there, by seed, the last ones more
                       // often
    CRASH_ORDERED,     // by seed: names in order, content anyhow
    CRASH_REORDERED,   // by seed: anything
    CRASH_POLICIES,
};

extern const char *const crash_policy_words[CRASH_POLICIES];

struct disk_state;

struct disk_state *disk_state_new(const struct trace *trace);

// The state after the first `point` operations. Replaces what it held.
void disk_state_build(struct disk_state *state, uint32_t point, enum crash_policy policy,
                      uint64_t seed);

// Of every name and byte, but for what is made anew by whoever opens it.
uint64_t disk_state_hash(struct disk_state *state);

// Writes it as a tree into an existing folder, whose content is removed. 0 or -1 with errno.
int disk_state_write(struct disk_state *state, const char *dir);

// Compares it with a real tree; tells each difference on stdout. Returns how many there were.
unsigned disk_state_compare(struct disk_state *state, const char *dir);

#endif
