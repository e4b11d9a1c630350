// SPDX-License-Identifier: MIT
//
// Snapshots read back against the model's bytes: all of them, pieces at any offset, and where holes
// are.
#include "tests/model/world.h"

#include "fs/store/image.h"

#include <string.h>

static void same_bytes(struct world *world, const struct model_snapshot *snapshot,
                       const uint8_t *read, uint64_t at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (read[i] != snapshot->content->bytes[at + i])
            world_differ(world, "%s/%s chain %u %s holds 0x%02x instead of 0x%02x at byte %llu",
                         snapshot->disk->vm->name, snapshot->disk->name, snapshot->chain,
                         snapshot->seen.name, read[i], snapshot->content->bytes[at + i],
                         (unsigned long long)(at + i));
}

// Reads a piece, which may reach past the end.
static void compare_piece(struct world *world, const struct model_snapshot *snapshot,
                          struct image *image, uint64_t at, size_t len)
{
    AUTO_FREE uint8_t *read = malloc(len + 1);
    struct error err = ERROR_INIT;
    uint64_t left = at < snapshot->capacity ? snapshot->capacity - at : 0;
    ssize_t wanted = (ssize_t)(left < len ? left : len);

    if (!read)
        world_differ(world, "out of memory");
    ssize_t n = image_read(image, read, len, at, &err);
    world_expect(world, (int)n, (int)wanted, &err, "reading a snapshot");
    same_bytes(world, snapshot, read, at, (size_t)n);
    world->shared->bytes_read += (uint64_t)n;
}

static bool is_hole(const struct model_snapshot *snapshot, uint64_t chunk)
{
    return model_is_zero(snapshot->content->bytes + chunk * MODEL_CHUNK,
                         model_chunk_bytes(snapshot->capacity, chunk));
}

// The next byte at or after `at` that is in a hole, or in data; the size when there is none.
static uint64_t next_of_kind(const struct model_snapshot *snapshot, uint64_t at, bool hole)
{
    while (at < snapshot->capacity && is_hole(snapshot, at / MODEL_CHUNK) != hole)
        at = (at / MODEL_CHUNK + 1) * MODEL_CHUNK;
    return at < snapshot->capacity ? at : snapshot->capacity;
}

static void compare_seek(struct world *world, const struct model_snapshot *snapshot,
                         struct image *image, uint64_t at)
{
    uint64_t data = next_of_kind(snapshot, at, false), hole = next_of_kind(snapshot, at, true);
    uint64_t found = 0;
    struct error err = ERROR_INIT;
    int r = image_seek_data(image, at, &found, &err);

    world_expect(world, r, data < snapshot->capacity ? 0 : -ENXIO, &err, "seeking data");
    if (r == 0 && found != data)
        world_differ(world, "data after %llu is found at %llu instead of %llu",
                     (unsigned long long)at, (unsigned long long)found, (unsigned long long)data);
    error_clear(&err);
    r = image_seek_hole(image, at, &found, &err);
    world_expect(world, r, at < snapshot->capacity ? 0 : -ENXIO, &err, "seeking a hole");
    if (r == 0 && found != hole)
        world_differ(world, "a hole after %llu is found at %llu instead of %llu",
                     (unsigned long long)at, (unsigned long long)found, (unsigned long long)hole);
}

static void compare_holes(struct world *world, const struct model_snapshot *snapshot,
                          struct image *image)
{
    struct error err = ERROR_INIT;
    struct digest id;

    for (uint64_t chunk = 0; chunk < model_chunks(snapshot->capacity); chunk++) {
        world_expect(world, image_chunk_id(image, chunk, &id, &err), 0, &err, "reading a map");
        if (digest_is_zero(&id) != is_hole(snapshot, chunk))
            world_differ(world, "%s/%s chain %u %s: chunk %llu is %s", snapshot->disk->vm->name,
                         snapshot->disk->name, snapshot->chain, snapshot->seen.name,
                         (unsigned long long)chunk,
                         digest_is_zero(&id) ? "a hole and should hold data"
                                             : "stored and should be a hole");
    }
    for (int i = 0; i < 4; i++)
        compare_seek(world, snapshot, image, world_below(world, snapshot->capacity + 2));
}

void compare_content(struct world *world, struct model_snapshot *snapshot)
{
    AUTO(image_close) struct image *image = NULL;
    struct catalog_conn *conn;
    struct snapshot_row row;
    struct error err = ERROR_INIT;
    int64_t id = world_snapshot_id(world, snapshot);

    conn = world_read(world);
    int r = snapshot_get(conn, id, &row, &err);
    catalog_read_end(conn);
    if (r == 0)
        r = image_open(engine_store(world->engine), &row.digest, row.capacity, row.chunk_size,
                       &image, &err);
    world_expect(world, r, 0, &err, "opening a snapshot");
    compare_piece(world, snapshot, image, 0, (size_t)snapshot->capacity);
    for (int i = 0; i < 3; i++)
        compare_piece(world, snapshot, image, world_below(world, snapshot->capacity + 2),
                      (size_t)world_below(world, 3 * MODEL_CHUNK) + 1);
    compare_holes(world, snapshot, image);
    world->shared->snapshots_read++;
}

void compare_all(struct world *world)
{
    compare_tree(world);
    for (size_t v = 0; v < world->model.vm_count; v++) {
        struct model_vm *vm = world->model.vms[v];
        for (size_t d = 0; d < vm->disk_count; d++) {
            struct model_disk *disk = vm->disks[d];
            for (size_t i = 0; i < disk->snapshot_count; i++)
                if (!disk->snapshots[i]->forgotten)
                    compare_content(world, disk->snapshots[i]);
            if (disk->source[0])
                source_compare_file(world, disk->source, disk->bytes, disk->size);
        }
    }
}
