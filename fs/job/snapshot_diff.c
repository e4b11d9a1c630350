// SPDX-License-Identifier: MIT
//
// What differs between two snapshots; see snapshot_diff.h.
#include "fs/job/snapshot_diff.h"

#include "fs/job/snapshot_gaps.h"
#include "fs/store/snapshot_record.h"

#include <stdlib.h>

static int check_row(struct store *store, const struct snapshot_row *row, struct error *err)
{
    char path[SNAPSHOT_PATH_SIZE];
    int r = snapshot_record_check(store, NULL, row, err);

    if (r < 0)
        error_prefix(err, "%s", snapshot_path(row, path));
    return r;
}

// A map that cannot be read any more because a gc has taken it is not damage.
static bool was_forgotten(struct store *store, const struct snapshot_row *row)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct snapshot_row *now = calloc(1, sizeof(*now));

    if (!now || catalog_read_begin(store_catalog(store), &conn, NULL) < 0)
        return false;
    int r = snapshot_get(conn, row->id, now, NULL);
    return r == -ENOENT || (r == 0 && now->forgotten_at);
}

static int explain(struct store *store, const struct snapshot_row *row, struct error *err)
{
    char path[SNAPSHOT_PATH_SIZE];

    if (!row || !was_forgotten(store, row))
        return 0;
    return error_set(err, -ENOENT, "%s was forgotten meanwhile", snapshot_path(row, path));
}

static struct map_diff_side side_of(const struct snapshot_row *row, char path[SNAPSHOT_PATH_SIZE])
{
    return (struct map_diff_side){.name = snapshot_path(row, path),
                                  .root = row->digest,
                                  .capacity = row->capacity,
                                  .chunk_size = row->chunk_size};
}

int snapshot_diff(struct store *store, const struct snapshot_row *from,
                  const struct snapshot_row *to, const struct map_diff_walk *walk,
                  struct error *err)
{
    char from_path[SNAPSHOT_PATH_SIZE], to_path[SNAPSHOT_PATH_SIZE];
    struct map_diff_side left, right = side_of(to, to_path);
    struct error local = ERROR_INIT;
    int r = check_row(store, to, &local);

    if (r == 0 && from)
        r = check_row(store, from, &local);
    if (from)
        left = side_of(from, from_path);
    if (r == 0)
        r = map_diff(store, from ? &left : NULL, &right, walk, &local);
    if (r == -ERROR_CORRUPT) {
        int gone = explain(store, to, err);

        if (gone == 0)
            gone = explain(store, from, err);
        if (gone < 0)
            return gone;
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : r;
}

int repository_snapshot_diff(const struct repository *viewer, const struct snapshot_row *from,
                             const struct snapshot_row *to, const struct map_diff_walk *walk,
                             struct error *err)
{
    AUTO(store_close) struct store *store = NULL;
    int r = store_open(viewer->dir, &viewer->config, viewer->catalog, NULL, &store, err);

    return r < 0 ? r : snapshot_diff(store, from, to, walk, err);
}
