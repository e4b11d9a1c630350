// SPDX-License-Identifier: MIT
//
// Packs in a local folder. Owns the layout of REPO/packs, the buffer of open packs, and a bounded
// set of open descriptors of sealed packs.
//
// Threads: all of them read; each writer has a sink of its own. `lock` guards the descriptor set
// only and is never held during I/O: a reader takes a counted reference under it, reads, and gives
// the reference back, so that an eviction cannot close a descriptor in use.
#include "fs/store/pack_backend.h"

#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>
#include <uuid/uuid.h>

#define SINK_BUFFER_SIZE (1024u * 1024)
#define WRITE_BACK_STEP (8u * 1024 * 1024)
#define NAME_ROOM 64 // "packs/xx/" UUID ".pack" NUL

struct open_pack {
    struct open_pack *prev, *next;
    char uuid[UUID_TEXT_SIZE];
    char name[NAME_ROOM]; // for sentences
    int fd;
    unsigned refs; // one of the set while it is in it, one a reader
};

struct folder {
    struct pack_backend base;
    int root_fd; // REPO
    char *packs_path;
    unsigned open_max;

    pthread_mutex_t lock;
    struct open_pack *open; // last used first
    unsigned open_count;
    uint64_t removals; // packs removed so far
};

struct folder_sink {
    struct pack_sink base;
    struct folder *folder;
    char uuid[UUID_TEXT_SIZE];
    int fd;
    bool sealed;
    uint64_t written;    // bytes given to the kernel
    uint64_t write_back; // bytes whose write-back was started
    size_t gathered;     // bytes in buffer
    uint8_t buffer[SINK_BUFFER_SIZE];
};

static void pack_name(const char *uuid, enum pack_file_state state, char name[NAME_ROOM])
{
    snprintf(name, NAME_ROOM, "packs/%.2s/%.36s.%s", uuid, uuid,
             state == PACK_FILE_OPEN ? "open" : "pack");
}

static int folder_open_at(struct folder *folder, const char *name, int flags, struct error *err)
{
    int fd = io_openat(folder->root_fd, name, flags | O_NOFOLLOW, 0600);

    return fd < 0 ? error_set_errno(err, -errno, "cannot open %s", name) : fd;
}

// --- open packs

// Makes packs/xx when it is not there yet. Folders that a crashed process made are made durable by
// pack_backend_open_folder(), so one that is there can be relied on.
static int make_folder(struct folder *folder, const char *uuid, struct error *err)
{
    char name[NAME_ROOM];

    snprintf(name, sizeof(name), "packs/%.2s", uuid);
    if (mkdirat(folder->root_fd, name, 0700) == 0)
        return io_fsync_dir(folder->packs_path, err);
    return errno == EEXIST ? 0 : error_set_errno(err, -errno, "cannot make %s", name);
}

static const struct pack_sink_ops folder_sink_ops;

static int folder_create(struct pack_backend *backend, const char *uuid,
                         struct pack_sink **ret_sink, struct error *err)
{
    struct folder *folder = (struct folder *)backend;
    AUTO_FREE struct folder_sink *sink = NULL;
    char name[NAME_ROOM];
    int r = fault_hit(FAULT_PACK_CREATE, err);

    if (r < 0)
        return r;
    sink = malloc(sizeof(*sink));
    if (!sink)
        return error_set(err, -ENOMEM, "out of memory for an open pack");
    memset(sink, 0, offsetof(struct folder_sink, buffer));
    sink->base.ops = &folder_sink_ops;
    sink->folder = folder;
    snprintf(sink->uuid, sizeof(sink->uuid), "%s", uuid);
    r = make_folder(folder, uuid, err);
    if (r < 0)
        return r;
    pack_name(uuid, PACK_FILE_OPEN, name);
    sink->fd = folder_open_at(folder, name, O_WRONLY | O_CREAT | O_EXCL, err);
    if (sink->fd < 0)
        return sink->fd;
    *ret_sink = &TAKE(sink, NULL)->base;
    return 0;
}

static int sink_write(struct folder_sink *sink, const void *data, size_t len, struct error *err)
{
    char name[NAME_ROOM];
    int r = fault_hit(FAULT_PACK_APPEND, err);

    if (r < 0)
        return r;
    pack_name(sink->uuid, PACK_FILE_OPEN, name);
    r = io_write_at(sink->fd, data, len, sink->written, name, err);
    if (r < 0)
        return r;
    sink->written += len;
    if (sink->written - sink->write_back >= WRITE_BACK_STEP) {
        // Starts write-back early, so that the flush at seal finds little left to do. Its result
        // does not matter: a write-back that fails is reported by that flush.
        sync_file_range(sink->fd, (off64_t)sink->write_back,
                        (off64_t)(sink->written - sink->write_back), SYNC_FILE_RANGE_WRITE);
        sink->write_back = sink->written;
    }
    return 0;
}

