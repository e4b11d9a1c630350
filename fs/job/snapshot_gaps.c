// SPDX-License-Identifier: MIT
//
// Gaps of a snapshot as a sentence.
#include "fs/job/snapshot_gaps.h"

#include "catalog/damage.h"

#include <inttypes.h>
#include <stdio.h>

#define NAMED_EXTENTS 8

struct extents {
    uint64_t count, bytes;
    char list[NAMED_EXTENTS * 48];
    size_t len;
    char why[256];
};

char *snapshot_path(const struct snapshot_row *row, char path[SNAPSHOT_PATH_SIZE])
{
    char chain[SNAPSHOT_NAME_SIZE], name[SNAPSHOT_NAME_SIZE];

    snprintf(path, SNAPSHOT_PATH_SIZE, "%s/%s/%s/%s", row->context_name, row->disk_name,
             chain_name(row->chain_number, chain), snapshot_name(row, name));
    return path;
}

static void note(struct extents *extents, uint64_t offset, uint64_t length, const char *why)
{
    if (extents->count == 0)
        snprintf(extents->why, sizeof(extents->why), "%.*s", (int)sizeof(extents->why) - 1, why);
    if (extents->count < NAMED_EXTENTS)
        extents->len +=
            (size_t)snprintf(extents->list + extents->len, sizeof(extents->list) - extents->len,
                             "%s%" PRIu64 "+%" PRIu64, extents->count ? ", " : "", offset, length);
    extents->count++;
    extents->bytes += length;
}

static int note_gap(const struct map_gap *gap, void *arg, struct error *err)
{
    (void)err;
    note(arg, gap->offset, gap->length, gap->why);
    return 0;
}

static int note_recorded(const struct damage_extent *extent, void *arg, struct error *err)
{
    (void)err;
    note(arg, extent->offset, extent->length, extent->why);
    return 0;
}

static void say(const struct extents *extents, const struct snapshot_row *row,
                struct snapshot_gaps *ret_gaps)
{
    char path[SNAPSHOT_PATH_SIZE];

    ret_gaps->count = extents->count;
    ret_gaps->bytes = extents->bytes;
    snprintf(ret_gaps->sentence, sizeof(ret_gaps->sentence),
             "%s: %" PRIu64 " bytes in %" PRIu64 " extent%s cannot be read: %s%s (%s)",
             snapshot_path(row, path), extents->bytes, extents->count,
             extents->count == 1 ? "" : "s", extents->list,
             extents->count > NAMED_EXTENTS ? ", …" : "", extents->why);
}

int snapshot_gaps_find(struct map_check *check, struct catalog_conn *conn,
                       const struct snapshot_row *row, struct snapshot_gaps *ret_gaps,
                       struct error *err)
{
    struct extents extents = {0};
    int r = map_check_snapshot(check, conn, &row->digest, row->capacity, row->chunk_size, note_gap,
                               &extents, err);

    if (r == 0)
        say(&extents, row, ret_gaps);
    return r;
}

int snapshot_gaps_recorded(struct catalog_conn *conn, const struct snapshot_row *row,
                           struct snapshot_gaps *ret_gaps, struct error *err)
{
    struct extents extents = {0};
    int r = damage_each(conn, row->id, note_recorded, &extents, err);

    if (r == 0)
        say(&extents, row, ret_gaps);
    return r;
}
