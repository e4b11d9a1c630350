// SPDX-License-Identifier: MIT
//
// Private to fs/source: does anybody use a file or block device that a restore is to write to?
//
// The answer is the kernel's, of this moment, and as good as what the caller may see: another
// user's open files show to root alone. It is never "free" because a question failed: what cannot
// be asked is an error. Changes nothing. Threads: any.
#ifndef FS_SOURCE_IN_USE_H
#define FS_SOURCE_IN_USE_H

#include "base/error.h"
#include "fs/source/place.h"

// Mounted (a device or one of its partitions, in the sight of this process), part of another device
// (LVM, RAID), swap, attached to a loop device, or open for writing in another process. -EBUSY with
// a sentence that says where.
int in_use_check(const struct place *place, const char *path, struct error *err);

// Record locks of any kind on any byte (QEMU keeps some on its images), and flock(2) on files. `fd`
// is an own descriptor of it. -EBUSY.
int in_use_check_locks(int fd, bool is_block, const char *path, struct error *err);

// Keeps a write lock on the whole of it until `fd` is closed, where the file system knows locks.
// `fd` must be open for writing. -EBUSY.
int in_use_lock(int fd, const char *path, struct error *err);

#endif