static int sink_flush(struct folder_sink *sink, struct error *err)
{
    int r;

    if (sink->gathered == 0)
        return 0;
    r = sink_write(sink, sink->buffer, sink->gathered, err);
    if (r == 0)
        sink->gathered = 0;
    return r;
}

static int folder_append(struct pack_sink *base, const void *data, size_t len, struct error *err)
{
    struct folder_sink *sink = (struct folder_sink *)base;
    const uint8_t *from = data;

    while (len > 0) {
        size_t room = sizeof(sink->buffer) - sink->gathered;
        size_t part = len < room ? len : room;

        memcpy(sink->buffer + sink->gathered, from, part);
        sink->gathered += part;
        from += part;
        len -= part;
        if (sink->gathered == sizeof(sink->buffer)) {
            int r = sink_flush(sink, err);

            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int sink_rename(struct folder_sink *sink, struct error *err)
{
    char open_name[NAME_ROOM], name[NAME_ROOM];
    int r = fault_hit(FAULT_PACK_RENAME, err);

    if (r < 0)
        return r;
    pack_name(sink->uuid, PACK_FILE_OPEN, open_name);
    pack_name(sink->uuid, PACK_FILE_SEALED, name);
    if (renameat(sink->folder->root_fd, open_name, sink->folder->root_fd, name) < 0)
        return error_set_errno(err, -errno, "cannot rename %s to %s", open_name, name);
    sink->sealed = true;
    return 0;
}

static int folder_settle(struct pack_backend *backend, const char *uuid, struct error *err)
{
    struct folder *folder = (struct folder *)backend;
    char name[NAME_ROOM];
    AUTO_CLOSE int fd = -1;
    int r = fault_hit(FAULT_PACK_DIRSYNC, err);

    if (r < 0)
        return r;
    snprintf(name, sizeof(name), "packs/%.2s", uuid);
    fd = folder_open_at(folder, name, O_RDONLY | O_DIRECTORY, err);
    return fd < 0 ? fd : io_fsync(fd, name, err);
}

static int folder_seal(struct pack_sink *base, const void *index, size_t len, struct error *err)
{
    struct folder_sink *sink = (struct folder_sink *)base;
    char name[NAME_ROOM];
    int r = sink_flush(sink, err);

    pack_name(sink->uuid, PACK_FILE_OPEN, name);
    if (r == 0)
        r = fault_hit(FAULT_PACK_INDEX, err);
    if (r == 0)
        r = sink_write(sink, index, len, err);
    if (r == 0)
        r = fault_hit(FAULT_PACK_SYNC, err);
    if (r == 0)
        r = io_fdatasync(sink->fd, name, err);
    if (r == 0)
        r = sink_rename(sink, err);
    if (r == 0)
        r = folder_settle(&sink->folder->base, sink->uuid, err);
    return r;
}

static void folder_sink_close(struct pack_sink *base)
{
    struct folder_sink *sink = (struct folder_sink *)base;
    char name[NAME_ROOM];

    close(sink->fd);
    if (!sink->sealed) {
        pack_name(sink->uuid, PACK_FILE_OPEN, name);
        if (unlinkat(sink->folder->root_fd, name, 0) < 0 && errno != ENOENT)
            log_warning("cannot remove %s, the next start will: %s", name, strerror(errno));
    }
    free(sink);
}

static const struct pack_sink_ops folder_sink_ops = {
    .append = folder_append,
    .seal = folder_seal,
    .close = folder_sink_close,
};

// --- sealed packs

static void open_pack_unref(struct open_pack *pack) // lock held
{
    if (--pack->refs > 0)
        return;
    close(pack->fd);
    free(pack);
}

static void set_drop(struct folder *folder, struct open_pack *pack) // lock held
{
    DL_DELETE(folder->open, pack);
    folder->open_count--;
    open_pack_unref(pack);
}

// Borrowed; NULL when it is not in the set. The set is small and the last used come first.
static struct open_pack *set_find(struct folder *folder, const char *uuid) // lock held
{
    struct open_pack *pack;

    DL_FOREACH(folder->open, pack)
    {
        if (strcmp(pack->uuid, uuid) == 0)
            return pack;
    }
    return NULL;
}

// A reference of the caller's own, or NULL.
static struct open_pack *set_get(struct folder *folder, const char *uuid) // lock held
{
    struct open_pack *pack = set_find(folder, uuid);

    if (!pack)
        return NULL;
    DL_DELETE(folder->open, pack);
    DL_PREPEND(folder->open, pack);
    pack->refs++;
    return pack;
}

static void set_add(struct folder *folder, struct open_pack *pack) // lock held
{
    if (set_find(folder, pack->uuid))
        return;
    DL_PREPEND(folder->open, pack);
    folder->open_count++;
    pack->refs++;
    if (folder->open_count > folder->open_max)
        set_drop(folder, folder->open->prev); // the head's prev is the tail
}

static int open_pack_get(struct folder *folder, const char *uuid, struct open_pack **ret_pack,
                         struct error *err)
{
    struct open_pack *pack;
    uint64_t removals;

    pthread_mutex_lock(&folder->lock);
    pack = set_get(folder, uuid);
    removals = folder->removals;
    pthread_mutex_unlock(&folder->lock);
    if (pack) {
        *ret_pack = pack;
        return 0;
    }

    pack = calloc(1, sizeof(*pack));
    if (!pack)
        return error_set(err, -ENOMEM, "out of memory for an open pack");
    snprintf(pack->uuid, sizeof(pack->uuid), "%s", uuid);
    pack->refs = 1;
    pack_name(uuid, PACK_FILE_SEALED, pack->name);
    pack->fd = folder_open_at(folder, pack->name, O_RDONLY, err);
    if (pack->fd < 0) {
        int r = pack->fd;

        free(pack);
        return r;
    }
    pthread_mutex_lock(&folder->lock);
    // One that was removed meanwhile must not be kept: its space would not come back.
    if (folder->removals == removals)
        set_add(folder, pack);
    pthread_mutex_unlock(&folder->lock);
    *ret_pack = pack;
    return 0;
}

static ssize_t folder_read(struct pack_backend *backend, const char *uuid, void *buf, size_t len,
                           uint64_t offset, struct error *err)
{
    struct folder *folder = (struct folder *)backend;
    struct open_pack *pack = NULL;
    ssize_t n;
    int r = fault_hit(FAULT_PACK_READ, err);

    if (r < 0)
        return r;
    r = open_pack_get(folder, uuid, &pack, err);
    if (r < 0)
        return r;
    n = io_read_up_to(pack->fd, buf, len, offset, pack->name, err);
    pthread_mutex_lock(&folder->lock);
    open_pack_unref(pack);
    pthread_mutex_unlock(&folder->lock);
    return n;
}

static int folder_remove(struct pack_backend *backend, const char *uuid, enum pack_file_state state,
                         struct error *err)
{
    struct folder *folder = (struct folder *)backend;
    struct open_pack *pack;
    char name[NAME_ROOM];
    int r = fault_hit(FAULT_PACK_REMOVE, err);

    if (r < 0)
        return r;
    pack_name(uuid, state, name);
    if (unlinkat(folder->root_fd, name, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, -errno, "cannot remove %s", name);
    pthread_mutex_lock(&folder->lock);
    folder->removals++;
    pack = set_find(folder, uuid);
    if (pack)
        set_drop(folder, pack);
    pthread_mutex_unlock(&folder->lock);
    return 0;
}

// --- listing

static int open_folder(struct folder *folder, const char *name, DIR **ret_dir, struct error *err)
{
    AUTO_CLOSE int fd = folder_open_at(folder, name, O_RDONLY | O_DIRECTORY, err);
    DIR *dir;

    if (fd < 0)
        return fd;
    dir = fdopendir(fd);
    if (!dir)
        return error_set_errno(err, -errno, "cannot list %s", name);
    fd = -1; // the DIR's now
    *ret_dir = dir;
    return 0;
}

static void close_folder_at(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

#define AUTO_CLOSEDIR __attribute__((cleanup(close_folder_at)))

// The next name but "." and "..". NULL at the end and, with *ret_code set, on an error.
static const char *next_name(DIR *dir, const char *folder_name, int *ret_code, struct error *err)
{
    struct dirent *entry;

    do {
        errno = 0;
        entry = readdir(dir);
    } while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    *ret_code = 0;
    if (!entry && errno != 0)
        *ret_code = error_set_errno(err, -errno, "cannot list %s", folder_name);
    return entry ? entry->d_name : NULL;
}

// "UUID.pack" or "UUID.open", in the folder its first two digits name.
static enum pack_file_state classify(const char *shard, const char *name, char uuid[UUID_TEXT_SIZE])
{
    uuid_t parsed;
    char canonical[UUID_TEXT_SIZE];

    uuid[0] = '\0';
    if (strlen(name) != 36 + 5 || strncmp(name, shard, 2) != 0)
        return PACK_FILE_STRANGE;
    if (uuid_parse_range(name, name + 36, parsed) != 0)
        return PACK_FILE_STRANGE;
    uuid_unparse_lower(parsed, canonical);
    if (strncmp(canonical, name, 36) != 0)
        return PACK_FILE_STRANGE;
    if (strcmp(name + 36, ".pack") != 0 && strcmp(name + 36, ".open") != 0)
        return PACK_FILE_STRANGE;
    memcpy(uuid, canonical, UUID_TEXT_SIZE);
    return name[37] == 'p' ? PACK_FILE_SEALED : PACK_FILE_OPEN;
}

static int list_shard(struct folder *folder, const char *shard, pack_file_fn fn, void *arg,
                      struct error *err)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    char shard_name[NAME_ROOM], path[sizeof("packs/xx/") + NAME_MAX];
    const char *name;
    struct stat st;
    int r;

    snprintf(shard_name, sizeof(shard_name), "packs/%.2s", shard);
    r = open_folder(folder, shard_name, &dir, err);
    if (r < 0)
        return r;
    while ((name = next_name(dir, shard_name, &r, err)) != NULL) {
        struct pack_file file = {.name = path};

        snprintf(path, sizeof(path), "%s/%s", shard_name, name);
        if (fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return error_set_errno(err, -errno, "cannot look at %s", path);
        file.state = S_ISREG(st.st_mode) ? classify(shard, name, file.uuid) : PACK_FILE_STRANGE;
        file.bytes = (uint64_t)st.st_size;
        r = fn(&file, arg, err);
        if (r != 0)
            return r;
    }
    return r;
}

// Is `name` in packs/ a folder of packs, by name and by type?
static bool is_shard(DIR *packs, const char *name)
{
    struct stat st;

    return strlen(name) == 2 && isxdigit((unsigned char)name[0]) &&
           isxdigit((unsigned char)name[1]) &&
           (fstatat(dirfd(packs), name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode));
}

static int folder_list(struct pack_backend *backend, pack_file_fn fn, void *arg, struct error *err)
{
    struct folder *folder = (struct folder *)backend;
    AUTO_CLOSEDIR DIR *dir = NULL;
    char path[sizeof("packs/") + NAME_MAX];
    const char *name;
    int r = open_folder(folder, "packs", &dir, err);

    if (r < 0)
        return r;
    while ((name = next_name(dir, "packs", &r, err)) != NULL) {
        struct pack_file strange = {.state = PACK_FILE_STRANGE, .name = path};

        snprintf(path, sizeof(path), "packs/%s", name);
        r = is_shard(dir, name) ? list_shard(folder, name, fn, arg, err) : fn(&strange, arg, err);
        if (r != 0)
            return r;
    }
    return r;
}

// --- the backend

static void folder_close(struct pack_backend *backend)
{
    struct folder *folder = (struct folder *)backend;

    while (folder->open)
        set_drop(folder, folder->open);
    pthread_mutex_destroy(&folder->lock);
    free(folder->packs_path);
    close(folder->root_fd);
    free(folder);
}

static const struct pack_backend_ops folder_ops = {
    .create = folder_create,
    .read = folder_read,
    .settle = folder_settle,
    .list = folder_list,
    .remove = folder_remove,
    .close = folder_close,
};

int pack_backend_open_folder(const char *repo_dir, unsigned open_max,
                             struct pack_backend **ret_backend, struct error *err)
{
    struct folder *folder = calloc(1, sizeof(*folder));
    int r;

    if (!folder)
        return error_set(err, -ENOMEM, "out of memory for the packs' folder");
    folder->base.ops = &folder_ops;
    folder->open_max = open_max > 0 ? open_max : 1;
    pthread_mutex_init(&folder->lock, NULL);
    folder->root_fd = io_openat(AT_FDCWD, repo_dir, O_RDONLY | O_DIRECTORY, 0);
    if (folder->root_fd < 0) {
        r = error_set_errno(err, -errno, "cannot open %s", repo_dir);
        goto fail;
    }
    if (asprintf(&folder->packs_path, "%s/packs", repo_dir) < 0) {
        folder->packs_path = NULL;
        r = error_set(err, -ENOMEM, "out of memory for the packs' folder");
        goto fail;
    }
    r = io_fsync_dir(folder->packs_path, err);
    if (r < 0)
        goto fail;
    *ret_backend = &folder->base;
    return 0;
fail:
    if (folder->root_fd >= 0)
        close(folder->root_fd);
    free(folder->packs_path);
    pthread_mutex_destroy(&folder->lock);
    free(folder);
    return r;
}
