// SPDX-License-Identifier: MIT
//
// Snapshots: everything each refers to is there, and its row says what its record in the packs
// says.
#include "fs/job/check_state.h"

#include "base/hash.h"
#include "catalog/check_rows.h"
#include "fs/job/snapshot_gaps.h"
#include "fs/store/pack_format.h"
#include "fs/store/snapshot_record.h"

#include <string.h>

#define RECORDS_STEP "comparing records"

struct snapshot_seen {
    int64_t id;
    char uuid[UUID_TEXT_SIZE];
    bool recorded;
    UT_hash_handle hh;
};

struct snapshot_pass {
    struct check *check;
    struct snapshot_seen *snapshots; // by uuid
    uint64_t done;                   // snapshots
    struct catalog_conn *conn;       // while records are walked
    struct snapshot_record record;
};

static int note_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct snapshot_pass *pass = arg;
    struct snapshot_seen *seen = calloc(1, sizeof(*seen));

    if (!seen)
        return error_set(err, -ENOMEM, "out of memory for a list of snapshots");
    seen->id = row->id;
    memcpy(seen->uuid, row->uuid, sizeof(seen->uuid));
    HASH_ADD_STR(pass->snapshots, uuid, seen);
    if (!seen->hh.tbl) {
        free(seen);
        return error_set(err, -ENOMEM, "out of memory for a list of snapshots");
    }
    pass->check->result.snapshots++;
    return 0;
}

// The row as it is now; 1 when it is a snapshot (still), 0 when not.
static int load(struct check *check, struct catalog_conn *conn, int64_t id,
                struct snapshot_row *ret_row, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = snapshot_get(conn, id, ret_row, &local);

    (void)check;
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    return ret_row->state == JOB_COMPLETED && !ret_row->forgotten_at;
}

static int find_gaps(struct check *check, int64_t id, struct snapshot_row *row,
                     struct snapshot_gaps *gaps, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(check->viewer.catalog, &conn, err);

    gaps->count = 0;
    if (r == 0)
        r = load(check, conn, id, row, err);
    if (r <= 0)
        return r;
    r = snapshot_gaps_find(check->maps, conn, row, gaps, err);
    // What a verification or a reader has found wrong with content, which is not read here.
    if (r == 0 && gaps->count == 0 && row->damaged)
        r = snapshot_gaps_recorded(conn, row, gaps, err);
    return r;
}

static int check_map(struct check *check, const struct snapshot_seen *seen, struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    AUTO_FREE struct snapshot_gaps *gaps = calloc(1, sizeof(*gaps));
    char path[SNAPSHOT_PATH_SIZE];

    if (!row || !gaps)
        return error_set(err, -ENOMEM, "out of memory");
    int r = find_gaps(check, seen->id, row, gaps, err);
    // Packs may have been rewritten between the look-up and the reading.
    if (r == 0 && gaps->count > 0)
        r = find_gaps(check, seen->id, row, gaps, err);
    if (r == 0 && gaps->count > 0) {
        const char *text = gaps->sentence + strlen(snapshot_path(row, path));
        check_tell(check, CHECK_DAMAGE, path, "%s", text + 2);
    }
    return r;
}

// --- rows against records

static const char *difference(const struct snapshot_record *record, const struct snapshot_row *row)
{
    if (!digest_equal(&record->digest, &row->digest))
        return "digest";
    if (record->capacity != row->capacity)
        return "capacity";
    if (record->chunk_size != row->chunk_size)
        return "chunk size";
    if (record->number != row->number || record->chain_number != row->chain_number)
        return "number";
    if (record->kind != row->kind)
        return "kind";
    if (record->taken_at != row->taken_at)
        return "time";
    if (strcmp(record->tags, row->tags) != 0)
        return "tags";
    if (strcmp(record->change_id, row->change_id) != 0)
        return "change_id";
    if (record->data_bytes != row->data_bytes || record->changed_bytes != row->changed_bytes ||
        record->read_bytes != row->read_bytes)
        return "byte counts";
    return NULL;
}

