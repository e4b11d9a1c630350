// SPDX-License-Identifier: MIT
//
// Walks from marks to extents. What decides is the catalog: no content is read here but map nodes,
// and the few marked copies that are proved again.
#include "fs/job/damage_find.h"

#include "base/grow.h"
#include "fs/job/snapshot_gaps.h"
#include "fs/store/pack_scan.h"
#include "fs/store/snapshot_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COPIES_LOOKED_AT 1 // the best one comes first

// --- lists

void damage_list_deinit(struct damage_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free((char *)list->extents[i].why);
    free(list->extents);
    *list = (struct damage_list){0};
}

static int list_add(struct damage_list *list, uint64_t offset, uint64_t length, const char *why,
                    struct error *err)
{
    char *copy;

    if (GROW(list->extents, list->count, list->room, "a list of damage", err) < 0)
        return -ENOMEM;
    copy = strdup(why);
    if (!copy)
        return error_set(err, -ENOMEM, "out of memory for a list of damage");
    list->extents[list->count++] =
        (struct damage_extent){.offset = offset, .length = length, .why = copy};
    list->bytes += length;
    return 0;
}

static int note_extent(const struct damage_extent *extent, void *arg, struct error *err)
{
    return list_add(arg, extent->offset, extent->length, extent->why, err);
}

int damage_list_load(struct damage_list *list, struct catalog_conn *conn, int64_t snapshot_id,
                     struct error *err)
{
    return damage_each(conn, snapshot_id, note_extent, list, err);
}

bool damage_list_has(const struct damage_list *list, uint64_t offset)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct damage_extent *extent = &list->extents[middle];

        if (offset < extent->offset)
            high = middle;
        else if (offset - extent->offset >= extent->length)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

static int note_gap(const struct map_gap *gap, void *arg, struct error *err)
{
    return list_add(arg, gap->offset, gap->length, gap->why, err);
}

// --- judging

// 1 when there is a copy to be read, with it; 0 with the reason.
static int has_copy(const struct damage_search *search, struct catalog_conn *conn,
                    const struct digest *id, struct chunk_location *ret_copy,
                    char why[ERROR_MESSAGE_MAX], struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    int r = chunk_copies(conn, id, search->job_id, ret_copy, COPIES_LOOKED_AT, err);

    if (r < 0)
        return r;
    if (r == 0)
        snprintf(why, ERROR_MESSAGE_MAX, "no pack holds the record %s", digest_to_hex(id, hex));
    else if (ret_copy->damaged)
        snprintf(why, ERROR_MESSAGE_MAX, "pack %s at %" PRIu64 " is damaged", ret_copy->pack_uuid,
                 ret_copy->record.offset);
    else
        return 1;
    return 0;
}

static int prove_chunk(const struct damage_search *search, struct catalog_conn *conn,
                       const struct digest *id, char why[ERROR_MESSAGE_MAX], struct error *err)
{
    AUTO_FREE void *content = NULL;
    struct error local = ERROR_INIT;
    size_t len;
    int r = store_get(search->store, conn, RECORD_CHUNK, id, true, &content, &len, &local);

    if (r == 0)
        return 1;
    if (r != -ERROR_CORRUPT && r != -EPROTONOSUPPORT && r != -EIO)
        return error_set(err, r, "%s", error_message(&local));
    snprintf(why, ERROR_MESSAGE_MAX, "%s", error_message(&local));
    return 0;
}

static int judge(struct catalog_conn *conn, const struct digest *id, enum record_kind kind,
                 uint32_t raw_length, int64_t *ret_row, char why[ERROR_MESSAGE_MAX], void *arg,
                 struct error *err)
{
    struct damage_search *search = arg;
    struct chunk_location copy, base;
    char hex[DIGEST_HEX_SIZE];
    int r = search->run ? job_run_check(search->run, err) : 0;

