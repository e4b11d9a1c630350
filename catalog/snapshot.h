// SPDX-License-Identifier: MIT
//
// Chains (table backup_chains) and per-disk rows (table backup_disks: one a job and disk). A
// *snapshot* is a completed per-disk row that was not forgotten.
#ifndef CATALOG_SNAPSHOT_H
#define CATALOG_SNAPSHOT_H

#include "base/digest.h"
#include "catalog/disk.h"
#include "catalog/job.h"

struct chain_row {
    int64_t id;
    char uuid[UUID_TEXT_SIZE];
    int64_t disk_id;
    int64_t number;                // 1, 2, …: "chain-0001"
    char source[SOURCE_TEXT_SIZE]; // what it was read from
    uint64_t capacity;             // bytes, the same for every snapshot of a chain
    uint32_t chunk_size;
    bool foreign;       // a safety backup of a restore target that is not the disk's own source
    int64_t created_at; // of its first snapshot
    int64_t changed_at; // taken_at of its newest snapshot that is there
    int64_t snapshots;  // that are there
    uint64_t new_bytes; // sum over them
};

struct snapshot_row { // a per-disk row, completed or not
    int64_t id;
    char uuid[UUID_TEXT_SIZE]; // the snapshot's own
    int64_t job_id, disk_id, context_id;
    char context_name[NAME_SIZE], disk_name[NAME_SIZE]; // joined, as what follows
    char context_uuid[UUID_TEXT_SIZE], disk_uuid[UUID_TEXT_SIZE];
    enum job_state state;
    char reason[REASON_TEXT_SIZE];
    enum job_trigger trigger;  // joined from the job
    char tags[TAGS_TEXT_SIZE]; // as recorded with the snapshot
    int64_t started_at, finished_at;
    // set on completion
    int64_t chain_id, chain_number, parent_id; // parent_id 0 = none
    char chain_uuid[UUID_TEXT_SIZE];           // joined
    char parent_name[64]; // joined: the parent's folder name, "" when none or forgotten
    int64_t number;       // in its chain: 1, 2, …
    enum snapshot_kind kind;
    int64_t taken_at; // when reading the source began: the snapshot's time
    uint64_t capacity;
    uint32_t chunk_size;
    struct digest digest; // the map's root id
    struct digest record; // id of the snapshot's own record
    char change_id[CHANGE_ID_SIZE];
    uint64_t data_bytes;    // allocated: not holes, counted in whole chunks but for the disk's end
    uint64_t read_bytes;    // read from the source
    uint64_t changed_bytes; // content that was not the parent's
    uint64_t new_bytes;     // what it added to the repository: stored records, headers, indexes
    bool protected;
    int64_t forgotten_at; // 0 = it is there
    int64_t verified_at;  // when its map and all its content were last found whole; 0 = never
    bool damaged;         // some of it cannot be read: damage.h says what
};

// "0003-incr-20261121T065500Z", "chain-0002". Return `name`.
#define SNAPSHOT_NAME_SIZE 64
char *snapshot_name(const struct snapshot_row *row, char name[SNAPSHOT_NAME_SIZE]);
char *chain_name(int64_t number, char name[SNAPSHOT_NAME_SIZE]);

// The fields of snapshot_row from taken_at on, and where it goes, as the job worked them out.
struct snapshot_completion {
    int64_t job_id, disk_id;
    int64_t chain_id; // 0 = `new_chain` is written first
    const struct chain_row
        *new_chain; // uuid, number, source, capacity, chunk_size, foreign are used
    int64_t parent_id;
    int64_t number;
    enum snapshot_kind kind;
    const char *uuid;
    const char *tags;
    int64_t taken_at;
    int64_t finished_at; // 0 = now
    uint64_t capacity;
    uint32_t chunk_size;
    struct digest digest, record;
    const char *change_id;
    uint64_t data_bytes, read_bytes, changed_bytes, new_bytes;
};

// running → completed for one disk of a job, in the order chain, per-disk row, disk's change_id and
// capacity (change_id and capacity are left alone for a foreign chain). Refuses (-EPROTO) a row
// that is not running.
int snapshot_complete(struct catalog_conn *conn, const struct snapshot_completion *completion,
                      int64_t *ret_snapshot_id, struct error *err);

// pending → running, and running → failed or cancelled with the reason, for one disk of a job.
int snapshot_start(struct catalog_conn *conn, int64_t job_id, int64_t disk_id, struct error *err);
int snapshot_fail(struct catalog_conn *conn, int64_t job_id, int64_t disk_id, enum job_state state,
                  const char *reason, struct error *err);

// Forgets: the row stays for its job's record; children in the chain get its parent. -EPERM while
// protected.
int snapshot_forget(struct catalog_conn *conn, int64_t id, struct error *err);
int snapshot_set_protected(struct catalog_conn *conn, int64_t id, bool on, struct error *err);

// Any per-disk row by id.
int snapshot_get(struct catalog_conn *conn, int64_t id, struct snapshot_row *ret_row,
                 struct error *err);
// A snapshot that is there, by folder name in a chain. -ENOENT "no snapshot named x in
// web1/vda/chain-0001".
int snapshot_find(struct catalog_conn *conn, int64_t chain_id, const char *name,
                  struct snapshot_row *ret_row, struct error *err);
// The newest snapshot of a disk that is there, foreign chains left out: what the next incremental
// builds on. -ENOENT when none.
int snapshot_find_newest(struct catalog_conn *conn, int64_t disk_id, struct snapshot_row *ret_row,
                         struct error *err);
// The newest that was asked for: safety backups are left out too, so that restoring the latest
// twice does not put back what the first restore has replaced. -ENOENT when none.
int snapshot_find_latest(struct catalog_conn *conn, int64_t disk_id, struct snapshot_row *ret_row,
                         struct error *err);

struct snapshot_filter { // a zero or NULL field does not filter
    int64_t context_id, disk_id, chain_id, job_id;
    enum snapshot_kind kind;
    enum job_trigger trigger;
    const char *tag;
    int64_t since, until; // taken_at in [since, until)
    bool every_row; // also rows that are no snapshot (pending, failed, forgotten): for a job's
                    // record
};

// By context name, disk name, chain number, number; rows without chain last, by job.
int snapshot_each(struct catalog_conn *conn, const struct snapshot_filter *filter,
                  int (*fn)(const struct snapshot_row *row, void *arg, struct error *err),
                  void *arg, struct error *err);

int chain_get(struct catalog_conn *conn, int64_t id, struct chain_row *ret_row, struct error *err);
int chain_find(struct catalog_conn *conn, int64_t disk_id, int64_t number,
               struct chain_row *ret_row, struct error *err);
// Highest chain number ever used by the disk (0 = none), so that numbers are not used twice.
int chain_highest_number(struct catalog_conn *conn, int64_t disk_id, int64_t *ret_number,
                         struct error *err);
// Highest snapshot number ever used in the chain, forgotten ones counted.
int chain_highest_snapshot(struct catalog_conn *conn, int64_t chain_id, int64_t *ret_number,
                           struct error *err);
// Chains of a disk that hold at least one snapshot, by number.
int chain_each(struct catalog_conn *conn, int64_t disk_id,
               int (*fn)(const struct chain_row *row, void *arg, struct error *err), void *arg,
               struct error *err);

#endif
