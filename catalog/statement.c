// SPDX-License-Identifier: MIT
//
// The cache of prepared statements and the checks at the border between C fields and SQL columns.
// Owns every statement of a connection. Knows no table.
#include "catalog/statement.h"

#include "base/hash.h"
#include "catalog/types.h"

#include <string.h>

#include <uuid/uuid.h>

struct statement {
    const struct query *key; // in the cache; NULL for a statement of one use
    const char *what;
    struct catalog_conn *conn;
    sqlite3_stmt *stmt;
    bool in_use;
    int bind_code;        // SQLite's result for the first parameter that could not be bound
    size_t too_long;      // bytes of a text that does not fit its field, 0 = none
    int column;           // the next to be taken
    bool damaged;         // the row at hand holds what was never stored
    struct error refusal; // of the one that stands for those that could not be prepared
    UT_hash_handle hh;    // by key
};

// --- beginning and ending

int statement_cache_init(struct catalog_conn *conn, struct error *err)
{
    conn->refused = calloc(1, sizeof(*conn->refused));
    if (!conn->refused)
        return error_set(err, -ENOMEM, "catalog: out of memory");
    conn->refused->conn = conn;
    return 0;
}

static bool is_refused(const struct statement *st)
{
    return st == st->conn->refused;
}

static struct statement *prepare(struct catalog_conn *conn, const struct query *query,
                                 unsigned flags)
{
    struct statement *st = calloc(1, sizeof(*st));
    struct error *refusal = &conn->refused->refusal;
    error_clear(refusal);
    if (!st) {
        error_set(refusal, -ENOMEM, "catalog: %s: out of memory", query->what);
        return conn->refused;
    }
    int sqlite_code = sqlite3_prepare_v3(conn->db, query->sql, -1, flags, &st->stmt, NULL);
    if (sqlite_code != SQLITE_OK) {
        connection_error(conn, sqlite_code, query->what, refusal);
        free(st);
        return conn->refused;
    }
    st->conn = conn;
    st->what = query->what;
    st->in_use = true;
    return st;
}

static void destroy(struct statement *st)
{
    sqlite3_finalize(st->stmt);
    free(st);
}

static struct statement *prepare_cached(struct catalog_conn *conn, const struct query *query)
{
    struct statement *st = prepare(conn, query, SQLITE_PREPARE_PERSISTENT);
    if (is_refused(st))
        return st;
    st->key = query;
    HASH_ADD_PTR(conn->statements, key, st);
    if (st->hh.tbl)
        return st;
    destroy(st);
    error_set(&conn->refused->refusal, -ENOMEM, "catalog: %s: out of memory", query->what);
    return conn->refused;
}

struct statement *statement_begin(struct catalog_conn *conn, const struct query *query)
{
    struct statement *st = NULL;
    HASH_FIND_PTR(conn->statements, &query, st);
    if (!st)
        return prepare_cached(conn, query);
    if (st->in_use)
        return statement_begin_once(conn, query);
    st->in_use = true;
    return st;
}

struct statement *statement_begin_once(struct catalog_conn *conn, const struct query *query)
{
    return prepare(conn, query, 0);
}

void statement_end(struct statement *st)
{
    if (!st || is_refused(st))
        return;
    if (!st->key) {
        destroy(st);
        return;
    }
    // What a reset reports is the failure of the last step again, which its caller has.
    sqlite3_reset(st->stmt);
    sqlite3_clear_bindings(st->stmt);
    st->in_use = false;
    st->bind_code = SQLITE_OK;
    st->too_long = 0;
    st->damaged = false;
}

void statement_cache_clear(struct catalog_conn *conn)
{
    struct statement *st;
    while ((st = conn->statements) != NULL) {
        HASH_DEL(conn->statements, st);
        destroy(st);
    }
    free(conn->refused);
    conn->refused = NULL;
}

// --- parameters

static void note_bind(struct statement *st, int sqlite_code)
{
    if (st->bind_code == SQLITE_OK && !is_refused(st))
        st->bind_code = sqlite_code;
}

void statement_bind_int(struct statement *st, int index, int64_t value)
{
    note_bind(st, sqlite3_bind_int64(st->stmt, index, value));
}

void statement_bind_size(struct statement *st, int index, uint64_t value)
{
    if (value > INT64_MAX)
        note_bind(st, SQLITE_TOOBIG);
    else
        statement_bind_int(st, index, (int64_t)value);
}

void statement_bind_optional(struct statement *st, int index, int64_t value)
{
    if (value == 0)
        note_bind(st, sqlite3_bind_null(st->stmt, index));
    else
        statement_bind_int(st, index, value);
}

void statement_bind_text(struct statement *st, int index, const char *text, size_t size)
{
    size_t len = strlen(text);
    if (len >= size)
        st->too_long = len;
    else
        statement_bind_key(st, index, text);
}

