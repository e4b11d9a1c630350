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
    struct pins pins; // what writers rely on, for gc

    pthread_mutex_t decoder_lock;
    struct pack_decoder *decoders; // idle ones
    unsigned decoder_count;        // of them
};

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