static int compare_record(struct snapshot_pass *pass, struct snapshot_seen *seen, struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    char path[SNAPSHOT_PATH_SIZE];

    if (!row)
        return error_set(err, -ENOMEM, "out of memory");
    int r = load(pass->check, pass->conn, seen->id, row, err);
    if (r <= 0)
        return r;
    const char *what = difference(&pass->record, row);
    if (what)
        check_tell(pass->check, CHECK_DAMAGE, snapshot_path(row, path),
                   "its %s in the catalog is not what its record in the packs says", what);
    return 0;
}

static int read_record(const struct chunk_location *chunk, void *arg, struct error *err)
{
    struct snapshot_pass *pass = arg;
    struct error local = ERROR_INIT;
    AUTO_FREE void *text = NULL;
    struct snapshot_seen *seen;
    size_t len;
    int r = check_progress(pass->check, RECORDS_STEP, 0, 0, err);

    if (r != 0)
        return r;
    r = store_get(pass->check->store, pass->conn, RECORD_SNAPSHOT, &chunk->record.id, true, &text,
                  &len, &local);

    if (r == 0)
        r = snapshot_record_parse(text, len, &pass->record, &local);
    if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT) {
        // Whose it is cannot be read; a snapshot without a record is told below.
        return 0;
    }
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    // A record without a row: a job that died in its last step, or a snapshot forgotten since.
    HASH_FIND_STR(pass->snapshots, pass->record.uuid, seen);
    if (!seen)
        return 0;
    seen->recorded = true;
    return compare_record(pass, seen, err);
}

static int walk_records(struct snapshot_pass *pass, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = check_progress(pass->check, RECORDS_STEP, 0, 0, err);

    if (r == 0)
        r = catalog_read_begin(pass->check->viewer.catalog, &conn, err);
    pass->conn = conn;
    if (r == 0)
        r = chunk_each_of_kind(conn, RECORD_SNAPSHOT, read_record, pass, err);
    pass->conn = NULL;
    return r;
}

static int check_unrecorded(struct check *check, const struct snapshot_seen *seen,
                            struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    char path[SNAPSHOT_PATH_SIZE];
    int r = row ? catalog_read_begin(check->viewer.catalog, &conn, err)
                : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = load(check, conn, seen->id, row, err);
    if (r <= 0)
        return r;
    check_tell(check, CHECK_DAMAGE, snapshot_path(row, path),
               "its record is in no pack that can be read: a rebuilt catalog would not have it");
    return 0;
}

// One snapshot may be millions of chunks.
static int tick_map(void *arg, struct error *err)
{
    const struct snapshot_pass *pass = arg;

    return check_progress(pass->check, "looking through snapshots", pass->done,
                          pass->check->result.snapshots, err);
}

static int check_all(struct snapshot_pass *pass, struct error *err)
{
    struct check *check = pass->check;
    struct snapshot_seen *seen, *next;
    int r = 0;

    map_check_tick(check->maps, tick_map, pass);
    HASH_ITER(hh, pass->snapshots, seen, next)
    {
        if (r == 0)
            r = tick_map(pass, err);
        if (r == 0)
            r = check_map(check, seen, err);
        pass->done++;
    }
    map_check_tick(check->maps, NULL, NULL);
    if (r == 0)
        r = walk_records(pass, err);
    HASH_ITER(hh, pass->snapshots, seen, next)
    {
        if (r == 0 && !seen->recorded)
            r = check_unrecorded(check, seen, err);
    }
    return r;
}

static int read_rows(struct snapshot_pass *pass, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct snapshot_filter all = {0};
    int r = catalog_read_begin(pass->check->viewer.catalog, &conn, err);

    return r < 0 ? r : snapshot_each(conn, &all, note_snapshot, pass, err);
}

int check_snapshots(struct check *check, struct error *err)
{
    struct snapshot_pass *pass = calloc(1, sizeof(*pass));
    struct snapshot_seen *seen, *next;

    if (!pass)
        return error_set(err, -ENOMEM, "out of memory");
    pass->check = check;
    int r = read_rows(pass, err);
    if (r == 0)
        r = check_all(pass, err);
    HASH_ITER(hh, pass->snapshots, seen, next)
    {
        HASH_DEL(pass->snapshots, seen);
        free(seen);
    }
    free(pass);
    return r;
}
