// SPDX-License-Identifier: MIT
//
// Last part of a rebuild: what of each snapshot is in no pack. They stay in the catalog: what is
// left of them can be read.
#include "fs/job/rebuild_state.h"

#include "catalog/snapshot.h"
#include "fs/job/snapshot_gaps.h"
#include "fs/store/map_check.h"

#include <stdio.h>

struct maps {
    struct rebuild *rebuild;
    struct map_check *check;
    struct catalog_conn *conn;
    uint64_t done, total;
};

static int count_one(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct maps *maps = arg;

    (void)row;
    (void)err;
    maps->total++;
    return 0;
}

static int check_one(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct maps *maps = arg;
    struct snapshot_gaps gaps;

    rebuild_progress(maps->rebuild, "looking through snapshots", maps->done++, maps->total);
    int r = snapshot_gaps_find(maps->check, maps->conn, row, &gaps, err);
    if (r < 0 || gaps.count == 0)
        return r;
    maps->rebuild->result.incomplete++;
    rebuild_tell(maps->rebuild, true, "%s", gaps.sentence);
    return 0;
}

int rebuild_check_maps(struct rebuild *rebuild, struct error *err)
{
    AUTO(map_check_free) struct map_check *check = NULL;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct snapshot_filter all = {0};
    struct maps maps = {.rebuild = rebuild};
    int r = map_check_new(rebuild->store, &check, err);

    if (r == 0)
        r = catalog_read_begin(rebuild->catalog, &conn, err);
    maps.check = check;
    maps.conn = conn;
    if (r == 0)
        r = snapshot_each(conn, &all, count_one, &maps, err);
    if (r == 0)
        r = snapshot_each(conn, &all, check_one, &maps, err);
    return r;
}
