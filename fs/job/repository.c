// SPDX-License-Identifier: MIT
//
// Making, opening and closing a repository folder. `config` is the last thing init writes and the
// first that open reads, so a folder either is a whole repository or is none.
#include "fs/job/repository.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"
#include "catalog/context.h"
#include "catalog/pack_index.h"
#include "fs/job/retention.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const own_names[] = {"catalog.db",         "catalog.db-wal", "catalog.db-shm",
                                        "catalog.db-journal", "config.tmp",     "lock"};
static const char *const own_folders[] = {"packs", "cache"};

static int path_join(const char *dir, const char *name, char **ret_path, struct error *err)
{
    if (asprintf(ret_path, "%s/%s", dir, name) < 0) {
        *ret_path = NULL;
        return error_set(err, -ENOMEM, "out of memory");
    }
    return 0;
}

static bool is_own_name(const char *name)
{
    for (size_t i = 0; i < sizeof(own_names) / sizeof(own_names[0]); i++)
        if (strcmp(name, own_names[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof(own_folders) / sizeof(own_folders[0]); i++)
        if (strcmp(name, own_folders[i]) == 0)
            return true;
    return false;
}

// Empty, or holding nothing but what an init that was interrupted before its last step leaves:
// those names, folders empty.
static int check_empty(const char *dir, bool *ret_leftovers, struct error *err)
{
    bool leftovers = false;
    int r = 0;
    DIR *stream = io_opendir(dir);

    if (!stream)
        return error_set_errno(err, -errno, "cannot open %s", dir);
    for (struct dirent *entry; r == 0 && (entry = readdir(stream));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (strcmp(entry->d_name, "config") == 0)
            r = error_set(err, -EEXIST, "%s is a backtree repository already", dir);
        else if (!is_own_name(entry->d_name))
            r = error_set(err, -ENOTEMPTY, "%s is not empty: it holds %s", dir, entry->d_name);
        leftovers = true;
    }
    closedir(stream);
    if (r == 0)
        *ret_leftovers = leftovers;
    return r;
}

// Takes away what init makes, in a folder without config. Folders that are not empty stay, and are
// then an error.
static int remove_unfinished(const char *dir, struct error *err)
{
    for (size_t i = 0; i < sizeof(own_folders) / sizeof(own_folders[0]); i++) {
        AUTO_FREE char *path = NULL;
        int r = path_join(dir, own_folders[i], &path, err);
        if (r < 0)
            return r;
        if (rmdir(path) < 0 && errno != ENOENT)
            return error_set_errno(err, -errno, "cannot make a repository over %s", path);
    }
    for (size_t i = 0; i < sizeof(own_names) / sizeof(own_names[0]); i++) {
        AUTO_FREE char *path = NULL;
        int r = path_join(dir, own_names[i], &path, err);
        if (r < 0)
            return r;
        if (unlink(path) < 0 && errno != ENOENT)
            return error_set_errno(err, -errno, "cannot remove %s", path);
    }
    return 0;
}

static int write_config(const char *dir, const struct repo_config *config, struct error *err)
{
    AUTO_FREE char *path = NULL;
    AUTO_FREE char *text = repo_config_format(config);

    if (!text)
        return error_set(err, -ENOMEM, "out of memory");
    int r = path_join(dir, "config", &path, err);
    if (r < 0)
        return r;
    r = fault_hit(FAULT_INIT_CONFIG, err);
    if (r < 0)
        return r;
    // The fingerprint secret must not be readable by others.
    return io_replace_file(path, text, strlen(text), 0600, err);
}

static int create_catalog(const char *dir, const struct repo_config *config, struct error *err)
{
    AUTO_FREE char *path = NULL;
    int r = path_join(dir, "catalog.db", &path, err);
    if (r < 0)
        return r;
    return catalog_create(path, config->uuid, err);
}

static int write_retention(struct catalog *catalog, const char *words, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(catalog, &conn, err);

    if (r == 0)
        r = context_set_default_retention(conn, words, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static int set_retention(const char *dir, const struct repo_config *config, struct error *err)
{
    AUTO_FREE char *path = NULL;
    struct catalog *catalog = NULL;
    int r = path_join(dir, "catalog.db", &path, err);

    if (r == 0)
        r = catalog_open(path, CATALOG_OWNER, config->uuid, &catalog, err);
    if (r < 0)
        return r;
    r = write_retention(catalog, config->retention, err);
    catalog_close(catalog);
    return r;
}

static int sync_parent(const char *dir, struct error *err)
{
    AUTO_FREE char *parent = NULL;
    int r = path_join(dir, "..", &parent, err);
    if (r < 0)
        return r;
    return io_fsync_dir(parent, err);
}

static int fill_folder(const char *dir, const struct repo_config *config, struct error *err)
{
    int lock_fd = -1;
    int r = repo_lock_acquire(dir, "init", NULL, &lock_fd, NULL, err);
    if (r < 0)
        return r;
    r = store_create(dir, err);
    if (r == 0)
        r = create_catalog(dir, config, err);
    if (r == 0)
        r = set_retention(dir, config, err);
    if (r == 0)
        r = write_config(dir, config, err);
    if (r == 0)
        r = sync_parent(dir, err);
    repo_lock_release(lock_fd);
    return r;
}

static int choose(const struct repository_choices *choices, struct repo_config *config,
                  struct error *err)
{
    uint32_t chunk_size = choices->chunk_size ? choices->chunk_size : CHUNK_SIZE_DEFAULT;
    int level = choices->compression_level ? choices->compression_level : COMPRESSION_LEVEL_DEFAULT;
    const char *retention = choices->retention ? choices->retention : RETENTION_DEFAULT;
    struct retention_policy policy;
    int r = repo_config_init(config, chunk_size, level, err);

    if (r == 0)
        r = retention_parse(retention, strlen(retention), &policy, err);
    if (r < 0)
        return r;
    config->deltas = !choices->no_deltas;
    retention_format(&policy, config->retention);
    return 0;
}

int repository_init(const char *dir, const struct repository_choices *choices, struct error *err)
{
    struct repo_config config;
    bool leftovers = false, made = false;
    int r = choose(choices, &config, err);

    if (r == 0 && dir[0] == '\0')
        r = error_set(err, -EINVAL, "no folder is named");
    if (r < 0)
        return r;

    if (mkdir(dir, 0700) == 0)
        made = true;
    else if (errno != EEXIST)
        return error_set_errno(err, -errno, "cannot create %s", dir);
    r = check_empty(dir, &leftovers, err);
    if (r == 0 && leftovers)
        r = remove_unfinished(dir, err);
    if (r < 0)
        return r;

    r = fill_folder(dir, &config, err);
    if (r < 0) {
        remove_unfinished(dir, NULL); // the first error is the one that counts
        if (made)
            rmdir(dir);
    }
    return r;
}

static int resolve_dir(const char *dir, char **ret_dir, struct error *err)
{
    char *resolved = realpath(dir, NULL);

    if (!resolved && errno == ENOENT)
        return error_set(err, -ENOENT, "%s is not a backtree repository: there is no such folder",
                         dir);
    if (!resolved)
        return error_set_errno(err, -errno, "cannot open %s", dir);
    *ret_dir = resolved;
    return 0;
}

// A repository without a catalog is a damaged one, and not one that is not there.
static int open_catalog(struct repository *repository, enum catalog_mode mode, struct error *err)
{
    AUTO_FREE char *path = NULL;
    struct error local = ERROR_INIT;
    int r = path_join(repository->dir, "catalog.db", &path, err);
    if (r < 0)
        return r;
    r = catalog_open(path, mode, repository->config.uuid, &repository->catalog, &local);
    if (r == -ENOENT || r == -ERROR_CORRUPT)
        return error_set(err, -ERROR_CORRUPT, "%s; backtree rebuild makes a new one",
                         error_message(&local));
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}

static void make_room(void *arg)
{
    reserve_make_room(arg);
}

// Taking the lock writes a few bytes, which a disk that is full to the last one refuses: only the
// lock's owner may give the reserve up, so the lock is tried once more after that.
static int lock_with_reserve(struct repository *repository, const char *command,
                             const char *mountpoint, struct repo_lock_owner *ret_owner,
                             struct error *err)
{
    int r = reserve_open(repository->dir, &repository->reserve, err);

    if (r < 0)
        return r;
    r = repo_lock_acquire(repository->dir, command, mountpoint, &repository->lock_fd, ret_owner,
                          err);
    if (r == -ENOSPC && reserve_make_room(repository->reserve)) {
        error_clear(err);
        r = repo_lock_acquire(repository->dir, command, mountpoint, &repository->lock_fd, ret_owner,
                              err);
    }
    if (r == 0)
        reserve_make_room(repository->reserve);
    return r;
}

// Both fill the caller's struct in place, because the store borrows the config in it.
int repository_open_owner(const char *dir, const char *command, const char *mountpoint,
                          const struct store_options *options, struct repository *repository,
                          struct repo_lock_owner *ret_owner, struct error *err)
{
    *repository = (struct repository){.lock_fd = -1, .opened_at = clock_now()};
    int r = resolve_dir(dir, &repository->dir, err);

    // The config is looked at before the lock, so that a folder that is no repository is told so
    // and gets no lock file.
    if (r == 0)
        r = repo_config_load(repository->dir, &repository->config, err);
    if (r == 0)
        r = lock_with_reserve(repository, command, mountpoint, ret_owner, err);
    if (r == 0)
        r = open_catalog(repository, CATALOG_OWNER, err);
    if (r == 0)
        r = store_open(repository->dir, &repository->config, repository->catalog, options,
                       &repository->store, err);
    if (r < 0) {
        repository_close(repository);
        return r;
    }
    catalog_set_make_room(repository->catalog, make_room, repository->reserve);
    store_set_reserve(repository->store, repository->reserve);
    repository_refill_reserve(repository);
    return 0;
}

void repository_refill_reserve(struct repository *repository)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct error err = ERROR_INIT;
    uint64_t bytes = 0;
    int r = catalog_read_begin(repository->catalog, &conn, &err);

    if (r == 0)
        r = pack_total_bytes(conn, &bytes, &err);
    if (r < 0)
        log_warning("the reserve is left as it is: %s", error_message(&err));
    else
        reserve_refill(repository->reserve, bytes);
}

int repository_open_viewer(const char *dir, struct repository *repository, struct error *err)
{
    *repository = (struct repository){.lock_fd = -1, .opened_at = clock_now()};
    int r = resolve_dir(dir, &repository->dir, err);

    if (r == 0)
        r = repo_config_load(repository->dir, &repository->config, err);
    if (r == 0)
        r = open_catalog(repository, CATALOG_READER, err);
    if (r < 0)
        repository_close(repository);
    return r;
}

void repository_close(struct repository *repository)
{
    repository->store = store_close(repository->store);
    repository->catalog = catalog_close(repository->catalog);
    repository->reserve = reserve_close(repository->reserve);
    if (repository->lock_fd >= 0)
        repo_lock_release(repository->lock_fd);
    repository->lock_fd = -1;
    free(repository->dir);
    repository->dir = NULL;
}
