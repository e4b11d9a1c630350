// SPDX-License-Identifier: MIT
//
// Last part of a rebuild: what of each snapshot is in no pack. They stay in the catalog: what is
// left of them can be read. What is not is recorded with them, for a chunk that no pack holds has
// no row that could be marked, and the next backup must not believe in it because its parent does.
#include "fs/job/rebuild_state.h"

#include "catalog/snapshot.h"
#include "fs/job/damage_find.h"
#include "fs/job/snapshot_gaps.h"
#include "fs/store/map_check.h"

#include <stdio.h>

struct incomplete {
    int64_t snapshot_id;
    struct damage_list list;
    struct incomplete *next;
};

struct maps {
    struct rebuild *rebuild;
    struct incomplete *incomplete;
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

// Walks once more, with a judge that knows of marks: gaps are few.
static int note_incomplete(struct maps *maps, const struct snapshot_row *row, struct error *err)
{
    struct damage_search search = {.store = maps->rebuild->store};
    struct incomplete *new = calloc(1, sizeof(*new));

    if (!new)
        return error_set(err, -ENOMEM, "out of memory for a list of damage");
    new->snapshot_id = row->id;
    new->next = maps->incomplete;
    maps->incomplete = new;
    int r = damage_search_init(&search, err);
    if (r == 0)
        r = damage_find(&search, maps->conn, row, &new->list, err);
    damage_search_deinit(&search);
    return r;
}

static int record(struct maps *maps, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(maps->rebuild->catalog, &conn, err);

    for (const struct incomplete *each = maps->incomplete; r == 0 && each; each = each->next)
        r = damage_record(conn, each->snapshot_id, each->list.extents, each->list.count, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static void forget(struct maps *maps)
{
    struct incomplete *next;

    for (struct incomplete *each = maps->incomplete; each; each = next) {
        next = each->next;
        damage_list_deinit(&each->list);
        free(each);
    }
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
    return note_incomplete(maps, row, err);
}

static int check_each(struct maps *maps, struct error *err)
{
    AUTO(map_check_free) struct map_check *check = NULL;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct snapshot_filter all = {0};
    int r = map_check_new(maps->rebuild->store, &check, err);

    if (r == 0)
        r = catalog_read_begin(maps->rebuild->catalog, &conn, err);
    maps->check = check;
    maps->conn = conn;
    if (r == 0)
        r = snapshot_each(conn, &all, count_one, maps, err);
    if (r == 0)
        r = snapshot_each(conn, &all, check_one, maps, err);
    return r;
}

int rebuild_check_maps(struct rebuild *rebuild, struct error *err)
{
    struct maps maps = {.rebuild = rebuild};
    int r = check_each(&maps, err);

    if (r == 0)
        r = record(&maps, err);
    forget(&maps);
    return r;
}
