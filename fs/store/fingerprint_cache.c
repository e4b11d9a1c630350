// SPDX-License-Identifier: MIT
//
// The fingerprint cache as a file: header, leaf records in ascending order, trailer.
//
// Header, 96 bytes:
//    0 |  8 | bytes | magic "BTFPRNT\n"
//    8 |  2 | u16   | version, 1
//   10 |  2 | u16   | header length, 96
//   12 |  4 | u32   | zero
//   16 | 16 | bytes | disk uuid
//   32 | 16 | bytes | snapshot uuid
//   48 |  8 | u64   | capacity, bytes
//   56 |  4 | u32   | chunk size, bytes
//   60 |  4 | u32   | zero
//   64 | 16 | bytes | repository uuid
//   80 |  8 | u64   | nonce, random for each file
//   88 |  8 | u64   | XXH3-64 of bytes 0 … 87
//
// Leaf record, 4112 bytes:
//    0 |  8 | u64   | leaf number
//    8 | 4096 | bytes | 256 fingerprints, 16 bytes each
// 4104 |  8 | u64   | XXH3-64 of bytes 0 … 4103, seeded with the nonce
//
// Trailer, 32 bytes:
//    0 |  8 | bytes | magic "BTFPEND\n"
//    8 |  8 | u64   | number of leaf records
//   16 |  8 | u64   | zero
//   24 |  8 | u64   | XXH3-64 of bytes 0 … 23, seeded with the nonce
//
// Nothing is flushed: a power cut may leave any part of the file unwritten, and then the size, the
// trailer or a record's checksum does not fit and the cache, or the rest of it, is not there. The
// nonce keeps a record of one file from passing for one of another.
#include "fs/store/fingerprint_cache.h"

#include "base/bytes.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/store/store_members.h"
#include "fs/store/xxh.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <uuid/uuid.h>

#define HEADER_SIZE 96
#define LEAF_PRINTS_SIZE (MAP_FANOUT * sizeof(struct fingerprint))
#define LEAF_SIZE (8 + LEAF_PRINTS_SIZE + 8)
#define TRAILER_SIZE 32
#define BUFFER_LEAVES 254 // just under 1 MiB
#define CACHE_VERSION 1

static const uint8_t header_magic[8] = {'B', 'T', 'F', 'P', 'R', 'N', 'T', '\n'};
static const uint8_t trailer_magic[8] = {'B', 'T', 'F', 'P', 'E', 'N', 'D', '\n'};

struct cache_header {
    uint8_t disk_uuid[16], snapshot_uuid[16], repository_uuid[16];
    uint64_t capacity;
    uint32_t chunk_size;
    uint64_t nonce;
};

static void header_encode(const struct cache_header *header, uint8_t out[HEADER_SIZE])
{
    memset(out, 0, HEADER_SIZE);
    memcpy(out, header_magic, sizeof(header_magic));
    bytes_put_le16(out + 8, CACHE_VERSION);
    bytes_put_le16(out + 10, HEADER_SIZE);
    memcpy(out + 16, header->disk_uuid, 16);
    memcpy(out + 32, header->snapshot_uuid, 16);
    bytes_put_le64(out + 48, header->capacity);
    bytes_put_le32(out + 56, header->chunk_size);
    memcpy(out + 64, header->repository_uuid, 16);
    bytes_put_le64(out + 80, header->nonce);
    bytes_put_le64(out + 88, pack_checksum(out, 88));
}

static void trailer_encode(uint64_t count, uint64_t nonce, uint8_t out[TRAILER_SIZE])
{
    memcpy(out, trailer_magic, sizeof(trailer_magic));
    bytes_put_le64(out + 8, count);
    bytes_put_le64(out + 16, 0);
    bytes_put_le64(out + 24, XXH3_64bits_withSeed(out, 24, nonce));
}

static uint64_t leaf_checksum(const uint8_t *leaf, uint64_t nonce)
{
    return XXH3_64bits_withSeed(leaf, LEAF_SIZE - 8, nonce);
}

