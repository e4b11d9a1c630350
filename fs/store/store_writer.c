// SPDX-License-Identifier: MIT
//
// Writing: a job's records go into one open pack at a time, which is sealed and committed when it
// is full. Owns the open pack, its index in memory, and the ids this writer wrote last.
//
// The ids serve two ends. Workers ask whether a chunk need be stored (store_writer_knows()) with
// read leases that may be older than the last commit, so an id must be known from its append on,
// without a gap while its pack passes from "open" to "in the catalog": the ids of the open pack
// *and* of the one sealed before it are kept, which also bounds the memory. A lease older than
// two packs can at worst make a worker offer a chunk again, which then is stored twice; the map
// does not depend on it.
//
// Threads: one owner appends and seals. `lock` guards what knows() reads: the ids, and the first
// error, which poisons the writer.
#include "fs/store/store_members.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/grow.h"
#include "base/log.h"
#include "fs/store/digest_hash.h"
#include "fs/store/pack_index_make.h"

#include <string.h>
#include <uuid/uuid.h>

// With the smallest, best compressed chunks the index and not the content is what grows.
#define PACK_RECORDS_MAX 32768
#define ROOM_BYTES (1024u * 1024) // written between two looks at how full the disk is

struct id_entry {
    UT_hash_handle hh;
    struct digest id;
};

struct store_writer {
    // constant
    struct store *store;
    int64_t job_id;
    struct pin_set *pins; // what it was told to be stored already

    // the owner's alone
    struct chunk_coder *coder;
    uint8_t *encoded; // room for a put()
    size_t encoded_size;
    struct pack_sink *sink; // NULL: no open pack
    char pack_uuid[UUID_TEXT_SIZE];
    uint64_t pack_offset; // bytes appended to the open pack
    uint64_t raw_bytes;   // content of its chunk records
    struct chunk_row *records;
    size_t record_count, record_room;
    size_t delta_count; // of them
    uint64_t bytes;
    uint64_t room; // bytes that may be appended before the disk is looked at again

    pthread_rwlock_t lock;
    struct id_entry *open_ids;   // of the open pack
    struct id_entry *sealed_ids; // of the pack before it
    struct error poison;         // code 0 while nothing failed
};

static void ids_free(struct id_entry **ids)
{
    struct id_entry *entry, *next;

    HASH_ITER(hh, *ids, entry, next)
    {
        HASH_DEL(*ids, entry);
        free(entry);
    }
}

static bool ids_have(struct id_entry *ids, const struct digest *id)
{
    struct id_entry *entry;

    HASH_FIND(hh, ids, id, sizeof(*id), entry);
    return entry != NULL;
}

static int ids_add(struct id_entry **ids, const struct digest *id, struct error *err)
{
    struct id_entry *entry = calloc(1, sizeof(*entry));

    if (entry) {
        entry->id = *id;
        HASH_ADD(hh, *ids, id, sizeof(entry->id), entry);
        if (entry->hh.tbl)
            return 0;
        free(entry);
    }
    return error_set(err, -ENOMEM, "out of memory for the ids of a pack");
}

int store_writer_open(struct store *store, int64_t job_id, struct store_writer **ret_writer,
                      struct error *err)
{
    AUTO(store_writer_close) struct store_writer *writer = NULL;
    int r;

    // 0 and -1 mean "durable" and "any" to the catalog.
    if (job_id <= 0)
        return error_set(err, -EINVAL, "a writer needs the job it writes for");
    writer = calloc(1, sizeof(*writer));
    if (!writer)
        return error_set(err, -ENOMEM, "out of memory for a writer");
    pthread_rwlock_init(&writer->lock, NULL);
    writer->store = store;
    writer->job_id = job_id;
    writer->pins = pins_open(&store->pins, err);
    if (!writer->pins)
        return -ENOMEM;
    r = chunk_coder_new(store->config->compression_level, &writer->coder, err);
    if (r < 0)
        return r;
    *ret_writer = TAKE(writer, NULL);
    return 0;
}

