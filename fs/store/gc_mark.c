// SPDX-License-Identifier: MIT
//
// What is live. Snapshots and packs are listed in one view of the catalog; whatever is forgotten or
// added after it makes no difference to this collection. Open images are listed after the view was
// opened: what was forgotten in that view and is read all the same had been opened before. Of
// several copies of a record the best one is live, after it was read and its checksums were found
// right, and those of a delta's base too; when that cannot be said of any, all of them are.
//
// No number of a row is used twice, and only a collection drops rows of durable packs: no bit
// changes its meaning though read leases are renewed.
#include "fs/store/gc_state.h"

#include "base/fault.h"
#include "base/grow.h"
#include "catalog/gc_rows.h"
#include "catalog/snapshot.h"

#include <stdarg.h>
#include <stdio.h>
#include <utlist.h>

#define COPIES_MAX 16
#define LEASE_NODES 64 // map nodes that are walked with one read lease

// --- the list

static int list_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct gc *gc = arg;

    if (GROW(gc->snapshots, gc->snapshot_count, gc->snapshot_room, "a list of snapshots", err) < 0)
        return -ENOMEM;
    gc->snapshots[gc->snapshot_count++] = (struct gc_snapshot){.id = row->id,
                                                               .root = row->digest,
                                                               .capacity = row->capacity,
                                                               .chunk_size = row->chunk_size};
    return 0;
}

// Packs of running jobs are none of ours, also when the job ends meanwhile.
static int list_pack(const struct pack_row *row, void *arg, struct error *err)
{
    struct gc *gc = arg;
    struct gc_pack *pack;

    if (row->job_id != 0)
        return 0;
    if (GROW(gc->packs, gc->pack_count, gc->pack_room, "a list of packs", err) < 0)
        return -ENOMEM;
    pack = &gc->packs[gc->pack_count++];
    *pack = (struct gc_pack){
        .id = row->id, .file_bytes = row->file_bytes, .records = row->record_count};
    memcpy(pack->uuid, row->uuid, sizeof(pack->uuid));
    gc->total += row->file_bytes;
    return 0;
}

static bool is_listed(const struct gc *gc, const struct open_image *open)
{
    for (size_t i = 0; i < gc->snapshot_count; i++) {
        if (digest_equal(&gc->snapshots[i].root, &open->root))
            return true;
    }
    return false;
}

static int list_image(struct gc *gc, const struct open_image *open, struct error *err)
{
    if (is_listed(gc, open))
        return 0;
    if (GROW(gc->snapshots, gc->snapshot_count, gc->snapshot_room, "a list of snapshots", err) < 0)
        return -ENOMEM;
    gc->snapshots[gc->snapshot_count++] = (struct gc_snapshot){
        .root = open->root, .capacity = open->capacity, .chunk_size = open->chunk_size};
    gc->result->forgotten_open++;
    return 0;
}

static int list_images(struct gc *gc, struct error *err)
{
    struct store *store = gc->store;
    struct open_image *open;
    int r = 0;

    pthread_mutex_lock(&store->images_lock);
    DL_FOREACH(store->images, open)
    {
        if (r == 0)
            r = list_image(gc, open, err);
    }
    pthread_mutex_unlock(&store->images_lock);
    return r;
}

int gc_list(struct gc *gc, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct snapshot_filter all = {0};
    int r = catalog_read_begin(gc->store->catalog, &conn, err);

    if (r == 0)
        r = snapshot_each(conn, &all, list_snapshot, gc, err);
    if (r == 0)
        r = pack_each(conn, 0, list_pack, gc, err);
    gc->result->snapshots = gc->snapshot_count;
    if (r == 0)
        r = list_images(gc, err);
    gc->result->packs = gc->pack_count;
    return r;
}

