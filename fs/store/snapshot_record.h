// SPDX-License-Identifier: MIT
//
// A snapshot's own record in a pack: all that the catalog knows of the snapshot and of what it
// belongs to, as JSON (compact, keys sorted), so that the catalog can be rebuilt from packs alone.
// Step 4 of the order of durability.
#ifndef FS_STORE_SNAPSHOT_RECORD_H
#define FS_STORE_SNAPSHOT_RECORD_H

#include "base/digest.h"
#include "base/name.h"
#include "catalog/snapshot.h"
#include "fs/store/store.h"

struct snapshot_record {
    char uuid[UUID_TEXT_SIZE];
    char parent_uuid[UUID_TEXT_SIZE]; // "" = none
    char context_uuid[UUID_TEXT_SIZE], context_name[NAME_SIZE];
    int64_t context_created_at;
    char disk_uuid[UUID_TEXT_SIZE], disk_name[NAME_SIZE];
    int64_t disk_created_at;
    char chain_uuid[UUID_TEXT_SIZE];
    char job_uuid[UUID_TEXT_SIZE];
    int64_t job_number;
    int64_t job_created_at, job_started_at;
    enum backup_mode job_mode; // what was asked for
    bool job_one_disk;         // it was asked for this disk alone
    int64_t chain_number, number;
    bool foreign;
    char source[SOURCE_TEXT_SIZE];
    enum snapshot_kind kind;
    enum job_trigger trigger;
    char tags[TAGS_TEXT_SIZE];
    char change_id[CHANGE_ID_SIZE];
    struct digest digest;
    uint64_t capacity;
    uint32_t chunk_size;
    uint64_t data_bytes, read_bytes, changed_bytes;
    uint64_t added_bytes; // to the repository, this record and its index entry not counted
    int64_t taken_at, started_at;
    int64_t finished_at; // when this record was written
};

// What stands in the pack: compact JSON, keys sorted, malloc'ed.
int snapshot_record_text(const struct snapshot_record *record, char **ret_text, struct error *err);

// Encodes and appends it (store_writer_put with RECORD_SNAPSHOT).
int snapshot_record_put(struct store_writer *writer, const struct snapshot_record *record,
                        struct digest *ret_id, struct error *err);

// Parses a record's content. Trusts nothing: -ERROR_CORRUPT for a missing key, a wrong type, a name
// name_check() refuses.
int snapshot_record_parse(const void *data, size_t len, struct snapshot_record *ret_record,
                          struct error *err);

// Before a snapshot is read: does the catalog's row say of it what its own record says? SQLite's
// pages have no checksums, so a changed byte in the catalog may be a disk's size or a number; the
// record is proved by its id. -ERROR_CORRUPT "the catalog gives snapshot 0003-… another …". When no
// copy of the record can be read, whatever the reason, one that is made anew and has the right id
// says the same. `conn` NULL: a lease is taken for the call.
int snapshot_record_check(struct store *store, struct catalog_conn *conn,
                          const struct snapshot_row *row, struct error *err);

// Makes a record that no pack can give any more from the rows of the catalog that tell the same. 1
// with its text (malloc'ed) when that has the record's id, which proves every row it was made from,
// 0 when it has not, -errno.
int snapshot_record_remake(struct catalog_conn *conn, const struct snapshot_row *row,
                           char **ret_text, struct error *err);

#endif
