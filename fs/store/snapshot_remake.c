// SPDX-License-Identifier: MIT
//
// A snapshot's record made anew; see snapshot_record.h. All that a record says stands in rows of
// the catalog too. Two things are not there as such: the bytes its backup added before the record
// was written, which follow from the sum and the record's own length, and who the parent was, which
// may be forgotten by now: then every earlier snapshot of the chain is tried, forgotten ones too.
#include "catalog/context.h"
#include "catalog/pack_index.h"
#include "fs/store/snapshot_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPIES_MAX 4

struct remake {
    const struct snapshot_row *row;
    struct snapshot_record record;
    struct chunk_location copies[COPIES_MAX]; // for their lengths: none of them can be read
    int copy_count;
    struct chunk_coder *coder;
    char *text; // once it is found
};

static void take_row(struct remake *remake)
{
    const struct snapshot_row *row = remake->row;

    remake->record = (struct snapshot_record){.number = row->number,
                                              .chain_number = row->chain_number,
                                              .kind = row->kind,
                                              .trigger = row->trigger,
                                              .digest = row->digest,
                                              .capacity = row->capacity,
                                              .chunk_size = row->chunk_size,
                                              .data_bytes = row->data_bytes,
                                              .read_bytes = row->read_bytes,
                                              .changed_bytes = row->changed_bytes,
                                              .taken_at = row->taken_at,
                                              .started_at = row->started_at,
                                              .finished_at = row->finished_at};
    memcpy(remake->record.uuid, row->uuid, sizeof(row->uuid));
    memcpy(remake->record.context_uuid, row->context_uuid, sizeof(row->context_uuid));
    memcpy(remake->record.context_name, row->context_name, sizeof(row->context_name));
    memcpy(remake->record.disk_uuid, row->disk_uuid, sizeof(row->disk_uuid));
    memcpy(remake->record.disk_name, row->disk_name, sizeof(row->disk_name));
    memcpy(remake->record.chain_uuid, row->chain_uuid, sizeof(row->chain_uuid));
    memcpy(remake->record.tags, row->tags, sizeof(row->tags));
    memcpy(remake->record.change_id, row->change_id, sizeof(row->change_id));
}

static int take_job(struct remake *remake, struct catalog_conn *conn, struct error *err)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    int r = job ? job_get(conn, remake->row->job_id, job, err)
                : error_set(err, -ENOMEM, "out of memory for a snapshot record");

    if (r < 0)
        return r;
    remake->record.job_number = job->id;
    remake->record.job_created_at = job->created_at;
    remake->record.job_started_at = job->started_at;
    remake->record.job_mode = job->mode;
    remake->record.job_one_disk = job->disk_id != 0;
    memcpy(remake->record.job_uuid, job->uuid, sizeof(job->uuid));
    return 0;
}

static int take_chain(struct remake *remake, struct catalog_conn *conn, struct error *err)
{
    AUTO_FREE struct chain_row *chain = calloc(1, sizeof(*chain));
    int r = chain ? chain_get(conn, remake->row->chain_id, chain, err)
                  : error_set(err, -ENOMEM, "out of memory for a snapshot record");

    if (r < 0)
        return r;
    remake->record.foreign = chain->foreign;
    memcpy(remake->record.source, chain->source, sizeof(chain->source));
    return 0;
}

static int take_owners(struct remake *remake, struct catalog_conn *conn, struct error *err)
{
    AUTO_FREE struct disk_row *disk = calloc(1, sizeof(*disk));
    struct context_row context;
    int r = disk ? disk_get(conn, remake->row->disk_id, disk, err)
                 : error_set(err, -ENOMEM, "out of memory for a snapshot record");

    if (r == 0)
        r = context_get(conn, remake->row->context_id, &context, err);
    if (r < 0)
        return r;
    remake->record.disk_created_at = disk->created_at;
    remake->record.context_created_at = context.created_at;
    return 0;
}

// What the sum of added bytes has in it for the record itself.
static uint64_t own_bytes(const struct chunk_location *copy)
{
    return PACK_RECORD_HEADER_SIZE + (uint64_t)copy->record.stored_length + PACK_INDEX_ENTRY_SIZE;
}

// Keeps the text when it is the one.
static int try_length(struct remake *remake, uint64_t own, struct error *err)
{
    AUTO_FREE char *text = NULL;
    struct digest id;
    int r;

    if (own > remake->row->new_bytes)
        return 0;
    remake->record.added_bytes = remake->row->new_bytes - own;
    r = snapshot_record_text(&remake->record, &text, err);
    if (r == 0)
        r = chunk_coder_id(remake->coder, RECORD_SNAPSHOT, text, strlen(text), &id, err);
    if (r == 0 && digest_equal(&id, &remake->row->record))
        remake->text = TAKE(text, NULL);
    return r;
}

// With `parent` (a uuid, or "" for none) for its parent.
static int try_parent(struct remake *remake, const char *parent, struct error *err)
{
    int r = 0;

    snprintf(remake->record.parent_uuid, sizeof(remake->record.parent_uuid), "%s", parent);
    for (int i = 0; r == 0 && !remake->text && i < remake->copy_count; i++)
        r = try_length(remake, own_bytes(&remake->copies[i]), err);
    return r;
}

static int try_earlier(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct remake *remake = arg;

    if (remake->text || row->state != JOB_COMPLETED || row->number >= remake->row->number)
        return 0;
    return try_parent(remake, row->uuid, err);
}

static int try_parents(struct remake *remake, struct catalog_conn *conn, struct error *err)
{
    AUTO_FREE struct snapshot_row *parent = calloc(1, sizeof(*parent));
    struct snapshot_filter chain = {.chain_id = remake->row->chain_id, .every_row = true};
    int r = parent ? 0 : error_set(err, -ENOMEM, "out of memory for a snapshot record");

    if (r == 0 && remake->row->kind == SNAPSHOT_FULL)
        return try_parent(remake, "", err);
    if (r == 0 && remake->row->parent_id) {
        r = snapshot_get(conn, remake->row->parent_id, parent, err);
        if (r == 0)
            r = try_parent(remake, parent->uuid, err);
    }
    if (r == 0 && !remake->text)
        r = snapshot_each(conn, &chain, try_earlier, remake, err);
    return r;
}

int snapshot_record_remake(struct catalog_conn *conn, const struct snapshot_row *row,
                           char **ret_text, struct error *err)
{
    AUTO_FREE struct remake *remake = calloc(1, sizeof(*remake));
    AUTO(chunk_coder_free) struct chunk_coder *coder = NULL;
    int r = remake ? chunk_coder_new(COMPRESSION_LEVEL_DEFAULT, &coder, err)
                   : error_set(err, -ENOMEM, "out of memory for a snapshot record");

    if (r < 0)
        return r;
    remake->row = row;
    remake->coder = coder;
    remake->copy_count = chunk_copies(conn, &row->record, 0, remake->copies, COPIES_MAX, err);
    r = remake->copy_count;
    if (r > 0) {
        take_row(remake);
        r = take_job(remake, conn, err);
        if (r == 0)
            r = take_chain(remake, conn, err);
        if (r == 0)
            r = take_owners(remake, conn, err);
        if (r == 0)
            r = try_parents(remake, conn, err);
    }
    if (r < 0 || !remake->text) {
        free(remake->text);
        return r;
    }
    *ret_text = remake->text;
    return 1;
}
