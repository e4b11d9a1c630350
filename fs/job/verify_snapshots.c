// SPDX-License-Identifier: MIT
//
// Verification of snapshots: their maps are walked, every row of the index that they refer to is
// noted once, and the noted rows are proved in the order of packs. Every copy of a record is
// proved, not only the one that would be read.
//
// Records may move meanwhile: a row that was noted and not met in a pack is gone, and the maps are
// walked again for what took its place.
#include "fs/job/verify_state.h"

#include <string.h>

#define COPIES_MAX 16
#define ROUNDS_MAX 5

struct collecting {
    struct verify *verify;
    struct map_check *maps;
    uint64_t total;
};

// Notes every copy of a record; returns their number, with a row of one of them.
static int note_copies(struct collecting *collecting, struct catalog_conn *conn,
                       const struct digest *id, struct chunk_location copies[COPIES_MAX],
                       struct error *err)
{
    struct verify *verify = collecting->verify;
    int n = chunk_copies(conn, id, 0, copies, COPIES_MAX, err), r = 0;

    for (int i = 0; r >= 0 && i < n; i++) {
        r = row_bitmap_add(&verify->needed, copies[i].row, err);
        if (r == 1)
            collecting->total += prove_record_bytes(&copies[i].record);
        if (r >= 0 && !row_bitmap_has(&verify->seen, copies[i].row))
            r = row_bitmap_add(&verify->round, copies[i].row, err);
    }
    return r < 0 ? r : n;
}

// Notes a record, and what its copies that are deltas are made against. What has no copy, or none
// that is whole, is found by the settling.
static int collect(struct catalog_conn *conn, const struct digest *id, enum record_kind kind,
                   uint32_t raw_length, int64_t *ret_row, char why[ERROR_MESSAGE_MAX], void *arg,
                   struct error *err)
{
    struct collecting *collecting = arg;
    struct chunk_location copies[COPIES_MAX], bases[COPIES_MAX];
    int r = job_run_check(collecting->verify->run, err);
    int n = r < 0 ? r : note_copies(collecting, conn, id, copies, err);

    (void)kind;
    (void)raw_length;
    why[0] = '\0';
    for (int i = 0; r >= 0 && i < n; i++) {
        if (!digest_is_zero(&copies[i].record.base))
            r = note_copies(collecting, conn, &copies[i].record.base, bases, err);
    }
    if (n > 0)
        *ret_row = copies[0].row;
    return r < 0 ? r : n > 0 ? 1 : n;
}

static int ignore_gap(const struct map_gap *gap, void *arg, struct error *err)
{
    (void)gap;
    (void)arg;
    (void)err;
    return 0;
}

static int collect_snapshot(struct collecting *collecting, int64_t id, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    char why[ERROR_MESSAGE_MAX];
    int64_t unused;
    int r = row ? catalog_read_begin(collecting->verify->engine->repository.catalog, &conn, err)
                : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = snapshot_get(conn, id, row, err);
    if (r < 0 || row->forgotten_at)
        return r == -ENOENT ? 0 : r;
    r = collect(conn, &row->record, RECORD_SNAPSHOT, 0, &unused, why, collecting, err);
    return r < 0 ? r
                 : map_check_snapshot(collecting->maps, conn, &row->digest, row->capacity,
                                      row->chunk_size, ignore_gap, NULL, err);
}

// Fills the round with what was not proved yet.
static int collect_all(struct verify *verify, struct error *err)
{
    struct collecting collecting = {.verify = verify,
                                    .total = atomic_load(&verify->run->total_bytes)};
    int r = map_check_new(verify->engine->repository.store, &collecting.maps, err);

    if (r < 0)
        return r;
    map_check_judge(collecting.maps, collect, &collecting);
    row_bitmap_deinit(&verify->round);
    for (size_t i = 0; r == 0 && i < verify->snapshot_count; i++)
        r = collect_snapshot(&collecting, verify->snapshots[i].id, err);
    map_check_free(collecting.maps);
    atomic_store(&verify->run->total_bytes, collecting.total);
    return r;
}

static int prove_round(struct verify *verify, struct error *err)
{
    struct prove_pass pass = {.store = verify->engine->repository.store,
                              .catalog = verify->engine->repository.catalog,
                              .pool = verify->run->pool,
                              .only = &verify->round,
                              .stop = verify_stop,
                              .take = verify_take_slice,
                              .arg = verify};
    int r = verify_list_packs(verify, err);

    if (r < 0)
        return r;
    pass.packs = verify->packs;
    pass.pack_count = verify->pack_count;
    return verify_prove(verify, &pass, err);
}

// A pack that is damaged in one place may be in others: all of it is proved then, also for what
// stands below map nodes that are lost, which no walk can find.
static int prove_suspects(struct verify *verify, struct error *err)
{
    struct prove_pass pass = {.store = verify->engine->repository.store,
                              .catalog = verify->engine->repository.catalog,
                              .pool = verify->run->pool,
                              .stop = verify_stop,
                              .take = verify_take_slice,
                              .arg = verify};
    uint64_t total = atomic_load(&verify->run->total_bytes);
    int r = verify_list_packs(verify, err);

    for (size_t i = 0; r == 0 && i < verify->pack_count; i++) {
        if (!row_bitmap_has(&verify->suspects, verify->packs[i].id))
            continue;
        total += verify->packs[i].file_bytes;
        verify->packs[pass.pack_count++] = verify->packs[i];
    }
    atomic_store(&verify->run->total_bytes, total);
    verify->by_packs = true;
    pass.packs = verify->packs;
    return r < 0 ? r : verify_prove(verify, &pass, err);
}

static int find_job(struct verify *verify, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    int r = job ? catalog_read_begin(verify->engine->repository.catalog, &conn, err)
                : error_set(err, -ENOMEM, "out of memory");

    return r < 0 ? r : job_get(conn, verify->words.job_id, job, err);
}

int verify_snapshots(struct verify *verify, struct error *err)
{
    struct snapshot_filter filter = {.context_id = verify->job->context_id,
                                     .disk_id = verify->job->disk_id,
                                     .job_id = verify->words.job_id};
    int r = verify->words.job_id ? find_job(verify, err) : 0;

    if (r == 0)
        r = verify_list_snapshots(verify, &filter, err);
    for (int round = 0; r == 0; round++) {
        uint64_t seen = verify->seen.count;

        r = collect_all(verify, err);
        if (r < 0 || verify->round.count == 0)
            break;
        if (round == ROUNDS_MAX)
            return error_set(err, -EAGAIN, "records move faster than they can be proved");
        r = prove_round(verify, err);
        if (r < 0 || verify->seen.count - seen == verify->round.count)
            break;
    }
    return r == 0 && verify->suspects.count > 0 ? prove_suspects(verify, err) : r;
}
