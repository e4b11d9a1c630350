// SPDX-License-Identifier: MIT
//
// What the files of a check share. Not for others.
#ifndef FS_JOB_CHECK_STATE_H
#define FS_JOB_CHECK_STATE_H

#include "catalog/pack_index.h"
#include "fs/job/check.h"
#include "fs/job/repository.h"
#include "fs/store/map_check.h"

struct check {
    const struct check_options *options;
    struct check_result result;
    struct repository viewer;
    struct store *store; // on the viewer's catalog
    struct map_check *maps;
    struct pack_row *packs; // as the catalog said at the start, by uuid
    size_t pack_count, pack_room;
};

void check_tell(struct check *check, enum check_class class, const char *subject, const char *fmt,
                ...) __attribute__((format(printf, 4, 5)));
// 0, or the error that ends the check.
int check_progress(struct check *check, const char *step, uint64_t done, uint64_t total,
                   struct error *err);

// Whether the catalog has the pack now, with a fresh lease: 1, 0 or -errno.
int check_pack_known(struct check *check, const char *uuid, struct error *err);

// check_packs.c: files against rows, indexes against rows. Fills check->packs.
int check_packs(struct check *check, struct error *err);

// check_records.c: every record, with workers.
int check_records(struct check *check, struct error *err);

// check_snapshots.c: maps, and rows against records.
int check_snapshots(struct check *check, struct error *err);

#endif
