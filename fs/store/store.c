// SPDX-License-Identifier: MIT
//
// Opening a store and reading from it. Owns the pack backend, the cache of decoded content and a
// few idle decoders. Writing is store_writer.c, start-up is reconcile.c.
//
// Threads: any. `decoder_lock` guards the list of idle decoders and is held for list work only.
#include "fs/store/store_members.h"

#include "base/io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <uuid/uuid.h>

#define CACHE_BYTES_DEFAULT (64u * 1024 * 1024)
#define PACK_BYTES_DEFAULT (64u * 1024 * 1024)
#define OPEN_PACKS_MAX 64
#define IDLE_DECODERS_MAX 8
#define IDLE_SCRATCH_MAX (1024u * 1024)

static int make_folder(const char *repo_dir, const char *name, struct error *err)
{
    AUTO_FREE char *path = NULL;

    if (asprintf(&path, "%s/%s", repo_dir, name) < 0) {
        path = NULL;
        return error_set(err, -ENOMEM, "out of memory for a path");
    }
    if (mkdir(path, 0700) < 0)
        return error_set_errno(err, -errno, "cannot make %s", path);
    return 0;
}

int store_create(const char *repo_dir, struct error *err)
{
    int r = make_folder(repo_dir, "packs", err);

    if (r == 0)
        r = make_folder(repo_dir, "cache", err);
    if (r == 0)
        r = io_fsync_dir(repo_dir, err);
    return r;
}

