// SPDX-License-Identifier: MIT
//
// The repository's lock: flock(LOCK_EX) on REPO/lock, held by the kernel for the life of the owner,
// so a crash leaves nothing to clear. The file's text (`pid N`, `command WORD`, `mountpoint PATH`)
// only tells others who it is.
#ifndef FS_STORE_REPO_LOCK_H
#define FS_STORE_REPO_LOCK_H

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct repo_lock_owner {
    pid_t pid;                 // 0 = unknown
    char command[32];          // "mount", "backup", …
    char mountpoint[PATH_MAX]; // "" when the owner has not mounted the repository
};

// Takes the lock without waiting. `mountpoint` NULL when not mounting. *ret_fd keeps it
// (close-on-exec); closing gives it back. -EBUSY "busy, owned by pid N (mounted at …)" when another
// has it, then *ret_owner (may be NULL) is filled.
int repo_lock_acquire(const char *repo_dir, const char *command, const char *mountpoint,
                      int *ret_fd, struct repo_lock_owner *ret_owner, struct error *err);

// Writes the owner's text anew, by the process that calls: after the daemon has forked, or once the
// mountpoint is known.
int repo_lock_describe(int fd, const char *command, const char *mountpoint, struct error *err);

// Empties the file's text and gives the lock back.
void repo_lock_release(int fd);

// Who owns it now. *ret_owned false: nobody. Does not disturb the owner.
int repo_lock_inspect(const char *repo_dir, bool *ret_owned, struct repo_lock_owner *ret_owner,
                      struct error *err);

#endif