    if (r == 0)
        r = has_copy(search, conn, id, &copy, why, err);
    if (r <= 0)
        return r;
    if (copy.record.kind != kind || (raw_length && copy.record.raw_length != raw_length)) {
        snprintf(why, ERROR_MESSAGE_MAX, "the record %s is of another kind or size",
                 digest_to_hex(id, hex));
        return 0;
    }
    *ret_row = copy.row;
    if (!digest_is_zero(&copy.record.base))
        r = has_copy(search, conn, &copy.record.base, &base, why, err);
    if (r == 1 && search->prove && kind == RECORD_CHUNK &&
        !row_bitmap_has(&search->proved, copy.row)) {
        r = prove_chunk(search, conn, id, why, err);
        if (r == 1 && row_bitmap_add(&search->proved, copy.row, err) < 0)
            r = -ENOMEM;
    }
    return r;
}

int damage_search_init(struct damage_search *search, struct error *err)
{
    int r = map_check_new(search->store, &search->maps, err);

    if (r == 0)
        map_check_judge(search->maps, judge, search);
    return r;
}

void damage_search_deinit(struct damage_search *search)
{
    search->maps = map_check_free(search->maps);
    row_bitmap_deinit(&search->proved);
}

int damage_find_map(struct damage_search *search, struct catalog_conn *conn,
                    const struct digest *root, uint64_t capacity, uint32_t chunk_size,
                    struct damage_list *list, struct error *err)
{
    return map_check_snapshot(search->maps, conn, root, capacity, chunk_size, note_gap, list, err);
}

int damage_find(struct damage_search *search, struct catalog_conn *conn,
                const struct snapshot_row *row, struct damage_list *list, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = snapshot_record_check(search->store, conn, row, &local);

    if (r == -ERROR_CORRUPT)
        return list_add(list, 0, row->capacity, error_message(&local), err);
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    return damage_find_map(search, conn, &row->digest, row->capacity, row->chunk_size, list, err);
}

// --- marks again

struct marked {
    struct chunk_location *copies;
    size_t count, room;
    bool deltas_only;
};

static int note_marked(const struct chunk_location *copy, void *arg, struct error *err)
{
    struct marked *marked = arg;

    if (marked->deltas_only && digest_is_zero(&copy->record.base))
        return 0;
    if (GROW(marked->copies, marked->count, marked->room, "a list of damaged records", err) < 0)
        return -ENOMEM;
    marked->copies[marked->count++] = *copy;
    return 0;
}

static int list_marked(struct catalog *catalog, struct marked *marked, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(catalog, &conn, err);

    return r < 0 ? r : damage_each_copy(conn, note_marked, marked, err);
}

// Keeps those that are whole.
static int prove_marked(struct engine *engine, struct job_run *run, struct marked *marked,
                        struct error *err)
{
    AUTO(pack_scan_decoder_free) struct pack_decoder *decoder = NULL;
    size_t whole = 0;
    int r = marked->count > 0 ? pack_scan_decoder_new(&decoder, err) : 0;

    for (size_t i = 0; r == 0 && i < marked->count; i++) {
        struct error local = ERROR_INIT;

        r = job_run_check(run, err);
        if (r == 0 &&
            pack_scan_prove(engine->repository.store, decoder, &marked->copies[i], &local) == 0)
            marked->copies[whole++] = marked->copies[i];
    }
    marked->count = whole;
    return r;
}

