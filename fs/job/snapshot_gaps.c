// SPDX-License-Identifier: MIT
//
// Gaps of a snapshot as a sentence.
#include "fs/job/snapshot_gaps.h"

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

static int note_gap(const struct map_gap *gap, void *arg, struct error *err)
{
    struct extents *extents = arg;

    (void)err;
    if (extents->count == 0)
        snprintf(extents->why, sizeof(extents->why), "%.*s", (int)sizeof(extents->why) - 1,
                 gap->why);
    if (extents->count < NAMED_EXTENTS)
        extents->len += (size_t)snprintf(
            extents->list + extents->len, sizeof(extents->list) - extents->len,
            "%s%" PRIu64 "+%" PRIu64, extents->count ? ", " : "", gap->offset, gap->length);
    extents->count++;
    extents->bytes += gap->length;
    return 0;
}

int snapshot_gaps_find(struct map_check *check, struct catalog_conn *conn,
                       const struct snapshot_row *row, struct snapshot_gaps *ret_gaps,
                       struct error *err)
{
    struct extents extents = {0};
    char path[SNAPSHOT_PATH_SIZE];
    int r = map_check_snapshot(check, conn, &row->digest, row->capacity, row->chunk_size, note_gap,
                               &extents, err);

    if (r < 0)
        return r;
    ret_gaps->count = extents.count;
    ret_gaps->bytes = extents.bytes;
    snprintf(ret_gaps->sentence, sizeof(ret_gaps->sentence),
             "%s: %" PRIu64 " bytes in %" PRIu64 " extent%s cannot be read: %s%s (%s)",
             snapshot_path(row, path), extents.bytes, extents.count, extents.count == 1 ? "" : "s",
             extents.list, extents.count > NAMED_EXTENTS ? ", …" : "", extents.why);
    return 0;
}
