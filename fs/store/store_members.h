// SPDX-License-Identifier: MIT
//
// What a store is made of, for the files that are the store: store.c, store_writer.c, reconcile.c
// and the readers of maps. Everybody else sees store.h.
#ifndef FS_STORE_STORE_MEMBERS_H
#define FS_STORE_STORE_MEMBERS_H

#include "fs/store/chunk_cache.h"
#include "fs/store/pack_backend.h"
#include "fs/store/pack_reader.h"
#include "fs/store/pins.h"
#include "fs/store/store.h"

#include <pthread.h>

struct store {
    // constant while the store is open
    char *cache_dir;
    const struct repo_config *config; // borrowed
    struct catalog *catalog;          // borrowed
    uint8_t repository_uuid[16];
    uint64_t pack_bytes;
    struct pack_backend *backend;
    struct chunk_cache *cache;
    struct reserve *reserve;   // borrowed; NULL: none is kept
    store_damage_fn on_damage; // NULL: nobody wants to know
    void *on_damage_arg;
    struct pins pins; // what writers rely on, for gc

    pthread_mutex_t orphan_lock;
    struct orphan_pack *orphans; // guarded by orphan_lock

    pthread_mutex_t decoder_lock;
    struct pack_decoder *decoders; // idle ones
    unsigned decoder_count;        // of them
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

// What a load function of store_read_cached() works with.
struct store_load {
    struct store *store;
    struct catalog_conn *conn;
};

// chunk_cache_read() with a lease: `load` is called with a struct store_load whose conn is set. A
// lease is taken only when the content is not there, and always *before* the load begins, so that
// no thread can wait for a load whose loader waits for a lease.
int store_read_cached(struct store *store, struct catalog_conn *conn,
                      const struct chunk_request *request, chunk_cache_load_fn load,
                      struct error *err);

#endif
