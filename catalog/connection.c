// SPDX-License-Identifier: MIT
//
// Opens and sets up SQLite connections and translates SQLite's results. Owns a connection's pragmas
// and its checkpoints. Knows no table.
#include "catalog/connection.h"

#include "base/log.h"
#include "base/text.h"
#include "catalog/statement.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define BUSY_TIMEOUT_MS 5000
#define WRITER_CACHE_KIB "8192"
#define READER_CACHE_KIB "1024"

// Past this many bytes an emptied WAL file is cut down instead of being kept for reuse.
#define WAL_KEEP_BYTES "33554432"

static const char writer_pragmas[] = "PRAGMA foreign_keys=ON;"
                                     "PRAGMA trusted_schema=OFF;"
                                     "PRAGMA cell_size_check=ON;"
                                     "PRAGMA synchronous=FULL;"
                                     "PRAGMA cache_size=-" WRITER_CACHE_KIB ";"
                                     "PRAGMA journal_size_limit=" WAL_KEEP_BYTES ";";

// No mmap_size: a bad sector under a mapping is SIGBUS where a read gives EIO, and each reader's
// mapping would count as memory of the process. Measured, lookups are no slower without.
static const char reader_pragmas[] = "PRAGMA foreign_keys=ON;"
                                     "PRAGMA trusted_schema=OFF;"
                                     "PRAGMA cell_size_check=ON;"
                                     "PRAGMA synchronous=FULL;"
                                     "PRAGMA cache_size=-" READER_CACHE_KIB ";";

static pthread_once_t configured = PTHREAD_ONCE_INIT;

// SQLite's memory statistics take one global lock for every allocation, and nobody reads them. It
// is not an error when the process used SQLite before: then they stay on.
static void configure_sqlite(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int errno_of_constraint(int sqlite_code)
{
    switch (sqlite_code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return -EEXIST;
    default:
        return -EINVAL;
    }
}

static int errno_of(int sqlite_code, int system_errno)
{
    switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_IOERR:
        return sqlite_code == SQLITE_IOERR_NOMEM ? -ENOMEM
               : system_errno == ENOSPC          ? -ENOSPC
                                                 : -EIO;
    case SQLITE_CANTOPEN:
        return system_errno > 0 ? -system_errno : -EIO;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -ERROR_CORRUPT;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_CONSTRAINT:
        return errno_of_constraint(sqlite_code);
    default:
        return -EIO;
    }
}

static bool file_met_eio(sqlite3_file *file)
{
    int system_errno = 0;
    return file && file->pMethods &&
           file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &system_errno) ==
               SQLITE_OK &&
           system_errno == EIO;
}