// REPO/cache/UUID.fingerprints, or its temporary. The uuid becomes a file name, so it must be one.
static int cache_path(const struct store *store, const char *disk_uuid, const char *suffix,
                      uint8_t ret_uuid[16], char **ret_path, struct error *err)
{
    char *path;

    if (uuid_parse(disk_uuid, ret_uuid) != 0)
        return error_set(err, -EINVAL, "'%s' is not a disk's uuid", disk_uuid);
    if (asprintf(&path, "%s/%s.fingerprints%s", store->cache_dir, disk_uuid, suffix) < 0)
        return error_set(err, -ENOMEM, "out of memory for a path");
    *ret_path = path;
    return 0;
}

// --- reading

struct fingerprint_reader {
    int fd;
    uint64_t nonce;
    uint64_t count; // leaf records in the file
    uint64_t next;  // the record to look at
    bool checked;   // it is intact
    bool spent;     // something was damaged: nothing more is believed
    uint64_t leaf;  // its leaf number, once checked
    bool any;       // a record came before it, of leaf `previous`
    uint64_t previous;
    uint64_t buffer_first, buffer_count; // records in the buffer
    uint8_t buffer[];                    // room for all of the file, or for BUFFER_LEAVES
};

// True when the file is whole and is the cache of exactly this snapshot.
static bool file_fits(int fd, const struct cache_header *wanted, uint64_t *ret_nonce,
                      uint64_t *ret_count)
{
    uint8_t bytes[HEADER_SIZE], expected[HEADER_SIZE];
    uint8_t end[TRAILER_SIZE], expected_end[TRAILER_SIZE];
    struct cache_header header = *wanted;
    struct stat st;
    uint64_t leaves;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < HEADER_SIZE + TRAILER_SIZE ||
        io_read_at(fd, bytes, sizeof(bytes), 0, "fingerprints", NULL) < 0)
        return false;
    // All but the nonce is known, so the header can be compared as a whole.
    header.nonce = bytes_get_le64(bytes + 80);
    header_encode(&header, expected);
    leaves = (uint64_t)st.st_size - HEADER_SIZE - TRAILER_SIZE;
    if (memcmp(bytes, expected, sizeof(bytes)) != 0 || leaves % LEAF_SIZE != 0 ||
        io_read_at(fd, end, sizeof(end), HEADER_SIZE + leaves, "fingerprints", NULL) < 0)
        return false;
    trailer_encode(leaves / LEAF_SIZE, header.nonce, expected_end);
    if (memcmp(end, expected_end, sizeof(end)) != 0)
        return false;
    *ret_nonce = header.nonce;
    *ret_count = leaves / LEAF_SIZE;
    return true;
}

int fingerprint_reader_open(struct store *store, const char *disk_uuid, const char *snapshot_uuid,
                            uint64_t capacity, uint32_t chunk_size,
                            struct fingerprint_reader **ret_reader, struct error *err)
{
    struct cache_header wanted = {.capacity = capacity, .chunk_size = chunk_size};
    struct fingerprint_reader *reader;
    AUTO_FREE char *path = NULL;
    AUTO_CLOSE int fd = -1;
    uint64_t nonce, count;
    int r = cache_path(store, disk_uuid, "", wanted.disk_uuid, &path, err);

    if (r == -ENOMEM)
        return r;
    memcpy(wanted.repository_uuid, store->repository_uuid, sizeof(wanted.repository_uuid));
    if (r == 0 && uuid_parse(snapshot_uuid, wanted.snapshot_uuid) == 0)
        fd = io_openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW, 0);
    if (fd < 0 || !file_fits(fd, &wanted, &nonce, &count)) {
        error_clear(err);
        *ret_reader = NULL;
        return 0;
    }
    reader = malloc(sizeof(*reader) + (count < BUFFER_LEAVES ? count : BUFFER_LEAVES) * LEAF_SIZE);
    if (!reader)
        return error_set(err, -ENOMEM, "out of memory for fingerprints");
    memset(reader, 0, sizeof(*reader));
    reader->nonce = nonce;
    reader->count = count;
    // A hint only.
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    reader->fd = TAKE(fd, -1);
    *ret_reader = reader;
    return 0;
}

