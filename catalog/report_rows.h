// SPDX-License-Identifier: MIT
//
// What the report page shows of disks, snapshots and attempts: a bounded number of rows a question,
// found through indexes, with no more columns than the page has.
#ifndef CATALOG_REPORT_ROWS_H
#define CATALOG_REPORT_ROWS_H

#include "catalog/snapshot.h"

struct report_disk {
    int64_t id, context_id;
    char context_name[NAME_SIZE], name[NAME_SIZE];
    const char *source; // borrowed during the call, "" until one is set
    uint64_t capacity;
    int64_t snapshots;
    uint64_t new_bytes; // sum over its snapshots
    int64_t newest_at;  // taken_at of the newest snapshot, 0 = none
};

// Disks of a context by name; context_id 0: of all, by context name and name. At most `limit`.
int report_disk_each(struct catalog_conn *conn, int64_t context_id, int64_t limit,
                     int (*fn)(const struct report_disk *row, void *arg, struct error *err),
                     void *arg, struct error *err);

struct report_snapshot {
    int64_t id, job_id;
    int64_t chain_number, number;
    enum snapshot_kind kind;
    bool safety; // made before a restore wrote over it
    bool protected, damaged;
    int64_t taken_at;
    int64_t verified_at; // 0 = never
    uint64_t data_bytes, new_bytes;
};

// The newest `limit` snapshots of a disk, newest first.
int report_snapshot_each(struct catalog_conn *conn, int64_t disk_id, int64_t limit,
                         int (*fn)(const struct report_snapshot *row, void *arg, struct error *err),
                         void *arg, struct error *err);

struct report_attempt { // a backup of a disk that failed
    int64_t job_id;
    int64_t finished_at;
    const char *reason; // borrowed during the call
};

// The newest `limit` of a disk that ended after `since`, newest first.
int report_attempt_each(struct catalog_conn *conn, int64_t disk_id, int64_t since, int64_t limit,
                        int (*fn)(const struct report_attempt *row, void *arg, struct error *err),
                        void *arg, struct error *err);

#endif