struct gc_pack *gc_find_pack(struct gc *gc, int64_t pack_id)
{
    size_t low = 0, high = gc->pack_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (gc->packs[middle].id < pack_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < gc->pack_count && gc->packs[low].id == pack_id ? &gc->packs[low] : NULL;
}

// --- one record

static int mark_copy(struct gc *gc, const struct chunk_location *copy, struct error *err)
{
    struct gc_pack *pack;
    int r;

    if (row_bitmap_has(&gc->live, copy->row))
        return 0;
    r = row_bitmap_set(&gc->live, copy->row, err);
    pack = gc_find_pack(gc, copy->pack_id);
    if (r < 0 || !pack)
        return r;
    pack->live_bytes += gc_record_bytes(&copy->record);
    pack->live_records++;
    pack->damaged = pack->damaged || copy->damaged;
    gc->done += gc_record_bytes(&copy->record);
    return 0;
}

// Copies of an id that are durable: all, or those that are no deltas. They come in front of deltas
// but for damaged ones, so they are picked.
static int find_copies(struct gc *gc, const struct digest *id, bool plain,
                       struct chunk_location copies[COPIES_MAX], struct error *err)
{
    int found = chunk_copies(gc->conn, id, 0, copies, COPIES_MAX, err), count = 0;

    for (int i = 0; i < found; i++) {
        if (!plain || digest_is_zero(&copies[i].record.base))
            copies[count++] = copies[i];
    }
    return found < 0 ? found : count;
}

// 1 when the copy can be read and its checksums are right, 0 when not.
static int prove_stored(struct gc *gc, const struct chunk_location *copy, struct error *err)
{
    struct error local = ERROR_INIT;
    const uint8_t *bytes;
    int r = pack_read_stored(gc->store->backend, gc->decoder, copy, &bytes, &local);

    if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT) {
        gc_tell(gc, "%s", error_message(&local));
        return 0;
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 1;
}

// A delta is as good as its base.
static int prove(struct gc *gc, const struct chunk_location *copy, struct error *err)
{
    struct chunk_location bases[COPIES_MAX];
    int r = prove_stored(gc, copy, err), count = 0;

    if (r <= 0 || digest_is_zero(&copy->record.base))
        return r;
    count = find_copies(gc, &copy->record.base, true, bases, err);
    r = count < 0 ? count : 0;
    for (int i = 0; r == 0 && i < count; i++)
        r = prove_stored(gc, &bases[i], err);
    return r;
}

// Of several copies: the first that is proved, else all. Returns how many, the one in front.
static int choose(struct gc *gc, struct chunk_location *copies, int count, struct error *err)
{
    for (int i = 0; count > 1 && i < count; i++) {
        int r = prove(gc, &copies[i], err);

        if (r < 0)
            return r;
        if (r == 0)
            continue;
        copies[0] = copies[i];
        return 1;
    }
    return count;
}

// Returns 0 when there is no copy, 1 when it was marked before, 2 when it is now. RECORD_UNKNOWN:
// of any kind.
static int mark_record(struct gc *gc, const struct digest *id, enum record_kind kind, bool plain,
                       struct error *err);

static int mark_base(struct gc *gc, const struct digest *base, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    int r = mark_record(gc, base, RECORD_CHUNK, true, err);

    if (r == 0)
        gc_tell(gc, "no pack holds %s, which a delta is made against", digest_to_hex(base, hex));
    return r < 0 ? r : 0;
}

static int mark_record(struct gc *gc, const struct digest *id, enum record_kind kind, bool plain,
                       struct error *err)
{
    struct chunk_location copies[COPIES_MAX];
    char hex[DIGEST_HEX_SIZE];
    int count = find_copies(gc, id, plain, copies, err), r = 0;

