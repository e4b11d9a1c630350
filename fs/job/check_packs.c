// SPDX-License-Identifier: MIT
//
// Packs: each row against its file and each file against its row; the index of each pack against
// the rows of its records. A row may go and a file may come while we look, so that what does not
// fit is believed only when it still does not fit a moment later.
#include "fs/job/check_state.h"

#include "base/grow.h"
#include "base/hash.h"
#include "catalog/check_rows.h"
#include "fs/store/pack_scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SUBJECT_SIZE (UUID_TEXT_SIZE + 8)
#define PATIENCE_MS 3000 // for a pack between its seal and its transaction

struct pack_seen {
    char uuid[UUID_TEXT_SIZE];
    uint64_t bytes;
    bool known;
    UT_hash_handle hh;
};

struct pack_pass {
    struct check *check;
    struct pack_seen *files; // by uuid
    uint64_t done, total;
};

static char *subject_of(const char *uuid, char out[SUBJECT_SIZE])
{
    snprintf(out, SUBJECT_SIZE, "pack %s", uuid);
    return out;
}

static int note_row(const struct pack_row *row, void *arg, struct error *err)
{
    struct check *check = arg;

    if (GROW(check->packs, check->pack_count, check->pack_room, "a list of packs", err) < 0)
        return -ENOMEM;
    check->packs[check->pack_count++] = *row;
    check->result.packs++;
    check->result.pack_bytes += row->file_bytes;
    check->result.records += row->record_count;
    return 0;
}

// A process that works has open packs.
static bool is_owned(struct check *check)
{
    bool owned = false;

    return repo_lock_inspect(check->viewer.dir, &owned, NULL, NULL) < 0 || owned;
}

static int note_file(const struct pack_file *file, void *arg, struct error *err)
{
    struct pack_pass *pass = arg;
    struct pack_seen *seen;

    if (file->state == PACK_FILE_STRANGE)
        check_tell(pass->check, CHECK_LEFTOVER, file->name, "it is no pack");
    if (file->state == PACK_FILE_OPEN && !is_owned(pass->check))
        check_tell(pass->check, CHECK_LEFTOVER, file->name,
                   "it was never sealed; the next start removes it");
    if (file->state != PACK_FILE_SEALED)
        return 0;
    seen = calloc(1, sizeof(*seen));
    if (!seen)
        return error_set(err, -ENOMEM, "out of memory for a list of packs");
    memcpy(seen->uuid, file->uuid, sizeof(seen->uuid));
    seen->bytes = file->bytes;
    HASH_ADD_STR(pass->files, uuid, seen);
    if (!seen->hh.tbl) {
        free(seen);
        return error_set(err, -ENOMEM, "out of memory for a list of packs");
    }
    return 0;
}

// --- one pack

struct index_compare {
    const struct pack_content *content;
    size_t at;
    bool differs;
};

static int compare_record(const struct chunk_location *location, void *arg, struct error *err)
{
    const struct chunk_row *row = &location->record;
    struct index_compare *compare = arg;
    const struct chunk_row *entry = compare->content->records + compare->at;

    (void)err;
    if (compare->at++ >= compare->content->count || !digest_equal(&row->id, &entry->id) ||
        row->offset != entry->offset || row->stored_length != entry->stored_length ||
        row->raw_length != entry->raw_length || row->kind != entry->kind ||
        row->codec != entry->codec || !digest_equal(&row->base, &entry->base)) {
        compare->differs = true;
        return 1;
    }
    return 0;
}

// 1 when rows and index differ.
static int compare_rows(struct check *check, const struct pack_row *pack,
                        const struct pack_content *content, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct index_compare compare = {.content = content};
    int r = catalog_read_begin(check->viewer.catalog, &conn, err);

    if (r == 0)
        r = chunk_each_of_pack(conn, pack->id, compare_record, &compare, err);
    if (r < 0)
        return r;
    return compare.differs || compare.at != content->count;
}

