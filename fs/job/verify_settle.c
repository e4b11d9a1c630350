// SPDX-License-Identifier: MIT
//
// From damaged records to the snapshots they touch. Maps are only walked when there is damage, or
// when the maps themselves are part of what is verified; what snapshots share is walked once.
#include "fs/job/verify_state.h"

#include "base/grow.h"
#include "fs/job/snapshot_gaps.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAMED_EXTENTS 4

static int note_lost(const struct digest *id, void *arg, struct error *err)
{
    (void)id;
    (void)err;
    *(bool *)arg = true;
    return 1;
}

// Whether anything is lost.
static int is_lost(struct verify *verify, bool *ret_lost, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(verify->engine->repository.catalog, &conn, err);

    *ret_lost = false;
    if (r == 0)
        r = damage_each_lost(conn, note_lost, ret_lost, err);
    return r < 0 ? r : 0;
}

static int note_other(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct verify *verify = arg;
    int r = row_bitmap_add(&verify->listed, row->id, err);

    if (r <= 0)
        return r;
    if (GROW(verify->snapshots, verify->snapshot_count, verify->snapshot_room,
             "a list of snapshots", err) < 0)
        return -ENOMEM;
    verify->snapshots[verify->snapshot_count++] = (struct verify_snapshot){.id = row->id};
    return 0;
}

// Damage in what one snapshot refers to touches others that share it.
static int add_others(struct verify *verify, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct snapshot_filter all = {0};
    int r = catalog_read_begin(verify->engine->repository.catalog, &conn, err);

    for (size_t i = 0; r >= 0 && i < verify->snapshot_count; i++)
        r = row_bitmap_add(&verify->listed, verify->snapshots[i].id, err);
    return r < 0 ? r : snapshot_each(conn, &all, note_other, verify, err);
}

static void tell_snapshot(struct verify *verify, const struct snapshot_row *row,
                          const struct damage_list *list, bool is_finding)
{
    char line[ERROR_MESSAGE_MAX], path[SNAPSHOT_PATH_SIZE], text[NAMED_EXTENTS * 48] = "";
    size_t len = 0;

    for (size_t i = 0; i < list->count && i < NAMED_EXTENTS; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%" PRIu64 "+%" PRIu64,
                                i ? ", " : "", list->extents[i].offset, list->extents[i].length);
    snprintf(line, sizeof(line),
             "%s: %" PRIu64 " bytes in %zu extent%s cannot be read: %s%s (%.300s)",
             snapshot_path(row, path), list->bytes, list->count, list->count == 1 ? "" : "s", text,
             list->count > NAMED_EXTENTS ? ", …" : "", list->extents[0].why);
    if (is_finding)
        verify_tell(verify, "%s", line);
    else
        job_run_log(verify->run, "known damage: %s", line);
}

// Its content may be whole all the same (snapshot_record_check()); a rebuild would not know it.
static bool is_record_lost(struct catalog_conn *conn, const struct snapshot_row *row)
{
    struct chunk_location best;
    int r = chunk_lookup(conn, &row->record, 0, &best, NULL);

    return r == 0 || (r == 1 && best.damaged);
}

// 1 when the snapshot is there (then *list says what of it is not), 0 when not.
static int look(struct verify *verify, struct damage_search *search, int64_t id,
                struct snapshot_row *row, struct damage_list *list, bool *ret_record_lost,
                struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct error local = ERROR_INIT;
    int r = catalog_read_begin(verify->engine->repository.catalog, &conn, err);

    if (r == 0)
        r = snapshot_get(conn, id, row, &local);
    if (r == -ENOENT || (r == 0 && row->forgotten_at))
        return 0;
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    *ret_record_lost = is_record_lost(conn, row);
    r = damage_find(search, conn, row, list, err);
    return r < 0 ? r : 1;
}

static int record(struct verify *verify, const struct verify_snapshot *snapshot,
                  const struct damage_list *list, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(verify->engine->repository.catalog, &conn, err);

    if (r == 0)
        r = damage_record(conn, snapshot->id, list->extents, list->count, err);
    if (r == 0 && snapshot->wanted && list->count == 0)
        r = snapshot_set_verified(conn, snapshot->id, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static int settle_snapshot(struct verify *verify, struct damage_search *search,
                           const struct verify_snapshot *snapshot, struct snapshot_row *row,
                           struct error *err)
{
    struct damage_list list = {0};
    char path[SNAPSHOT_PATH_SIZE];
    bool record_lost = false;
    int r = look(verify, search, snapshot->id, row, &list, &record_lost, err);

    // What others have of damage that was not met here is no finding of what was asked for.
    bool is_finding = snapshot->wanted || verify->damaged_records > 0 || verify->lost_records > 0;
    if (r == 1 && record_lost && is_finding)
        verify_tell(verify, "%s: its record is lost, and a rebuild would not know it",
                    snapshot_path(row, path));
    if (r == 1 && list.count > 0) {
        tell_snapshot(verify, row, &list, is_finding);
        verify->damaged_snapshots += is_finding;
        verify->damaged_bytes += is_finding ? list.bytes : 0;
    } else if (r == 1) {
        verify->verified_snapshots += snapshot->wanted;
    }
    if (r == 1 && (snapshot->wanted || list.count > 0 || row->damaged))
        r = record(verify, snapshot, &list, err);
    damage_list_deinit(&list);
    return r < 0 ? r : 0;
}

static int settle_all(struct verify *verify, struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    struct damage_search search = {.store = verify->engine->repository.store, .run = verify->run};
    int r = row ? damage_search_init(&search, err) : error_set(err, -ENOMEM, "out of memory");

    for (size_t i = 0; r == 0 && i < verify->snapshot_count; i++)
        r = settle_snapshot(verify, &search, &verify->snapshots[i], row, err);
    damage_search_deinit(&search);
    return r;
}

// With nothing lost, what is recorded of snapshots may have healed.
static int review(struct verify *verify, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct damage_review review;
    int r = damage_review_make(verify->engine, verify->run, 0, &review, err);

    if (r < 0)
        return r;
    damage_review_log(&review, verify->run);
    r = review.count > 0 ? catalog_write_begin(verify->engine->repository.catalog, &conn, err) : 0;
    if (r == 0 && review.count > 0)
        r = damage_review_apply(conn, &review, err);
    if (r == 0 && review.count > 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    damage_review_deinit(&review);
    return r;
}

int verify_settle(struct verify *verify, struct error *err)
{
    uint64_t cleared = 0;
    bool lost = false;
    int r = damage_prove_marked(verify->engine, verify->run, false, &cleared, err);

    verify->cleared_marks += cleared;
    if (r == 0)
        r = is_lost(verify, &lost, err);
    if (r == 0 && lost)
        r = add_others(verify, err);
    if (r == 0)
        r = settle_all(verify, err);
    if (r == 0 && !lost)
        r = review(verify, err);
    return r;
}