struct fingerprint_reader *fingerprint_reader_close(struct fingerprint_reader *reader)
{
    if (!reader)
        return NULL;
    close(reader->fd);
    free(reader);
    return NULL;
}

// The bytes of record number reader->next, NULL when they cannot be read.
static const uint8_t *next_record(struct fingerprint_reader *reader)
{
    uint64_t at = reader->next - reader->buffer_first;

    if (reader->next < reader->buffer_first || at >= reader->buffer_count) {
        uint64_t left = reader->count - reader->next;
        uint64_t n = left < BUFFER_LEAVES ? left : BUFFER_LEAVES;

        reader->buffer_count = 0;
        if (io_read_at(reader->fd, reader->buffer, n * LEAF_SIZE,
                       HEADER_SIZE + reader->next * LEAF_SIZE, "fingerprints", NULL) < 0)
            return NULL;
        reader->buffer_first = reader->next;
        reader->buffer_count = n;
        at = 0;
    }
    return reader->buffer + at * LEAF_SIZE;
}

// Looks at the next record without taking it. False at the end and at the first damaged one.
static bool peek(struct fingerprint_reader *reader, const uint8_t **ret_record)
{
    const uint8_t *record;

    if (reader->spent || reader->next >= reader->count)
        return false;
    record = next_record(reader);
    if (record && !reader->checked) {
        reader->leaf = bytes_get_le64(record);
        reader->checked =
            leaf_checksum(record, reader->nonce) == bytes_get_le64(record + LEAF_SIZE - 8) &&
            (!reader->any || reader->leaf > reader->previous);
    }
    reader->spent = !record || !reader->checked;
    *ret_record = record;
    return !reader->spent;
}

bool fingerprint_reader_leaf(struct fingerprint_reader *reader, uint64_t leaf,
                             struct fingerprint_leaf *ret_leaf)
{
    const uint8_t *record;

    while (peek(reader, &record) && reader->leaf <= leaf) {
        if (reader->leaf == leaf) {
            ret_leaf->leaf = leaf;
            memcpy(ret_leaf->chunk, record + 8, LEAF_PRINTS_SIZE);
            return true;
        }
        reader->any = true;
        reader->previous = reader->leaf;
        reader->checked = false;
        reader->next++;
    }
    return false;
}

// --- writing

struct fingerprint_writer {
    struct cache_header header;
    char *path, *temp_path;
    int fd;
    bool in_place;
    uint64_t count;    // records given
    uint64_t previous; // leaf number of the last
    uint64_t written;  // bytes in the file, the header's place counted
    size_t gathered;   // records in the buffer
    uint8_t buffer[BUFFER_LEAVES * LEAF_SIZE];
};

int fingerprint_writer_open(struct store *store, const char *disk_uuid,
                            struct fingerprint_writer **ret_writer, struct error *err)
{
    AUTO(fingerprint_writer_close) struct fingerprint_writer *writer = malloc(sizeof(*writer));
    int r;

