// SPDX-License-Identifier: MIT
//
// The store: content-addressed records in packs, found through the catalog's chunk index.
//
// Order of durability (numbers as in docs/ARCHITECTURE.md): a writer appends records to an open
// pack (1), seals it — index, fdatasync, rename, fsync of the folder — (2), and one transaction
// adds pack and records to the catalog (3). A reader sees a record only after 3. Sealed packs never
// change.
//
// Threads: a store may be used by all threads. A store_writer belongs to one thread, but
// store_writer_knows() may be called from workers at the same time. A failed write, fsync or commit
// poisons the writer: every later call on it returns that first error.
#ifndef FS_STORE_STORE_H
#define FS_STORE_STORE_H

#include "base/cleanup.h"
#include "base/digest.h"
#include "catalog/catalog.h"
#include "fs/store/chunk_cache.h"
#include "fs/store/chunk_coder.h"
#include "fs/store/repo_config.h"
#include "fs/store/reserve.h"

struct store;
struct store_writer;

struct store_options {
    uint64_t cache_bytes; // bound of the decoded-chunk cache; 0 = default (64 MiB)
    uint64_t pack_bytes;  // a pack is sealed when it has grown past this; 0 = default (64 MiB)
};

// Makes the empty folders of a new repository (packs/, cache/). Durable on return.
int store_create(const char *repo_dir, struct error *err);

// `catalog` and `config` are borrowed and must outlive the store.
int store_open(const char *repo_dir, const struct repo_config *config, struct catalog *catalog,
               const struct store_options *options, struct store **ret_store, struct error *err);
struct store *store_close(struct store *store);

// The reserve that writers of backups must leave alone. Borrowed; set before any writer is opened.
void store_set_reserve(struct store *store, struct reserve *reserve);

// `fn` is told of every copy of a record that is found damaged by a read, also when another copy
// served it. Called by the reading thread, which may hold leases: it must not block. Set before the
// store is used by others.
struct chunk_location;
typedef void (*store_damage_fn)(const struct chunk_location *copy, void *arg);
void store_on_damage(struct store *store, store_damage_fn fn, void *arg);

const struct repo_config *store_config(const struct store *store);
struct catalog *store_catalog(const struct store *store); // borrowed, as given to store_open()
const char *store_cache_dir(const struct store *store);   // "REPO/cache", borrowed

// Start-up, by the lock's owner, before any writer: removes open packs a crash left, adopts sealed
// packs the catalog does not know (after checking their index), makes provisional packs of dead
// jobs durable (the next run dedups against them), and removes cache temporaries. `report` gets one
// sentence for each thing found. Damage is reported and left alone.
int store_reconcile(struct store *store, void (*report)(const char *sentence, void *arg), void *arg,
                    struct error *err);

// --- writing

int store_writer_open(struct store *store, int64_t job_id, struct store_writer **ret_writer,
                      struct error *err);

// 1 when `id` need not be stored again: in a durable pack, in a pack of this job, or appended by
// this writer and still in the open pack. 0 when not known, or when every copy was found damaged:
// storing it again heals what refers to it. A delta is as good as its base. -errno. Callable from
// any thread; `conn` is the caller's own read lease.
int store_writer_knows(struct store_writer *writer, struct catalog_conn *conn,
                       const struct digest *id, struct error *err);

// What a chunk that replaces `chunk` may be stored as a delta against: `chunk` itself where it
// stands without a base, else the base of the delta it is stored as. Only what is as durable as the
// writer's own records, and was not found damaged. 1 found, 0 none, -errno. As
// store_writer_knows() for threads and `conn`.
struct store_base {
    struct digest id;
    uint32_t raw_length, stored_length;
};
int store_writer_base(struct store_writer *writer, struct catalog_conn *conn,
                      const struct digest *chunk, struct store_base *ret_base, struct error *err);

struct store_record {
    enum record_kind kind;
    enum record_codec codec;
    struct digest id;
    uint32_t raw_length;
    const void *payload; // borrowed during the call; of a delta as in pack_format.h
    uint32_t payload_length;
};

