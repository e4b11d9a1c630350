// SPDX-License-Identifier: MIT
//
// The one place that says which libfuse interface this room is written against.
#ifndef FS_TREE_FUSE_API_H
#define FS_TREE_FUSE_API_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#endif
