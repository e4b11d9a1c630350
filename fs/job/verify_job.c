// SPDX-License-Identifier: MIT
//
// A verification from its words to its figures. The passes are verify_packs.c and
// verify_snapshots.c; what damage touches is found by verify_settle.c.
#include "fs/job/verify_job.h"

#include "base/clock.h"
#include "base/grow.h"
#include "base/log.h"
#include "catalog/check_rows.h"
#include "fs/job/verify_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FINDINGS_LOGGED 1000
#define NAMED_RECORDS 3 // of a damaged pack; the rest is counted

static int option(const char *word, struct error *err)
{
    struct verify_words words = {0};
    return verify_word(word, clock_now(), &words, err);
}

static int check_words(const char *words, bool named, struct error *err)
{
    struct verify_words parsed;
    return verify_words_parse(words, named, clock_now(), &parsed, err);
}

void verify_tell(struct verify *verify, const char *fmt, ...)
{
    char text[ERROR_MESSAGE_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (!verify->first[0])
        snprintf(verify->first, sizeof(verify->first), "%s", text);
    if (++verify->findings <= FINDINGS_LOGGED)
        job_run_log(verify->run, "damage: %s", text);
}

int verify_stop(void *arg, struct error *err)
{
    const struct verify *verify = arg;
    return job_run_check(verify->run, err);
}

// --- lists

static int note_pack(const struct pack_row *row, void *arg, struct error *err)
{
    struct verify *verify = arg;

    if (GROW(verify->packs, verify->pack_count, verify->pack_room, "a list of packs", err) < 0)
        return -ENOMEM;
    verify->packs[verify->pack_count++] = *row;
    return 0;
}

int verify_list_packs(struct verify *verify, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(verify->engine->repository.catalog, &conn, err);

    verify->pack_count = 0;
    return r < 0 ? r : pack_each(conn, 0, note_pack, verify, err);
}

static int note_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct verify *verify = arg;

    if (verify->words.proved_before && row->verified_at >= verify->words.proved_before)
        return 0;
    if (verify->job->upkeep_snapshot_id && row->id != verify->job->upkeep_snapshot_id)
        return 0;
    if (GROW(verify->snapshots, verify->snapshot_count, verify->snapshot_room,
             "a list of snapshots", err) < 0)
        return -ENOMEM;
    verify->snapshots[verify->snapshot_count++] =
        (struct verify_snapshot){.id = row->id, .wanted = true};
    return 0;
}

int verify_list_snapshots(struct verify *verify, const struct snapshot_filter *filter,
                          struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(verify->engine->repository.catalog, &conn, err);

    verify->snapshot_count = 0;
    return r < 0 ? r : snapshot_each(conn, filter, note_snapshot, verify, err);
}

// --- results of the pass

static int note_known(struct verify *verify, struct catalog_conn *conn,
                      const struct proved_slice *slice, size_t i, struct error *err)
{
    struct chunk_location best;
    int r = chunk_lookup(conn, &slice->records[i].record.id, 0, &best, err);

    if (r < 0)
        return r;
    if (r == 1 && !best.damaged) {
        verify->superseded_records++;
        return 0;
    }
    verify->lost_records++;
    if (verify->pack_known++ < NAMED_RECORDS)
        job_run_log(verify->run, "known damage: %s", slice->why[i]);
    return 0;
}

// A record that is not there any more, for its pack was dropped meanwhile, is no damage; where it
// went is looked at in another round.
static int note_damage(struct verify *verify, struct catalog_conn *conn,
                       const struct proved_slice *slice, size_t i, struct error *err)
{
    int64_t copies = 0;
    int r = damage_mark(conn, slice->pack->id, &slice->records[i].record.id, &copies, err);

    if (r == 0 && copies == 0)
        r = row_bitmap_set(&verify->moved, slice->records[i].row, err);
    if (r < 0 || copies == 0)
        return r;
    if (slice->records[i].damaged)
        return note_known(verify, conn, slice, i, err);
    verify->damaged_records++;
    if (row_bitmap_add(&verify->suspects, slice->pack->id, err) < 0)
        return -ENOMEM;
    if (verify->pack_new++ < NAMED_RECORDS)
        verify_tell(verify, "%s", slice->why[i]);
    return 0;
}

static int note_whole(struct verify *verify, struct catalog_conn *conn,
                      const struct proved_slice *slice, size_t i, struct error *err)
{
    bool cleared = false;
    int r = damage_clear(conn, slice->pack->id, &slice->records[i].record.id, &cleared, err);

    verify->cleared_marks += cleared;
    return r;
}