// Appends a record unless this writer has appended that id already (then 0 bytes are added). Seals
// and commits the pack when it is full.
int store_writer_append(struct store_writer *writer, const struct store_record *record,
                        struct error *err);

// Encodes, hashes and appends `content`, unless it is known; for map nodes and snapshot records.
int store_writer_put(struct store_writer *writer, enum record_kind kind, const void *content,
                     size_t len, struct digest *ret_id, struct error *err);

// Steps 2 and 3 for what is in the open pack; nothing to do when it is empty. After 0, everything
// appended so far is sealed and in the catalog (provisional).
int store_writer_seal(struct store_writer *writer, struct error *err);

// Bytes this writer has added to the repository so far: headers, payloads, indexes.
uint64_t store_writer_bytes(const struct store_writer *writer);

// What store_writer_bytes() will be after store_writer_seal() and one more record, but for that
// record's header, payload and index entry.
uint64_t store_writer_bytes_around_one(const struct store_writer *writer);

// Ends the writer. An unsealed pack is removed. Accepts NULL.
struct store_writer *store_writer_close(struct store_writer *writer);

// Drops every provisional pack of a cancelled job, whose writers are closed: rows in one
// transaction, then files.
int store_drop_provisional(struct store *store, int64_t job_id, struct error *err);

// --- reading

// Reads, checks and decodes one record of the expected kind into a malloc'ed buffer. `conn` NULL: a
// lease is taken for the call. Of several copies a damaged one is passed over. -ENOENT is never
// returned: a missing record is damage
// (-ERROR_CORRUPT), as are a wrong checksum, kind, length or id. Identity is re-proved (SHA-256)
// for map nodes and snapshot records; for chunks when `prove` is true.
int store_get(struct store *store, struct catalog_conn *conn, enum record_kind kind,
              const struct digest *id, bool prove, void **ret_data, size_t *ret_len,
              struct error *err);

// A chunk of `len` bytes that stands somewhere without a base of its own, read past the cache and
// its waiting: what deltas are made against and proved with. -ERROR_CORRUPT when there is none, or
// none that is whole. With `conn` NULL fresh leases are taken, as in store_get().
int store_read_base(struct store *store, struct catalog_conn *conn, const struct digest *id,
                    size_t len, void *out, struct error *err);

// As store_get() for a chunk of exactly `len` bytes, through the cache of decoded chunks, copying
// [from, from + count) of it into `out`.
int store_read_chunk(struct store *store, struct catalog_conn *conn, const struct digest *id,
                     size_t len, size_t from, size_t count, void *out, struct error *err);

// As store_read_chunk(), but copies nothing: *ret_view is where [from, from + count) stands, until
// store_release_view(). `out` (`len` bytes) is used when all of the chunk is asked for and it is
// not in the cache; NULL otherwise. *ret_looked_up (may be NULL): the catalog had to be asked where
// it is.
int store_view_chunk(struct store *store, struct catalog_conn *conn, const struct digest *id,
                     size_t len, size_t from, size_t count, void *out, struct chunk_view *ret_view,
                     bool *ret_looked_up, struct error *err);
void store_release_view(struct store *store, struct chunk_view *view);

// Looks up, in one view of the catalog, where those of the chunks are of which that is not
// remembered, and remembers it for the reads that follow. Holes (zero ids) are passed over. Nothing
// comes of an error: the reads will meet it.
void store_locate(struct store *store, const struct digest *ids, size_t count);

// Decodes a chunk of `len` bytes into the cache before it is asked for, if there is room. Silent:
// what cannot be read is told by whoever reads it.
void store_load_ahead(struct store *store, const struct digest *id, size_t len, const void *owner);

// Chunks so far that the catalog was asked for while a reader of one waited: neither remembered,
// nor looked up with others.
uint64_t store_looked_up(const struct store *store);

// How the cache of decoded content does.
struct chunk_cache_counts store_cache_counts(struct store *store);

DEFINE_CLEANUP(struct store *, store_close)
DEFINE_CLEANUP(struct store_writer *, store_writer_close)

#endif
