// SPDX-License-Identifier: MIT
//
// Disks of the model as files: what is done to the model's bytes is done to the file.
#include "tests/model/world.h"

#include "base/io.h"

#include <fcntl.h>
#include <string.h>

#define CHUNKS_MAX 24
#define LEAF 256 // chunks under one node of a map

// Noise, one byte over and over, text, or zeros.
static void fill(struct world *world, uint8_t *bytes, size_t len)
{
    static const char text[] = "All work and no play makes a backup a dull file.\n";
    uint8_t byte = (uint8_t)world_below(world, 256);

    switch (world_below(world, 5)) {
    case 0:
        memset(bytes, byte, len);
        break;
    case 1:
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)text[(i + byte) % (sizeof(text) - 1)];
        break;
    case 2:
        memset(bytes, 0, len);
        break;
    default:
        for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
            uint64_t noise = random_next(&world->random);
            memcpy(bytes + i, &noise, len - i < sizeof(noise) ? len - i : sizeof(noise));
        }
    }
}

static uint64_t random_size(struct world *world)
{
    uint64_t chunks = world_below(world, CHUNKS_MAX);
    uint64_t size = chunks * MODEL_CHUNK;

    switch (world_below(world, 16)) {
    case 0: // smaller than a chunk
        return world_below(world, MODEL_CHUNK) + 1;
    case 1: // a map of two levels, at and around the edge of its first leaf
        return (LEAF - 1 + world_below(world, 4)) * MODEL_CHUNK + world_below(world, 3);
    case 2:
    case 3:
    case 4:
    case 5: // whole chunks
        return size + MODEL_CHUNK;
    default:
        return size + world_below(world, MODEL_CHUNK) + 1;
    }
}

// Holes and data of several kinds; a large one is mostly hole.
uint8_t *source_random(struct world *world, uint64_t *ret_size)
{
    uint64_t size = random_size(world);
    uint8_t *bytes = calloc(1, size);
    uint64_t chunks = model_chunks(size);
    unsigned full = chunks > CHUNKS_MAX ? 4 : (unsigned)world_below(world, 100);

    if (!bytes)
        world_differ(world, "out of memory");
    for (uint64_t chunk = 0; chunk < chunks; chunk++)
        if (world_percent(world, full))
            fill(world, bytes + chunk * MODEL_CHUNK, model_chunk_bytes(size, chunk));
    *ret_size = size;
    return bytes;
}

static int open_file(struct world *world, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd < 0)
        world_differ(world, "cannot open %s: %s", path, strerror(errno));
    return fd;
}

static void put(struct world *world, int fd, const char *path, const uint8_t *bytes, uint64_t at,
                size_t len)
{
    struct error err = ERROR_INIT;
    int r;

    if (model_is_zero(bytes, len) && world_percent(world, 80))
        r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len) < 0
                ? error_set_errno(&err, -errno, "cannot punch a hole into %s", path)
                : 0;
    else
        r = io_write_at(fd, bytes, len, at, path, &err);
    world_expect(world, r, 0, &err, "writing a source");
}

void source_write_file(struct world *world, const char *path, const uint8_t *bytes, uint64_t size)
{
    AUTO_CLOSE int fd = open_file(world, path, O_RDWR | O_CREAT | O_TRUNC);

    if (ftruncate(fd, (off_t)size) < 0)
        world_differ(world, "cannot give %s its size", path);
    for (uint64_t chunk = 0; chunk < model_chunks(size); chunk++)
        if (!model_is_zero(bytes + chunk * MODEL_CHUNK, model_chunk_bytes(size, chunk)))
            put(world, fd, path, bytes + chunk * MODEL_CHUNK, chunk * MODEL_CHUNK,
                model_chunk_bytes(size, chunk));
}

void source_make(struct world *world, struct model_disk *disk, const char *path)
{
    uint64_t size;
    uint8_t *bytes = source_random(world, &size);

    source_write_file(world, path, bytes, size);
    model_set_source(&world->model, disk, path, bytes, size);
}

