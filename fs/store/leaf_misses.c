// SPDX-License-Identifier: MIT
//
// The table of misses: one slot for a leaf, by its number. Of leaves that share a slot the one that
// is met more often has it.
#include "fs/store/leaf_misses.h"

#include "fs/store/map.h"

#define MISSES_PER_PLACE 4 // pay for one that is looked up
#define LEAF_COST (MISSES_PER_PLACE * MAP_FANOUT)

void leaf_misses_init(struct leaf_misses *misses, uint64_t places)
{
    *misses = (struct leaf_misses){.credit_max = places / 2 * MISSES_PER_PLACE};
    misses->credit = misses->credit_max;
}

bool leaf_misses_note(struct leaf_misses *misses, uint64_t leaf)
{
    struct leaf_miss *slot = &misses->slots[leaf % LEAF_MISSES_SLOTS];

    if (misses->credit < misses->credit_max)
        misses->credit++;
    if (slot->used && slot->leaf != leaf && slot->count > 0) {
        slot->count--;
        return false;
    }
    if (!slot->used || slot->leaf != leaf)
        *slot = (struct leaf_miss){.leaf = leaf, .used = true};
    slot->count++;
    if (slot->count < (slot->looked ? LEAF_MISSES_AGAIN : LEAF_MISSES_FIRST) ||
        misses->credit < LEAF_COST)
        return false;
    misses->credit -= LEAF_COST;
    slot->count = 0;
    slot->looked = true;
    return true;
}