int store_open(const char *repo_dir, const struct repo_config *config, struct catalog *catalog,
               const struct store_options *options, struct store **ret_store, struct error *err)
{
    AUTO(store_close) struct store *store = calloc(1, sizeof(*store));
    uint64_t cache_bytes = options ? options->cache_bytes : 0;
    int r;

    if (!store)
        return error_set(err, -ENOMEM, "out of memory for the store");
    pthread_mutex_init(&store->decoder_lock, NULL);
    store->config = config;
    store->catalog = catalog;
    store->pack_bytes =
        options && options->pack_bytes > 0 ? options->pack_bytes : PACK_BYTES_DEFAULT;
    if (uuid_parse(config->uuid, store->repository_uuid) != 0)
        return error_set(err, -EINVAL, "'%s' is not a repository's uuid", config->uuid);
    if (asprintf(&store->cache_dir, "%s/cache", repo_dir) < 0) {
        store->cache_dir = NULL;
        return error_set(err, -ENOMEM, "out of memory for the store");
    }
    // Everything in it can be made anew, so may it itself be.
    if (mkdir(store->cache_dir, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, -errno, "cannot make %s", store->cache_dir);
    r = chunk_cache_new(cache_bytes > 0 ? cache_bytes : CACHE_BYTES_DEFAULT, &store->cache, err);
    if (r == 0)
        r = pack_backend_open_folder(repo_dir, OPEN_PACKS_MAX, &store->backend, err);
    if (r < 0)
        return r;
    *ret_store = TAKE(store, NULL);
    return 0;
}

struct store *store_close(struct store *store)
{
    if (!store)
        return NULL;
    while (store->decoders) {
        struct pack_decoder *decoder = store->decoders;

        store->decoders = decoder->next;
        pack_decoder_free(decoder);
    }
    pack_backend_close(store->backend);
    chunk_cache_free(store->cache);
    free(store->cache_dir);
    pthread_mutex_destroy(&store->decoder_lock);
    free(store);
    return NULL;
}

const struct repo_config *store_config(const struct store *store)
{
    return store->config;
}

struct catalog *store_catalog(const struct store *store)
{
    return store->catalog;
}

const char *store_cache_dir(const struct store *store)
{
    return store->cache_dir;
}

// --- reading

static int decoder_take(struct store *store, struct pack_decoder **ret_decoder, struct error *err)
{
    struct pack_decoder *decoder;

    pthread_mutex_lock(&store->decoder_lock);
    decoder = store->decoders;
    if (decoder) {
        store->decoders = decoder->next;
        store->decoder_count--;
    }
    pthread_mutex_unlock(&store->decoder_lock);
    if (!decoder)
        return pack_decoder_new(ret_decoder, err);
    *ret_decoder = decoder;
    return 0;
}

static void decoder_give_back(struct store *store, struct pack_decoder *decoder)
{
    bool keep = decoder->scratch_size <= IDLE_SCRATCH_MAX;

    pthread_mutex_lock(&store->decoder_lock);
    keep = keep && store->decoder_count < IDLE_DECODERS_MAX;
    if (keep) {
        decoder->next = store->decoders;
        store->decoders = decoder;
        store->decoder_count++;
    }
    pthread_mutex_unlock(&store->decoder_lock);
    if (!keep)
        pack_decoder_free(decoder);
}

// Where the record is. A record the catalog does not know is damage: somebody refers to it.
static int locate(struct catalog_conn *conn, enum record_kind kind, const struct digest *id,
                  struct chunk_location *ret_location, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    int r = chunk_lookup(conn, id, -1, ret_location, err);

    if (r < 0)
        return r;
    if (r == 0)
        return error_set(err, -ERROR_CORRUPT, "no pack holds the record %s",
                         digest_to_hex(id, hex));
    if (ret_location->record.kind != kind)
        return error_set(err, -ERROR_CORRUPT, "the record %s is of kind %d instead of %d",
                         digest_to_hex(id, hex), ret_location->record.kind, (int)kind);
    if (ret_location->record.raw_length == 0 || ret_location->record.raw_length > PACK_PAYLOAD_MAX)
        return error_set(err, -ERROR_CORRUPT, "the catalog says that %s is %" PRIu32 " bytes",
                         digest_to_hex(id, hex), ret_location->record.raw_length);
    return 0;
}

static int read_located(struct store *store, const struct chunk_location *location, bool prove,
                        void *out, struct error *err)
{
    struct pack_decoder *decoder;
    int r = decoder_take(store, &decoder, err);

    if (r < 0)
        return r;
    r = pack_read_record(store->backend, decoder, location, prove, out, err);
    decoder_give_back(store, decoder);
    return r;
}

int store_get(struct store *store, struct catalog_conn *conn, enum record_kind kind,
              const struct digest *id, bool prove, void **ret_data, size_t *ret_len,
              struct error *err)
{
    struct chunk_location location;
    AUTO_FREE void *data = NULL;
    int r;

    if (conn) {
        r = locate(conn, kind, id, &location, err);
    } else {
        AUTO(catalog_read_end) struct catalog_conn *lease = NULL;

        r = catalog_read_begin(store->catalog, &lease, err);
        if (r == 0)
            r = locate(lease, kind, id, &location, err);
    }
    if (r < 0)
        return r;
    data = malloc(location.record.raw_length);
    if (!data)
        return error_set(err, -ENOMEM, "out of memory for a record of %" PRIu32 " bytes",
                         location.record.raw_length);
    r = read_located(store, &location, prove || kind != RECORD_CHUNK, data, err);
    if (r < 0)
        return r;
    *ret_data = TAKE(data, NULL);
    *ret_len = location.record.raw_length;
    return 0;
}

int store_read_cached(struct store *store, struct catalog_conn *conn,
                      const struct chunk_request *request, chunk_cache_load_fn load,
                      struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *lease = NULL;
    struct store_load arg = {.store = store, .conn = conn};
    int r = chunk_cache_find(store->cache, request, err);

    if (r != 0)
        return r < 0 ? r : 0;
    if (!conn) {
        r = catalog_read_begin(store->catalog, &lease, err);
        if (r < 0)
            return r;
        arg.conn = lease;
    }
    return chunk_cache_read(store->cache, request, load, &arg, err);
}

static int load_chunk(const struct chunk_request *request, void *content, void *arg,
                      struct error *err)
{
    const struct store_load *load = arg;
    struct chunk_location location;
    int r = locate(load->conn, RECORD_CHUNK, request->id, &location, err);

    if (r < 0)
        return r;
    if (location.record.raw_length != request->len)
        return error_set(err, -ERROR_CORRUPT,
                         "pack %s at %" PRIu64 ": the chunk is %" PRIu32 " bytes instead of %zu",
                         location.pack_uuid, location.record.offset, location.record.raw_length,
                         request->len);
    return read_located(load->store, &location, false, content, err);
}

int store_read_chunk(struct store *store, struct catalog_conn *conn, const struct digest *id,
                     size_t len, size_t from, size_t count, void *out, struct error *err)
{
    struct chunk_request request = {
        .kind = RECORD_CHUNK,
        .id = id,
        .len = len,
        .from = from,
        .count = count,
        .out = out,
    };

    if (len == 0 || len > PACK_PAYLOAD_MAX || from > len || count > len - from)
        return error_set(err, -EINVAL, "[%zu, +%zu) is not within a chunk of %zu bytes", from,
                         count, len);
    return store_read_cached(store, conn, &request, load_chunk, err);
}
