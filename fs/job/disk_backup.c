// SPDX-License-Identifier: MIT
//
// One disk of a backup job, step by step. struct work is the state between the steps.
#include "fs/job/disk_backup.h"

#include "base/clock.h"
#include "base/fault.h"
#include "catalog/pack_index.h"
#include "fs/job/backup_damage.h"
#include "fs/job/disk_reader.h"
#include "fs/job/prune.h"
#include "fs/job/verify_job.h"
#include "fs/store/snapshot_record.h"

#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

struct work {
    struct disk_backup *backup;
    struct store *store;
    struct store_writer *writer;
    struct disk_read read;
    struct backup_damage damage;

    bool continues; // an incremental: chain and parent are there
    struct chain_row chain;
    struct snapshot_row parent;
    int64_t number;
    int64_t taken_at, started_at, finished_at;
    struct digest record;
    char uuid[UUID_TEXT_SIZE];
    uint64_t new_bytes;
};

static void new_uuid(char text[UUID_TEXT_SIZE])
{
    uuid_t uuid;

    uuid_generate_random(uuid);
    uuid_unparse_lower(uuid, text);
}

int disk_backup_can_go_on(struct catalog_conn *conn, const struct disk_row *disk,
                          const char *source_text, uint64_t capacity,
                          struct snapshot_row *ret_parent, struct chain_row *ret_chain,
                          const char **ret_why, struct error *err)
{
    struct error none = ERROR_INIT;
    int r = snapshot_find_newest(conn, disk->id, ret_parent, &none);

    *ret_why = "there is no snapshot to build on";
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return error_set(err, r, "%s", error_message(&none));
    r = chain_get(conn, ret_parent->chain_id, ret_chain, err);
    if (r < 0)
        return r;
    if (strcmp(ret_chain->source, source_text) != 0)
        *ret_why = "the source is another one than the chain's";
    else if (capacity && ret_chain->capacity != capacity)
        *ret_why = "the disk's size has changed";
    else if (ret_chain->chunk_size != disk->chunk_size)
        *ret_why = "the disk's chunk size is another one than the chain's";
    else
        return 1;
    return 0;
}

// --- 1. what it continues

static int start_chain(struct work *work, struct catalog_conn *conn, struct error *err)
{
    const struct disk_backup *backup = work->backup;
    int64_t highest = 0;
    int r = chain_highest_number(conn, backup->disk->id, &highest, err);

    memset(&work->chain, 0, sizeof(work->chain));
    new_uuid(work->chain.uuid);
    work->chain.disk_id = backup->disk->id;
    work->chain.number = highest + 1;
    snprintf(work->chain.source, sizeof(work->chain.source), "%s", backup->source_text);
    work->chain.capacity = source_capacity(backup->source);
    work->chain.chunk_size = backup->disk->chunk_size;
    work->chain.foreign = backup->foreign;
    work->number = 1;
    return r;
}

// Building on a row that is not what its record says would record wrong content as unchanged.
// Returns 1, 0 with what is wrong in *damage, or -errno.
static int prove_parent(struct work *work, struct catalog_conn *conn, struct error *damage,
                        struct error *err)
{
    int r = snapshot_record_check(work->store, conn, &work->parent, damage);

    if (r == -ERROR_CORRUPT)
        return 0;
    return r < 0 ? error_set(err, r, "%s", error_message(damage)) : 1;
}

static int decide_with(struct work *work, struct catalog_conn *conn, struct error *err)
{
    const struct disk_backup *backup = work->backup;
    enum backup_mode mode = backup->job->mode;
    const char *why = "a full backup was asked for";
    struct error damage = ERROR_INIT;
    int r = 0;

    if (backup->foreign)
        why = "it is not the disk's own source";
    else if (mode != BACKUP_FULL)
        r = disk_backup_can_go_on(conn, backup->disk, backup->source_text,
                                  source_capacity(backup->source), &work->parent, &work->chain,
                                  &why, err);
    if (r > 0) {
        r = prove_parent(work, conn, &damage, err);
        why = error_message(&damage);
    }
    if (r < 0)
        return r;
    work->continues = r > 0;
    if (!work->continues && mode == BACKUP_INCREMENTAL)
        return error_set(err, -EINVAL, "no chain can go on: %s", why);
    if (work->continues) {
        r = chain_highest_snapshot(conn, work->chain.id, &work->number, err);
        work->number++;
        return r;
    }
    r = start_chain(work, conn, err);
    if (r == 0)
        job_run_log(backup->run, "%s/%s: chain %lld starts: %s", backup->disk->context_name,
                    backup->disk->name, (long long)work->chain.number, why);
    return r;
}

