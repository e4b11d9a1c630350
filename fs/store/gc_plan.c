// SPDX-License-Identifier: MIT
//
// Which packs go, and in which order. It follows from what marking found alone, so that a dry run
// tells what a run does.
//
// A pack that stays may hold deltas nobody needs. Their bases stay with them, or whoever reads
// every record of a repository would find ones that cannot be decoded. Deltas that go need no base,
// but until they are gone it must be there: a collection may end at any moment. So packs that hold
// such bases go in later waves, and in each wave the newest go first: a base is older than its
// deltas, unless it was moved. On a full disk what frees space must come before what takes some.
#include "fs/store/gc_state.h"

// Every incremental and every note leaves a small pack.
#define SMALL_SHARE 16  // of a pack's size
#define SMALL_ENOUGH 16 // of them are worth merging

// The record of a snapshot is kept when all of its content goes: such a pack is as good as dead.
#define HUSK_LIVE_BYTES 4096
#define HUSK_FILE_BYTES (16 * HUSK_LIVE_BYTES)

static uint64_t dead_bytes(const struct gc_pack *pack)
{
    uint64_t rest = pack->live_bytes + GC_PACK_OVERHEAD;

    return pack->file_bytes > rest ? pack->file_bytes - rest : 0;
}

// What is marked damaged cannot be copied with a good conscience; its pack stays as it is.
static enum gc_fate fate_of(const struct gc_pack *pack, unsigned threshold)
{
    uint64_t dead = dead_bytes(pack), whole = pack->file_bytes;

    if (pack->live_records == 0)
        return GC_DROP;
    if (pack->damaged || dead == 0)
        return GC_KEEP;
    return dead >= whole / 100 * threshold + whole % 100 * threshold / 100 ? GC_REWRITE : GC_KEEP;
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

static void decide(struct gc *gc)
{
    unsigned threshold = gc->options->threshold ? gc->options->threshold : GC_THRESHOLD_DEFAULT;

    for (size_t i = 0; i < gc->pack_count; i++)
        gc->packs[i].fate = fate_of(&gc->packs[i], threshold);
    merge_small(gc);
}

// Returns whether packs stay whose deltas' bases are not live yet.
static bool begin_round(struct gc *gc)
{
    bool more = false;

    for (size_t i = 0; i < gc->pack_count; i++) {
        struct gc_pack *pack = &gc->packs[i];

        pack->based = pack->based || pack->basing;
        pack->basing = pack->fate == GC_KEEP && !pack->based;
        more = more || (pack->basing && pack->deltas);
    }
    return more;
}

static int wave_of(const struct gc_pack *pack)
{
    bool husk = pack->live_bytes <= HUSK_LIVE_BYTES && pack->file_bytes >= HUSK_FILE_BYTES;

    return (pack->late ? 2 : 0) + (pack->fate == GC_REWRITE && !husk ? 1 : 0);
}

static void count_plan(struct gc *gc)
{
    gc->done = gc->total; // every pack has been looked at; the copies are on top
    for (size_t i = 0; i < gc->pack_count; i++) {
        struct gc_pack *pack = &gc->packs[i];

        pack->wave = wave_of(pack);
        gc->result->live_bytes += pack->live_bytes;
        gc->result->dead_bytes += dead_bytes(pack);
        gc->total += pack->fate == GC_REWRITE ? pack->live_bytes : 0;
    }
}

// A base that is live may make its pack stay, with deltas of its own: it goes on until nothing
// changes. In the first round it is not known yet which packs hold deltas.
int gc_plan(struct gc *gc, struct error *err)
{
    int r;

    decide(gc);
    begin_round(gc);
    do {
        r = gc_mark_bases(gc, err);
        if (r == 0)
            r = gc_progress(gc, err);
        decide(gc);
    } while (r == 0 && begin_round(gc));
    if (r == 0)
        r = gc_find_late(gc, err);
    if (r == 0)
        count_plan(gc);
    return r;
}

// --- the order

size_t gc_list_dead(struct gc *gc, int wave, struct gc_pack **list)
{
    size_t count = 0;

    for (size_t i = gc->pack_count; i-- > 0;) {
        if (gc->packs[i].fate == GC_DROP && gc->packs[i].wave == wave)
            list[count++] = &gc->packs[i];
    }
    return count;
}

size_t gc_next_batch(struct gc *gc, int wave, size_t *left, struct gc_pack **list)
{
    uint64_t bytes = 0, records = 0;
    size_t count = 0;

    for (; *left > 0; --*left) {
        struct gc_pack *pack = &gc->packs[*left - 1];

        if (pack->fate != GC_REWRITE || pack->wave != wave)
            continue;
        bytes += pack->live_bytes;
        records += pack->live_records;
        if (count > 0 && (bytes > gc->store->pack_bytes || records > GC_RECORDS_MAX))
            break;
        list[count++] = pack;
    }
    return count;
}

static void foretell_batch(struct gc_result *result, struct gc_pack **packs, size_t count)
{
    uint64_t old = 0, copied = 0;

    for (size_t i = 0; i < count; i++) {
        old += packs[i]->file_bytes;
        copied += packs[i]->live_bytes;
    }
    result->packs_rewritten += count;
    result->packs_made++;
    result->copied_bytes += copied;
    result->freed_bytes += old > copied + GC_PACK_OVERHEAD ? old - copied - GC_PACK_OVERHEAD : 0;
}

void gc_foretell(struct gc *gc, struct gc_pack **room)
{
    size_t count;

    for (int wave = 0; wave < GC_WAVES; wave++) {
        size_t left = gc->pack_count;

        count = gc_list_dead(gc, wave, room);
        gc->result->packs_dropped += count;
        for (size_t i = 0; i < count; i++)
            gc->result->freed_bytes += room[i]->file_bytes;
        while ((count = gc_next_batch(gc, wave, &left, room)) > 0)
            foretell_batch(gc->result, room, count);
    }
}
