// SPDX-License-Identifier: MIT
//
// Every record of every pack: header, checksums, decoding, SHA-256. A task is a pack; workers prove
// packs beside each other while this thread takes their results in order and tells them.
//
// Threads: a task's members are the worker's from submit to wait, the caller's before and after.
// Workers use the store and lease readers of their own; findings are told by the caller alone.
#include "fs/job/check_state.h"

#include "base/pool.h"
#include "catalog/check_rows.h"
#include "fs/store/pack_scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TASKS_MAX 32
#define NAMED_RECORDS 3 // of a damaged pack; the rest is counted

struct proof {
    struct pool_task task; // first
    struct check *check;
    struct pack_row pack;
    struct chunk_row *records;
    size_t count, room;
    uint64_t damaged, baseless;
    char sentences[NAMED_RECORDS][ERROR_MESSAGE_MAX];
    int result;
    struct error err;
};

static int note_record(const struct chunk_row *row, void *arg, struct error *err)
{
    struct proof *proof = arg;

    if (proof->count == proof->room) {
        size_t room = proof->room ? proof->room * 2 : 1024;
        void *grown = reallocarray(proof->records, room, sizeof(*proof->records));

        if (!grown)
            return error_set(err, -ENOMEM, "out of memory for the records of a pack");
        proof->records = grown;
        proof->room = room;
    }
    proof->records[proof->count++] = *row;
    return 0;
}

static int read_rows(struct proof *proof, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(proof->check->viewer.catalog, &conn, err);

    return r < 0 ? r : chunk_each_of_pack(conn, proof->pack.id, note_record, proof, err);
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

static int prove_one(struct proof *proof, struct pack_decoder *decoder, const struct chunk_row *row,
                     struct error *err)
{
    struct chunk_location location = {.record = *row, .pack_id = proof->pack.id};
    struct error local = ERROR_INIT;

    memcpy(location.pack_uuid, proof->pack.uuid, sizeof(location.pack_uuid));
    int r = pack_scan_prove(proof->check->store, decoder, &location, &local);
    if (r != -ERROR_CORRUPT && r != -EPROTONOSUPPORT)
        return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
    r = is_baseless(proof->check, row, err);
    if (r != 0) {
        proof->baseless++;
        return r < 0 ? r : 0;
    }
    if (proof->damaged < NAMED_RECORDS)
        snprintf(proof->sentences[proof->damaged], ERROR_MESSAGE_MAX, "%s", error_message(&local));
    proof->damaged++;
    return 0;
}

static void prove_pack(struct pool_task *task, unsigned worker)
{
    struct proof *proof = (struct proof *)task;
    AUTO(pack_scan_decoder_free) struct pack_decoder *decoder = NULL;

    (void)worker;
    proof->result = read_rows(proof, &proof->err);
    if (proof->result == 0)
        proof->result = pack_scan_decoder_new(&decoder, &proof->err);
    for (size_t i = 0; proof->result == 0 && i < proof->count; i++)
        proof->result = prove_one(proof, decoder, &proof->records[i], &proof->err);
}

static int take_result(struct proof *proof, struct error *err)
{
    struct check *check = proof->check;
    char subject[UUID_TEXT_SIZE + 8];
    int r = proof->result;

    check->result.proved_bytes += proof->pack.file_bytes;
    if (r < 0)
        return error_set(err, r, "%s", error_message(&proof->err));
    if (proof->damaged + proof->baseless == 0)
        return 0;
    r = check_pack_known(check, proof->pack.uuid, err);
    if (r <= 0) // removed while we looked
        return r;
    snprintf(subject, sizeof(subject), "pack %s", proof->pack.uuid);
    for (size_t i = 0; i < proof->damaged && i < NAMED_RECORDS; i++)
        check_tell(check, CHECK_DAMAGE, subject, "%s", proof->sentences[i]);
    if (proof->damaged > NAMED_RECORDS)
        check_tell(check, CHECK_DAMAGE, subject, "%" PRIu64 " more records of it are damaged",
                   proof->damaged - NAMED_RECORDS);
    if (proof->baseless > 0)
        check_tell(check, CHECK_LEFTOVER, subject,
                   "%" PRIu64 " deltas of it have no base in any pack", proof->baseless);
    return 0;
}

static void submit(struct check *check, struct pool *pool, struct proof *proof, size_t number)
{
    void *records = proof->records;
    size_t room = proof->room;

    memset(proof, 0, sizeof(*proof));
    proof->task.run = prove_pack;
    proof->check = check;
    proof->pack = check->packs[number];
    proof->records = records;
    proof->room = room;
    pool_submit(pool, &proof->task);
}

static int prove_all(struct check *check, struct pool *pool, struct proof *proofs, size_t tasks,
                     struct error *err)
{
    size_t submitted = 0, taken = 0;
    int r = 0;

    // After an error what is under way is waited for and nothing more begun.
    while (taken < submitted || (r == 0 && submitted < check->pack_count)) {
        if (r == 0 && submitted < check->pack_count && submitted - taken < tasks) {
            submit(check, pool, &proofs[submitted % tasks], submitted);
            submitted++;
            continue;
        }
        struct proof *proof = &proofs[taken++ % tasks];
        pool_wait(pool, &proof->task);
        if (r == 0)
            r = take_result(proof, err);
        if (r == 0)
            r = check_progress(check, CHECK_STEP_RECORDS, check->result.proved_bytes,
                               check->result.pack_bytes, err);
    }
    return r;
}

int check_records(struct check *check, struct error *err)
{
    AUTO(pool_free) struct pool *pool = NULL;
    unsigned workers =
        check->options->workers ? check->options->workers : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    size_t tasks = workers + 1 < TASKS_MAX ? workers + 1 : TASKS_MAX;
    struct proof *proofs = calloc(tasks, sizeof(*proofs));
    int r = proofs ? pool_new(workers, &pool, err) : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = prove_all(check, pool, proofs, tasks, err);
    for (size_t i = 0; proofs && i < tasks; i++)
        free(proofs[i].records);
    free(proofs);
    return r;
}
