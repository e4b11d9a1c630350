// SPDX-License-Identifier: MIT
//
// Every record of every pack: header, checksums, decoding, SHA-256. The pass is prove_records();
// here its findings are told.
#include "fs/job/check_state.h"

#include "catalog/check_rows.h"
#include "fs/job/prove_records.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define NAMED_RECORDS 3 // of a damaged pack; the rest is counted

struct record_check {
    struct check *check;
    uint64_t part; // bytes of the pack at hand that were proved
    uint64_t damaged, superseded, baseless;
    char sentences[NAMED_RECORDS][ERROR_MESSAGE_MAX];
};

static int tell(struct record_check *records, const char *uuid, struct error *err)
{
    struct check *check = records->check;
    char subject[UUID_TEXT_SIZE + 8];
    int r = check_pack_known(check, uuid, err);

    if (r <= 0) // removed while we looked
        return r;
    snprintf(subject, sizeof(subject), "pack %s", uuid);
    for (size_t i = 0; i < records->damaged && i < NAMED_RECORDS; i++)
        check_tell(check, CHECK_DAMAGE, subject, "%s", records->sentences[i]);
    if (records->damaged > NAMED_RECORDS)
        check_tell(check, CHECK_DAMAGE, subject, "%" PRIu64 " more records of it are damaged",
                   records->damaged - NAMED_RECORDS);
    if (records->superseded > 0)
        check_tell(check, CHECK_LEFTOVER, subject,
                   "records of it that are damaged and stand whole elsewhere: %" PRIu64,
                   records->superseded);
    if (records->baseless > 0)
        check_tell(check, CHECK_LEFTOVER, subject,
                   "deltas of it without a base in any pack: %" PRIu64, records->baseless);
    return 0;
}

// 1 when the record was known to be damaged and has a copy that is not.
static int is_superseded(struct check *check, const struct chunk_location *copy, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct chunk_location best;
    int r = copy->damaged ? catalog_read_begin(check->viewer.catalog, &conn, err) : 0;

    if (r < 0 || !copy->damaged)
        return r;
    r = chunk_lookup(conn, &copy->record.id, 0, &best, err);
    return r == 1 ? !best.damaged : r;
}

static bool is_plain(const struct chunk_copy *copy, const void *arg)
{
    (void)arg;
    return digest_is_zero(&copy->base);
}

// A cancelled job whose packs went one by one until a crash leaves deltas without their base, which
// nothing refers to. What a snapshot needs is told with the snapshot. 1, 0 or -errno.
static int is_baseless(struct check *check, const struct chunk_row *row, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct chunk_copy copy;
    int r;

    if (digest_is_zero(&row->base))
        return 0;
    r = catalog_read_begin(check->viewer.catalog, &conn, err);
    if (r == 0)
        r = chunk_find_copy(conn, &row->base, is_plain, NULL, &copy, err);
    return r < 0 ? r : r == 0;
}

static int take(const struct proved_slice *slice, void *arg, struct error *err)
{
    struct record_check *records = arg;
    struct check_result *result = &records->check->result;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < slice->count; i++) {
        if (!slice->why[i])
            continue;
        r = is_superseded(records->check, &slice->records[i], err);
        records->superseded += r == 1;
        if (r != 0)
            continue;
        r = is_baseless(records->check, &slice->records[i].record, err);
        records->baseless += r == 1;
        if (r != 0)
            continue;
        if (records->damaged < NAMED_RECORDS)
            snprintf(records->sentences[records->damaged], ERROR_MESSAGE_MAX, "%s", slice->why[i]);
        records->damaged++;
    }
    records->part += slice->bytes;
    if (slice->last) {
        if (r >= 0 && records->damaged + records->superseded + records->baseless > 0)
            r = tell(records, slice->pack->uuid, err);
        result->proved_bytes += slice->pack->file_bytes;
        records->part = records->damaged = records->superseded = records->baseless = 0;
    }
    return r < 0 ? r
                 : check_progress(records->check, CHECK_STEP_RECORDS,
                                  result->proved_bytes + records->part, result->pack_bytes, err);
}

int check_records(struct check *check, struct error *err)
{
    AUTO(pool_free) struct pool *pool = NULL;
    AUTO_FREE struct record_check *records = calloc(1, sizeof(*records));
    struct prove_pass pass = {.store = check->store,
                              .catalog = check->viewer.catalog,
                              .packs = check->packs,
                              .pack_count = check->pack_count,
                              .take = take,
                              .arg = records};
    unsigned workers =
        check->options->workers ? check->options->workers : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    int r = records ? pool_new(workers, &pool, err) : error_set(err, -ENOMEM, "out of memory");

    if (r < 0)
        return r;
    records->check = check;
    pass.pool = pool;
    return prove_records(&pass, err);
}