uint8_t *source_read_file(struct world *world, const char *path, uint64_t *ret_size)
{
    struct error err = ERROR_INIT;
    char *data = NULL;
    size_t len = 0;

    world_expect(world, io_read_file(path, 1 << 26, &data, &len, &err), 0, &err, "reading a file");
    *ret_size = len;
    return (uint8_t *)data;
}

void source_compare_file(struct world *world, const char *path, const uint8_t *bytes, uint64_t size)
{
    uint64_t there;
    AUTO_FREE uint8_t *read = source_read_file(world, path, &there);

    if (there != size)
        world_differ(world, "%s has %llu bytes instead of %llu", path, (unsigned long long)there,
                     (unsigned long long)size);
    for (uint64_t i = 0; i < size; i++)
        if (read[i] != bytes[i])
            world_differ(world, "%s holds 0x%02x instead of 0x%02x at byte %llu", path, read[i],
                         bytes[i], (unsigned long long)i);
}

// --- changes

struct range {
    uint64_t at;
    size_t len;
};

static struct range random_range(struct world *world, uint64_t size)
{
    struct range range = {.at = world_below(world, size)};
    uint64_t most = size - range.at < 3 * MODEL_CHUNK ? size - range.at : 3 * MODEL_CHUNK;

    if (world_percent(world, 40)) // whole chunks
        range.at -= range.at % MODEL_CHUNK;
    range.len = (size_t)world_below(world, most) + 1;
    if (range.at % MODEL_CHUNK == 0 && world_percent(world, 60))
        range.len = model_chunk_bytes(size, range.at / MODEL_CHUNK);
    return range;
}

// Bytes of any disk, or of a snapshot of this one, at the same or another place.
static void copy_from_somewhere(struct world *world, struct model_disk *disk, struct range *range)
{
    const struct model_disk *other = world_pick_disk(world);
    const struct model_snapshot *old = world_pick_snapshot_of(world, disk->vm);
    const uint8_t *bytes = old && world_percent(world, 50) ? old->content->bytes : NULL;
    uint64_t size = bytes ? old->content->size : other->size;
    uint64_t from = range->at;

    if (!bytes)
        bytes = other->bytes;
    if (from >= size || world_percent(world, 30))
        from = world_below(world, model_chunks(size)) * MODEL_CHUNK;
    if (range->len > size - from)
        range->len = (size_t)(size - from);
    memmove(disk->bytes + range->at, bytes + from, range->len);
}

void source_change(struct world *world, struct model_disk *disk)
{
    AUTO_CLOSE int fd = open_file(world, disk->source, O_RDWR);
    uint64_t count = world_below(world, 4) + 1;

    for (uint64_t i = 0; i < count; i++) {
        struct range range = random_range(world, disk->size);
        uint8_t *at = disk->bytes + range.at;
        uint64_t kind = world_below(world, 10);
        if (kind < 4)
            fill(world, at, range.len);
        else if (kind < 6)
            memset(at, 0, range.len);
        else if (kind < 7)
            at[world_below(world, range.len)] ^= (uint8_t)(1u << world_below(world, 8));
        else
            copy_from_somewhere(world, disk, &range);
        put(world, fd, disk->source, at, range.at, range.len);
    }
}

void source_resize(struct world *world, struct model_disk *disk)
{
    AUTO_CLOSE int fd = open_file(world, disk->source, O_RDWR);
    uint64_t size = random_size(world);
    uint8_t *bytes;

    if (world_percent(world, 30)) // by some bytes, in the same last chunk perhaps
        size = disk->size + world_below(world, 1000) + 1;
    bytes = realloc(disk->bytes, size);
    if (!bytes)
        world_differ(world, "out of memory");
    if (size > disk->size)
        memset(bytes + disk->size, 0, size - disk->size);
    disk->bytes = bytes;
    disk->size = size;
    if (ftruncate(fd, (off_t)size) < 0)
        world_differ(world, "cannot change the size of %s", disk->source);
}