struct store_writer *store_writer_close(struct store_writer *writer)
{
    if (!writer)
        return NULL;
    pack_sink_close(writer->sink);
    pins_close(&writer->store->pins, writer->pins);
    ids_free(&writer->open_ids);
    ids_free(&writer->sealed_ids);
    chunk_coder_free(writer->coder);
    free(writer->encoded);
    free(writer->records);
    pthread_rwlock_destroy(&writer->lock);
    free(writer);
    return NULL;
}

uint64_t store_writer_bytes(const struct store_writer *writer)
{
    return writer->bytes;
}

uint64_t store_writer_bytes_around_one(const struct store_writer *writer)
{
    uint64_t header = writer->sink ? 0 : PACK_HEADER_SIZE;

    return writer->bytes + header + pack_index_size(writer->record_count, writer->delta_count) +
           PACK_TRAILER_SIZE;
}

// --- poison

static int poisoned(struct store_writer *writer, struct error *err) // lock held, or the owner
{
    if (writer->poison.code == 0)
        return 0;
    return error_set(err, writer->poison.code, "%s", writer->poison.message);
}

// Keeps the first error for every later call, and hands it to this one.
static int poison(struct store_writer *writer, int code, const struct error *cause,
                  struct error *err)
{
    pthread_rwlock_wrlock(&writer->lock);
    error_set(&writer->poison, code, "%s", error_message(cause));
    pthread_rwlock_unlock(&writer->lock);
    return poisoned(writer, err);
}

// A copy that can be relied on: durable or of this job, not damaged, and in a pack that garbage
// collection has not dropped since the lease began. `as_base`: only a chunk without a base of its
// own will do. 1, 0 (then *ret_copy may tell of one that will not do) or -errno; pins are locked.
static int find_copy(struct store_writer *writer, struct catalog_conn *conn,
                     const struct digest *id, bool as_base, struct chunk_location *ret_copy,
                     struct error *err)
{
    const struct pins *pins = &writer->store->pins;
    int r = chunk_lookup(conn, id, writer->job_id, ret_copy, err);

    // The best copy comes first: when it will not do, none will.
    if (r > 0 && ret_copy->damaged)
        return 0;
    if (r > 0 && as_base &&
        (ret_copy->record.kind != RECORD_CHUNK || !digest_is_zero(&ret_copy->record.base)))
        return 0;
    return r > 0 && pins_is_dropped(pins, ret_copy->pack_id) ? -ESTALE : r;
}

static int pin(struct store_writer *writer, int64_t row, struct error *err)
{
    int r = pins_pin(writer->pins, row, err);

    return r < 0 ? r : 1;
}

// A delta is of no use without its base, so both are pinned.
static int find_and_pin(struct store_writer *writer, struct catalog_conn *conn,
                        const struct digest *id, struct error *err)
{
    struct chunk_location copy, base;
    int r = find_copy(writer, conn, id, false, &copy, err);

    if (r > 0 && !digest_is_zero(&copy.record.base)) {
        r = find_copy(writer, conn, &copy.record.base, true, &base, err);
        if (r > 0)
            r = pin(writer, base.row, err);
    }
    return r > 0 ? pin(writer, copy.row, err) : r;
}

// A lease that began before a pack was dropped is no good for what was in it: a fresh one is.
static int look_up(struct store_writer *writer, struct catalog_conn *conn, const struct digest *id,
                   struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *fresh = NULL;
    int r;

    pins_look_begin(&writer->store->pins);
    r = find_and_pin(writer, conn, id, err);
    if (r == -ESTALE) {
        r = catalog_read_begin(writer->store->catalog, &fresh, err);
        if (r == 0)
            r = find_and_pin(writer, fresh, id, err);
    }
    pins_look_end(&writer->store->pins);
    return r == -ESTALE ? 0 : r;
}