static int end_pack(struct verify *verify, struct catalog_conn *conn,
                    const struct proved_slice *slice)
{
    struct pack_row row;

    if (verify->pack_new > NAMED_RECORDS)
        verify_tell(verify, "pack %s: %" PRIu64 " more records of it are damaged",
                    slice->pack->uuid, verify->pack_new - NAMED_RECORDS);
    if (verify->pack_known > NAMED_RECORDS)
        job_run_log(verify->run, "known damage: pack %s: %" PRIu64 " more records of it",
                    slice->pack->uuid, verify->pack_known - NAMED_RECORDS);
    // Reading needs no index, and a rebuild can do without: it is told, as check tells it.
    if (slice->index_why && pack_find_uuid(conn, slice->pack->uuid, &row, NULL) == 0) {
        verify->damaged_indexes++;
        job_run_log(verify->run, "index: %s", slice->index_why);
    }
    return 0;
}

static int note_slice(struct verify *verify, struct catalog_conn *conn,
                      const struct proved_slice *slice, struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < slice->count; i++) {
        if (slice->why[i])
            r = note_damage(verify, conn, slice, i, err);
        else if (slice->records[i].damaged)
            r = note_whole(verify, conn, slice, i, err);
    }
    return r == 0 && slice->last ? end_pack(verify, conn, slice) : r;
}

static bool says_something(const struct proved_slice *slice)
{
    bool says = slice->index_why || slice->damaged > 0;

    for (size_t i = 0; !says && i < slice->count; i++)
        says = slice->records[i].damaged;
    return says;
}

static int count_slice(struct verify *verify, const struct proved_slice *slice, struct error *err)
{
    bool packs = verify->by_packs;
    uint64_t bytes = slice->bytes;
    int r = 0;

    for (size_t i = 0; r >= 0 && !packs && i < slice->count; i++)
        r = row_bitmap_has(&verify->moved, slice->records[i].row)
                ? 0
                : row_bitmap_add(&verify->seen, slice->records[i].row, err);
    verify->proved_records += slice->count;
    verify->part += bytes;
    // What of a pack is no record: its header and index.
    if (packs && slice->last && slice->pack->file_bytes > verify->part)
        bytes += slice->pack->file_bytes - verify->part;
    job_run_advance(verify->run, bytes);
    verify->proved_bytes += bytes;
    if (slice->last) {
        verify->proved_packs++;
        verify->part = 0;
        verify->pack_new = verify->pack_known = 0;
    }
    return r < 0 ? r : 0;
}

