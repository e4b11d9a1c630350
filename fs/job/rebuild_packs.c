// SPDX-License-Identifier: MIT
//
// First part of a rebuild: packs and their records. A pack whose index is damaged is salvaged; one
// that belongs to another repository or is from the future is named and left out.
#include "fs/job/rebuild_state.h"

#include "base/grow.h"
#include "catalog/check_rows.h"
#include "fs/store/pack_scan.h"

#include <inttypes.h>
#include <string.h>

struct pack_list {
    struct rebuild *rebuild;
    struct pack_file *files; // names not kept
    size_t count, room;
    uint64_t bytes;
};

static int note_file(const struct pack_file *file, void *arg, struct error *err)
{
    struct pack_list *list = arg;

    if (file->state == PACK_FILE_STRANGE)
        rebuild_tell(list->rebuild, false, "%s is no pack; it is left alone", file->name);
    if (file->state != PACK_FILE_SEALED)
        return 0; // what was never sealed was never complete
    if (GROW(list->files, list->count, list->room, "a list of packs", err) < 0)
        return -ENOMEM;
    list->files[list->count] = *file;
    list->files[list->count++].name = NULL;
    list->bytes += file->bytes;
    return 0;
}

static int insert(struct rebuild *rebuild, const struct pack_file *file,
                  const struct pack_content *content, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct pack_row row = {.file_bytes = file->bytes,
                           .raw_bytes = content->raw_bytes,
                           .sealed_at = content->created_at};
    int64_t id;
    int r = catalog_write_begin(rebuild->catalog, &conn, err);

    if (r < 0)
        return r;
    memcpy(row.uuid, file->uuid, sizeof(row.uuid));
    r = pack_insert(conn, &row, content->records, content->count, &id, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static int salvage(struct rebuild *rebuild, const struct pack_file *file, const char *why,
                   struct pack_content *ret_content, struct error *err)
{
    int r = pack_scan_salvage(rebuild->store, file->uuid, file->bytes, ret_content, err);

    if (r < 0)
        return r;
    rebuild->result.salvaged++;
    rebuild_tell(rebuild, true,
                 "%s; salvaged %zu records, %" PRIu64 " bytes in %zu places are lost", why,
                 ret_content->count, ret_content->lost_bytes, ret_content->lost_places);
    if (ret_content->untrusted > 0)
        rebuild_tell(rebuild, true,
                     "pack %s: %zu records behind damage look like descriptions of snapshots, "
                     "notes or deltas and cannot be proved; they are left out",
                     file->uuid, ret_content->untrusted);
    return 0;
}

static int take_pack(struct rebuild *rebuild, const struct pack_file *file, struct error *err)
{
    struct pack_content content = {0};
    struct error local = ERROR_INIT, why = ERROR_INIT;
    int r = pack_scan_index(rebuild->store, file->uuid, file->bytes, &content, &local);

    if (r == -ERROR_CORRUPT) {
        why = local;
        error_clear(&local);
        r = salvage(rebuild, file, error_message(&why), &content, &local);
    }
    if (r == 0)
        r = insert(rebuild, file, &content, &local);
    if (r == 0) {
        rebuild->result.packs++;
        rebuild->result.records += content.count;
    }
    pack_content_deinit(&content);
    if (r == -EXDEV || r == -EPROTONOSUPPORT || r == -EEXIST) {
        rebuild_tell(rebuild, r != -EXDEV, "%s; it is left out", error_message(&local));
        return 0;
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}

static int by_uuid(const void *a, const void *b)
{
    return strcmp(((const struct pack_file *)a)->uuid, ((const struct pack_file *)b)->uuid);
}

// What needs one of them is named with its snapshot; what does not may well have lost its base with
// a job that was cancelled.
static int tell_baseless(struct rebuild *rebuild, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    uint64_t count = 0;
    int r = catalog_read_begin(rebuild->catalog, &conn, err);

    if (r == 0)
        r = chunk_count_baseless(conn, &count, err);
    if (r == 0 && count > 0)
        rebuild_tell(rebuild, false,
                     "%" PRIu64 " records are deltas whose base is in no pack; they cannot be read",
                     count);
    return r;
}

int rebuild_take_packs(struct rebuild *rebuild, struct error *err)
{
    struct pack_list list = {.rebuild = rebuild};
    uint64_t done = 0;
    int r = pack_scan_list(rebuild->store, note_file, &list, err);

    if (r == 0 && list.count > 0)
        qsort(list.files, list.count, sizeof(*list.files), by_uuid);
    for (size_t i = 0; r == 0 && i < list.count; i++) {
        rebuild_progress(rebuild, "reading packs", done, list.bytes);
        r = take_pack(rebuild, &list.files[i], err);
        done += list.files[i].bytes;
    }
    free(list.files);
    return r < 0 ? r : tell_baseless(rebuild, err);
}