// What a delta of `chunk` may be made against: its plain copy, or the plain base of its delta.
static int find_base(struct store_writer *writer, struct catalog_conn *conn,
                     const struct digest *chunk, struct chunk_location *ret_copy, struct error *err)
{
    struct digest base;
    int r = find_copy(writer, conn, chunk, true, ret_copy, err);

    if (r != 0 || digest_is_zero(&ret_copy->record.base))
        return r;
    base = ret_copy->record.base;
    return find_copy(writer, conn, &base, true, ret_copy, err);
}

int store_writer_base(struct store_writer *writer, struct catalog_conn *conn,
                      const struct digest *chunk, struct store_base *ret_base, struct error *err)
{
    struct chunk_location copy = {0};
    int r;

    if (!writer->store->config->deltas)
        return 0;
    pins_look_begin(&writer->store->pins);
    r = find_base(writer, conn, chunk, &copy, err);
    if (r > 0)
        r = pin(writer, copy.row, err);
    pins_look_end(&writer->store->pins);
    if (r == -ESTALE)
        return 0;
    if (r > 0)
        *ret_base = (struct store_base){.id = copy.record.id,
                                        .raw_length = copy.record.raw_length,
                                        .stored_length = copy.record.stored_length};
    return r;
}

int store_writer_knows(struct store_writer *writer, struct catalog_conn *conn,
                       const struct digest *id, struct error *err)
{
    bool known;
    int r;

    pthread_rwlock_rdlock(&writer->lock);
    r = poisoned(writer, err);
    known = r == 0 && (ids_have(writer->open_ids, id) || ids_have(writer->sealed_ids, id));
    pthread_rwlock_unlock(&writer->lock);
    if (r < 0)
        return r;
    if (known)
        return 1;
    return look_up(writer, conn, id, err);
}

// --- sealing

// Step 2.
static int seal_pack(struct store_writer *writer, struct error *err)
{
    AUTO_FREE uint8_t *index = NULL;
    size_t len = 0;
    int r = pack_index_make(writer->records, writer->record_count, writer->pack_offset, &index,
                            &len, err);

    if (r == 0)
        r = pack_sink_seal(writer->sink, index, len, err);
    if (r < 0)
        return r;
    writer->sink = pack_sink_close(writer->sink);
    writer->pack_offset += len;
    writer->bytes += len;
    return fault_hit(FAULT_PACK_SEALED, err);
}

// A seal that failed may have given the pack its name all the same. Nobody knows the pack, and a
// record in it of a snapshot that never came to be would outlive the content it refers to.
static void discard_pack(struct store_writer *writer)
{
    struct error err = ERROR_INIT;

    writer->sink = pack_sink_close(writer->sink);
    if (pack_backend_remove(writer->store->backend, writer->pack_uuid, PACK_FILE_SEALED, &err) < 0)
        log_warning("a pack that was not sealed well stays: %s", error_message(&err));
}