void statement_bind_sentence(struct statement *st, int index, const char *text, size_t size)
{
    note_bind(st, sqlite3_bind_text64(st->stmt, index, text, strnlen(text, size - 1), SQLITE_STATIC,
                                      SQLITE_UTF8));
}

void statement_bind_key(struct statement *st, int index, const char *text)
{
    note_bind(st,
              sqlite3_bind_text64(st->stmt, index, text, strlen(text), SQLITE_STATIC, SQLITE_UTF8));
}

void statement_bind_blob(struct statement *st, int index, const void *data, size_t len)
{
    note_bind(st, sqlite3_bind_blob64(st->stmt, index, data, len, SQLITE_STATIC));
}

void statement_bind_new_uuid(struct statement *st, int index)
{
    uuid_t uuid;
    char text[UUID_TEXT_SIZE];
    uuid_generate_random(uuid);
    uuid_unparse_lower(uuid, text);
    note_bind(st, sqlite3_bind_text(st->stmt, index, text, UUID_TEXT_SIZE - 1, SQLITE_TRANSIENT));
}

static int check_bound(const struct statement *st, struct error *err)
{
    if (is_refused(st))
        return error_set(err, st->refusal.code, "%s", error_message(&st->refusal));
    if (st->too_long)
        return error_set(err, -ENAMETOOLONG, "catalog: %s: a text of %zu bytes is too long",
                         st->what, st->too_long);
    if (st->bind_code == SQLITE_TOOBIG)
        return error_set(err, -EINVAL, "catalog: %s: a number is out of range", st->what);
    if (st->bind_code != SQLITE_OK)
        return connection_error(st->conn, st->bind_code, st->what, err);
    return 0;
}

int statement_step(struct statement *st, struct error *err)
{
    int rc = check_bound(st, err);
    if (rc < 0)
        return rc;
    st->column = 0;
    st->damaged = false;
    int sqlite_code = sqlite3_step(st->stmt);
    if (sqlite_code == SQLITE_ROW)
        return 1;
    if (sqlite_code == SQLITE_DONE)
        return 0;
    return connection_error(st->conn, sqlite_code, st->what, err);
}

int statement_run(struct statement *st, struct error *err)
{
    int rc = statement_step(st, err);
    return rc < 0 ? rc : 0;
}

void statement_rewind(struct statement *st)
{
    sqlite3_reset(st->stmt);
}

int64_t statement_changes(const struct statement *st)
{
    return sqlite3_changes64(st->conn->db);
}

int64_t statement_inserted_id(const struct statement *st)
{
    return sqlite3_last_insert_rowid(st->conn->db);
}

int64_t statement_int(struct statement *st)
{
    return sqlite3_column_int64(st->stmt, st->column++);
}

uint64_t statement_size(struct statement *st)
{
    int64_t value = statement_int(st);
    statement_expect(st, value >= 0);
    return value < 0 ? 0 : (uint64_t)value;
}

uint32_t statement_size32(struct statement *st)
{
    uint64_t value = statement_size(st);
    statement_expect(st, value <= UINT32_MAX);
    return (uint32_t)value;
}

const char *statement_word(struct statement *st)
{
    int column = st->column++;
    const unsigned char *text = sqlite3_column_text(st->stmt, column);
    statement_expect(st, text || sqlite3_column_type(st->stmt, column) == SQLITE_NULL);
    return text ? (const char *)text : "";
}

void statement_text(struct statement *st, char *ret_text, size_t size)
{
    const char *text = statement_word(st);
    size_t len = strlen(text);
    statement_expect(st, len < size);
    if (len >= size)
        len = size - 1;
    memcpy(ret_text, text, len);
    ret_text[len] = '\0';
}

void statement_digest(struct statement *st, struct digest *ret_digest)
{
    int column = st->column++;
    *ret_digest = (struct digest){0};
    if (sqlite3_column_type(st->stmt, column) == SQLITE_NULL)
        return;
    const void *data = sqlite3_column_blob(st->stmt, column);
    bool fits = data && sqlite3_column_bytes(st->stmt, column) == DIGEST_SIZE;
    statement_expect(st, fits);
    if (fits)
        memcpy(ret_digest->bytes, data, DIGEST_SIZE);
}

void statement_expect(struct statement *st, bool holds)
{
    if (!holds)
        st->damaged = true;
}

int statement_check_row(struct statement *st, struct error *err)
{
    if (!st->damaged)
        return 0;
    // A text that could not be handed out for want of memory is none that is wrong.
    if (sqlite3_errcode(st->conn->db) == SQLITE_NOMEM)
        return connection_error(st->conn, SQLITE_NOMEM, st->what, err);
    return error_set(err, -ERROR_CORRUPT, "catalog: %s: a row holds what this program never stored",
                     st->what);
}