    if (!writer)
        return error_set(err, -ENOMEM, "out of memory for fingerprints");
    memset(writer, 0, offsetof(struct fingerprint_writer, buffer));
    writer->fd = -1;
    writer->written = HEADER_SIZE; // the header comes last
    memcpy(writer->header.repository_uuid, store->repository_uuid,
           sizeof(writer->header.repository_uuid));
    if (getrandom(&writer->header.nonce, sizeof(writer->header.nonce), 0) !=
        (ssize_t)sizeof(writer->header.nonce))
        return error_set_errno(err, -errno, "cannot get random bytes");
    r = cache_path(store, disk_uuid, "", writer->header.disk_uuid, &writer->path, err);
    if (r == 0)
        r = cache_path(store, disk_uuid, ".tmp", writer->header.disk_uuid, &writer->temp_path, err);
    if (r < 0)
        return r;
    writer->fd =
        io_openat(AT_FDCWD, writer->temp_path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (writer->fd < 0)
        return error_set_errno(err, -errno, "cannot create %s", writer->temp_path);
    *ret_writer = TAKE(writer, NULL);
    return 0;
}

struct fingerprint_writer *fingerprint_writer_close(struct fingerprint_writer *writer)
{
    if (!writer)
        return NULL;
    if (writer->fd >= 0) {
        close(writer->fd);
        if (!writer->in_place && unlink(writer->temp_path) < 0 && errno != ENOENT)
            log_warning("cannot remove %s, the next start will: %s", writer->temp_path,
                        strerror(errno));
    }
    free(writer->path);
    free(writer->temp_path);
    free(writer);
    return NULL;
}

static int flush_buffer(struct fingerprint_writer *writer, struct error *err)
{
    size_t len = writer->gathered * LEAF_SIZE;
    int r = io_write_at(writer->fd, writer->buffer, len, writer->written, writer->temp_path, err);

    if (r < 0)
        return r;
    writer->written += len;
    writer->gathered = 0;
    return 0;
}

int fingerprint_writer_leaf(struct fingerprint_writer *writer, const struct fingerprint_leaf *leaf,
                            struct error *err)
{
    uint8_t *record = writer->buffer + writer->gathered * LEAF_SIZE;

    if (writer->count > 0 && leaf->leaf <= writer->previous)
        return error_set(err, -EINVAL, "fingerprints of leaf %" PRIu64 " come after %" PRIu64,
                         leaf->leaf, writer->previous);
    bytes_put_le64(record, leaf->leaf);
    memcpy(record + 8, leaf->chunk, LEAF_PRINTS_SIZE);
    bytes_put_le64(record + LEAF_SIZE - 8, leaf_checksum(record, writer->header.nonce));
    writer->previous = leaf->leaf;
    writer->count++;
    writer->gathered++;
    return writer->gathered == BUFFER_LEAVES ? flush_buffer(writer, err) : 0;
}

int fingerprint_writer_commit(struct fingerprint_writer *writer, const char *snapshot_uuid,
                              uint64_t capacity, uint32_t chunk_size, struct error *err)
{
    uint8_t header[HEADER_SIZE], trailer[TRAILER_SIZE];
    int r;

    if (uuid_parse(snapshot_uuid, writer->header.snapshot_uuid) != 0)
        return error_set(err, -EINVAL, "'%s' is not a snapshot's uuid", snapshot_uuid);
    writer->header.capacity = capacity;
    writer->header.chunk_size = chunk_size;
    header_encode(&writer->header, header);
    trailer_encode(writer->count, writer->header.nonce, trailer);
    r = flush_buffer(writer, err);
    if (r == 0)
        r = io_write_at(writer->fd, trailer, sizeof(trailer), writer->written, writer->temp_path,
                        err);
    if (r == 0)
        r = io_write_at(writer->fd, header, sizeof(header), 0, writer->temp_path, err);
    if (r == 0)
        r = fault_hit(FAULT_CACHE_WRITE, err);
    if (r < 0)
        return r;
    if (rename(writer->temp_path, writer->path) < 0)
        return error_set_errno(err, -errno, "cannot rename %s", writer->temp_path);
    writer->in_place = true;
    return 0;
}

void fingerprint_cache_remove(struct store *store, const char *disk_uuid)
{
    struct error local = ERROR_INIT;
    AUTO_FREE char *path = NULL;
    uint8_t uuid[16];

    if (cache_path(store, disk_uuid, "", uuid, &path, &local) < 0)
        log_warning("fingerprints: %s", error_message(&local));
    else if (unlink(path) < 0 && errno != ENOENT)
        log_warning("cannot remove %s: %s", path, strerror(errno));
}
