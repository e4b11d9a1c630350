// SPDX-License-Identifier: MIT
//
// Prepared statements, cached by connection, with checked parameters and columns. Private to
// catalog/.
//
// A query is a static struct, and its address is the key of the cache, so finding the prepared
// statement costs one small hash. statement_begin() hands it out with no parameter bound; when it
// is out already (a callback that walks the same table again), a second one is prepared for that
// use. statement_end() gives it back; AUTO(statement_end) does so for a local.
//
//     AUTO(statement_end) struct statement *st = statement_begin(conn, &find_context);
//     statement_bind_text(st, 1, name, NAME_SIZE);
//     int rc = statement_step(st, err);
//
// What could not be prepared, and the first parameter that cannot be bound, are reported by the
// next step. Columns are taken from
// left to right; what no row of this program can hold (a text too long for its field, an unknown
// word, a negative size) is noted, and statement_check_row() makes damage of it.
//
// Threads: as the connection: one at a time.
#ifndef CATALOG_STATEMENT_H
#define CATALOG_STATEMENT_H

#include "base/digest.h"
#include "catalog/connection.h"

#include <stddef.h>

struct statement;

struct query {
    const char *what; // "add a job": for the sentence when it fails
    const char *sql;
};

// Never NULL. One that could not be prepared takes parameters and is ended like any other; its
// first step says why.
struct statement *statement_begin(struct catalog_conn *conn, const struct query *query);

// For SQL that is put together at run time: `query` is used during the call only and nothing is
// cached, but `query->what` must stay until statement_end().
struct statement *statement_begin_once(struct catalog_conn *conn, const struct query *query);

// Accepts NULL.
void statement_end(struct statement *st);

// Parameters. Text and blobs are borrowed until statement_end().
void statement_bind_int(struct statement *st, int index, int64_t value);
void statement_bind_size(struct statement *st, int index, uint64_t value);    // at most INT64_MAX
void statement_bind_optional(struct statement *st, int index, int64_t value); // 0 is NULL
void statement_bind_text(struct statement *st, int index, const char *text,
                         size_t size); // must fit into a field of `size` bytes, NUL and all
void statement_bind_sentence(struct statement *st, int index, const char *text,
                             size_t size);                                  // as much of it as fits
void statement_bind_key(struct statement *st, int index, const char *text); // of any length
void statement_bind_blob(struct statement *st, int index, const void *data, size_t len);
void statement_bind_new_uuid(struct statement *st, int index);

// 1 a row is there, 0 no more, or -errno.
int statement_step(struct statement *st, struct error *err);

// For a statement that gives no row.
int statement_run(struct statement *st, struct error *err);

// Ready to be stepped again with other parameters; what is bound stays bound.
void statement_rewind(struct statement *st);

// Rows changed by the statement that ended last on the connection, cascades not counted.
int64_t statement_changes(const struct statement *st);

// The id of the row that was inserted last on the connection. (No query says RETURNING: SQLite
// checks foreign keys only behind its last row.)
int64_t statement_inserted_id(const struct statement *st);

// The next column of the row at hand.
int64_t statement_int(struct statement *st); // NULL is 0
uint64_t statement_size(struct statement *st);
uint32_t statement_size32(struct statement *st);
const char *statement_word(struct statement *st); // borrowed until the next step; NULL is ""
void statement_text(struct statement *st, char *ret_text, size_t size);
void statement_digest(struct statement *st, struct digest *ret_digest); // NULL is all zero

// What the row at hand must be; noted when it is not.
void statement_expect(struct statement *st, bool holds);

// 0, or -ERROR_CORRUPT when a column of the row at hand could not be what was stored.
int statement_check_row(struct statement *st, struct error *err);

// Before the first statement of a connection, and after its last.
int statement_cache_init(struct catalog_conn *conn, struct error *err);
void statement_cache_clear(struct catalog_conn *conn);

DEFINE_CLEANUP(struct statement *, statement_end)

#endif
