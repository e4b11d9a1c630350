// SPDX-License-Identifier: MIT
//
// Opening a store and reading from it. Owns the pack backend, the cache of decoded content and a
// few idle decoders. Writing is store_writer.c, start-up is reconcile.c.
//
// Threads: any.
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
#define COPIES_MAX 4       // of one record that are tried
#define FRESH_LOOKS 2      // at where a record is, before it is called damaged
#define LOCATIONS_SHARE 16 // one part of the cache in so many is for where chunks are

// How a record is read.
enum {
    READ_PROVED = 1, // its identity is computed anew
    READ_QUIET = 2,  // nobody is told of damage: it is not sure yet, or nobody asked for the record
};

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
    pack_decoders_init(&store->decoders);
    pthread_mutex_init(&store->images_lock, NULL);
    pthread_mutex_init(&store->orphan_lock, NULL);
    pins_init(&store->pins);
    atomic_init(&store->looked_up, 0);
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
    if (cache_bytes == 0)
        cache_bytes = CACHE_BYTES_DEFAULT;
    r = location_cache_new(cache_bytes / LOCATIONS_SHARE, &store->locations, err);
    if (r == 0)
        r = chunk_cache_new(cache_bytes - cache_bytes / LOCATIONS_SHARE, &store->cache, err);
    if (r == 0)
        r = prefetch_new(&store->prefetch, err);
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
    prefetch_free(store->prefetch);
    pack_decoders_deinit(&store->decoders);
    pack_backend_close(store->backend);
    chunk_cache_free(store->cache);
    location_cache_free(store->locations);
    free(store->cache_dir);
    pins_deinit(&store->pins);
    while (store->orphans) {
        struct orphan_pack *orphan = store->orphans;

        store->orphans = orphan->next;
        free(orphan);
    }
    pthread_mutex_destroy(&store->images_lock);
    pthread_mutex_destroy(&store->orphan_lock);
    free(store);
    return NULL;
}

void store_set_reserve(struct store *store, struct reserve *reserve)
{
    store->reserve = reserve;
}

