// SPDX-License-Identifier: MIT
//
// Counts of one round of requests, and a table of what was loaded last.
#include "fs/store/reuse_watch.h"

#include "base/bytes.h"

static void look(struct reuse_watch *watch, bool known)
{
    watch->known += known;
    if (++watch->looks < REUSE_LOOKS)
        return;
    if (watch->known < REUSE_LOOKS / REUSE_BELOW)
        watch->picky = true;
    else if (watch->known >= REUSE_LOOKS / REUSE_ABOVE)
        watch->picky = false;
    watch->looks = watch->known = 0;
}

void reuse_watch_found(struct reuse_watch *watch)
{
    look(watch, true);
}

bool reuse_watch_missed(struct reuse_watch *watch, const struct digest *id)
{
    // The last byte chooses the shard of a cache and the first ones its slots: others are used
    // here.
    uint64_t name = bytes_get_le64(id->bytes + 8);
    uint64_t *slot = &watch->passed[name % REUSE_PASSED];
    bool known = *slot == name;

    *slot = known ? 0 : name;
    look(watch, known);
    return known || !watch->picky;
}
