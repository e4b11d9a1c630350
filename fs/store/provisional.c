// SPDX-License-Identifier: MIT
//
// Dropping the packs of a cancelled job. Keeps no state.
#include "fs/store/store_members.h"

#include "base/grow.h"
#include "catalog/pack_index.h"

struct pack_list {
    struct pack_row *rows;
    size_t count, room;
};

static int collect_pack(const struct pack_row *row, void *arg, struct error *err)
{
    struct pack_list *list = arg;

    if (GROW(list->rows, list->count, list->room, "a list of packs", err) < 0)
        return -ENOMEM;
    list->rows[list->count++] = *row;
    return 0;
}

static int drop_rows(struct store *store, int64_t job_id, struct pack_list *list, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(store->catalog, &conn, err);

    if (r == 0)
        r = pack_each(conn, job_id, collect_pack, list, err);
    for (size_t i = 0; r == 0 && i < list->count; i++)
        r = pack_delete(conn, list->rows[i].id, err);
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    return r;
}

int store_drop_provisional(struct store *store, int64_t job_id, struct error *err)
{
    struct pack_list list = {0};
    int r;

    // To pack_each() 0 means every pack there is.
    if (job_id <= 0)
        return error_set(err, -EINVAL, "packs can only be dropped for one job");
    r = drop_rows(store, job_id, &list, err);
    for (size_t i = 0; r == 0 && i < list.count; i++)
        r = pack_backend_remove(store->backend, list.rows[i].uuid, PACK_FILE_SEALED, err);
    free(list.rows);
    return r;
}
