// SPDX-License-Identifier: MIT
//
// Contexts: a VM in this repository (table vm_backup_contexts), with the totals of its jobs.
//
// Row functions of this room: `conn` is a lease (catalog.h); _get fills a caller-owned row and
// returns -ENOENT with a sentence when there is none; _each calls `fn` for every row in a
// documented order, with a row that is valid during the call only; fn returns 0 to go on, anything
// else ends the walk and is returned. fn may call other row functions on the same conn.
#ifndef CATALOG_CONTEXT_H
#define CATALOG_CONTEXT_H

#include "base/name.h"
#include "catalog/catalog.h"
#include "catalog/types.h"

#include <stdbool.h>
#include <stdint.h>

struct context_row {
    int64_t id;
    char uuid[UUID_TEXT_SIZE];
    char name[NAME_SIZE];
    int64_t created_at;
    int64_t changed_at; // when a disk was last added or removed
    // Totals of ended backup jobs; written only by the transaction that ends a job (job.h).
    int64_t runs; // successes + failures + cancellations
    int64_t successes;
    int64_t failures;
    int64_t cancellations;
    int64_t last_success_at;             // 0 = never
    int64_t last_run_at;                 // 0 = never
    char retention[RETENTION_TEXT_SIZE]; // the policy that holds for it
    bool own_retention;                  // false: that is the repository's
    int64_t newest_at; // when the newest snapshot that is there was taken; 0 = there is none
};

// Writes a new context; -EEXIST when the name is taken. The name must have passed name_check().
int context_insert(struct catalog_conn *conn, const char *name, int64_t *ret_id, struct error *err);

// Deletes it with its disks, jobs, chains and snapshots (cascade). The caller has checked that this
// is wanted.
int context_delete(struct catalog_conn *conn, int64_t id, struct error *err);

// Sets its retention policy, whose words the caller has checked; NULL = back to the repository's.
int context_set_retention(struct catalog_conn *conn, int64_t id, const char *words,
                          struct error *err);

// The repository's policy, which holds for every context that has none of its own. "none" (keep
// everything) in a new catalog.
int context_default_retention(struct catalog_conn *conn, char ret_words[RETENTION_TEXT_SIZE],
                              struct error *err);
int context_set_default_retention(struct catalog_conn *conn, const char *words, struct error *err);

int context_get(struct catalog_conn *conn, int64_t id, struct context_row *ret_row,
                struct error *err);
int context_find(struct catalog_conn *conn, const char *name, struct context_row *ret_row,
                 struct error *err); // -ENOENT "no VM named x"

// By name.
int context_each(struct catalog_conn *conn,
                 int (*fn)(const struct context_row *row, void *arg, struct error *err), void *arg,
                 struct error *err);

#endif