void store_on_damage(struct store *store, store_damage_fn fn, void *arg)
{
    store->on_damage = fn;
    store->on_damage_arg = arg;
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

// Where the record is. A record the catalog does not know is damage: somebody refers to it. Returns
// the number of copies.
static int locate(struct catalog_conn *conn, enum record_kind kind, const struct digest *id,
                  struct chunk_location copies[COPIES_MAX], struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    int n = chunk_copies(conn, id, -1, copies, COPIES_MAX, err);

    if (n == 0)
        return error_set(err, -ERROR_CORRUPT, "no pack holds the record %s",
                         digest_to_hex(id, hex));
    for (int i = 0; i < n; i++) {
        const struct chunk_row *record = &copies[i].record;

        if (record->kind != kind)
            return error_set(err, -ERROR_CORRUPT, "the record %s is of kind %d instead of %d",
                             digest_to_hex(id, hex), record->kind, (int)kind);
        if (record->raw_length == 0 || record->raw_length > PACK_PAYLOAD_MAX ||
            record->raw_length != copies[0].record.raw_length)
            return error_set(err, -ERROR_CORRUPT, "the catalog says that %s is %" PRIu32 " bytes",
                             digest_to_hex(id, hex), record->raw_length);
    }
    return n;
}

// A pack that garbage collection dropped since the lease began is missing, and nothing is damaged.
static void tell_damage(struct store *store, const struct chunk_location *location)
{
    bool dropped;

    if (!store->on_damage)
        return;
    pins_look_begin(&store->pins);
    dropped = pins_is_dropped(&store->pins, location->pack_id);
    pins_look_end(&store->pins);
    if (!dropped)
        store->on_damage(location, store->on_damage_arg);
}

static int read_located(struct store *store, struct pack_decoder *decoder,
                        const struct chunk_location *location, const void *base, unsigned how,
                        void *out, struct error *err)
{
    int r =
        pack_read_with_base(store->backend, decoder, location, base, how & READ_PROVED, out, err);

    if (r == -ERROR_CORRUPT && !(how & READ_QUIET))
        tell_damage(store, location);
    return r;
}

// The first copy that stands without a base and can be read. Copies without a base come first, so
// that none of them is passed over for room.
static int read_base_in(struct store *store, struct pack_decoder *decoder,
                        struct catalog_conn *conn, const struct digest *id, size_t len,
                        unsigned how, void *out, struct error *err)
{
    struct chunk_location copies[COPIES_MAX];
    struct error local = ERROR_INIT;
    char hex[DIGEST_HEX_SIZE];
    int n = locate(conn, RECORD_CHUNK, id, copies, err);

    if (n < 0)
        return n;
    if (copies[0].record.raw_length != len)
        return error_set(err, -ERROR_CORRUPT, "the base %s is %" PRIu32 " bytes instead of %zu",
                         digest_to_hex(id, hex), copies[0].record.raw_length, len);
    error_set(&local, -ERROR_CORRUPT, "the base %s is itself a delta", digest_to_hex(id, hex));
    for (int i = 0; i < n && local.code == -ERROR_CORRUPT; i++) {
        if (!digest_is_zero(&copies[i].record.base))
            continue;
        error_clear(&local);
        if (read_located(store, decoder, &copies[i], NULL, how & READ_QUIET, out, &local) == 0) {
            location_cache_put(store->locations, &copies[i]);
            return 0;
        }
    }
    return error_set(err, local.code, "%s", error_message(&local));
}

// Tries the place that is remembered. 1 done, 0 not: the catalog has to be asked.
static int read_base_remembered(struct store *store, struct pack_decoder *decoder,
                                const struct digest *id, size_t len, void *out)
{
    struct error ignored = ERROR_INIT;
    struct chunk_location hint;

    return location_cache_find(store->locations, RECORD_CHUNK, id, &hint) &&
           hint.record.raw_length == len && digest_is_zero(&hint.record.base) &&
           read_located(store, decoder, &hint, NULL, READ_QUIET, out, &ignored) == 0;
}

// What is cached passed its checksums, which is enough for reading and not for proving. A load
// under way is not waited for: who reads a delta may be the one that others wait for. `conn` NULL:
// only what is remembered counts, and the rest is an error.
static int load_base(struct store *store, struct pack_decoder *decoder, struct catalog_conn *conn,
                     const struct chunk_row *delta, unsigned how, void *out, struct error *err)
{
    struct chunk_request request = {.kind = RECORD_CHUNK,
                                    .id = &delta->base,
                                    .len = delta->raw_length,
                                    .count = delta->raw_length,
                                    .out = out};
    int r = how & READ_PROVED ? 0 : chunk_cache_find(store->cache, &request, err);

    if (r == 0 && !(how & READ_PROVED))
        r = read_base_remembered(store, decoder, &delta->base, delta->raw_length, out);
    if (r != 0)
        return r < 0 ? r : 0;
    if (!conn)
        return error_set(err, -ERROR_CORRUPT, "nobody remembers where the base is");
    return read_base_in(store, decoder, conn, &delta->base, delta->raw_length, how, out, err);
}

// One copy of a record, with its base when it is a delta. A base is read without one, so there is
// never a third, and one decoder does both.
static int read_delta(struct store *store, struct pack_decoder *decoder, struct catalog_conn *conn,
                      const struct chunk_location *copy, unsigned how, void *out, struct error *err)
{
    struct error local = ERROR_INIT;
    void *base;
    int r = pack_decoder_base(decoder, copy->record.raw_length, &base, err);

    if (r < 0)
        return r;
    r = load_base(store, decoder, conn, &copy->record, how, base, &local);
    if (r < 0)
        return error_set(err, r, "pack %s at %" PRIu64 ": a delta: %s", copy->pack_uuid,
                         copy->record.offset, error_message(&local));
    return read_located(store, decoder, copy, base, how, out, err);
}

static int read_copy(struct store *store, struct catalog_conn *conn,
                     const struct chunk_location *copy, unsigned how, void *out, struct error *err)
{
    struct pack_decoder *decoder;
    int r = pack_decoders_take(&store->decoders, &decoder, err);

    if (r < 0)
        return r;
    r = digest_is_zero(&copy->record.base) ? read_located(store, decoder, copy, NULL, how, out, err)
                                           : read_delta(store, decoder, conn, copy, how, out, err);
    pack_decoders_give_back(&store->decoders, decoder);
    return r;
}

// What is wanted, and where its content goes: to `out`, which has room for `len` bytes, or, when
// that is NULL, to a malloc'ed buffer of whatever length the record has.
struct wanted {
    enum record_kind kind;
    const struct digest *id;
    unsigned how;
    void *out;
    size_t len;
};

static int prepare(struct wanted *wanted, size_t raw_length, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];

    if (wanted->out && wanted->len != raw_length)
        return error_set(err, -ERROR_CORRUPT, "the chunk %s is %zu bytes instead of %zu",
                         digest_to_hex(wanted->id, hex), raw_length, wanted->len);
    if (wanted->out)
        return 0;
    wanted->out = malloc(raw_length);
    wanted->len = raw_length;
    return wanted->out
               ? 0
               : error_set(err, -ENOMEM, "out of memory for a record of %zu bytes", raw_length);
}

