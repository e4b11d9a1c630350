// SPDX-License-Identifier: MIT
//
// The FUSE handlers, by node role, and what is asked of the kernel at INIT. Handlers validate, read
// the catalog and enqueue; they never wait for a job.
#ifndef FS_TREE_OPERATIONS_H
#define FS_TREE_OPERATIONS_H

#include "fs/tree/fuse_api.h"

// The session's user data is the struct tree.
extern const struct fuse_lowlevel_ops tree_operations;

#endif
