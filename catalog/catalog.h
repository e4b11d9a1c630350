// SPDX-License-Identifier: MIT
//
// The catalog: one SQLite database that links contexts, disks, jobs, chains, snapshots, packs and
// chunks.
//
// Only this room knows SQLite. Connections are explicit: a caller leases one, calls row functions
// on it, and gives it back. There is one writer connection a process (and the repository's lock
// allows one writing process); it alone commits and checkpoints. Readers are separate read-only
// connections with wal_autocheckpoint=0 and no checkpoint on close, because SQLite before 3.51.3
// can corrupt a WAL when one connection commits while another checkpoints.
//
// Invariants: foreign keys are on on every connection; journal_mode=WAL, synchronous=FULL; states
// are CHECKed; times are nanoseconds since the epoch; ids are AUTOINCREMENT and never reused, so
// they may be inode numbers.
//
// Threads: every function may be called from any thread; one leased connection belongs to one
// thread until it is given back. catalog_write_begin() blocks while another thread holds the
// writer. Never hold a read lease while asking for the writer. A write lease must be short: no file
// I/O and no waiting inside it.
#ifndef CATALOG_CATALOG_H
#define CATALOG_CATALOG_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct catalog;
struct catalog_conn;

enum catalog_mode {
    CATALOG_READER = 1, // look only; another process may own the repository
    CATALOG_OWNER,      // the repository's lock is held by this process
};

// Creates the database at `path` (which must not exist) with the current schema and records the
// repository's uuid in it. Durable on return.
int catalog_create(const char *path, const char *repository_uuid, struct error *err);

// Opens it. OWNER migrates older schemas (each step its own transaction). -EPROTONOSUPPORT when
// the schema is newer than this program; -ERROR_CORRUPT when it is not a catalog or is of another
// repository.
int catalog_open(const char *path, enum catalog_mode mode, const char *repository_uuid,
                 struct catalog **ret_catalog, struct error *err);

// All leases must have been given back. The owner checkpoints. Accepts NULL, returns NULL.
struct catalog *catalog_close(struct catalog *catalog);

// `fn` is called before each write transaction begins, with the writer leased: the last moment to
// make room for it on a full disk. It must not use the catalog. Set before the catalog is shared;
// NULL: none.
void catalog_set_make_room(struct catalog *catalog, void (*fn)(void *arg), void *arg);

// Leases the writer and begins an immediate transaction.
int catalog_write_begin(struct catalog *catalog, struct catalog_conn **ret_conn, struct error *err);

// Commits and gives the writer back. On failure everything is rolled back; the lease ends either
// way.
int catalog_write_commit(struct catalog_conn *conn, struct error *err);

// A number that is another one once a commit of this process has returned: what was read after it
// was asked for is the newest there is for as long as it stays the same. OWNER mode only.
uint64_t catalog_changes(struct catalog *catalog);

// Rolls back and gives the writer back. Accepts NULL (so that it can be a cleanup after TAKE).
void catalog_write_rollback(struct catalog_conn *conn);

// Leases a reader with one view of the catalog, from its first question until it is given back.
int catalog_read_begin(struct catalog *catalog, struct catalog_conn **ret_conn, struct error *err);
void catalog_read_end(struct catalog_conn *conn);

// `PRAGMA quick_check` or, with `full`, `integrity_check` (which compares indexes with their tables
// too), and `foreign_key_check`: 0 or -ERROR_CORRUPT with the first finding.
int catalog_check(struct catalog_conn *conn, bool full, struct error *err);

DEFINE_CLEANUP(struct catalog *, catalog_close)
DEFINE_CLEANUP(struct catalog_conn *, catalog_write_rollback)
DEFINE_CLEANUP(struct catalog_conn *, catalog_read_end)

#endif
