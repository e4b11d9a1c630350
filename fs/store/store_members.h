// SPDX-License-Identifier: MIT
//
// What a store is made of, for the files that are the store: store.c, store_writer.c, reconcile.c
// and the readers of maps. Everybody else sees store.h.
#ifndef FS_STORE_STORE_MEMBERS_H
#define FS_STORE_STORE_MEMBERS_H

#include "fs/store/chunk_cache.h"
#include "fs/store/location_cache.h"
#include "fs/store/pack_backend.h"
#include "fs/store/pack_reader.h"
#include "fs/store/pins.h"
#include "fs/store/prefetch.h"
#include "fs/store/store.h"

#include <pthread.h>
#include <stdatomic.h>

struct store {
    // constant while the store is open
    char *cache_dir;
    const struct repo_config *config; // borrowed
    struct catalog *catalog;          // borrowed
    uint8_t repository_uuid[16];
    uint64_t pack_bytes;
    struct pack_backend *backend;
    struct chunk_cache *cache;
    struct location_cache *locations; // where chunks and map nodes were found last: hints
    struct prefetch *prefetch;
    atomic_uint_fast64_t looked_up; // chunks that the catalog was asked for while a reader waited
    struct reserve *reserve;        // borrowed; NULL: none is kept
    store_damage_fn on_damage;      // NULL: nobody wants to know
    void *on_damage_arg;
    struct pins pins; // what writers rely on, for gc

    pthread_mutex_t images_lock;
    struct open_image *images; // guarded by images_lock

    pthread_mutex_t orphan_lock;
    struct orphan_pack *orphans; // guarded by orphan_lock

    struct pack_decoders decoders; // idle ones; has a lock of its own
};

// A map that somebody reads: what it refers to stays, also when its snapshot is forgotten
// meanwhile. In the list before image_open() returns.
struct open_image {
    struct digest root;
    uint64_t capacity;
    uint32_t chunk_size;
    struct open_image *prev, *next;
};

// A sealed pack of this process whose commit failed. Its file must stay, for the commit may come
// through after a crash; until the catalog has settled that it is nobody's.
struct orphan_pack {
    struct orphan_pack *next;
    char uuid[UUID_TEXT_SIZE];
    uint64_t bytes;
};

// reconcile.c: notes one (out of memory: the next start finds it all the same), and adopts them as
// a start would, so that garbage collection knows of what is in them.
void store_note_orphan(struct store *store, const char *uuid, uint64_t bytes);
int store_adopt_orphans(struct store *store, struct error *err);

// What a load function of the cache works with.
struct store_load {
    struct store *store;
    struct catalog_conn *conn; // NULL: none is held
    bool ahead;                // of every reader: tells nobody of damage
    bool looked_up;            // set by the load: the catalog was asked
};

// chunk_cache_read() with `load`, which is called with a struct store_load. No thread waits for a
// read lease (catalog_read_begin() makes as many readers as it takes), so a load may take one.
int store_read_cached(struct store *store, struct catalog_conn *conn,
                      const struct chunk_request *request, chunk_cache_load_fn load,
                      struct error *err);

// As store_read_cached() without a lease, but copies nothing: *ret_view stands until
// store_release_view(). Not for whole chunks.
int store_view_cached(struct store *store, const struct chunk_request *request,
                      chunk_cache_load_fn load, struct chunk_view *ret_view, struct error *err);

// store_get() of a map node for a load function: its place may be remembered.
int store_load_node(const struct store_load *load, const struct digest *id, void **ret_data,
                    size_t *ret_len, struct error *err);

#endif