static int write_stamps(struct verify *verify, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = 0;

    if (verify->stamp_count == 0)
        return 0;
    r = catalog_write_begin(verify->engine->repository.catalog, &conn, err);
    for (size_t i = 0; r == 0 && i < verify->stamp_count; i++)
        r = pack_set_verified(conn, verify->stamps[i], err);
    verify->stamp_count = 0;
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static int stamp(struct verify *verify, int64_t pack_id, struct error *err)
{
    verify->stamps[verify->stamp_count++] = pack_id;
    return verify->stamp_count == VERIFY_STAMPS ? write_stamps(verify, err) : 0;
}

int verify_take_slice(const struct proved_slice *slice, void *arg, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct verify *verify = arg;
    int r = 0;

    // What is left of the pack's damage is told with its last slice.
    if (says_something(slice) || (slice->last && verify->pack_new + verify->pack_known > 0)) {
        r = catalog_write_begin(verify->engine->repository.catalog, &conn, err);
        if (r == 0)
            r = note_slice(verify, conn, slice, err);
        if (r == 0)
            r = catalog_write_commit(TAKE(conn, NULL), err);
    }
    if (r == 0)
        r = count_slice(verify, slice, err);
    return r == 0 && slice->last && verify->by_packs ? stamp(verify, slice->pack->id, err) : r;
}

int verify_prove(struct verify *verify, const struct prove_pass *pass, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = prove_records(pass, err);
    int stamped = write_stamps(verify, r < 0 ? &local : err);

    return r < 0 ? r : stamped;
}

// --- the job

static void record_figures(const struct verify *verify)
{
    const struct upkeep_figure figures[] = {
        {"packs", (int64_t)verify->proved_packs},
        {"records", (int64_t)verify->proved_records},
        {"proved_bytes", (int64_t)verify->proved_bytes},
        {"verified_snapshots", (int64_t)verify->verified_snapshots},
        {"damaged_records", (int64_t)verify->damaged_records},
        {"known_damaged_records", (int64_t)verify->lost_records},
        {"superseded_records", (int64_t)verify->superseded_records},
        {"damaged_indexes", (int64_t)verify->damaged_indexes},
        {"damaged_snapshots", (int64_t)verify->damaged_snapshots},
        {"damaged_bytes", (int64_t)verify->damaged_bytes},
        {"cleared_marks", (int64_t)verify->cleared_marks},
    };

    upkeep_figures(verify->engine, verify->run, figures, sizeof(figures) / sizeof(figures[0]));
}

static void log_result(struct verify *verify)
{
    job_run_log(verify->run,
                "%" PRIu64 " records of %" PRIu64 " packs proved, %" PRIu64 " bytes; %" PRIu64
                " snapshots found whole",
                verify->proved_records, verify->proved_packs, verify->proved_bytes,
                verify->verified_snapshots);
    if (verify->cleared_marks > 0)
        job_run_log(verify->run, "%" PRIu64 " records that were damaged are whole again",
                    verify->cleared_marks);
    if (verify->superseded_records > 0)
        job_run_log(verify->run,
                    "%" PRIu64 " damaged records are not needed: their content is stored again",
                    verify->superseded_records);
    if (verify->findings > FINDINGS_LOGGED)
        job_run_log(verify->run, "%" PRIu64 " more findings are not listed",
                    verify->findings - FINDINGS_LOGGED);
}

static int judge_result(const struct verify *verify, struct error *err)
{
    uint64_t records = verify->damaged_records + verify->lost_records;

    if (verify->findings == 0)
        return 0;
    return error_set(err, -ERROR_CORRUPT,
                     "%" PRIu64 " damaged record%s, %" PRIu64 " bytes of %" PRIu64
                     " snapshot%s cannot be read; first: %s",
                     records, records == 1 ? "" : "s", verify->damaged_bytes,
                     verify->damaged_snapshots, verify->damaged_snapshots == 1 ? "" : "s",
                     verify->first);
}

static int run_steps(struct verify *verify, struct error *err)
{
    const struct job_row *job = verify->job;
    bool named = job->context_id != 0;
    int r = verify_words_parse(job->upkeep_words, named && verify->words.job_id == 0,
                               job->started_at, &verify->words, err);

    if (r < 0)
        return r;
    if (named || verify->words.job_id)
        r = verify_snapshots(verify, err);
    else
        r = verify_packs(verify, err);
    if (r == 0)
        r = verify_settle(verify, err);
    return r;
}

static void deinit(struct verify *verify)
{
    free(verify->packs);
    free(verify->snapshots);
    row_bitmap_deinit(&verify->needed);
    row_bitmap_deinit(&verify->seen);
    row_bitmap_deinit(&verify->moved);
    row_bitmap_deinit(&verify->round);
    row_bitmap_deinit(&verify->suspects);
    row_bitmap_deinit(&verify->listed);
    free(verify);
}

static int run(struct engine *engine, struct job_run *run, const struct job_row *job,
               struct error *err)
{
    struct verify *verify = calloc(1, sizeof(*verify));

    if (!verify)
        return error_set(err, -ENOMEM, "out of memory");
    verify->engine = engine;
    verify->run = run;
    verify->job = job;
    int r = run_steps(verify, err);
    log_result(verify);
    if (r == 0) {
        record_figures(verify);
        r = judge_result(verify, err);
    }
    deinit(verify);
    events_post(engine->events, ENGINE_TREE_CHANGED, 0);
    return r;
}

// --- after a backup

int verify_record_follower(struct catalog_conn *conn, const struct job_row *backup,
                           int64_t *ret_job_id, struct error *err)
{
    char words[32];
    struct job_new follower = {
        .kind = JOB_VERIFY, .trigger = backup->trigger, .tags = "", .upkeep_words = words};

    if (!backup->verify_after) {
        *ret_job_id = 0;
        return 0;
    }
    snprintf(words, sizeof(words), "job=%lld", (long long)backup->id);
    return job_insert(conn, &follower, ret_job_id, err);
}

void verify_follow(struct engine *engine, int64_t job_id)
{
    struct error err = ERROR_INIT;
    struct pending_job *place = queue_place(&err);

    if (!place) {
        log_warning("job %lld waits for the next start: %s", (long long)job_id,
                    error_message(&err));
        return;
    }
    queue_add(engine, place, job_id, queue_lane(JOB_VERIFY, 0));
    events_post(engine->events, ENGINE_JOB_STATE, job_id);
}

const struct upkeep_kind verify_upkeep = {.kind = JOB_VERIFY,
                                          .takes_name = true,
                                          .option = option,
                                          .check = check_words,
                                          .options = VERIFY_WORDS,
                                          .run = run};