static int decide(struct work *work, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(work->backup->engine->repository.catalog, &conn, err);
    if (r < 0)
        return r;
    return decide_with(work, conn, err);
}

// --- 2. reading

// A node that is damaged and not marked would pass for stored when it is made anew.
static void note_parent_lost(void *engine)
{
    damage_notes_flush(engine);
}

static int read_once(struct work *work, bool believe_cache, struct fingerprint_writer *cache,
                     struct error *err)
{
    struct disk_backup *backup = work->backup;
    const struct disk_row *disk = backup->disk;
    uint64_t capacity = source_capacity(backup->source);

    work->read = (struct disk_read){.store = work->store,
                                    .pool = backup->run->pool,
                                    .run = backup->run,
                                    .source = backup->source,
                                    .writer = work->writer,
                                    .chunk_size = disk->chunk_size,
                                    .fingerprints = cache,
                                    .lost = &work->damage.lost,
                                    .parent_damage = &work->damage.parent,
                                    .parent_lost = note_parent_lost,
                                    .arg = backup->engine,
                                    .parent_root = work->continues ? &work->parent.digest : NULL};
    struct fingerprint_reader *parent = NULL;
    int r = 0;
    if (work->continues && believe_cache)
        r = fingerprint_reader_open(work->store, disk->uuid, work->parent.uuid, capacity,
                                    disk->chunk_size, &parent, err);
    if (r < 0)
        return r;
    work->read.parent_fingerprints = parent;
    r = disk_read(&work->read, err);
    fingerprint_reader_close(parent);
    work->read.parent_fingerprints = NULL;
    return r;
}

// The fingerprint cache is written beside; without it the next backup is only slower.
static struct fingerprint_writer *open_cache(struct work *work)
{
    const struct disk_backup *backup = work->backup;
    struct fingerprint_writer *writer = NULL;
    struct error err = ERROR_INIT;

    if (backup->foreign)
        return NULL;
    if (fingerprint_writer_open(work->store, backup->disk->uuid, &writer, &err) < 0)
        job_run_log(backup->run, "no fingerprint cache will be kept: %s", error_message(&err));
    return writer;
}

static void keep_cache(struct work *work, struct fingerprint_writer *cache)
{
    const struct disk_backup *backup = work->backup;
    struct error err = ERROR_INIT;

    // disk_read() lets go of a writer that failed.
    if (cache && work->read.fingerprints &&
        fingerprint_writer_commit(cache, work->uuid, source_capacity(backup->source),
                                  backup->disk->chunk_size, &err) < 0)
        job_run_log(backup->run, "the fingerprint cache is not kept: %s", error_message(&err));
}

static int read_disk(struct work *work, struct fingerprint_writer **cache, struct error *err)
{
    struct disk_backup *backup = work->backup;
    struct error doubt = ERROR_INIT;

    work->taken_at = clock_now();
    *cache = open_cache(work);
    int r = read_once(work, true, *cache, &doubt);
    if (r == -EAGAIN) {
        job_run_log(backup->run, "%s/%s: %s; everything is hashed", backup->disk->context_name,
                    backup->disk->name, error_message(&doubt));
        atomic_fetch_sub(&backup->run->done_bytes, work->read.read_bytes);
        error_clear(&doubt);
        *cache = fingerprint_writer_close(*cache);
        fingerprint_cache_remove(work->store, backup->disk->uuid);
        *cache = open_cache(work);
        work->taken_at = clock_now();
        r = read_once(work, false, *cache, &doubt);
    }
    if (r == 0)
        r = source_check_unchanged(backup->source, &doubt);
    if (r < 0)
        return error_set(err, r, "%s", error_message(&doubt));
    return 0;
}

// --- 3. recording

static void fill_record(const struct work *work, const struct context_row *context,
                        struct snapshot_record *record)
{
    const struct disk_backup *backup = work->backup;
    const struct disk_row *disk = backup->disk;