static int clear_marks(struct catalog *catalog, const struct marked *marked, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = 0;

    if (marked->count == 0)
        return 0;
    r = catalog_write_begin(catalog, &conn, err);
    for (size_t i = 0; r == 0 && i < marked->count; i++)
        r = damage_clear(conn, marked->copies[i].pack_id, &marked->copies[i].record.id, NULL, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

int damage_prove_marked(struct engine *engine, struct job_run *run, bool deltas_only,
                        uint64_t *ret_cleared, struct error *err)
{
    struct marked marked = {.deltas_only = deltas_only};
    int r = list_marked(engine->repository.catalog, &marked, err);

    if (r == 0)
        r = prove_marked(engine, run, &marked, err);
    if (r == 0)
        r = clear_marks(engine->repository.catalog, &marked, err);
    if (r == 0)
        *ret_cleared = marked.count;
    free(marked.copies);
    return r;
}

// --- healing

struct reviewing {
    struct damage_review *review;
    struct damage_search *search;
    struct catalog_conn *conn;
    struct snapshot_row row;
    struct damage_list before; // of the snapshot at hand
};

static int add_change(struct reviewing *reviewing, struct damage_list *left, struct error *err)
{
    struct damage_review *review = reviewing->review;
    struct damage_change *change;

    if (GROW(review->changes, review->count, review->room, "a list of damage", err) < 0)
        return -ENOMEM;
    change = &review->changes[review->count++];
    change->snapshot_id = reviewing->row.id;
    snapshot_path(&reviewing->row, change->path);
    change->bytes_before = reviewing->before.bytes;
    change->left = *left;
    *left = (struct damage_list){0};
    review->healed_bytes += change->bytes_before - change->left.bytes;
    review->healed_snapshots += change->left.count == 0;
    return 0;
}

static int look_again(struct reviewing *reviewing, struct error *err)
{
    struct damage_search *search = reviewing->search;
    const struct damage_list *before = &reviewing->before;
    struct damage_list left = {0};
    int r = 0;

    for (size_t i = 0; r == 0 && i < before->count; i++) {
        const struct damage_extent *extent = &before->extents[i];

        map_check_range(search->maps, extent->offset, extent->offset + extent->length);
        r = damage_find(search, reviewing->conn, &reviewing->row, &left, err);
        if (left.count > 0 && left.extents[left.count - 1].length > extent->length)
            break; // its record is damaged: all of it is, once is enough
    }
    if (r == 0 && left.bytes < before->bytes)
        r = add_change(reviewing, &left, err);
    damage_list_deinit(&left);
    return r;
}

static int review_snapshot(int64_t snapshot_id, void *arg, struct error *err)
{
    struct reviewing *reviewing = arg;
    int r = snapshot_get(reviewing->conn, snapshot_id, &reviewing->row, err);

    if (r == 0)
        r = damage_list_load(&reviewing->before, reviewing->conn, snapshot_id, err);
    if (r == 0)
        r = look_again(reviewing, err);
    damage_list_deinit(&reviewing->before);
    return r;
}

static int review_all(struct engine *engine, struct reviewing *reviewing, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(engine->repository.catalog, &conn, err);

    reviewing->conn = conn;
    return r < 0 ? r : damage_each_snapshot(conn, review_snapshot, reviewing, err);
}

int damage_review_make(struct engine *engine, struct job_run *run, int64_t job_id,
                       struct damage_review *review, struct error *err)
{
    AUTO_FREE struct reviewing *reviewing = calloc(1, sizeof(*reviewing));
    struct damage_search search = {
        .store = engine->repository.store, .run = run, .job_id = job_id, .prove = true};
    int r = reviewing ? damage_search_init(&search, err) : error_set(err, -ENOMEM, "out of memory");

    *review = (struct damage_review){0};
    if (r < 0)
        return r;
    reviewing->review = review;
    reviewing->search = &search;
    r = review_all(engine, reviewing, err);
    damage_search_deinit(&search);
    if (r < 0)
        damage_review_deinit(review);
    return r;
}

int damage_review_apply(struct catalog_conn *conn, const struct damage_review *review,
                        struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < review->count; i++) {
        const struct damage_change *change = &review->changes[i];
        r = damage_record(conn, change->snapshot_id, change->left.extents, change->left.count, err);
    }
    return r;
}

void damage_review_log(const struct damage_review *review, struct job_run *run)
{
    for (size_t i = 0; i < review->count; i++) {
        const struct damage_change *change = &review->changes[i];
        uint64_t left = change->left.bytes;

        if (left == 0)
            job_run_log(run, "healed: %s: %" PRIu64 " bytes, all that was damaged", change->path,
                        change->bytes_before);
        else
            job_run_log(run, "healed: %s: %" PRIu64 " bytes; %" PRIu64 " are damaged still",
                        change->path, change->bytes_before - left, left);
    }
}

void damage_review_deinit(struct damage_review *review)
{
    for (size_t i = 0; i < review->count; i++)
        damage_list_deinit(&review->changes[i].left);
    free(review->changes);
    *review = (struct damage_review){0};
}