// What is wrong with the pack: 0 nothing, 1 with a sentence in `why`, -errno. *ret_unreadable: it
// holds nothing that can be read.
static int judge(struct check *check, const struct pack_row *row, const struct pack_seen *seen,
                 char why[ERROR_MESSAGE_MAX], bool *ret_unreadable, struct error *err)
{
    struct pack_content content = {0};
    struct error local = ERROR_INIT;
    int r;

    *ret_unreadable = seen == NULL;
    if (!seen) {
        snprintf(why, ERROR_MESSAGE_MAX, "its file is missing");
        return 1;
    }
    if (seen->bytes != row->file_bytes) {
        snprintf(why, ERROR_MESSAGE_MAX,
                 "its file has %" PRIu64 " bytes, the catalog says %" PRIu64, seen->bytes,
                 row->file_bytes);
        return 1;
    }
    r = pack_scan_index(check->store, row->uuid, seen->bytes, &content, &local);
    if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT || r == -EXDEV) {
        snprintf(why, ERROR_MESSAGE_MAX, "%s", error_message(&local));
        return 1;
    }
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    r = compare_rows(check, row, &content, err);
    pack_content_deinit(&content);
    if (r > 0)
        snprintf(why, ERROR_MESSAGE_MAX, "its index and the catalog's rows of it differ");
    return r;
}

static int check_pack(struct pack_pass *pass, const struct pack_row *row, struct error *err)
{
    struct check *check = pass->check;
    char why[ERROR_MESSAGE_MAX], subject[SUBJECT_SIZE];
    struct pack_seen *seen;
    bool unreadable;

    HASH_FIND_STR(pass->files, row->uuid, seen);
    if (seen)
        seen->known = true;
    int r = judge(check, row, seen, why, &unreadable, err);
    if (r <= 0)
        return r;
    // Dropped meanwhile: with a cancelled job, or by a collection.
    r = check_pack_known(check, row->uuid, err);
    if (r <= 0)
        return r;
    check_tell(check, CHECK_DAMAGE, subject_of(row->uuid, subject), "%s", why);
    return unreadable ? map_check_avoid(check->maps, row->id, err) : 0;
}

// --- files without a row

static int still_there(const struct pack_file *file, void *arg, struct error *err)
{
    (void)err;
    return file->state == PACK_FILE_SEALED && strcmp(file->uuid, arg) == 0;
}

// A pack is sealed a moment before the catalog knows it.
static int check_stranger(struct check *check, struct pack_seen *seen, struct error *err)
{
    char subject[SUBJECT_SIZE];
    struct timespec moment = {.tv_nsec = 100 * 1000000};
    int r = check_pack_known(check, seen->uuid, err);

    for (int ms = 0; r == 0 && ms < PATIENCE_MS && is_owned(check); ms += 100) {
        nanosleep(&moment, NULL);
        r = check_pack_known(check, seen->uuid, err);
    }
    if (r != 0)
        return r < 0 ? r : 0;
    r = pack_scan_list(check->store, still_there, seen->uuid, err);
    if (r <= 0)
        return r;
    check_tell(check, CHECK_LEFTOVER, subject_of(seen->uuid, subject),
               "the catalog does not know it; the next start takes it over");
    return 0;
}

static int check_all(struct pack_pass *pass, struct error *err)
{
    struct check *check = pass->check;
    struct pack_seen *seen, *next;
    int r = 0;

    for (size_t i = 0; r == 0 && i < check->pack_count; i++) {
        r = check_progress(check, "checking packs", i, check->pack_count, err);
        if (r == 0)
            r = check_pack(pass, &check->packs[i], err);
    }
    HASH_ITER(hh, pass->files, seen, next)
    {
        if (r == 0 && !seen->known)
            r = check_stranger(check, seen, err);
    }
    return r;
}

static int read_rows(struct check *check, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(check->viewer.catalog, &conn, err);

    return r < 0 ? r : pack_each(conn, 0, note_row, check, err);
}

int check_packs(struct check *check, struct error *err)
{
    struct pack_pass pass = {.check = check};
    struct pack_seen *seen, *next;
    // Rows first: what they name was sealed before, so its file is there when we list.
    int r = read_rows(check, err);

    if (r == 0)
        r = pack_scan_list(check->store, note_file, &pass, err);
    if (r == 0)
        r = check_all(&pass, err);
    HASH_ITER(hh, pass.files, seen, next)
    {
        HASH_DEL(pass.files, seen);
        free(seen);
    }
    return r;
}
