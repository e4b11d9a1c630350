// SPDX-License-Identifier: MIT
//
// A collection under way, for the files that are it: gc.c (steps and transactions), gc_mark.c (what
// is live), gc_strangers.c (snapshots the catalog does not know), gc_plan.c (which packs go),
// gc_copy.c (copies in a new pack). One thread.
#ifndef FS_STORE_GC_STATE_H
#define FS_STORE_GC_STATE_H

#include "fs/store/gc.h"
#include "fs/store/map_shape.h"
#include "fs/store/row_bitmap.h"
#include "fs/store/store_members.h"

#define GC_RECORDS_MAX 32768  // of a new pack
#define GC_RECENT_LEAVES 1024 // 8 MiB

enum gc_fate { GC_KEEP, GC_DROP, GC_REWRITE };

struct gc_pack {
    int64_t id;
    uint64_t file_bytes;
    uint64_t records;
    uint64_t live_bytes; // gc_record_bytes() of its live records
    uint32_t live_records;
    enum gc_fate fate;
    bool damaged; // holds a live record that is marked damaged: it cannot be copied
    bool deltas;  // holds some
    bool basing;  // the bases of all its deltas are being marked
    bool based;   // they are live
    bool late;    // holds a base of a delta that goes: it must not go first
    int wave;
    char uuid[UUID_TEXT_SIZE];
};

struct gc_snapshot {
    int64_t id; // 0: forgotten, and open
    struct digest root;
    uint64_t capacity;
    uint32_t chunk_size;
};

struct gc {
    struct store *store;
    const struct gc_options *options;
    struct gc_result *result;
    struct pack_decoder *decoder;

    // as they were when it began
    struct gc_snapshot *snapshots;
    size_t snapshot_count, snapshot_room;
    struct gc_pack *packs; // durable ones, by id
    size_t pack_count, pack_room;

    struct row_bitmap live; // rows
    uint64_t done, total;   // progress
    struct error no_space;  // the last time; code 0: never

    // marking
    struct catalog_conn
        *conn; // renewed now and then, so that the log of the catalog can be emptied
    unsigned conn_uses;
    struct map_shape shape;
    struct map_node nodes[MAP_LEVEL_MAX + 2]; // by level
    // Leaves whose chunks are all marked, NULL at first: the last one of each place, more or less.
    struct map_node *recent[GC_RECENT_LEAVES];
};

// What a record takes in a pack: header, payload and index entry.
static inline uint64_t gc_record_bytes(const struct chunk_row *row)
{
    return PACK_RECORD_HEADER_SIZE + (uint64_t)row->stored_length + PACK_INDEX_ENTRY_SIZE +
           (digest_is_zero(&row->base) ? 0 : DIGEST_SIZE);
}

#define GC_PACK_OVERHEAD (PACK_HEADER_SIZE + PACK_TRAILER_SIZE)

int gc_progress(struct gc *gc, struct error *err);
void gc_tell(struct gc *gc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// NULL for a pack that is none of the collection's.
struct gc_pack *gc_find_pack(struct gc *gc, int64_t pack_id);

// gc_mark.c: snapshots and packs as they are, then everything they refer to.
int gc_list(struct gc *gc, struct error *err);
int gc_mark(struct gc *gc, struct error *err);
// For every delta in a pack that is `basing`: its base is live.
int gc_mark_bases(struct gc *gc, struct error *err);
// For one pack that has to stay after all.
int gc_mark_bases_of(struct gc *gc, const struct gc_pack *pack, struct error *err);
// Sets `late`.
int gc_find_late(struct gc *gc, struct error *err);

// gc_strangers.c: refuses a catalog that is older than the packs; notes as forgotten what never
// came to be. Before anything else.
int gc_settle_strangers(struct gc *gc, struct error *err);

// gc_plan.c: a fate for every pack.
int gc_plan(struct gc *gc, struct error *err);
// Packs go in waves: first what frees much and costs next to nothing, what is late after the rest.
#define GC_WAVES 4
// Packs of a wave that are dropped without copying; `list` has room for all packs.
size_t gc_list_dead(struct gc *gc, int wave, struct gc_pack **list);
// The packs that go into the next new pack together. *left is how many packs to look at still:
// pack_count at first. Returns how many, 0 at the end.
size_t gc_next_batch(struct gc *gc, int wave, size_t *left, struct gc_pack **list);
// What would come of it; `room` for all packs.
void gc_foretell(struct gc *gc, struct gc_pack **room);

// gc_copy.c: a new pack and what goes into it.
struct gc_row {
    int64_t row;
    int64_t copy; // its record in the new pack; -1: not needed, it goes
    bool copied;  // that is what stood here; false: another pack's serves
    size_t pack;  // in the batch
};

struct gc_batch {
    struct gc *gc;
    struct gc_pack **packs; // NULL: is needed after all, and stays
    size_t pack_count;
    bool last_try;       // to be done without those that are needed
    struct gc_row *rows; // of these packs
    size_t row_count, row_room;

    // the new pack
    struct pack_sink *sink; // NULL: none, or sealed
    char uuid[UUID_TEXT_SIZE];
    uint64_t bytes, raw_bytes;
    struct chunk_row *records;
    size_t record_count, record_room;
    struct gc_copied *copied; // uthash: ids in it
};

// Notes the rows of the packs and copies what is live. A pack with a record that cannot be read is
// told of and left out: *ret_again, and the batch is to be made anew without it.
int gc_batch_fill(struct gc_batch *batch, bool *ret_again, struct error *err);
int gc_batch_seal(struct gc_batch *batch, struct error *err);
void gc_batch_deinit(struct gc_batch *batch);

#endif
