// SPDX-License-Identifier: MIT
//
// Whether everything a snapshot refers to is there: its map is walked and every id is looked up.
// Map nodes are read and proved, chunks are only looked up; a delta is there when its base is too.
// Parts that snapshots share are walked once: nodes found whole are remembered in a bitmap over the
// rows of the chunk index, a bit each. One thread.
#ifndef FS_STORE_MAP_CHECK_H
#define FS_STORE_MAP_CHECK_H

#include "fs/store/store.h"

struct map_check;

int map_check_new(struct store *store, struct map_check **ret_check, struct error *err);
struct map_check *map_check_free(struct map_check *check);

// Copies in this pack do not count: it is missing or cannot be read.
int map_check_avoid(struct map_check *check, int64_t pack_id, struct error *err);

// What decides whether a record can be used, in the place of the look-up: 1 with the row of one of
// its copies, 0 with the reason in `why`, -errno. `raw_length` is what it must be, 0 = any.
// Everything the map refers to is asked for, except below nodes that were whole before.
typedef int (*map_check_judge_fn)(struct catalog_conn *conn, const struct digest *id,
                                  enum record_kind kind, uint32_t raw_length, int64_t *ret_row,
                                  char why[ERROR_MESSAGE_MAX], void *arg, struct error *err);
void map_check_judge(struct map_check *check, map_check_judge_fn fn, void *arg);

// From now on only what lies in the bytes [from, to) of a disk is looked at. The end of a disk is
// UINT64_MAX.
void map_check_range(struct map_check *check, uint64_t from, uint64_t to);

// `fn` is called before each node that is read, NULL: none; the -errno it returns ends the walk and
// is its result.
void map_check_tick(struct map_check *check, int (*fn)(void *arg, struct error *err), void *arg);

struct map_gap {
    uint64_t offset, length; // bytes of the disk that cannot be read
    const char *why;         // of its first part; borrowed during the call
};

// Calls `fn` for each run of bytes that cannot be read, ascending. Returns 0 also when there are
// some; fn's error, or -errno when the question cannot be answered.
int map_check_snapshot(struct map_check *check, struct catalog_conn *conn,
                       const struct digest *root, uint64_t capacity, uint32_t chunk_size,
                       int (*fn)(const struct map_gap *gap, void *arg, struct error *err),
                       void *arg, struct error *err);

DEFINE_CLEANUP(struct map_check *, map_check_free)

#endif
