// SPDX-License-Identifier: MIT
//
// The words of `backtree mount -o` and of an fstab line. Our own are allow_other, cache=SIZE and
// fsname=NAME. Words that are for mount(8), fstab or systemd, or that say what this mount is anyway
// (nosuid, noatime, ...), are accepted and change nothing; `ro` is refused, because writing to
// triggers is how backups are started, and so is every word not known.
#ifndef TOOLS_MOUNT_OPTIONS_H
#define TOOLS_MOUNT_OPTIONS_H

#include "base/error.h"
#include "fs/tree/tree.h"

// Adds the comma-separated `text` to `options`. options->fsname points into `text`, which is cut up
// and must outlive it. Returns 0 or -EINVAL.
int mount_options_parse(char *text, struct tree_mount_options *options, struct error *err);

#endif
