// SPDX-License-Identifier: MIT
//
// Disks of a context (table vm_disks): where each is read from and what the next incremental builds
// on.
#ifndef CATALOG_DISK_H
#define CATALOG_DISK_H

#include "catalog/context.h"

struct disk_row {
    int64_t id;
    char uuid[UUID_TEXT_SIZE];
    int64_t context_id;
    char context_name[NAME_SIZE]; // joined
    char name[NAME_SIZE];
    char source[SOURCE_TEXT_SIZE]; // as given: "/dev/vg0/web1"; "" until one is set
    uint64_t capacity;   // bytes, as discovered or last backed up; 0 while there is no source
    uint32_t chunk_size; // bytes; fixed when the disk is added
    char change_id[CHANGE_ID_SIZE]; // of the last completed backup; "" before the first
    int64_t created_at;
    int64_t changed_at; // last backup completed, or creation
    int64_t snapshots;  // counted: snapshots that are there (completed and not forgotten)
    int64_t newest_at;  // when the newest of them was taken; 0 = there is none
};

int disk_insert(struct catalog_conn *conn, int64_t context_id, const char *name,
                uint32_t chunk_size, int64_t *ret_id, struct error *err); // -EEXIST
int disk_set_source(struct catalog_conn *conn, int64_t id, const char *source, uint64_t capacity,
                    struct error *err);
int disk_delete(struct catalog_conn *conn, int64_t id, struct error *err); // cascades

int disk_get(struct catalog_conn *conn, int64_t id, struct disk_row *ret_row, struct error *err);
int disk_find(struct catalog_conn *conn, int64_t context_id, const char *name,
              struct disk_row *ret_row, struct error *err); // -ENOENT "no disk named x in VM y"

// Disks of one context by name; context_id 0 = of all contexts, by context name and name.
int disk_each(struct catalog_conn *conn, int64_t context_id,
              int (*fn)(const struct disk_row *row, void *arg, struct error *err), void *arg,
              struct error *err);

#endif