bool connection_met_eio(struct catalog_conn *conn)
{
    sqlite3_file *database = NULL, *wal = NULL;
    sqlite3_file_control(conn->db, "main", SQLITE_FCNTL_FILE_POINTER, &database);
    sqlite3_file_control(conn->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
    return file_met_eio(database) || file_met_eio(wal);
}

int connection_error(struct catalog_conn *conn, int sqlite_code, const char *what,
                     struct error *err)
{
    if ((sqlite_code & 0xff) == SQLITE_CORRUPT && connection_met_eio(conn))
        return error_set_errno(err, -EIO, "catalog: %s", what);
    int code = errno_of(sqlite_code, sqlite3_system_errno(conn->db));
    // The connection's own sentence may be of another call by now.
    bool is_last = sqlite3_extended_errcode(conn->db) == sqlite_code;
    return error_set(err, code, "catalog: %s: %s", what,
                     is_last ? sqlite3_errmsg(conn->db) : sqlite3_errstr(sqlite_code));
}

static int note_wal_frames(void *arg, sqlite3 *db, const char *name, int frames)
{
    (void)db;
    (void)name;
    struct catalog_conn *conn = arg;
    conn->wal_frames = frames;
    return SQLITE_OK;
}

static int set_up(struct catalog_conn *conn, struct error *err)
{
    sqlite3_extended_result_codes(conn->db, 1);
    sqlite3_busy_timeout(conn->db, BUSY_TIMEOUT_MS);
    sqlite3_db_config(conn->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (conn->kind == CONNECTION_READER || conn->kind == CONNECTION_FROZEN) {
        sqlite3_wal_autocheckpoint(conn->db, 0);
        sqlite3_db_config(conn->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        return connection_exec(conn, "set up a reader", reader_pragmas, err);
    }
    // In the place of SQLite's own automatic checkpoint, whose failures nobody would hear of.
    sqlite3_wal_hook(conn->db, note_wal_frames, conn);
    return connection_exec(conn, "set up the writer", writer_pragmas, err);
}

static int open_flags(enum connection_kind kind)
{
    switch (kind) {
    case CONNECTION_CREATE:
        return SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    case CONNECTION_WRITER:
        return SQLITE_OPEN_READWRITE;
    default:
        return SQLITE_OPEN_READONLY;
    }
}

// "file:PATH?immutable=1", malloc'ed; NULL: out of memory.
static char *frozen_uri(const char *path)
{
    AUTO(text_discard) struct text uri = {0};
    FILE *out = text_begin(&uri);

    if (!out)
        return NULL;
    fputs("file:", out);
    for (const char *p = path; *p; p++) {
        if (strchr("%?#", *p))
            fprintf(out, "%%%02x", (unsigned char)*p);
        else
            fputc(*p, out);
    }
    fputs("?immutable=1", out);
    return text_end(&uri) ? TAKE(uri.data, NULL) : NULL;
}

static int open_database(const char *path, enum connection_kind kind, sqlite3 **ret_db)
{
    int flags = open_flags(kind) | SQLITE_OPEN_NOMUTEX;

    if (kind != CONNECTION_FROZEN)
        return sqlite3_open_v2(path, ret_db, flags, NULL);
    AUTO_FREE char *uri = frozen_uri(path);
    return uri ? sqlite3_open_v2(uri, ret_db, flags | SQLITE_OPEN_URI, NULL) : SQLITE_NOMEM;
}

int connection_open(const char *path, enum connection_kind kind, struct catalog_conn **ret_conn,
                    struct error *err)
{
    pthread_once(&configured, configure_sqlite);

    AUTO(connection_close) struct catalog_conn *conn = calloc(1, sizeof(*conn));
    if (!conn)
        return error_set(err, -ENOMEM, "catalog: open %s: out of memory", path);
    conn->kind = kind;
    int rc = statement_cache_init(conn, err);
    if (rc < 0)
        return rc;
    int sqlite_code = open_database(path, kind, &conn->db);
    if (!conn->db)
        return error_set(err, -ENOMEM, "catalog: open %s: out of memory", path);
    if (sqlite_code != SQLITE_OK) {
        int code = errno_of(sqlite_code, sqlite3_system_errno(conn->db));
        return error_set_errno(err, code, "catalog: cannot open %s", path);
    }
    // What cannot be opened for writing SQLite opens for reading, and says nothing.
    if (open_flags(kind) != SQLITE_OPEN_READONLY && sqlite3_db_readonly(conn->db, "main") != 0)
        return error_set(err, -EROFS, "catalog: cannot open %s for writing", path);
    rc = set_up(conn, err);
    if (rc < 0)
        return rc;
    *ret_conn = TAKE(conn, NULL);
    return 0;
}

struct catalog_conn *connection_close(struct catalog_conn *conn)
{
    if (!conn)
        return NULL;
    statement_cache_clear(conn);
    int sqlite_code = sqlite3_close(conn->db);
    if (sqlite_code != SQLITE_OK) {
        log_error("catalog: close: %s", sqlite3_errmsg(conn->db));
        sqlite3_close_v2(conn->db);
    }
    free(conn);
    return NULL;
}

int connection_use_wal(struct catalog_conn *conn, struct error *err)
{
    static const char what[] = "switch to a write-ahead log";
    sqlite3_stmt *stmt = NULL;
    int sqlite_code = sqlite3_prepare_v2(conn->db, "PRAGMA journal_mode=WAL", -1, &stmt, NULL);
    if (sqlite_code == SQLITE_OK)
        sqlite_code = sqlite3_step(stmt);
    bool told = sqlite_code == SQLITE_ROW;
    const char *mode = told ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    int rc = 0;
    if (mode && strcmp(mode, "wal") != 0)
        rc = error_set(err, -EOPNOTSUPP, "catalog: %s: the file system does not allow one", what);
    // The row comes before the commit, and with it before a flush that may fail.
    if (told && rc == 0)
        sqlite_code = mode ? sqlite3_step(stmt) : SQLITE_NOMEM;
    if (rc == 0 && sqlite_code != SQLITE_DONE)
        rc = connection_error(conn, sqlite_code, what, err);
    sqlite3_finalize(stmt);
    return rc;
}

void connection_checkpoint(struct catalog_conn *conn, bool truncate)
{
    int mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int sqlite_code = sqlite3_wal_checkpoint_v2(conn->db, NULL, mode, NULL, NULL);
    // Busy: a reader still looks at what would be moved. A later checkpoint gets it.
    if (sqlite_code != SQLITE_OK && (sqlite_code & 0xff) != SQLITE_BUSY)
        log_warning("catalog: checkpoint: %s", sqlite3_errmsg(conn->db));
}

int connection_exec(struct catalog_conn *conn, const char *what, const char *sql, struct error *err)
{
    int sqlite_code = sqlite3_exec(conn->db, sql, NULL, NULL, NULL);
    return sqlite_code == SQLITE_OK ? 0 : connection_error(conn, sqlite_code, what, err);
}

int connection_query_int(struct catalog_conn *conn, const char *what, const char *sql,
                         int64_t *ret_value, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int sqlite_code = sqlite3_prepare_v2(conn->db, sql, -1, &stmt, NULL);
    if (sqlite_code == SQLITE_OK)
        sqlite_code = sqlite3_step(stmt);
    int rc = 0;
    if (sqlite_code == SQLITE_ROW)
        *ret_value = sqlite3_column_int64(stmt, 0);
    else if (sqlite_code == SQLITE_DONE)
        rc = error_set(err, -ENOENT, "catalog: %s: no row", what);
    else
        rc = connection_error(conn, sqlite_code, what, err);
    sqlite3_finalize(stmt);
    return rc;
}
