// SPDX-License-Identifier: MIT
//
// Which packs go. A pure function of what marking found, so a dry run tells what a run does.
#include "fs/store/gc_state.h"

// Every incremental and every note leaves a small pack.
#define SMALL_SHARE 16  // of a pack's size
#define SMALL_ENOUGH 16 // of them are worth merging

static uint64_t dead_bytes(const struct gc_pack *pack)
{
    uint64_t rest = pack->live_bytes + GC_PACK_OVERHEAD;

    return pack->file_bytes > rest ? pack->file_bytes - rest : 0;
}

// What is marked damaged cannot be copied with a good conscience; its pack stays as it is.
static enum gc_fate fate_of(const struct gc_pack *pack, unsigned threshold)
{
    uint64_t dead = dead_bytes(pack);

    if (pack->live_records == 0)
        return GC_DROP;
    if (pack->damaged || dead == 0)
        return GC_KEEP;
    return dead >= pack->file_bytes / 100 * threshold + pack->file_bytes % 100 * threshold / 100
               ? GC_REWRITE
               : GC_KEEP;
}

static bool is_small(const struct gc *gc, const struct gc_pack *pack)
{
    return pack->fate == GC_KEEP && !pack->damaged &&
           pack->file_bytes < gc->store->pack_bytes / SMALL_SHARE;
}

static void merge_small(struct gc *gc)
{
    size_t small = 0;

    for (size_t i = 0; i < gc->pack_count; i++)
        small += is_small(gc, &gc->packs[i]);
    for (size_t i = 0; small >= SMALL_ENOUGH && i < gc->pack_count; i++) {
        if (is_small(gc, &gc->packs[i]))
            gc->packs[i].fate = GC_REWRITE;
    }
}

void gc_plan(struct gc *gc)
{
    unsigned threshold = gc->options->threshold ? gc->options->threshold : GC_THRESHOLD_DEFAULT;

    for (size_t i = 0; i < gc->pack_count; i++) {
        struct gc_pack *pack = &gc->packs[i];

        pack->fate = fate_of(pack, threshold);
        gc->result->live_bytes += pack->live_bytes;
        gc->result->dead_bytes += dead_bytes(pack);
    }
    merge_small(gc);
    gc->done = gc->total; // every pack has been looked at; the copies are on top
    for (size_t i = 0; i < gc->pack_count; i++) {
        if (gc->packs[i].fate == GC_REWRITE)
            gc->total += gc->packs[i].live_bytes;
    }
}

size_t gc_next_batch(struct gc *gc, size_t *next, struct gc_pack **ret_packs)
{
    uint64_t bytes = 0, records = 0;
    size_t count = 0;

    for (; *next < gc->pack_count; ++*next) {
        struct gc_pack *pack = &gc->packs[*next];

        if (pack->fate != GC_REWRITE)
            continue;
        bytes += pack->live_bytes;
        records += pack->live_records;
        if (count > 0 && (bytes > gc->store->pack_bytes || records > GC_RECORDS_MAX))
            break;
        ret_packs[count++] = pack;
    }
    return count;
}

void gc_foretell(struct gc *gc, struct gc_pack **room)
{
    struct gc_result *result = gc->result;
    size_t next = 0, count;

    for (size_t i = 0; i < gc->pack_count; i++) {
        if (gc->packs[i].fate == GC_DROP) {
            result->packs_dropped++;
            result->freed_bytes += gc->packs[i].file_bytes;
        }
    }
    while ((count = gc_next_batch(gc, &next, room)) > 0) {
        uint64_t old = 0, new = GC_PACK_OVERHEAD;

        for (size_t i = 0; i < count; i++) {
            old += room[i]->file_bytes;
            new += room[i]->live_bytes;
        }
        result->packs_rewritten += count;
        result->packs_made++;
        result->copied_bytes += new - GC_PACK_OVERHEAD;
        result->freed_bytes += old > new ? old - new : 0;
    }
}
