// SPDX-License-Identifier: MIT
//
// Totals over the whole catalog, for who wants it at a glance. What they cost grows with snapshots,
// packs, VMs and what has failed or is damaged, never with chunks: each is a query over small
// tables or an index that covers it.
#ifndef CATALOG_STATS_H
#define CATALOG_STATS_H

#include "catalog/catalog.h"
#include "catalog/types.h"

#include "base/name.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct catalog_stats {
    int64_t contexts, disks, chains, snapshots, protected_snapshots;
    int64_t jobs_by_state[JOB_CANCELLED + 1]; // indexed by enum job_state
    int64_t failing_jobs;                     // as failing_job_each() lists them
    uint64_t logical_bytes;                   // sum of capacity over snapshots
    uint64_t data_bytes; // sum of data_bytes over snapshots: what they would take without dedup and
                         // compression
    uint64_t unique_bytes; // content of the stored chunks, decoded
    uint64_t stored_bytes; // pack files
    int64_t packs, records;
    int64_t deltas;                          // of the records: stored as what differs from another
    int64_t damaged_snapshots, lost_records; // see catalog/damage.h
    int64_t unverified_snapshots;            // never found whole by a verification of their own
    uint64_t unverified_bytes;               // of packs that were never verified
    int64_t last_verified_at;                // of any pack or snapshot, 0 = never
    int64_t oldest_verified_at; // of the pack whose proof is the oldest, 0 = some never were
    int64_t last_success_at;    // newest completed backup job, 0 = never
    int64_t last_verify_at, last_gc_at,
        last_check_at; // ends of the newest that completed, 0 = none
};

int catalog_stats_get(struct catalog_conn *conn, struct catalog_stats *ret_stats,
                      struct error *err);

struct vm_figures { // of one VM; last: the newest backup of it that completed, zeros when there is
                    // none
    int64_t context_id;
    char name[NAME_SIZE];
    int64_t failures, snapshots, protected_snapshots, damaged_snapshots;
    uint64_t new_bytes; // sum over its snapshots
    bool failing;       // the newest backup of it that completed or failed has failed
    int64_t active_job; // the newest that is pending or running, 0 = none
    int64_t last_success_at;
    int64_t last_duration; // nanoseconds
    uint64_t last_read_bytes, last_new_bytes;
};

// Those of every VM, by name; *ret_rows is malloc'ed (NULL when there is none).
int vm_figures_load(struct catalog_conn *conn, struct vm_figures **ret_rows, size_t *ret_count,
                    struct error *err);

// Jobs whose failure stands: no later one of the same kind and VM (verify, gc, check: of the same
// kind) has completed. Restores are left out, who asked for one has seen it, and so are their
// safety backups. Newest first.
int failing_job_each(struct catalog_conn *conn,
                     int (*fn)(int64_t job_id, void *arg, struct error *err), void *arg,
                     struct error *err);

#endif
