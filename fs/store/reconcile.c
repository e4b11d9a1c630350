// SPDX-License-Identifier: MIT
//
// Start-up: what a crash left in packs/ and cache/ is compared with the catalog and dealt with.
// Only names and sizes are looked at for packs the catalog knows, so the cost is one listing and
// one walk over a table; only a pack it does not know is opened. Runs before any writer, by the
// lock's owner, on one thread. Never repairs and never removes a sealed pack: what does not fit is
// reported.
#include "fs/store/store_members.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/grow.h"
#include "base/io.h"
#include "catalog/check_rows.h"
#include "catalog/damage.h"
#include "catalog/pack_index.h"
#include "fs/store/digest_hash.h"
#include "fs/store/note.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>
#include <uuid/uuid.h>

struct found_pack {
    UT_hash_handle hh;       // sealed ones
    struct found_pack *next; // open ones
    uuid_t key;              // random bytes, which is what the table's hash wants
    char uuid[UUID_TEXT_SIZE];
    uint64_t bytes;
    bool known; // to the catalog
};

struct id_list {
    int64_t *ids;
    size_t count, room;
};

struct reconcile {
    struct store *store;
    void (*report)(const char *sentence, void *arg);
    void *report_arg;
    struct found_pack *sealed; // a table
    struct found_pack *open;   // a list
    struct id_list jobs;       // that own provisional packs
    struct id_list missing;    // packs (numbers) whose file is not there
};

static void report(struct reconcile *rec, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void report(struct reconcile *rec, const char *fmt, ...)
{
    char sentence[ERROR_MESSAGE_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(sentence, sizeof(sentence), fmt, args);
    va_end(args);
    if (rec->report)
        rec->report(sentence, rec->report_arg);
}

static void free_packs(struct reconcile *rec)
{
    struct found_pack *pack, *next;

    LL_FOREACH_SAFE(rec->open, pack, next)
    {
        free(pack);
    }
    HASH_ITER(hh, rec->sealed, pack, next)
    {
        HASH_DEL(rec->sealed, pack);
        free(pack);
    }
}

// --- the listing

static int note_file(const struct pack_file *file, void *arg, struct error *err)
{
    struct reconcile *rec = arg;
    struct found_pack *pack;

    if (file->state == PACK_FILE_STRANGE) {
        report(rec, "%s is no pack; it is left alone", file->name);
        return 0;
    }
    pack = calloc(1, sizeof(*pack));
    if (!pack)
        return error_set(err, -ENOMEM, "out of memory for a list of packs");
    memcpy(pack->uuid, file->uuid, sizeof(pack->uuid));
    uuid_parse(pack->uuid, pack->key); // the backend only gives names that are uuids
    pack->bytes = file->bytes;
    if (file->state == PACK_FILE_OPEN) {
        LL_PREPEND(rec->open, pack);
        return 0;
    }
    HASH_ADD(hh, rec->sealed, key, sizeof(pack->key), pack);
    if (pack->hh.tbl)
        return 0;
    free(pack);
    return error_set(err, -ENOMEM, "out of memory for a list of packs");
}

static int note_id(struct id_list *list, int64_t id, struct error *err)
{
    int r = GROW(list->ids, list->count, list->room, "a list of jobs or packs", err);

    if (r == 0)
        list->ids[list->count++] = id;
    return r;
}

// A few jobs, each with as many packs as it likes.
static int note_job(struct id_list *jobs, int64_t id, struct error *err)
{
    for (size_t i = 0; i < jobs->count; i++) {
        if (jobs->ids[i] == id)
            return 0;
    }
    return note_id(jobs, id, err);
}

static int compare_row(const struct pack_row *row, void *arg, struct error *err)
{
    struct reconcile *rec = arg;
    struct found_pack *pack;
    uuid_t key;
    int r = 0;

    if (uuid_parse(row->uuid, key) != 0)
        return error_set(err, -ERROR_CORRUPT, "the catalog has a pack named '%s'", row->uuid);
    HASH_FIND(hh, rec->sealed, key, sizeof(key), pack);
    if (!pack) {
        report(rec, "damage: pack %s is missing", row->uuid);
        r = note_id(&rec->missing, row->id, err);
    } else {
        pack->known = true;
        if (pack->bytes != row->file_bytes)
            report(rec, "damage: pack %s has %" PRIu64 " bytes instead of %" PRIu64, row->uuid,
                   pack->bytes, row->file_bytes);
    }
    return r == 0 && row->job_id != 0 ? note_job(&rec->jobs, row->job_id, err) : r;
}

static int compare_with_catalog(struct reconcile *rec, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(rec->store->catalog, &conn, err);

    return r < 0 ? r : pack_each(conn, 0, compare_row, rec, err);
}

// --- dealing with it

static int remove_open(struct reconcile *rec, struct error *err)
{
    struct found_pack *pack;

    LL_FOREACH(rec->open, pack)
    {
        int r = pack_backend_remove(rec->store->backend, pack->uuid, PACK_FILE_OPEN, err);

        if (r < 0)
            return r;
        report(rec, "removed the open pack %s (%" PRIu64 " bytes) that was never sealed",
               pack->uuid, pack->bytes);
    }
    return 0;
}

// Whether another pack holds the note already: then what it says was done long ago, and may have
// been undone since. Garbage collection copies notes into new packs; a crash before the old ones
// are removed, or before the new one is known, leaves two.
static int is_known(struct catalog_conn *conn, const struct digest *id, struct error *err)
{
    struct chunk_location copy;

    return chunk_lookup(conn, id, -1, &copy, err);
}

// The notes among the records that are to be carried out; `notes` has room for all.
static int keep_new_notes(struct catalog_conn *conn, const struct chunk_row *records, size_t count,
                          struct digest *notes, size_t *ret_notes, struct error *err)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        int r = records[i].kind == RECORD_NOTE ? is_known(conn, &records[i].id, err) : 1;

        if (r < 0)
            return r;
        if (r == 0)
            notes[kept++] = records[i].id;
    }
    *ret_notes = kept;
    return 0;
}

