// SPDX-License-Identifier: MIT
//
// The reading side of the tree in one function: catalog, names, images. Nothing is started up,
// adopted or written.
#include "tests/corrupt/probe.h"

#include "base/cleanup.h"
#include "catalog/path.h"
#include "fs/job/repository.h"
#include "fs/store/fingerprint_cache.h"
#include "fs/store/image.h"
#include "fs/store/snapshot_record.h"

#include <stdio.h>
#include <string.h>

struct probe {
    struct catalog *catalog;
    struct store *store;
    struct probe_disk *disks;
    size_t count;
};

static void note(struct probe_disk *disk, enum probe_class class, const char *sentence)
{
    if (class < disk->seen)
        return;
    disk->seen = class;
    snprintf(disk->sentence, sizeof(disk->sentence), "%s", sentence);
}

// Reads all of it: 1 the same bytes, 0 others, -errno.
static int same_bytes(struct probe *probe, const struct snapshot_row *row,
                      const struct probe_disk *disk, struct error *err)
{
    AUTO(image_close) struct image *image = NULL;
    AUTO_FREE uint8_t *bytes = malloc(disk->len + 4096);
    int r = snapshot_record_check(probe->store, NULL, row, err);
    ssize_t n;

    if (r == 0)
        r = image_open(probe->store, &row->digest, row->capacity, row->chunk_size, &image, err);
    if (r < 0)
        return r;
    n = image_read(image, bytes, disk->len + 4096, 0, err);
    if (n < 0)
        return (int)n;
    return image_capacity(image) == disk->len && (size_t)n == disk->len &&
           memcmp(bytes, disk->bytes, disk->len) == 0;
}

static void probe_named(struct probe *probe, struct catalog_conn *conn, struct probe_disk *disk)
{
    struct error err = ERROR_INIT;
    struct catalog_path path;
    int r = catalog_path_resolve(conn, disk->path, &path, &err);

    if (r == 0)
        r = same_bytes(probe, &path.snapshot, disk, &err);
    if (r == -ENOENT)
        note(disk, PROBE_MISSING, error_message(&err));
    else if (r < 0)
        note(disk, PROBE_REFUSED, error_message(&err));
    else
        note(disk, r ? PROBE_RIGHT : PROBE_WRONG, r ? "" : "other bytes");
}

// Every row of the listing: the snapshot of its name, or another one whole. A damaged row may bear
// the name of another snapshot (a byte makes a disk's name that of another disk): nothing is read
// by rows of a listing, and what is read under the name they bear is judged by probe_named().
static int probe_listed(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct probe *probe = arg;
    char path[512], chain[SNAPSHOT_NAME_SIZE], name[SNAPSHOT_NAME_SIZE];
    struct probe_disk *own = NULL;

    (void)err;
    snprintf(path, sizeof(path), "%s/%s/%s/%s", row->context_name, row->disk_name,
             chain_name(row->chain_number, chain), snapshot_name(row, name));
    for (size_t i = 0; i < probe->count; i++) {
        if (strcmp(path, probe->disks[i].path) == 0)
            own = &probe->disks[i];
    }
    if (own && same_bytes(probe, row, own, NULL) != 0)
        return 0;
    bool readable = own;
    for (size_t i = 0; i < probe->count; i++) {
        int same = same_bytes(probe, row, &probe->disks[i], NULL);

        readable = readable || same >= 0;
        if (same > 0) {
            note(&probe->disks[i], PROBE_RENAMED, path);
            return 0;
        }
    }
    if (readable)
        note(own ? own : &probe->disks[0], PROBE_WRONG, path);
    return 0;
}

static int probe_opened(struct probe *probe, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    static const struct snapshot_filter all;
    struct error listing = ERROR_INIT;
    int r = catalog_read_begin(probe->catalog, &conn, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < probe->count; i++)
        probe_named(probe, conn, &probe->disks[i]);
    r = snapshot_each(conn, &all, probe_listed, probe, &listing);
    for (size_t i = 0; r < 0 && i < probe->count; i++)
        note(&probe->disks[i], PROBE_REFUSED, error_message(&listing));
    return 0;
}

// Each leaf that is given must be one the untouched cache gives too.
static bool same_fingerprints(struct store *store, struct store *untouched,
                              const struct snapshot_row *row, const char *disk_uuid)
{
    AUTO(fingerprint_reader_close) struct fingerprint_reader *reader = NULL;
    AUTO(fingerprint_reader_close) struct fingerprint_reader *right = NULL;
    static struct fingerprint_leaf leaf, other;
    int r = fingerprint_reader_open(store, disk_uuid, row->uuid, row->capacity, row->chunk_size,
                                    &reader, NULL);

    if (r == 0)
        r = fingerprint_reader_open(untouched, disk_uuid, row->uuid, row->capacity, row->chunk_size,
                                    &right, NULL);
    if (r < 0 || !reader)
        return r == 0;
    for (uint64_t i = 0; right && i <= row->capacity / row->chunk_size / MAP_FANOUT; i++) {
        bool have = fingerprint_reader_leaf(right, i, &other);

        if (fingerprint_reader_leaf(reader, i, &leaf) &&
            (!have || memcmp(&leaf, &other, sizeof(leaf)) != 0))
            return false;
    }
    return right != NULL;
}

static void probe_cache(struct probe *probe, struct store *untouched)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;

    if (catalog_read_begin(probe->catalog, &conn, NULL) < 0)
        return;
    for (size_t i = 0; i < probe->count; i++) {
        struct catalog_path path;

        if (catalog_path_resolve(conn, probe->disks[i].path, &path, NULL) == 0 &&
            !same_fingerprints(probe->store, untouched, &path.snapshot, path.disk.uuid))
            note(&probe->disks[i], PROBE_WRONG, "a damaged fingerprint was given");
    }
}

enum probe_class probe_repository(const char *repo, const char *cache, struct probe_disk *disks,
                                  size_t count)
{
    struct probe probe = {.disks = disks, .count = count};
    struct repository repository;
    AUTO(store_close) struct store *untouched = NULL;
    struct error err = ERROR_INIT;
    enum probe_class worst = PROBE_RIGHT;
    int r = repository_open_viewer(repo, &repository, &err);

    for (size_t i = 0; i < count; i++) {
        disks[i].seen = 0;
        disks[i].sentence[0] = '\0';
    }
    if (r == 0) {
        probe.catalog = repository.catalog;
        r = store_open(repo, &repository.config, repository.catalog, NULL, &repository.store, &err);
        probe.store = repository.store;
        if (r == 0)
            r = probe_opened(&probe, &err);
        if (r == 0 && cache &&
            store_open(cache, &repository.config, repository.catalog, NULL, &untouched, NULL) == 0)
            probe_cache(&probe, untouched);
        untouched = store_close(untouched);
        repository_close(&repository);
    }
    for (size_t i = 0; i < count; i++) {
        if (r < 0)
            note(&disks[i], PROBE_REFUSED, error_message(&err));
        if (disks[i].seen > worst)
            worst = disks[i].seen;
    }
    return worst;
}

const char *probe_class_word(enum probe_class class)
{
    static const char *const words[] = {"-", "right", "refused", "missing", "renamed", "wrong"};

    return words[class];
}
