// SPDX-License-Identifier: MIT
//
// A catalog as a whole: creating, opening and closing it, and the leases on its connections. Owns
// the one writer and the pool of readers. Rows and SQL are elsewhere; this file knows transactions.
//
// Threads: any thread may ask for a lease. The writer's lock is held from catalog_write_begin() to
// the commit or roll-back, by the thread that asked. The pool's lock is held for list operations
// only, never over a call of SQLite. Order: write_lock before pool_lock.
#include "catalog/catalog.h"

#include "base/io.h"
#include "base/log.h"
#include "catalog/connection.h"
#include "catalog/schema.h"
#include "catalog/statement.h"

#include <libgen.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utlist.h>

// A reader that comes back to a pool of this many is closed.
#define IDLE_READERS_MAX 16

// After a commit that leaves this many frames in the WAL, it is checkpointed.
#define CHECKPOINT_FRAMES 1000

struct catalog {
    char *path;

    void (*make_room)(void *arg); // NULL: none
    void *make_room_arg;

    pthread_mutex_t write_lock;
    struct catalog_conn *writer; // NULL in READER mode

    enum connection_kind reader_kind; // constant

    atomic_uint_fast64_t changes; // commits of the writer

    pthread_mutex_t pool_lock;
    struct catalog_conn *idle;
    unsigned idle_count;
};

static const struct query begin_write = {"begin to write", "BEGIN IMMEDIATE"};
static const struct query begin_read = {"begin to read", "BEGIN"};
static const struct query commit = {"commit", "COMMIT"};
static const struct query rollback = {"roll back", "ROLLBACK"};

static int run(struct catalog_conn *conn, const struct query *query, struct error *err)
{
    AUTO(statement_end) struct statement *st = statement_begin(conn, query);
    return statement_run(st, err);
}

static int sync_folder_of(const char *path, struct error *err)
{
    AUTO_FREE char *copy = strdup(path);
    if (!copy)
        return error_set(err, -ENOMEM, "catalog: create %s: out of memory", path);
    return io_fsync_dir(dirname(copy), err);
}

static void remove_half_made(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char *name = NULL;
        if (asprintf(&name, "%s%s", path, suffixes[i]) < 0)
            return;
        if (unlink(name) < 0 && errno != ENOENT)
            log_warning("cannot remove %s: %s", name, strerror(errno));
        free(name);
    }
}

static int create_at(const char *path, const char *repository_uuid, struct error *err)
{
    AUTO(connection_close) struct catalog_conn *conn = NULL;
    int rc = connection_open(path, CONNECTION_CREATE, &conn, err);
    if (rc == 0)
        rc = connection_use_wal(conn, err);
    if (rc == 0)
        rc = schema_create(conn, repository_uuid, err);
    if (rc == 0)
        connection_checkpoint(conn, true);
    return rc;
}

int catalog_create(const char *path, const char *repository_uuid, struct error *err)
{
    struct stat st;
    if (lstat(path, &st) == 0)
        return error_set_errno(err, -EEXIST, "cannot create %s", path);
    if (errno != ENOENT)
        return error_set_errno(err, -errno, "cannot create %s", path);
    int rc = create_at(path, repository_uuid, err);
    if (rc == 0)
        rc = sync_folder_of(path, err);
    if (rc < 0)
        remove_half_made(path);
    return rc;
}

static int open_owner(struct catalog *catalog, const char *repository_uuid, struct error *err)
{
    AUTO(connection_close) struct catalog_conn *conn = NULL;
    int rc = connection_open(catalog->path, CONNECTION_WRITER, &conn, err);
    if (rc < 0)
        return rc;
    size_t count;
    const struct schema_step *steps = schema_steps(&count);
    int version;
    rc = schema_check(conn, steps, count, repository_uuid, &version, err);
    if (rc == 0)
        rc = connection_use_wal(conn, err);
    if (rc == 0)
        rc = schema_migrate(conn, steps, count, version, err);
    if (rc < 0)
        return rc;
    conn->catalog = catalog;
    catalog->writer = TAKE(conn, NULL);
    return 0;
}

