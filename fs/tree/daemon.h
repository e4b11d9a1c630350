// SPDX-License-Identifier: MIT
//
// Becoming a daemon: a fork whose parent learns, over a pipe, whether the child came up, and what
// went wrong when it did not.
#ifndef FS_TREE_DAEMON_H
#define FS_TREE_DAEMON_H

#include "base/error.h"

#include <stdbool.h>

// Forks. In the parent, waits until the child has reported, and returns what it reported (or that
// it ended without a word) with *ret_parent true. In the child, which is in a session of its own,
// returns 0 with *ret_parent false and *ret_report_fd set.
int daemon_fork(bool *ret_parent, int *ret_report_fd, struct error *err);

// Tells the parent how it went (`code` 0 or -errno) and closes `report_fd`; -1 is nothing.
void daemon_report(int report_fd, int code, const char *sentence);

// Stdin, stdout and stderr to /dev/null, the log to syslog, the working folder to /.
void daemon_detach(void);

#endif
