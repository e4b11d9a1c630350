// SPDX-License-Identifier: MIT
//
// Healing, from the side of a backup.
#include "fs/job/backup_damage.h"

#include "base/grow.h"
#include "fs/job/snapshot_gaps.h"
#include "fs/store/snapshot_record.h"

#include <stdlib.h>
#include <string.h>

int backup_damage_begin(struct backup_damage *damage, struct engine *engine, int64_t parent_id,
                        struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;

    damage_notes_flush(engine);
    lost_ids_deinit(&damage->lost);
    damage_list_deinit(&damage->parent);
    int r = lost_ids_load(&damage->lost, engine->repository.catalog, err);
    if (r < 0 || parent_id == 0)
        return r;
    r = catalog_read_begin(engine->repository.catalog, &conn, err);
    return r < 0 ? r : damage_list_load(&damage->parent, conn, parent_id, err);
}

// --- records of snapshots

struct remade {
    const struct lost_ids *lost;
    struct job_run *run;
    struct catalog_conn *conn;
    struct remade_record {
        char *text;
        char path[SNAPSHOT_PATH_SIZE];
    } * records;
    size_t count, room;
};

static int remake(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct remade *remade = arg;
    struct error local = ERROR_INIT;
    struct remade_record *record;
    int r;

    if (!lost_ids_have(remade->lost, &row->record))
        return 0;
    if (GROW(remade->records, remade->count, remade->room, "a list of records", err) < 0)
        return -ENOMEM;
    record = &remade->records[remade->count];
    snapshot_path(row, record->path);
    r = snapshot_record_remake(remade->conn, row, &record->text, &local);
    remade->count += r == 1;
    // No reason for the backup of another disk to fail.
    if (r < 0)
        job_run_log(remade->run, "the record of %s is lost, and cannot be made anew: %s",
                    record->path, error_message(&local));
    return 0;
}

static int remake_all(struct remade *remade, struct catalog *catalog, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct snapshot_filter all = {0};
    int r = catalog_read_begin(catalog, &conn, err);

    remade->conn = conn;
    return r < 0 ? r : snapshot_each(conn, &all, remake, remade, err);
}

int backup_damage_heal_records(const struct backup_damage *damage, struct engine *engine,
                               struct job_run *run, struct store_writer *writer, struct error *err)
{
    struct remade remade = {.lost = &damage->lost, .run = run};
    struct digest id;
    int r = 0;

    if (damage->lost.count > 0)
        r = remake_all(&remade, engine->repository.catalog, err);
    for (size_t i = 0; i < remade.count; i++) {
        struct remade_record *record = &remade.records[i];

        if (r == 0)
            r = store_writer_put(writer, RECORD_SNAPSHOT, record->text, strlen(record->text), &id,
                                 err);
        if (r == 0)
            job_run_log(run, "the record of %s was lost, and is stored again as the catalog has it",
                        record->path);
        free(record->text);
    }
    free(remade.records);
    return r;
}

// --- before the commit

// Whether something was lost after the backup had begun: it may refer to that as if it were whole.
static bool is_news(const struct lost_ids *before, const struct lost_ids *now)
{
    bool news = false;

    for (size_t i = 0; i < now->count && !news; i++)
        news = !lost_ids_have(before, &now->ids[i]);
    return news;
}

static int find_own(struct backup_damage *damage, struct damage_search *search,
                    const struct digest *root, uint64_t capacity, uint32_t chunk_size,
                    struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = damage_search_init(search, err);

    if (r == 0)
        r = catalog_read_begin(store_catalog(search->store), &conn, err);
    if (r == 0)
        r = damage_find_map(search, conn, root, capacity, chunk_size, &damage->own, err);
    damage_search_deinit(search);
    return r;
}

static int review(struct backup_damage *damage, struct engine *engine, struct job_run *run,
                  int64_t job_id, const struct digest *root, uint64_t capacity, uint32_t chunk_size,
                  struct error *err)
{
    struct damage_search search = {.store = engine->repository.store, .run = run, .job_id = job_id};
    struct lost_ids now = {0};
    uint64_t cleared = 0;
    int r = damage_prove_marked(engine, run, true, &cleared, err);

    if (r == 0)
        r = damage_review_make(engine, run, job_id, &damage->review, err);
    if (r == 0)
        r = lost_ids_load(&now, engine->repository.catalog, err);
    if (r == 0 && is_news(&damage->lost, &now))
        r = find_own(damage, &search, root, capacity, chunk_size, err);
    lost_ids_deinit(&now);
    return r;
}

int backup_damage_review(struct backup_damage *damage, struct engine *engine, struct job_run *run,
                         int64_t job_id, const struct digest *root, uint64_t capacity,
                         uint32_t chunk_size, struct error *err)
{
    struct error local = ERROR_INIT;

    damage_notes_flush(engine);
    int r = review(damage, engine, run, job_id, root, capacity, chunk_size, &local);
    if (r == -ECANCELED || r == -EINTR)
        return error_set(err, r, "%s", error_message(&local));
    if (r < 0)
        job_run_log(run, "what this backup heals is not known: %s", error_message(&local));
    damage_review_log(&damage->review, run);
    return 0;
}

int backup_damage_apply(const struct backup_damage *damage, struct catalog_conn *conn,
                        int64_t snapshot_id, struct error *err)
{
    int r = damage_review_apply(conn, &damage->review, err);

    if (r == 0 && damage->own.count > 0)
        r = damage_record(conn, snapshot_id, damage->own.extents, damage->own.count, err);
    return r;
}

void backup_damage_deinit(struct backup_damage *damage)
{
    lost_ids_deinit(&damage->lost);
    damage_list_deinit(&damage->parent);
    damage_review_deinit(&damage->review);
    damage_list_deinit(&damage->own);
}