// Step 3. A pack whose commit failed is left as it is, since the commit may have come through all
// the same: the next start finds it in the catalog, or adopts it.
static int commit_pack(struct store_writer *writer, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct pack_row row = {
        .job_id = writer->job_id,
        .file_bytes = writer->pack_offset,
        .raw_bytes = writer->raw_bytes,
        .record_count = writer->record_count,
        .sealed_at = clock_now(),
    };
    int64_t pack_id;
    int r = catalog_write_begin(writer->store->catalog, &conn, err);

    if (r < 0)
        return r;
    memcpy(row.uuid, writer->pack_uuid, sizeof(row.uuid));
    r = pack_insert(conn, &row, writer->records, writer->record_count, &pack_id, err);
    if (r == 0)
        r = fault_hit(FAULT_PACK_COMMIT, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    if (r == 0)
        r = fault_hit(FAULT_PACK_COMMITTED, err);
    return r;
}

static void forget_pack(struct store_writer *writer)
{
    struct id_entry *old;

    writer->pack_offset = 0;
    writer->raw_bytes = 0;
    writer->record_count = 0;
    writer->delta_count = 0;
    pthread_rwlock_wrlock(&writer->lock);
    old = writer->sealed_ids;
    writer->sealed_ids = writer->open_ids;
    writer->open_ids = NULL;
    pthread_rwlock_unlock(&writer->lock);
    ids_free(&old);
}

int store_writer_seal(struct store_writer *writer, struct error *err)
{
    struct error cause = ERROR_INIT;
    int r = poisoned(writer, err);

    if (r < 0 || writer->record_count == 0)
        return r;
    r = seal_pack(writer, &cause);
    if (r < 0)
        discard_pack(writer);
    if (r == 0) {
        r = commit_pack(writer, &cause);
        if (r < 0)
            store_note_orphan(writer->store, writer->pack_uuid, writer->pack_offset);
    }
    if (r < 0)
        return poison(writer, r, &cause, err);
    forget_pack(writer);
    return 0;
}

// --- appending

static int begin_pack(struct store_writer *writer, struct error *err)
{
    struct pack_header header = {.created_at = clock_now()};
    uint8_t bytes[PACK_HEADER_SIZE];
    int r;

    if (writer->sink)
        return 0;
    uuid_generate_random(header.uuid);
    uuid_unparse_lower(header.uuid, writer->pack_uuid);
    memcpy(header.repository_uuid, writer->store->repository_uuid, sizeof(header.repository_uuid));
    r = pack_backend_create(writer->store->backend, writer->pack_uuid, &writer->sink, err);
    if (r < 0)
        return r;
    pack_header_encode(&header, bytes);
    r = pack_sink_append(writer->sink, bytes, sizeof(bytes), err);
    if (r < 0)
        return r;
    writer->pack_offset = sizeof(bytes);
    writer->bytes += sizeof(bytes);
    return 0;
}

static int write_record(struct store_writer *writer, const struct store_record *record,
                        struct error *err)
{
    struct record_header header = {
        .kind = record->kind,
        .codec = record->codec,
        .raw_length = record->raw_length,
        .stored_length = record->payload_length,
        .id = record->id,
        .payload_checksum = pack_checksum(record->payload, record->payload_length),
    };
    uint8_t bytes[PACK_RECORD_HEADER_SIZE];
    int r;

    record_header_encode(&header, bytes);
    r = pack_sink_append(writer->sink, bytes, sizeof(bytes), err);
    if (r == 0)
        r = pack_sink_append(writer->sink, record->payload, record->payload_length, err);
    if (r < 0)
        return r;
    writer->records[writer->record_count++] = (struct chunk_row){
        .id = record->id,
        .kind = (uint8_t)record->kind,
        .codec = (uint8_t)record->codec,
        .offset = writer->pack_offset,
        .stored_length = record->payload_length,
        .raw_length = record->raw_length,
        .base = record_base(record->codec, record->payload, record->payload_length),
    };
    writer->delta_count += record->codec == CODEC_DELTA;
    writer->pack_offset += sizeof(bytes) + (uint64_t)record->payload_length;
    writer->bytes += sizeof(bytes) + (uint64_t)record->payload_length;
    if (record->kind == RECORD_CHUNK)
        writer->raw_bytes += record->raw_length;
    return 0;
}

// Leaves the reserve alone: a backup that would take it fails while there is still space to forget
// others.
static int take_room(struct store_writer *writer, uint64_t bytes, struct error *err)
{
    int r = 0;

    if (bytes > writer->room) {
        r = reserve_check(writer->store->reserve, bytes + ROOM_BYTES, err);
        writer->room = bytes + ROOM_BYTES;
    }
    writer->room -= bytes;
    return r;
}

// An id becomes known only after its record was appended without an error.
static int append(struct store_writer *writer, const struct store_record *record, struct error *err)
{
    int r = take_room(writer, PACK_RECORD_HEADER_SIZE + (uint64_t)record->payload_length, err);

    if (r == 0)
        r = begin_pack(writer, err);
    if (r == 0)
        r = GROW(writer->records, writer->record_count, writer->record_room, "the index of a pack",
                 err);
    if (r == 0)
        r = write_record(writer, record, err);
    if (r < 0)
        return r;
    pthread_rwlock_wrlock(&writer->lock);
    r = ids_add(&writer->open_ids, &record->id, err);
    pthread_rwlock_unlock(&writer->lock);
    return r;
}

static bool codec_fits(const struct store_writer *writer, const struct store_record *record)
{
    struct digest base;

    switch (record->codec) {
    case CODEC_RAW:
        return record->payload_length == record->raw_length;
    case CODEC_ZSTD:
        return true;
    case CODEC_DELTA:
        base = record_base(record->codec, record->payload, record->payload_length);
        return writer->store->config->deltas && record->kind == RECORD_CHUNK &&
               !digest_is_zero(&base) && !digest_equal(&base, &record->id);
    }
    return false;
}

static int check_record(const struct store_writer *writer, const struct store_record *record,
                        struct error *err)
{
    bool kind = record->kind >= RECORD_CHUNK && record->kind <= RECORD_SNAPSHOT;

    if (!kind || record->raw_length == 0 || record->raw_length > PACK_PAYLOAD_MAX ||
        record->payload_length == 0 || record->payload_length > PACK_PAYLOAD_MAX ||
        digest_is_zero(&record->id) || !codec_fits(writer, record))
        return error_set(err, -EINVAL, "a record of kind %d, codec %d, lengths %u and %u is none",
                         (int)record->kind, (int)record->codec, record->raw_length,
                         record->payload_length);
    return 0;
}

int store_writer_append(struct store_writer *writer, const struct store_record *record,
                        struct error *err)
{
    struct error cause = ERROR_INIT;
    int r = poisoned(writer, err);

    if (r == 0)
        r = check_record(writer, record, err);
    if (r < 0)
        return r;
    // Only this thread changes the ids, so it may read them without the lock.
    if (ids_have(writer->open_ids, &record->id) || ids_have(writer->sealed_ids, &record->id))
        return 0;
    r = append(writer, record, &cause);
    if (r < 0)
        return poison(writer, r, &cause, err);
    if (writer->pack_offset >= writer->store->pack_bytes ||
        writer->record_count >= PACK_RECORDS_MAX)
        return store_writer_seal(writer, err);
    return 0;
}

static int known(struct store_writer *writer, const struct digest *id, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(writer->store->catalog, &conn, err);

    return r < 0 ? r : store_writer_knows(writer, conn, id, err);
}

static int reserve_encoded(struct store_writer *writer, size_t len, struct error *err)
{
    uint8_t *encoded;

    if (writer->encoded_size >= len)
        return 0;
    encoded = realloc(writer->encoded, len);
    if (!encoded)
        return error_set(err, -ENOMEM, "out of memory for a record of %zu bytes", len);
    writer->encoded = encoded;
    writer->encoded_size = len;
    return 0;
}

int store_writer_put(struct store_writer *writer, enum record_kind kind, const void *content,
                     size_t len, struct digest *ret_id, struct error *err)
{
    struct store_record record = {.kind = kind, .raw_length = (uint32_t)len};
    size_t payload_length;
    int r = poisoned(writer, err);

    if (r < 0)
        return r;
    if (len == 0 || len > PACK_PAYLOAD_MAX)
        return error_set(err, -EINVAL, "a record of %zu bytes cannot be stored", len);
    r = chunk_coder_id(writer->coder, kind, content, len, &record.id, err);
    if (r == 0)
        r = known(writer, &record.id, err);
    if (r < 0)
        return r;
    if (r == 0) {
        r = reserve_encoded(writer, chunk_coder_bound(len), err);
        if (r == 0)
            r = chunk_coder_encode(writer->coder, content, len, writer->encoded, &payload_length,
                                   &record.codec, err);
        if (r < 0)
            return r;
        record.payload = record.codec == CODEC_RAW ? content : writer->encoded;
        record.payload_length = (uint32_t)payload_length;
        r = store_writer_append(writer, &record, err);
        if (r < 0)
            return r;
    }
    *ret_id = record.id;
    return 0;
}