// On a file system that is mounted read-only SQLite cannot make the files that readers of a WAL
// share. They are not needed when there is no log and nobody can write one.
static bool is_frozen(const char *path)
{
    AUTO_FREE char *log = NULL;
    struct statvfs fs;

    if (statvfs(path, &fs) < 0 || !(fs.f_flag & ST_RDONLY))
        return false;
    if (asprintf(&log, "%s-wal", path) < 0) {
        log = NULL;
        return false;
    }
    return access(log, F_OK) < 0 && errno == ENOENT;
}

static int open_reader(struct catalog *catalog, const char *repository_uuid, struct error *err)
{
    AUTO(connection_close) struct catalog_conn *conn = NULL;
    if (is_frozen(catalog->path))
        catalog->reader_kind = CONNECTION_FROZEN;
    int rc = connection_open(catalog->path, catalog->reader_kind, &conn, err);
    if (rc < 0)
        return rc;
    size_t count;
    const struct schema_step *steps = schema_steps(&count);
    int version;
    rc = schema_check(conn, steps, count, repository_uuid, &version, err);
    if (rc < 0)
        return rc;
    int newest = steps[count - 1].version;
    if (version < newest)
        return error_set(err, -EPROTONOSUPPORT,
                         "catalog.db has schema %d, this program needs %d: mount the repository "
                         "once to bring it there",
                         version, newest);
    conn->catalog = catalog;
    LL_PREPEND(catalog->idle, conn);
    catalog->idle_count = 1;
    TAKE(conn, NULL);
    return 0;
}

int catalog_open(const char *path, enum catalog_mode mode, const char *repository_uuid,
                 struct catalog **ret_catalog, struct error *err)
{
    struct catalog *catalog = calloc(1, sizeof(*catalog));
    if (!catalog)
        return error_set(err, -ENOMEM, "catalog: open %s: out of memory", path);
    pthread_mutex_init(&catalog->write_lock, NULL);
    pthread_mutex_init(&catalog->pool_lock, NULL);
    catalog->reader_kind = CONNECTION_READER;
    int rc = 0;
    catalog->path = strdup(path);
    if (!catalog->path)
        rc = error_set(err, -ENOMEM, "catalog: open %s: out of memory", path);
    else if (mode == CATALOG_OWNER)
        rc = open_owner(catalog, repository_uuid, err);
    else
        rc = open_reader(catalog, repository_uuid, err);
    if (rc < 0) {
        catalog_close(catalog);
        return rc;
    }
    *ret_catalog = catalog;
    return 0;
}

struct catalog *catalog_close(struct catalog *catalog)
{
    if (!catalog)
        return NULL;
    // Readers first: the writer's last checkpoint then empties the WAL, and its close removes it.
    for (struct catalog_conn *conn = catalog->idle, *next; conn; conn = next) {
        next = conn->next;
        connection_close(conn);
    }
    if (catalog->writer)
        connection_checkpoint(catalog->writer, true);
    connection_close(catalog->writer);
    pthread_mutex_destroy(&catalog->pool_lock);
    pthread_mutex_destroy(&catalog->write_lock);
    free(catalog->path);
    free(catalog);
    return NULL;
}

void catalog_set_make_room(struct catalog *catalog, void (*fn)(void *arg), void *arg)
{
    catalog->make_room = fn;
    catalog->make_room_arg = arg;
}

int catalog_write_begin(struct catalog *catalog, struct catalog_conn **ret_conn, struct error *err)
{
    if (!catalog->writer)
        return error_set(err, -EROFS, "catalog: it is open for reading only");
    pthread_mutex_lock(&catalog->write_lock);
    if (catalog->make_room)
        catalog->make_room(catalog->make_room_arg);
    int rc = run(catalog->writer, &begin_write, err);
    if (rc < 0) {
        pthread_mutex_unlock(&catalog->write_lock);
        return rc;
    }
    *ret_conn = catalog->writer;
    return 0;
}

