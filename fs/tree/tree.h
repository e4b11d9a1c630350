// SPDX-License-Identifier: MIT
//
// The FUSE face of an engine: MNT/{README,status,last_error,jobs/,vms/} as INTERFACE in
// docs/ARCHITECTURE.md describes it.
#ifndef FS_TREE_TREE_H
#define FS_TREE_TREE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct tree_mount_options {
    bool foreground;      // -f: stay attached to the terminal, log to stderr
    bool allow_other;     // others may look (default_permissions is on then)
    uint64_t cache_bytes; // decoded-chunk cache, 0 = default
    const char *fsname;   // shown in /proc/mounts; NULL = the repository's folder
};

// Opens the repository, mounts it on `mountpoint`, serves until it is unmounted or
// SIGTERM/SIGINT/SIGHUP arrives, and closes the repository. Unless `foreground`, the process forks
// once the arguments are checked: the parent returns 0 when the mount answers, or the child's
// error; *ret_parent tells the caller that it is that parent (the child returns here too, at the
// end of its life).
//
// Refuses: a mountpoint that is no folder (-ENOTDIR), not empty (-ENOTEMPTY), in the repository or
// with it inside (-EINVAL), a repository's mount already (-EBUSY). A stale mount (ENOTCONN) left by
// a killed daemon is unmounted first.
int tree_mount(const char *repo_dir, const char *mountpoint,
               const struct tree_mount_options *options, bool *ret_parent, struct error *err);

// Unmounts and waits until the daemon has let go of the repository (at most `timeout_ms`). `where`
// is a repository or a mountpoint. -ENOENT when it is not mounted; -EBUSY while files are open in
// it (unless `lazy`).
int tree_unmount(const char *where, bool lazy, int timeout_ms, struct error *err);

#endif
