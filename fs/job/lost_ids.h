// SPDX-License-Identifier: MIT
//
// The ids of which no copy can be believed to be whole, as a backup found them at its start:
// content that has one of these is stored again, whatever a fingerprint or the parent's map says.
// Nearly always there is none. Never changed once loaded, so any thread may ask.
#ifndef FS_JOB_LOST_IDS_H
#define FS_JOB_LOST_IDS_H

#include "base/digest.h"
#include "catalog/catalog.h"

#include <stddef.h>

struct lost_ids {       // zeroed = empty
    struct digest *ids; // ascending
    size_t count, room;
};

int lost_ids_load(struct lost_ids *lost, struct catalog *catalog, struct error *err);
void lost_ids_deinit(struct lost_ids *lost);

bool lost_ids_have(const struct lost_ids *lost, const struct digest *id);

#endif