// SQLite has rolled back by itself after some failures; asking again would be an error of its own.
static void undo(struct catalog_conn *conn)
{
    struct error err = ERROR_INIT;
    if (!sqlite3_get_autocommit(conn->db) && run(conn, &rollback, &err) < 0)
        log_error("%s", error_message(&err));
}

int catalog_write_commit(struct catalog_conn *conn, struct error *err)
{
    struct catalog *catalog = conn->catalog;
    int rc = run(conn, &commit, err);
    // One that failed may have come through all the same.
    atomic_fetch_add(&catalog->changes, 1);
    if (rc < 0) {
        undo(conn);
    } else if (conn->wal_frames >= CHECKPOINT_FRAMES) {
        connection_checkpoint(conn, false);
    }
    pthread_mutex_unlock(&catalog->write_lock);
    return rc;
}

uint64_t catalog_changes(struct catalog *catalog)
{
    return atomic_load(&catalog->changes);
}

void catalog_write_rollback(struct catalog_conn *conn)
{
    if (!conn)
        return;
    struct catalog *catalog = conn->catalog;
    undo(conn);
    pthread_mutex_unlock(&catalog->write_lock);
}

static struct catalog_conn *take_idle(struct catalog *catalog)
{
    pthread_mutex_lock(&catalog->pool_lock);
    struct catalog_conn *conn = catalog->idle;
    if (conn) {
        LL_DELETE(catalog->idle, conn);
        catalog->idle_count--;
    }
    pthread_mutex_unlock(&catalog->pool_lock);
    return conn;
}

static bool give_back(struct catalog *catalog, struct catalog_conn *conn)
{
    pthread_mutex_lock(&catalog->pool_lock);
    bool kept = catalog->idle_count < IDLE_READERS_MAX;
    if (kept) {
        LL_PREPEND(catalog->idle, conn);
        catalog->idle_count++;
    }
    pthread_mutex_unlock(&catalog->pool_lock);
    return kept;
}

int catalog_read_begin(struct catalog *catalog, struct catalog_conn **ret_conn, struct error *err)
{
    AUTO(connection_close) struct catalog_conn *conn = take_idle(catalog);
    if (!conn) {
        int rc = connection_open(catalog->path, catalog->reader_kind, &conn, err);
        if (rc < 0)
            return rc;
        conn->catalog = catalog;
    }
    int rc = run(conn, &begin_read, err);
    if (rc < 0)
        return rc;
    *ret_conn = TAKE(conn, NULL);
    return 0;
}

void catalog_read_end(struct catalog_conn *conn)
{
    if (!conn)
        return;
    struct error err = ERROR_INIT;
    if (run(conn, &commit, &err) < 0) {
        log_warning("%s", error_message(&err));
        undo(conn);
    }
    // One that is still in its transaction would show its next user an old view.
    if (!sqlite3_get_autocommit(conn->db) || !give_back(conn->catalog, conn))
        connection_close(conn);
}

int catalog_check(struct catalog_conn *conn, bool full, struct error *err)
{
    static const struct query quick_check = {"check", "PRAGMA quick_check(1)"};
    static const struct query integrity_check = {"check", "PRAGMA integrity_check(1)"};
    AUTO(statement_end)
    struct statement *st = statement_begin(conn, full ? &integrity_check : &quick_check);
    int rc = statement_step(st, err);
    if (rc < 0)
        return rc;
    const char *finding = rc == 1 ? statement_word(st) : "no answer";
    if (strcmp(finding, "ok") != 0 && connection_met_eio(conn))
        return error_set_errno(err, -EIO, "catalog: check");
    if (strcmp(finding, "ok") != 0)
        return error_set(err, -ERROR_CORRUPT, "catalog: check: %s", finding);
    return schema_check_foreign_keys(conn, err);
}
