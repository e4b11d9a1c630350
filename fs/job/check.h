// SPDX-License-Identifier: MIT
//
// Checking a repository: the catalog against itself, packs against the catalog, snapshots against
// packs. Only looks; takes no lock; may run beside a daemon that works. What a change under way may
// explain is looked at again with fresh eyes before it is told.
#ifndef FS_JOB_CHECK_H
#define FS_JOB_CHECK_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum check_class {
    CHECK_DAMAGE = 1, // something stored is not what was stored
    CHECK_LEFTOVER,   // what a crash left; the next start deals with it
};

#define CHECK_STEP_RECORDS "proving records"

struct check_options {
    bool full;        // also every record: checksums and SHA-256; and all of the catalog's indexes
    unsigned workers; // for that; 0 = number of CPUs

    // Each may be NULL. Called from the thread that called repository_check() only. progress()
    // counts bytes in the step CHECK_STEP_RECORDS, packs or snapshots in others; what it returns,
    // unless 0, ends the check and is its result.
    void (*finding)(enum check_class class, const char *subject, const char *text, void *arg);
    int (*progress)(const char *step, uint64_t done, uint64_t total, void *arg, struct error *err);
    void *arg;
};

struct check_result {
    uint64_t packs, pack_bytes, records, snapshots;
    uint64_t proved_bytes; // of packs, with `full`
    uint64_t damage, leftovers;
};

// 0 also when damage was found. -errno when the check could not be made.
int repository_check(const char *dir, const struct check_options *options,
                     struct check_result *ret_result, struct error *err);

#endif