    *record =
        (struct snapshot_record){.job_number = backup->job->id,
                                 .chain_number = work->chain.number,
                                 .number = work->number,
                                 .foreign = backup->foreign,
                                 .kind = work->continues ? SNAPSHOT_INCREMENTAL : SNAPSHOT_FULL,
                                 .trigger = backup->job->trigger,
                                 .digest = work->read.root,
                                 .capacity = work->chain.capacity,
                                 .chunk_size = disk->chunk_size,
                                 .data_bytes = work->read.data_bytes,
                                 .read_bytes = work->read.read_bytes,
                                 .changed_bytes = work->read.changed_bytes,
                                 .added_bytes = store_writer_bytes_around_one(work->writer),
                                 .taken_at = work->taken_at,
                                 .started_at = work->started_at,
                                 .finished_at = work->finished_at,
                                 .context_created_at = context->created_at,
                                 .disk_created_at = disk->created_at,
                                 .job_created_at = backup->job->created_at,
                                 .job_started_at = backup->job->started_at,
                                 .job_mode = backup->job->mode,
                                 .job_one_disk = backup->job->disk_id != 0};
    memcpy(record->uuid, work->uuid, sizeof(record->uuid));
    if (work->continues)
        memcpy(record->parent_uuid, work->parent.uuid, sizeof(record->parent_uuid));
    memcpy(record->context_uuid, context->uuid, sizeof(record->context_uuid));
    memcpy(record->context_name, context->name, sizeof(record->context_name));
    memcpy(record->disk_uuid, disk->uuid, sizeof(record->disk_uuid));
    memcpy(record->disk_name, disk->name, sizeof(record->disk_name));
    memcpy(record->chain_uuid, work->chain.uuid, sizeof(record->chain_uuid));
    memcpy(record->job_uuid, backup->job->uuid, sizeof(record->job_uuid));
    memcpy(record->source, work->chain.source, sizeof(record->source));
    memcpy(record->tags, backup->job->tags, sizeof(record->tags));
    memcpy(record->change_id, work->uuid, sizeof(work->uuid));
}

static int note_start(const struct snapshot_row *row, void *arg, struct error *err)
{
    (void)err;
    *(int64_t *)arg = row->started_at;
    return 0;
}

// What the record says besides what the job worked out.
static int read_context(struct work *work, struct context_row *ret_context, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    const struct disk_backup *backup = work->backup;
    struct snapshot_filter filter = {
        .job_id = backup->job->id, .disk_id = backup->disk->id, .every_row = true};
    int r = catalog_read_begin(backup->engine->repository.catalog, &conn, err);

    if (r == 0)
        r = context_get(conn, backup->disk->context_id, ret_context, err);
    if (r == 0)
        r = snapshot_each(conn, &filter, note_start, &work->started_at, err);
    work->finished_at = clock_now();
    return r;
}

static int record_snapshot(struct work *work, struct error *err)
{
    AUTO_FREE struct snapshot_record *record = calloc(1, sizeof(*record));
    struct context_row context;
    int r = record ? read_context(work, &context, err) : error_set(err, -ENOMEM, "out of memory");

    if (r == 0) {
        fill_record(work, &context, record);
        r = fault_hit(FAULT_SNAPSHOT_RECORD, err);
    }
    if (r == 0)
        r = snapshot_record_put(work->writer, record, &work->record, err);
    if (r == 0)
        r = store_writer_seal(work->writer, err);
    if (r == 0)
        r = fault_hit(FAULT_SNAPSHOT_SEALED, err);
    work->new_bytes = store_writer_bytes(work->writer);
    return r;
}

// --- 4. completing