// The first copy that can be read. An error is that of the best copy.
static int read_a_copy(struct store *store, struct catalog_conn *conn, struct wanted *wanted,
                       struct error *err)
{
    struct chunk_location copies[COPIES_MAX];
    struct error local = ERROR_INIT;
    int n = locate(conn, wanted->kind, wanted->id, copies, err);
    int r = n < 0 ? n : prepare(wanted, copies[0].record.raw_length, err);

    if (r < 0)
        return r;
    r = read_copy(store, conn, &copies[0], wanted->how, wanted->out, err);
    if (r == 0)
        location_cache_put(store->locations, &copies[0]);
    for (int i = 1; r == -ERROR_CORRUPT && i < n; i++) {
        error_clear(&local);
        int again = read_copy(store, conn, &copies[i], wanted->how, wanted->out, &local);
        if (again == 0) {
            location_cache_put(store->locations, &copies[i]);
            error_clear(err);
            r = 0;
        }
    }
    return r;
}

// Tries the place that is remembered, and says nothing when the record is not there any more: it
// may have moved. True when that was enough.
static bool read_remembered(struct store *store, struct wanted *wanted)
{
    struct error ignored = ERROR_INIT;
    struct chunk_location hint;
    void *given = wanted->out;

    if (!location_cache_find(store->locations, (uint8_t)wanted->kind, wanted->id, &hint) ||
        prepare(wanted, hint.record.raw_length, &ignored) < 0)
        return false;
    if (read_copy(store, NULL, &hint, wanted->how | READ_QUIET, wanted->out, &ignored) == 0)
        return true;
    if (!given) {
        free(wanted->out);
        wanted->out = NULL;
    }
    return false;
}

