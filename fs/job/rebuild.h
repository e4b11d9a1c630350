// SPDX-License-Identifier: MIT
//
// Making the catalog anew from the packs alone.
//
// Every sealed pack's index is read (or what is left of the pack is salvaged, when that is
// damaged), then snapshots' records and notes are replayed in the order of their times. The new
// catalog is made beside the old one and put in place by a rename, the last step: a crash at any
// point leaves the old catalog or the new one. The old one keeps existing as catalog.db.TIME. Packs
// are only read.
//
// What comes back: VMs, disks, chains, snapshots with all they had, what was forgotten and what is
// protected, and the jobs that made snapshots. What does not: jobs that made none, restores, logs.
#ifndef FS_JOB_REBUILD_H
#define FS_JOB_REBUILD_H

#include "base/error.h"
#include "fs/store/repo_lock.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct rebuild_options {
    bool dry_run; // find out everything, put nothing in place

    // Each may be NULL. A finding is a sentence about something that was missing, damaged, or not
    // taken over; `bytes` of `total` bytes of packs have been gone through.
    void (*finding)(const char *sentence, bool damage, void *arg);
    void (*progress)(const char *step, uint64_t done, uint64_t total, void *arg);
    void *arg;
};

struct rebuild_result {
    uint64_t packs, records;
    uint64_t salvaged; // packs whose index is damaged
    uint64_t vms, disks, chains, snapshots, forgotten, jobs;
    uint64_t incomplete;  // snapshots that cannot be read in full
    uint64_t damage;      // findings that are damage
    char aside[NAME_MAX]; // name the old catalog has now, "" when there was none
};

// -EBUSY with the owner in *ret_owner (may be NULL) when another process owns the repository. 0
// also when damage was found: result->damage says so.
int repository_rebuild(const char *dir, const struct rebuild_options *options,
                       struct rebuild_result *ret_result, struct repo_lock_owner *ret_owner,
                       struct error *err);

#endif