static int complete_in(struct work *work, struct catalog_conn *conn, struct error *err)
{
    struct disk_backup *backup = work->backup;
    struct snapshot_completion completion = {.job_id = backup->job->id,
                                             .disk_id = backup->disk->id,
                                             .chain_id = work->continues ? work->chain.id : 0,
                                             .new_chain = work->continues ? NULL : &work->chain,
                                             .parent_id = work->continues ? work->parent.id : 0,
                                             .number = work->number,
                                             .kind = work->continues ? SNAPSHOT_INCREMENTAL
                                                                     : SNAPSHOT_FULL,
                                             .uuid = work->uuid,
                                             .tags = backup->job->tags,
                                             .taken_at = work->taken_at,
                                             .finished_at = work->finished_at,
                                             .capacity = work->chain.capacity,
                                             .chunk_size = work->chain.chunk_size,
                                             .digest = work->read.root,
                                             .record = work->record,
                                             .change_id = work->uuid,
                                             .data_bytes = work->read.data_bytes,
                                             .read_bytes = work->read.read_bytes,
                                             .changed_bytes = work->read.changed_bytes,
                                             .new_bytes = work->new_bytes};
    int r = snapshot_complete(conn, &completion, &backup->snapshot_id, err);

    if (r == 0)
        r = pack_make_durable(conn, backup->job->id, err);
    if (r == 0)
        r = backup_damage_apply(&work->damage, conn, backup->snapshot_id, err);
    if (r == 0 && backup->ends_job) {
        uint64_t done = atomic_load(&backup->run->done_bytes);
        atomic_store(&backup->run->total_bytes, done);
        r = job_end(conn, backup->job->id, JOB_COMPLETED, "", done, done, err);
        if (r == 0 && backup->job->trigger == TRIGGER_SCHEDULED)
            r = prune_record_follower(conn, backup->job, &backup->prune_id, err);
        if (r == 0)
            r = verify_record_follower(conn, backup->job, &backup->verify_id, err);
    }
    return r;
}

static int complete(struct work *work, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct disk_backup *backup = work->backup;
    struct job_run_line *lines = job_run_take_log(backup->run);
    int r = catalog_write_begin(backup->engine->repository.catalog, &conn, err);

    if (r == 0)
        r = complete_in(work, conn, err);
    if (r == 0)
        r = job_run_write_log(backup->run, lines, conn, err);
    if (r == 0)
        r = fault_hit(FAULT_SNAPSHOT_COMMIT, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    job_run_settle_log(backup->run, lines, r == 0);
    if (r == 0)
        fault_hit(FAULT_SNAPSHOT_COMMITTED, NULL); // it is done: an error would come too late
    return r;
}

static void log_result(const struct work *work)
{
    const struct disk_backup *backup = work->backup;

    job_run_log(
        backup->run,
        "%s/%s: read %llu bytes, %llu changed, %llu added to the repository; %llu chunks "
        "unchanged by fingerprint, %llu of them proved; %llu stored as deltas",
        backup->disk->context_name, backup->disk->name, (unsigned long long)work->read.read_bytes,
        (unsigned long long)work->read.changed_bytes, (unsigned long long)work->new_bytes,
        (unsigned long long)work->read.believed_chunks,
        (unsigned long long)work->read.proved_chunks, (unsigned long long)work->read.delta_chunks);
}

static int run_steps(struct work *work, struct error *err)
{
    AUTO(fingerprint_writer_close) struct fingerprint_writer *cache = NULL;
    int r = decide(work, err);

    if (r == 0)
        r = backup_damage_begin(&work->damage, work->backup->engine,
                                work->continues ? work->parent.id : 0, err);
    if (r == 0)
        r = store_writer_open(work->store, work->backup->job->id, &work->writer, err);
    if (r == 0)
        r = read_disk(work, &cache, err);
    if (r == 0)
        r = backup_damage_heal_records(&work->damage, work->backup->engine, work->backup->run,
                                       work->writer, err);
    if (r == 0)
        r = record_snapshot(work, err);
    if (r == 0)
        r = backup_damage_review(&work->damage, work->backup->engine, work->backup->run,
                                 work->backup->job->id, &work->read.root, work->chain.capacity,
                                 work->chain.chunk_size, err);
    if (r == 0)
        r = job_run_check(work->backup->run, err); // the last moment to cancel
    if (r == 0) {
        log_result(work);
        r = complete(work, err);
    }
    // After the commit: a cache bound to a snapshot that never came to be would be of no use, and a
    // cache of the parent is what the next run needs when this one failed.
    if (r == 0)
        keep_cache(work, cache);
    return r;
}

int disk_backup(struct disk_backup *backup, struct error *err)
{
    struct work *work = calloc(1, sizeof(*work));

    if (!work)
        return error_set(err, -ENOMEM, "out of memory");
    work->backup = backup;
    work->store = backup->engine->repository.store;
    new_uuid(work->uuid);
    int r = run_steps(work, err);
    store_writer_close(work->writer);
    backup_damage_deinit(&work->damage);
    free(work);
    return r;
}