    if (count <= 0)
        return count;
    for (int i = 0; i < count; i++) {
        if (row_bitmap_has(&gc->live, copies[i].row))
            return 1;
    }
    if (kind != RECORD_UNKNOWN && copies[0].record.kind != kind)
        return error_set(err, -ERROR_CORRUPT, "the record %s is of kind %d instead of %d",
                         digest_to_hex(id, hex), copies[0].record.kind, (int)kind);
    count = choose(gc, copies, count, err);
    if (count < 0)
        return count;
    for (int i = 0; r == 0 && i < count; i++) {
        r = mark_copy(gc, &copies[i], err);
        if (r == 0 && !digest_is_zero(&copies[i].record.base))
            r = mark_base(gc, &copies[i].record.base, err);
    }
    return r < 0 ? r : 2;
}

// --- maps

static int renew_lease(struct gc *gc, struct error *err)
{
    if (gc->conn && gc->conn_uses++ < LEASE_NODES)
        return 0;
    catalog_read_end(gc->conn);
    gc->conn = NULL;
    gc->conn_uses = 0;
    return catalog_read_begin(gc->store->catalog, &gc->conn, err);
}

static void end_lease(struct gc *gc)
{
    catalog_read_end(gc->conn);
    gc->conn = NULL;
}

// A chunk that is nowhere is lost already; there is nothing below it that could be kept.
static int mark_chunk(struct gc *gc, const struct digest *id, uint64_t *missing, struct error *err)
{
    int r = mark_record(gc, id, RECORD_CHUNK, false, err);

    *missing += r == 0;
    return r < 0 ? r : 0;
}

static void remember_leaf(struct map_node **recent, const struct map_node *leaf)
{
    if (!*recent)
        *recent = malloc(sizeof(**recent));
    if (*recent) // without memory it is looked up once more
        **recent = *leaf;
}

// Snapshots of a chain come one after another, and a leaf of one differs in a few places from the
// leaf before it: what stands in both was marked then.
static int mark_leaf(struct gc *gc, const struct map_node *leaf, uint64_t index, uint64_t *missing,
                     struct error *err)
{
    struct map_node **recent = &gc->recent[index % GC_RECENT_LEAVES];
    uint64_t lost = 0;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < MAP_FANOUT; i++) {
        const struct digest *place = &leaf->ids[i];

        if (!digest_is_zero(place) && !(*recent && digest_equal(place, &(*recent)->ids[i])))
            r = mark_chunk(gc, place, &lost, err);
    }
    *missing += lost;
    if (r == 0 && lost == 0)
        remember_leaf(recent, leaf);
    return r;
}

static int mark_node(struct gc *gc, const struct digest *id, unsigned level, uint64_t index,
                     uint64_t *missing, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    int r = renew_lease(gc, err);

    if (r == 0)
        r = mark_record(gc, id, RECORD_MAP, false, err);
    if (r == 0)
        return error_set(err, -ERROR_CORRUPT, "no pack holds the record %s",
                         digest_to_hex(id, hex));
    if (r <= 1)
        return r < 0 ? r : 0;
    r = gc_progress(gc, err);
    if (r == 0)
        r = map_node_load(gc->store, gc->conn, id, &gc->shape, level, index, &gc->nodes[level],
                          err);
    if (r == 0 && level == 0)
        r = mark_leaf(gc, &gc->nodes[0], index, missing, err);
    for (unsigned i = 0; r == 0 && level > 0 && i < MAP_FANOUT; i++) {
        const struct digest *place = &gc->nodes[level].ids[i];

        if (!digest_is_zero(place))
            r = mark_node(gc, place, level - 1, index * MAP_FANOUT + i, missing, err);
    }
    return r;
}

static void name_snapshot(struct gc *gc, int64_t id, char *text, size_t size)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    char chain[SNAPSHOT_NAME_SIZE], name[SNAPSHOT_NAME_SIZE];

    if (id == 0)
        snprintf(text, size, "that was forgotten, and of which a file is open,");
    else
        snprintf(text, size, "number %lld", (long long)id);
    if (row && catalog_read_begin(gc->store->catalog, &conn, NULL) == 0 &&
        snapshot_get(conn, id, row, NULL) == 0)
        snprintf(text, size, "%s/%s/%s/%s", row->context_name, row->disk_name,
                 chain_name(row->chain_number, chain), snapshot_name(row, name));
}

#define PATH_SIZE (2 * NAME_SIZE + 2 * SNAPSHOT_NAME_SIZE)

