// SPDX-License-Identifier: MIT
//
// tree_unmount(): taking a mount away and waiting until its daemon has let go of the repository.
#include "base/cleanup.h"
#include "base/clock.h"
#include "fs/store/repo_lock.h"
#include "fs/tree/mount_point.h"
#include "fs/tree/tree.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_INTERVAL_NS (20 * 1000 * 1000)

struct mounted {
    char mountpoint[PATH_MAX];
    char repo_dir[PATH_MAX]; // "" when the mount's name does not tell
    pid_t pid;               // its owner, 0 = unknown
};

static int inspect(const char *repo_dir, bool *ret_owned, struct repo_lock_owner *owner,
                   struct error *err)
{
    return repo_lock_inspect(repo_dir, ret_owned, owner, err);
}

// `where` is a mountpoint: its name in the mount table is the repository, unless another was
// chosen.
static void fill_from_mount(const struct mount_point *mount, struct mounted *mounted)
{
    AUTO_FREE struct repo_lock_owner *owner = malloc(sizeof(*owner));
    bool owned = false;

    strcpy(mounted->mountpoint, mount->path);
    if (mount->source[0] != '/' || !owner || inspect(mount->source, &owned, owner, NULL) < 0)
        return;
    if (owned && strcmp(owner->mountpoint, mount->path) == 0) {
        strcpy(mounted->repo_dir, mount->source);
        mounted->pid = owner->pid;
    }
}

static int fill_from_repository(const char *repo_dir, struct mounted *mounted, struct error *err)
{
    AUTO_FREE struct repo_lock_owner *owner = malloc(sizeof(*owner));
    bool owned = false;

    if (!owner)
        return error_set(err, -ENOMEM, "out of memory");
    int r = inspect(repo_dir, &owned, owner, err);
    if (r < 0)
        return r;
    if (!owned || owner->mountpoint[0] == '\0')
        return error_set(err, -ENOENT, "%s is not mounted", repo_dir);
    strcpy(mounted->mountpoint, owner->mountpoint);
    strcpy(mounted->repo_dir, repo_dir);
    mounted->pid = owner->pid;
    return 0;
}

static int find_mounted(const char *where, struct mounted *mounted, struct error *err)
{
    AUTO_FREE struct mount_point *mount = malloc(sizeof(*mount));
    char path[PATH_MAX];

    if (!mount)
        return error_set(err, -ENOMEM, "out of memory");
    memset(mounted, 0, sizeof(*mounted));
    int r = mount_point_resolve(where, path, err);
    if (r < 0)
        return r;
    if (mount_point_find(path, mount, NULL) == 0 && strcmp(mount->type, MOUNT_POINT_TYPE) == 0) {
        fill_from_mount(mount, mounted);
        return 0;
    }
    return fill_from_repository(path, mounted, err);
}

// The daemon closes the repository after the mount has gone; it is over when its lock is free, or
// another's.
static int await_release(const struct mounted *mounted, int timeout_ms, struct error *err)
{
    const struct timespec interval = {.tv_nsec = POLL_INTERVAL_NS};
    int64_t deadline = clock_monotonic() + timeout_ms * (CLOCK_SECOND / 1000);
    AUTO_FREE struct repo_lock_owner *owner = malloc(sizeof(*owner));
    bool owned = false;

    if (!owner)
        return error_set(err, -ENOMEM, "out of memory");
    if (mounted->repo_dir[0] == '\0')
        return 0;
    for (;;) {
        int r = inspect(mounted->repo_dir, &owned, owner, err);
        if (r < 0)
            return r;
        if (!owned || (owner->pid != 0 && owner->pid != mounted->pid))
            return 0;
        if (clock_monotonic() >= deadline)
            return error_set(err, -ETIMEDOUT,
                             "%s is unmounted, but its daemon (pid %d) still has the repository",
                             mounted->mountpoint, (int)mounted->pid);
        nanosleep(&interval, NULL);
    }
}

int tree_unmount(const char *where, bool lazy, int timeout_ms, struct error *err)
{
    AUTO_FREE struct mounted *mounted = malloc(sizeof(*mounted));

    if (!mounted)
        return error_set(err, -ENOMEM, "out of memory");
    int r = find_mounted(where, mounted, err);
    if (r < 0)
        return r;
    r = mount_point_remove(mounted->mountpoint, lazy, err);
    if (r < 0)
        return r;
    return await_release(mounted, timeout_ms, err);
}