// What cannot be read may have moved since the lease began: garbage collection drops a pack when
// its records stand elsewhere. So a fresh look is taken before anything is called damage. Leases
// may nest: readers are made as they are needed.
static int read_wanted(struct store *store, struct catalog_conn *conn, struct wanted *wanted,
                       struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *fresh = NULL;
    struct error local = ERROR_INIT;
    int r = -ERROR_CORRUPT;

    if (conn)
        r = read_a_copy(store, conn, wanted, &local);
    for (int look = 0; r == -ERROR_CORRUPT && look < FRESH_LOOKS; look++) {
        error_clear(&local);
        catalog_read_end(fresh);
        fresh = NULL;
        r = catalog_read_begin(store->catalog, &fresh, &local);
        if (r == 0)
            r = read_a_copy(store, fresh, wanted, &local);
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}

int store_get(struct store *store, struct catalog_conn *conn, enum record_kind kind,
              const struct digest *id, bool prove, void **ret_data, size_t *ret_len,
              struct error *err)
{
    struct wanted wanted = {
        .kind = kind, .id = id, .how = prove || kind != RECORD_CHUNK ? READ_PROVED : 0};
    int r = read_wanted(store, conn, &wanted, err);

    if (r < 0) {
        free(wanted.out);
        return r;
    }
    *ret_data = wanted.out;
    *ret_len = wanted.len;
    return 0;
}

static int read_base_alone(struct store *store, struct catalog_conn *conn, const struct digest *id,
                           size_t len, void *out, struct error *err)
{
    struct pack_decoder *decoder;
    int r = pack_decoders_take(&store->decoders, &decoder, err);

    if (r < 0)
        return r;
    r = read_base_in(store, decoder, conn, id, len, 0, out, err);
    pack_decoders_give_back(&store->decoders, decoder);
    return r;
}

int store_read_base(struct store *store, struct catalog_conn *conn, const struct digest *id,
                    size_t len, void *out, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *fresh = NULL;
    struct error local = ERROR_INIT;
    int r = -ERROR_CORRUPT;

    if (conn)
        return read_base_alone(store, conn, id, len, out, err);
    for (int look = 0; r == -ERROR_CORRUPT && look < FRESH_LOOKS; look++) {
        error_clear(&local);
        catalog_read_end(fresh);
        fresh = NULL;
        r = catalog_read_begin(store->catalog, &fresh, &local);
        if (r == 0)
            r = read_base_alone(store, fresh, id, len, out, &local);
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}

int store_read_cached(struct store *store, struct catalog_conn *conn,
                      const struct chunk_request *request, chunk_cache_load_fn load,
                      struct error *err)
{
    struct store_load arg = {.store = store, .conn = conn};

    return chunk_cache_read(store->cache, request, load, &arg, err);
}

int store_view_cached(struct store *store, const struct chunk_request *request,
                      chunk_cache_load_fn load, struct chunk_view *ret_view, struct error *err)
{
    struct store_load arg = {.store = store};

    return chunk_cache_view(store->cache, request, load, &arg, ret_view, err);
}

int store_load_node(const struct store_load *load, const struct digest *id, void **ret_data,
                    size_t *ret_len, struct error *err)
{
    struct wanted wanted = {.kind = RECORD_MAP, .id = id, .how = READ_PROVED};

    if (!read_remembered(load->store, &wanted))
        return store_get(load->store, load->conn, RECORD_MAP, id, true, ret_data, ret_len, err);
    *ret_data = wanted.out;
    *ret_len = wanted.len;
    return 0;
}

static int load_chunk(const struct chunk_request *request, void *content, void *arg,
                      struct error *err)
{
    struct store_load *load = arg;
    struct wanted wanted = {.kind = RECORD_CHUNK,
                            .id = request->id,
                            .how = load->ahead ? READ_QUIET : 0,
                            .out = content,
                            .len = request->len};

    if (read_remembered(load->store, &wanted))
        return 0;
    load->looked_up = true;
    if (!load->ahead)
        atomic_fetch_add(&load->store->looked_up, 1);
    return read_wanted(load->store, load->conn, &wanted, err);
}

int store_view_chunk(struct store *store, struct catalog_conn *conn, const struct digest *id,
                     size_t len, size_t from, size_t count, void *out, struct chunk_view *ret_view,
                     bool *ret_looked_up, struct error *err)
{
    struct store_load load = {.store = store, .conn = conn};
    struct chunk_request request = {
        .kind = RECORD_CHUNK,
        .id = id,
        .len = len,
        .from = from,
        .count = count,
        .out = out,
    };
    int r;

    if (len == 0 || len > PACK_PAYLOAD_MAX || from > len || count > len - from)
        return error_set(err, -EINVAL, "[%zu, +%zu) is not within a chunk of %zu bytes", from,
                         count, len);
    r = chunk_cache_view(store->cache, &request, load_chunk, &load, ret_view, err);
    if (r == 0 && ret_looked_up)
        *ret_looked_up = load.looked_up;
    return r;
}

void store_release_view(struct store *store, struct chunk_view *view)
{
    chunk_view_release(store->cache, view);
}

int store_read_chunk(struct store *store, struct catalog_conn *conn, const struct digest *id,
                     size_t len, size_t from, size_t count, void *out, struct error *err)
{
    struct chunk_view view;
    int r = store_view_chunk(store, conn, id, len, from, count, out, &view, NULL, err);

    if (r < 0)
        return r;
    if (view.data != out)
        memcpy(out, view.data, count);
    store_release_view(store, &view);
    return 0;
}

// Looks one chunk up and remembers it, and its base when it is a delta.
static void locate_one(struct store *store, struct catalog_conn *conn, const struct digest *id,
                       unsigned bases)
{
    struct error ignored = ERROR_INIT;
    struct chunk_location copies[COPIES_MAX];

    if (locate(conn, RECORD_CHUNK, id, copies, &ignored) < 1)
        return;
    location_cache_put(store->locations, &copies[0]);
    if (bases > 0 && !digest_is_zero(&copies[0].record.base))
        locate_one(store, conn, &copies[0].record.base, bases - 1);
}

void store_locate(struct store *store, const struct digest *ids, size_t count)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct error ignored = ERROR_INIT;

    for (size_t i = 0; i < count; i++) {
        if (digest_is_zero(&ids[i]) || location_cache_has(store->locations, RECORD_CHUNK, &ids[i]))
            continue;
        if (!conn && catalog_read_begin(store->catalog, &conn, &ignored) < 0)
            return;
        locate_one(store, conn, &ids[i], 1);
    }
}

void store_load_ahead(struct store *store, const struct digest *id, size_t len, const void *owner)
{
    struct store_load load = {.store = store, .ahead = true};
    struct chunk_request request = {.kind = RECORD_CHUNK, .id = id, .len = len};
    struct error ignored = ERROR_INIT;

    if (len > 0 && len <= PACK_PAYLOAD_MAX)
        chunk_cache_load_ahead(store->cache, &request, owner, load_chunk, &load, &ignored);
}

uint64_t store_looked_up(const struct store *store)
{
    return atomic_load(&store->looked_up);
}

struct chunk_cache_counts store_cache_counts(struct store *store)
{
    return chunk_cache_counts(store->cache);
}
