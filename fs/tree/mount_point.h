// SPDX-License-Identifier: MIT
//
// Mountpoints: what is mounted where, whether a folder may become a mountpoint, and taking a mount
// away. Knows nothing of sessions.
//
// Threads: no state; any.
#ifndef FS_TREE_MOUNT_POINT_H
#define FS_TREE_MOUNT_POINT_H

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#define MOUNT_POINT_TYPE "fuse.backtree"

struct mount_point {
    char path[PATH_MAX];
    char type[64];
    char source[PATH_MAX]; // the fsname of a FUSE mount
    dev_t dev;
};

// The topmost mount at `path` (resolved, as the kernel writes it). -ENOENT when nothing is mounted
// there.
int mount_point_find(const char *path, struct mount_point *ret_mount, struct error *err);

// Whether a file system with this device number is mounted anywhere in this process's view.
bool mount_point_has_device(dev_t dev);

// Resolves `path` even where a dead daemon's mount answers nothing but ENOTCONN. Into a buffer of
// PATH_MAX.
int mount_point_resolve(const char *path, char ret_path[PATH_MAX], struct error *err);

// Whether `path` (resolved) can be mounted on: an empty folder that is neither in `repo_dir` nor
// has it inside. A stale mount on it is taken away first. -ENOTDIR, -ENOTEMPTY, -EINVAL; -EBUSY
// when a repository is mounted there already.
int mount_point_check(const char *path, const char *repo_dir, struct error *err);

// Takes the mount at `path` away: umount2(2) as root, else fusermount3. -EBUSY while files are open
// in it, unless `lazy`.
int mount_point_remove(const char *path, bool lazy, struct error *err);

#endif
