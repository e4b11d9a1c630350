// SPDX-License-Identifier: MIT
//
// Garbage collection: gives back the space of records that nothing refers to any more.
//
// Mark: every snapshot's map is walked; the best copy of each record it refers to gets a bit in a
// bitmap over the rows of the chunk index, and so do the bases of deltas and every record that is
// no content of disks (snapshots, notes). Plan: packs without a live record are dropped, packs of
// which a good part is dead, and many small ones, are rewritten. Copy: live records go, as they are
// stored, into a new pack, which is sealed; **one transaction** adds it and drops the packs it
// replaces; their files are removed after it. Each new pack is a step of its own, so that a
// collection may end at any moment and the next one goes on.
//
// It runs beside backups, restores and readers and waits for none of them: packs of running jobs,
// and those made since it began, are left alone; what running backups rely on is pinned (pins.h);
// readers look again when a pack has gone (store_get()). Images that are open are marked like
// snapshots, so a file that is open reads on though its snapshot was forgotten. (The store of a
// viewer, which can only tell what would be done, knows of no files of others.)
//
// It stops on any doubt: a map that cannot be walked to its end ends it before anything is dropped.
// A record that must be copied and cannot be read keeps its pack.
#ifndef FS_STORE_GC_H
#define FS_STORE_GC_H

#include "fs/store/store.h"

#define GC_THRESHOLD_DEFAULT 20

struct gc_options {
    unsigned threshold; // rewrite packs of which this share is dead, in percent; 0 = default
    bool dry_run;       // only tell what would be done; also for a store of a viewer

    // Bytes of packs looked at and copied, of how many as far as is known. Called between units of
    // work of a few milliseconds; an error ends the collection. May be NULL.
    int (*progress)(uint64_t done, uint64_t total, void *arg, struct error *err);
    // Damage met on the way, a sentence each. May be NULL.
    void (*tell)(const char *sentence, void *arg);
    void *arg;
};

struct gc_result {
    uint64_t snapshots, packs;       // looked at
    uint64_t forgotten_open;         // images that are open, of snapshots that were forgotten
    uint64_t live_bytes, dead_bytes; // of records in those packs, with their headers
    uint64_t packs_dropped;          // had nothing live in them
    uint64_t packs_rewritten;        // their live records were copied
    uint64_t packs_made;             // to hold the copies
    uint64_t packs_passed_over;      // were to go and are needed: damaged, or just met by a backup
    uint64_t packs_without_room;     // were to be rewritten, and the disk is too full for it
    uint64_t copied_bytes;           // records
    uint64_t freed_bytes;            // of files: those that went, less those that were made
    uint64_t damage;                 // sentences told
};

// One at a time in a store (-EBUSY). *ret_result is filled in as far as it got, also on an error:
// -ERROR_CORRUPT when a map could not be walked, what `progress` returned, or another -errno;
// -ENOSPC only when nothing could be freed.
int store_gc(struct store *store, const struct gc_options *options, struct gc_result *ret_result,
             struct error *err);

#endif
