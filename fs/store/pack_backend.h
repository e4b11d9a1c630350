// SPDX-License-Identifier: MIT
//
// Where packs are kept: the one interface through which the store reaches them. The local folder is
// the first implementation; sealed packs never change, so an object store can be another.
//
// Life of a pack: pack_backend_create() → pack_sink_append() … → pack_sink_seal() → close. A pack
// is seen by readers from seal on, and a sealed pack is durable. What a crash leaves is an *open*
// pack, which nothing refers to and which list() tells apart.
//
// Threads: a backend may be used by all threads; a sink belongs to one.
#ifndef FS_STORE_PACK_BACKEND_H
#define FS_STORE_PACK_BACKEND_H

#include "base/cleanup.h"
#include "base/error.h"
#include "catalog/types.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pack_backend;
struct pack_sink;

enum pack_file_state {
    PACK_FILE_UNKNOWN,
    PACK_FILE_OPEN,    // never sealed
    PACK_FILE_SEALED,  //
    PACK_FILE_STRANGE, // not a name this program gives; `uuid` is ""
};

struct pack_file {
    enum pack_file_state state;
    char uuid[UUID_TEXT_SIZE];
    const char *name; // for sentences: "packs/1f/1f0c….pack"; borrowed during the call
    uint64_t bytes;
};

typedef int (*pack_file_fn)(const struct pack_file *file, void *arg, struct error *err);

struct pack_backend_ops {
    int (*create)(struct pack_backend *backend, const char *uuid, struct pack_sink **ret_sink,
                  struct error *err);
    ssize_t (*read)(struct pack_backend *backend, const char *uuid, void *buf, size_t len,
                    uint64_t offset, struct error *err);
    int (*settle)(struct pack_backend *backend, const char *uuid, struct error *err);
    int (*list)(struct pack_backend *backend, pack_file_fn fn, void *arg, struct error *err);
    int (*remove)(struct pack_backend *backend, const char *uuid, enum pack_file_state state,
                  struct error *err);
    void (*close)(struct pack_backend *backend);
};

struct pack_sink_ops {
    int (*append)(struct pack_sink *sink, const void *data, size_t len, struct error *err);
    int (*seal)(struct pack_sink *sink, const void *index, size_t len, struct error *err);
    void (*close)(struct pack_sink *sink);
};

struct pack_backend {
    const struct pack_backend_ops *ops;
};

struct pack_sink {
    const struct pack_sink_ops *ops;
};

// Packs as files REPO/packs/xx/UUID.pack, xx being the first two digits of the uuid; open ones are
// UUID.open. Descriptors of sealed packs in use are kept open, at most `open_max` idle ones.
int pack_backend_open_folder(const char *repo_dir, unsigned open_max,
                             struct pack_backend **ret_backend, struct error *err);

static inline struct pack_backend *pack_backend_close(struct pack_backend *backend)
{
    if (backend)
        backend->ops->close(backend);
    return NULL;
}

// Begins an open pack. Fault point PACK_CREATE.
static inline int pack_backend_create(struct pack_backend *backend, const char *uuid,
                                      struct pack_sink **ret_sink, struct error *err)
{
    return backend->ops->create(backend, uuid, ret_sink, err);
}

// Reads up to `len` bytes of a sealed pack, fewer only at its end. Returns the count; -ENOENT when
// there is no such pack. Fault point PACK_READ.
static inline ssize_t pack_backend_read(struct pack_backend *backend, const char *uuid, void *buf,
                                        size_t len, uint64_t offset, struct error *err)
{
    return backend->ops->read(backend, uuid, buf, len, offset, err);
}

// Makes the name of a sealed pack durable, when whoever sealed it may have died before it was.
// Fault point PACK_DIRSYNC.
static inline int pack_backend_settle(struct pack_backend *backend, const char *uuid,
                                      struct error *err)
{
    return backend->ops->settle(backend, uuid, err);
}

// Calls `fn` for every file, in no order. Stops at the first error, its own or fn's.
static inline int pack_backend_list(struct pack_backend *backend, pack_file_fn fn, void *arg,
                                    struct error *err)
{
    return backend->ops->list(backend, fn, arg, err);
}

// Removes an open or sealed pack; 0 also when it is not there any more. A reader under way goes on.
// Not made durable: a pack that comes back after a power cut is found again at start-up. Fault
// point PACK_REMOVE.
static inline int pack_backend_remove(struct pack_backend *backend, const char *uuid,
                                      enum pack_file_state state, struct error *err)
{
    return backend->ops->remove(backend, uuid, state, err);
}

// Adds bytes; they are gathered and written in large pieces. Fault point PACK_APPEND before each.
static inline int pack_sink_append(struct pack_sink *sink, const void *data, size_t len,
                                   struct error *err)
{
    return sink->ops->append(sink, data, len, err);
}

// Writes what is gathered and then `index`, and makes the pack durable under its final name. Fault
// points PACK_INDEX, PACK_SYNC, PACK_RENAME, PACK_DIRSYNC. After an error the pack must not be
// believed: it may or may not be there as a sealed one.
static inline int pack_sink_seal(struct pack_sink *sink, const void *index, size_t len,
                                 struct error *err)
{
    return sink->ops->seal(sink, index, len, err);
}

// Ends the sink; a pack that was not sealed is removed. Accepts NULL.
static inline struct pack_sink *pack_sink_close(struct pack_sink *sink)
{
    if (sink)
        sink->ops->close(sink);
    return NULL;
}

DEFINE_CLEANUP(struct pack_backend *, pack_backend_close)
DEFINE_CLEANUP(struct pack_sink *, pack_sink_close)

#endif