// Something was asked for, and noted, when the crash came; it is done now, in the transaction that
// makes the note known.
static int carry_out(struct reconcile *rec, struct catalog_conn *conn, const struct digest *id,
                     struct error *err)
{
    AUTO_FREE struct note *note = calloc(1, sizeof(*note));
    AUTO_FREE void *text = NULL;
    struct error local = ERROR_INIT;
    size_t len;
    int r = note ? store_get(rec->store, conn, RECORD_NOTE, id, true, &text, &len, &local)
                 : error_set(&local, -ENOMEM, "out of memory");

    if (r == 0)
        r = note_parse(text, len, note, &local);
    if (r == 0)
        r = note_apply(conn, note, &local);
    if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT) {
        report(rec, "a note is left alone: %s", error_message(&local));
        return 0;
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}

static int insert_adopted(struct reconcile *rec, const struct found_pack *pack,
                          const struct chunk_row *records, size_t count, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    AUTO_FREE struct digest *notes = calloc(count + 1, sizeof(*notes));
    size_t note_count = 0;
    struct pack_row row = {
        .file_bytes = pack->bytes,
        .record_count = count,
        .sealed_at = clock_now(),
    };
    int64_t pack_id;
    int r = notes ? catalog_write_begin(rec->store->catalog, &conn, err)
                  : error_set(err, -ENOMEM, "out of memory for a list of notes");

    if (r == 0)
        r = keep_new_notes(conn, records, count, notes, &note_count, err);
    if (r < 0)
        return r;
    memcpy(row.uuid, pack->uuid, sizeof(row.uuid));
    for (size_t i = 0; i < count; i++)
        row.raw_bytes += records[i].kind == RECORD_CHUNK ? records[i].raw_length : 0;
    r = pack_insert(conn, &row, records, count, &pack_id, err);
    for (size_t i = 0; r == 0 && i < note_count; i++)
        r = carry_out(rec, conn, &notes[i], err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

// A pack that was sealed before a crash and never committed. Damage in it is no reason not to
// start: nothing refers to it.
static int adopt(struct reconcile *rec, const struct found_pack *pack, struct error *err)
{
    AUTO_FREE struct chunk_row *records = NULL;
    struct error local = ERROR_INIT;
    struct pack_header header;
    size_t count;
    int r = pack_read_index(rec->store->backend, pack->uuid, pack->bytes, &header, &records, &count,
                            &local);

    if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT) {
        report(rec, "a pack the catalog does not know is left alone: %s", error_message(&local));
        return 0;
    }
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    if (memcmp(header.repository_uuid, rec->store->repository_uuid,
               sizeof(header.repository_uuid)) != 0) {
        report(rec, "pack %s belongs to another repository; it is left alone", pack->uuid);
        return 0;
    }
    // Its content was durable before it had this name; the name may not be.
    r = pack_backend_settle(rec->store->backend, pack->uuid, err);
    if (r == 0)
        r = insert_adopted(rec, pack, records, count, err);
    if (r == 0)
        report(rec, "adopted the sealed pack %s (%zu records)", pack->uuid, count);
    return r;
}

static int adopt_unknown(struct reconcile *rec, struct error *err)
{
    struct found_pack *pack, *next;

    HASH_ITER(hh, rec->sealed, pack, next)
    {
        int r = pack->known ? 0 : adopt(rec, pack, err);

        if (r < 0)
            return r;
    }
    return 0;
}

// No job runs at start-up, so whoever owns provisional packs is dead.
static int make_durable(struct reconcile *rec, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r;

    if (rec->jobs.count == 0)
        return 0;
    r = catalog_write_begin(rec->store->catalog, &conn, err);
    for (size_t i = 0; r == 0 && i < rec->jobs.count; i++)
        r = pack_make_durable(conn, rec->jobs.ids[i], err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    for (size_t i = 0; r == 0 && i < rec->jobs.count; i++)
        report(rec, "kept the packs of the interrupted job %" PRId64, rec->jobs.ids[i]);
    return r;
}

// So that the next backup stores again what was in them and it still meets.
static int mark_missing(struct reconcile *rec, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r;

    if (rec->missing.count == 0)
        return 0;
    r = catalog_write_begin(rec->store->catalog, &conn, err);
    for (size_t i = 0; r == 0 && i < rec->missing.count; i++)
        r = damage_mark_pack(conn, rec->missing.ids[i], NULL, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static bool is_temporary(const char *name)
{
    size_t len = strlen(name);

    return len > 4 && strcmp(name + len - 4, ".tmp") == 0;
}

static int remove_temporaries(struct reconcile *rec, struct error *err)
{
    const char *path = rec->store->cache_dir;
    struct dirent *entry;
    DIR *dir = io_opendir(path);
    int r = 0;

    if (!dir)
        return error_set_errno(err, -errno, "cannot list %s", path);
    while (r == 0 && (errno = 0, entry = readdir(dir)) != NULL) {
        if (!is_temporary(entry->d_name))
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) < 0)
            r = error_set_errno(err, -errno, "cannot remove %s/%s", path, entry->d_name);
        else
            report(rec, "removed the unfinished cache/%s", entry->d_name);
    }
    if (r == 0 && errno != 0)
        r = error_set_errno(err, -errno, "cannot list %s", path);
    closedir(dir);
    return r;
}

int store_reconcile(struct store *store, void (*report_fn)(const char *sentence, void *arg),
                    void *arg, struct error *err)
{
    struct reconcile rec = {.store = store, .report = report_fn, .report_arg = arg};
    int r = pack_backend_list(store->backend, note_file, &rec, err);

    if (r == 0)
        r = compare_with_catalog(&rec, err);
    if (r == 0)
        r = fault_hit(FAULT_RECONCILE, err);
    if (r == 0)
        r = remove_open(&rec, err);
    if (r == 0)
        r = adopt_unknown(&rec, err);
    if (r == 0)
        r = make_durable(&rec, err);
    if (r == 0)
        r = mark_missing(&rec, err);
    if (r == 0)
        r = remove_temporaries(&rec, err);
    free_packs(&rec);
    free(rec.jobs.ids);
    free(rec.missing.ids);
    return r;
}

// --- packs whose commit failed while the store was open

void store_note_orphan(struct store *store, const char *uuid, uint64_t bytes)
{
    struct orphan_pack *orphan = calloc(1, sizeof(*orphan));

    if (!orphan)
        return;
    memcpy(orphan->uuid, uuid, sizeof(orphan->uuid));
    orphan->bytes = bytes;
    pthread_mutex_lock(&store->orphan_lock);
    LL_PREPEND(store->orphans, orphan);
    pthread_mutex_unlock(&store->orphan_lock);
}

static int adopt_orphan(struct reconcile *rec, const struct orphan_pack *orphan, struct error *err)
{
    struct found_pack pack = {.bytes = orphan->bytes};
    struct pack_row row;
    int r;

    {
        AUTO(catalog_read_end) struct catalog_conn *conn = NULL;

        r = catalog_read_begin(rec->store->catalog, &conn, err);
        if (r < 0)
            return r;
        r = pack_find_uuid(conn, orphan->uuid, &row, NULL);
    }
    if (r != -ENOENT) // its commit came through, or nobody can say
        return r < 0 ? error_set_errno(err, r, "cannot look for pack %s", orphan->uuid) : 0;
    memcpy(pack.uuid, orphan->uuid, sizeof(pack.uuid));
    return adopt(rec, &pack, err);
}

int store_adopt_orphans(struct store *store, struct error *err)
{
    struct reconcile rec = {.store = store};
    struct orphan_pack *orphans, *orphan, *next;
    int r = 0;

    pthread_mutex_lock(&store->orphan_lock);
    orphans = store->orphans;
    store->orphans = NULL;
    pthread_mutex_unlock(&store->orphan_lock);
    LL_FOREACH_SAFE(orphans, orphan, next)
    {
        if (r == 0)
            r = adopt_orphan(&rec, orphan, err);
        if (r < 0) // to be tried again
            store_note_orphan(store, orphan->uuid, orphan->bytes);
        free(orphan);
    }
    return r;
}
