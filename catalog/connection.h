// SPDX-License-Identifier: MIT
//
// One SQLite connection as this room wants it: the writer, which alone commits and checkpoints, or
// a reader, which never does. Private to catalog/.
//
// Every connection has foreign keys on, trusted_schema off and cell_size_check on, is in SQLite's
// multi-thread mode (used by one thread at a time), and waits up to five seconds for a lock of
// another process. An SQLite result becomes -errno and a sentence in connection_error() and nowhere
// else.
#ifndef CATALOG_CONNECTION_H
#define CATALOG_CONNECTION_H

#include "base/cleanup.h"
#include "base/error.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

struct catalog;
struct statement;

enum connection_kind {
    CONNECTION_CREATE = 1, // a writer of a file that is not there yet
    CONNECTION_WRITER,
    CONNECTION_READER,
    CONNECTION_FROZEN, // a reader of a file that nobody can change: no log, no shared memory
};

struct catalog_conn {
    sqlite3 *db;
    enum connection_kind kind;
    int wal_frames;               // in the WAL after this connection's last commit
    struct statement *statements; // the cache, see statement.h
    struct statement *refused;    // stands for those that could not be prepared
    struct catalog *catalog;      // whose lease it is; NULL while it is being set up
    struct catalog_conn *next;    // in the catalog's list of idle readers
};

// Opens `path`. A writer is not in WAL mode yet (connection_use_wal()): nothing is written to a
// file that may turn out not to be a catalog. -ENOENT when it is not there.
int connection_open(const char *path, enum connection_kind kind, struct catalog_conn **ret_conn,
                    struct error *err);

// Closes it with its cached statements. Accepts NULL, returns NULL.
struct catalog_conn *connection_close(struct catalog_conn *conn);

// Puts the database in WAL mode, and this connection in charge of its checkpoints.
int connection_use_wal(struct catalog_conn *conn, struct error *err);

// Moves what is in the WAL to the database file; `truncate` also empties the WAL, which waits for
// readers. Never fails the caller, for the WAL itself is durable: what goes wrong is logged.
void connection_checkpoint(struct catalog_conn *conn, bool truncate);

// Runs SQL that has no parameters and no result, several statements if need be.
int connection_exec(struct catalog_conn *conn, const char *what, const char *sql,
                    struct error *err);

// The first column of the first row as an integer: for pragmas.
int connection_query_int(struct catalog_conn *conn, const char *what, const char *sql,
                         int64_t *ret_value, struct error *err);

// "catalog: <what>: <SQLite's sentence>" and the errno that stands for `sqlite_code`.
int connection_error(struct catalog_conn *conn, int sqlite_code, const char *what,
                     struct error *err);

// SQLite calls a read that failed with EIO corruption. A disk that cannot be read now may be read
// again, and nobody should be told that his catalog is damaged: whether the last error that the
// database file or its log met was EIO.
bool connection_met_eio(struct catalog_conn *conn);

DEFINE_CLEANUP(struct catalog_conn *, connection_close)

#endif
