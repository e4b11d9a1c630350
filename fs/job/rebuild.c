// SPDX-License-Identifier: MIT
//
// A rebuild as a whole: the lock, the new catalog beside the old one, and the exchange.
//
// The exchange must never let SQLite meet a database with the write-ahead log of another. The new
// one is closed before it is put in place, so it has none. The old one is opened and closed once,
// which empties its log; when that cannot be (it is damaged: why we are here), its log is given
// another name too, before the rename. The old database gets its second name by a link, so that
// "catalog.db" is there at every moment.
#include "fs/job/rebuild.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "catalog/context.h"
#include "catalog/stats.h"
#include "fs/job/rebuild_state.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NEW_NAME "catalog.db.rebuild"

static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
#define SUFFIX_COUNT (sizeof(suffixes) / sizeof(suffixes[0]))

void rebuild_tell(struct rebuild *rebuild, bool damage, const char *fmt, ...)
{
    char sentence[ERROR_MESSAGE_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(sentence, sizeof(sentence), fmt, args);
    va_end(args);
    rebuild->result.damage += damage;
    if (rebuild->options->finding)
        rebuild->options->finding(sentence, damage, rebuild->options->arg);
}

void rebuild_progress(struct rebuild *rebuild, const char *step, uint64_t done, uint64_t total)
{
    if (rebuild->options->progress)
        rebuild->options->progress(step, done, total, rebuild->options->arg);
}

static int name_in(const char *dir, const char *name, const char *suffix, char **ret_path,
                   struct error *err)
{
    if (asprintf(ret_path, "%s/%s%s", dir, name, suffix) >= 0)
        return 0;
    *ret_path = NULL;
    return error_set(err, -ENOMEM, "out of memory for a path");
}

// --- the new one

static int remove_new(const char *dir, struct error *err)
{
    for (size_t i = 0; i < SUFFIX_COUNT; i++) {
        AUTO_FREE char *path = NULL;
        int r = name_in(dir, NEW_NAME, suffixes[i], &path, err);

        if (r < 0)
            return r;
        if (unlink(path) < 0 && errno != ENOENT)
            return error_set_errno(err, -errno, "cannot remove %s", path);
    }
    return 0;
}

static int count(struct rebuild *rebuild, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct catalog_stats stats;
    int r = catalog_read_begin(rebuild->catalog, &conn, err);

    if (r == 0)
        r = catalog_check(conn, true, err);
    if (r == 0)
        r = catalog_stats_get(conn, &stats, err);
    if (r < 0)
        return r;
    rebuild->result.vms = (uint64_t)stats.contexts;
    rebuild->result.disks = (uint64_t)stats.disks;
    rebuild->result.chains = (uint64_t)stats.chains;
    rebuild->result.snapshots = (uint64_t)stats.snapshots;
    rebuild->result.jobs = (uint64_t)stats.jobs_by_state[JOB_COMPLETED];
    return 0;
}

static int set_default_retention(struct rebuild *rebuild, const char *words, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(rebuild->catalog, &conn, err);

    if (r == 0)
        r = context_set_default_retention(conn, words, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

static int fill(struct rebuild *rebuild, const struct repo_config *config, struct error *err)
{
    int r = set_default_retention(rebuild, config->retention, err);

    if (r == 0)
        r = rebuild_take_packs(rebuild, err);
    if (r == 0)
        r = rebuild_replay(rebuild, err);
    if (r == 0)
        r = rebuild_check_maps(rebuild, err);
    return r < 0 ? r : count(rebuild, err);
}

static int make_new(struct rebuild *rebuild, const char *dir, const struct repo_config *config,
                    struct error *err)
{
    AUTO_FREE char *path = NULL;
    int r = name_in(dir, NEW_NAME, "", &path, err);

    if (r == 0)
        r = remove_new(dir, err);
    if (r == 0)
        r = catalog_create(path, config->uuid, err);
    if (r == 0)
        r = catalog_open(path, CATALOG_OWNER, config->uuid, &rebuild->catalog, err);
    if (r == 0)
        r = store_open(dir, config, rebuild->catalog, NULL, &rebuild->store, err);
    if (r == 0)
        r = fill(rebuild, config, err);
    rebuild->store = store_close(rebuild->store);
    rebuild->catalog = catalog_close(rebuild->catalog); // empties and removes its log
    return r;
}

// The log of a database that is not in use and was closed well is not there or empty.
static int check_closed(const char *dir, struct error *err)
{
    AUTO_FREE char *log = NULL, *path = NULL;
    AUTO_CLOSE int fd = -1;
    struct stat st;
    int r = name_in(dir, NEW_NAME, "-wal", &log, err);

    if (r == 0)
        r = name_in(dir, NEW_NAME, "", &path, err);
    if (r < 0)
        return r;
    if (stat(log, &st) == 0 && st.st_size > 0)
        return error_set(err, -EIO, "the new catalog could not be closed: %s is not empty", log);
    fd = io_openat(AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0)
        return error_set_errno(err, -errno, "cannot open %s", path);
    return io_fsync(fd, path, err);
}

// --- the old one

// Opens and closes it, so that what its log holds is in the database. What is damaged stays as it
// is.
static void settle_old(const char *dir, const struct repo_config *config)
{
    AUTO_FREE char *path = NULL;
    struct catalog *old = NULL;

    if (name_in(dir, "catalog.db", "", &path, NULL) == 0 &&
        catalog_open(path, CATALOG_OWNER, config->uuid, &old, NULL) == 0)
        catalog_close(old);
}

// A name nobody has: two rebuilds may fall into one second.
static int choose_name(const char *dir, char name[NAME_MAX], struct error *err)
{
    char when[CLOCK_ISO_SIZE];
    struct stat st;

    clock_to_compact(clock_now(), when);
    for (int i = 1; i < 1000; i++) {
        AUTO_FREE char *path = NULL;
        int r;

        if (i == 1)
            snprintf(name, NAME_MAX, "catalog.db.%s", when);
        else
            snprintf(name, NAME_MAX, "catalog.db.%s-%d", when, i);
        r = name_in(dir, name, "", &path, err);
        if (r < 0)
            return r;
        if (lstat(path, &st) < 0 && errno == ENOENT)
            return 0;
    }
    return error_set(err, -EEXIST, "no name is left for the old catalog in %s", dir);
}

// 1 when there was such a file, 0 when not.
static int set_aside_one(const char *dir, const char *name, const char *suffix, bool keep,
                         struct error *err)
{
    AUTO_FREE char *from = NULL, *to = NULL;
    int r = name_in(dir, "catalog.db", suffix, &from, err);

    if (r == 0)
        r = name_in(dir, name, suffix, &to, err);
    if (r < 0)
        return r;
    if ((keep ? link(from, to) : rename(from, to)) == 0)
        return 1;
    return errno == ENOENT ? 0 : error_set_errno(err, -errno, "cannot set %s aside", from);
}

static int set_aside(const char *dir, char name[NAME_MAX], struct error *err)
{
    char chosen[NAME_MAX] = "";
    bool any = false;
    int r = choose_name(dir, chosen, err);

    for (size_t i = 0; r >= 0 && i < SUFFIX_COUNT; i++) {
        r = set_aside_one(dir, chosen, suffixes[i], i == 0, err);
        any = any || r > 0;
    }
    if (r >= 0)
        r = io_fsync_dir(dir, err);
    if (r < 0)
        return r;
    snprintf(name, NAME_MAX, "%s", any ? chosen : "");
    return 0;
}

static int install(struct rebuild *rebuild, const char *dir, const struct repo_config *config,
                   struct error *err)
{
    AUTO_FREE char *from = NULL, *to = NULL;
    int r = check_closed(dir, err);

    if (r == 0)
        r = name_in(dir, NEW_NAME, "", &from, err);
    if (r == 0)
        r = name_in(dir, "catalog.db", "", &to, err);
    if (r == 0)
        r = fault_hit(FAULT_REBUILD_ASIDE, err);
    if (r < 0)
        return r;
    settle_old(dir, config);
    r = set_aside(dir, rebuild->result.aside, err);
    if (r == 0)
        r = fault_hit(FAULT_REBUILD_RENAME, err);
    if (r == 0 && rename(from, to) < 0)
        r = error_set_errno(err, -errno, "cannot rename %s to %s", from, to);
    return r < 0 ? r : io_fsync_dir(dir, err);
}

// --- all of it

static int run(struct rebuild *rebuild, const char *dir, const struct repo_config *config,
               struct error *err)
{
    int r = make_new(rebuild, dir, config, err);

    if (r == 0 && !rebuild->options->dry_run)
        r = install(rebuild, dir, config, err);
    // What is left of an attempt that failed, or was only one.
    if (r < 0 || rebuild->options->dry_run)
        remove_new(dir, NULL);
    return r;
}

int repository_rebuild(const char *dir, const struct rebuild_options *options,
                       struct rebuild_result *ret_result, struct repo_lock_owner *ret_owner,
                       struct error *err)
{
    AUTO_FREE struct repo_config *config = calloc(1, sizeof(*config));
    AUTO_FREE char *resolved = realpath(dir, NULL);
    struct rebuild rebuild = {.options = options};
    int lock_fd = -1;
    int r = config ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (r == 0 && !resolved)
        r = errno == ENOENT
                ? error_set(err, -ENOENT,
                            "%s is not a backtree repository: there is no such folder", dir)
                : error_set_errno(err, -errno, "cannot open %s", dir);
    if (r == 0)
        r = repo_config_load(resolved, config, err);
    if (r == 0)
        r = repo_lock_acquire(resolved, "rebuild", NULL, &lock_fd, ret_owner, err);
    if (r < 0)
        return r;
    r = run(&rebuild, resolved, config, err);
    repo_lock_release(lock_fd);
    if (r == 0)
        *ret_result = rebuild.result;
    return r;
}