static int mark_snapshot(struct gc *gc, const struct gc_snapshot *snapshot, struct error *err)
{
    struct error local = ERROR_INIT;
    char path[PATH_SIZE];
    uint64_t missing = 0;
    int r = map_shape_init(snapshot->capacity, snapshot->chunk_size, &gc->shape, &local);

    if (r == 0)
        r = mark_node(gc, &snapshot->root, gc->shape.root_level, 0, &missing, &local);
    end_lease(gc);
    if (r == 0 && missing == 0)
        return 0;
    name_snapshot(gc, snapshot->id, path, sizeof(path));
    if (r == 0)
        gc_tell(gc, "snapshot %s: %llu of its chunks are in no pack", path,
                (unsigned long long)missing);
    else if (r == -ERROR_CORRUPT || r == -EPROTONOSUPPORT)
        r = error_set(err, r,
                      "snapshot %s is damaged: %s; what is below that cannot be told from garbage, "
                      "so nothing is removed until %s",
                      path, error_message(&local),
                      snapshot->id ? "the snapshot is forgotten or whole again"
                                   : "its files are closed");
    else
        r = error_set(err, r, "%s", error_message(&local));
    return r;
}

// --- the rest

static int keep_record(const struct digest *id, void *arg, struct error *err)
{
    int r = mark_record(arg, id, RECORD_UNKNOWN, false, err);

    return r < 0 ? r : 0;
}

int gc_mark(struct gc *gc, struct error *err)
{
    int r = fault_hit(FAULT_GC_MARK, err);

    for (size_t i = 0; r == 0 && i < gc->snapshot_count; i++)
        r = mark_snapshot(gc, &gc->snapshots[i], err);
    if (r == 0)
        r = renew_lease(gc, err);
    if (r == 0)
        r = gc_rows_kept(gc->conn, keep_record, gc, err);
    end_lease(gc);
    return r;
}

// --- bases of deltas that are dead themselves

static int keep_base(int64_t pack_id, const struct digest *base, void *arg, struct error *err)
{
    struct gc *gc = arg;
    struct gc_pack *pack = gc_find_pack(gc, pack_id);

    if (!pack)
        return 0;
    pack->deltas = true;
    return pack->basing ? mark_base(gc, base, err) : 0;
}

int gc_mark_bases(struct gc *gc, struct error *err)
{
    int r = renew_lease(gc, err);

    if (r == 0)
        r = gc_rows_deltas(gc->conn, keep_base, gc, err);
    end_lease(gc);
    return r;
}

static int note_late(int64_t pack_id, const struct digest *base, void *arg, struct error *err)
{
    struct gc *gc = arg;
    const struct gc_pack *pack = gc_find_pack(gc, pack_id);
    struct chunk_location copies[COPIES_MAX];
    int count;

    if (!pack || pack->fate == GC_KEEP)
        return 0;
    count = find_copies(gc, base, true, copies, err);
    for (int i = 0; i < count; i++) {
        struct gc_pack *holder = gc_find_pack(gc, copies[i].pack_id);

        if (holder && holder != pack && !row_bitmap_has(&gc->live, copies[i].row))
            holder->late = true;
    }
    return count < 0 ? count : 0;
}

int gc_find_late(struct gc *gc, struct error *err)
{
    int r = renew_lease(gc, err);

    if (r == 0)
        r = gc_rows_deltas(gc->conn, note_late, gc, err);
    end_lease(gc);
    return r;
}

static int keep_base_of(const struct chunk_location *row, void *arg, struct error *err)
{
    return digest_is_zero(&row->record.base) ? 0 : mark_base(arg, &row->record.base, err);
}

int gc_mark_bases_of(struct gc *gc, const struct gc_pack *pack, struct error *err)
{
    int r;

    if (!pack->deltas)
        return 0;
    r = renew_lease(gc, err);
    if (r == 0)
        r = chunk_each_of_pack(gc->conn, pack->id, keep_base_of, gc, err);
    end_lease(gc);
    return r;
}
