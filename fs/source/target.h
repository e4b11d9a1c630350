// SPDX-License-Identifier: MIT
//
// Where disks are restored to: an existing block device or regular file (written in place), or a
// new file (written beside its name and renamed when it is whole).
//
// Checks, each with its own sentence: absolute path, not in a forbidden place (source.h), a file or
// block device, large enough
// (-ENOSPC), not mounted (/proc/self/mountinfo by device number, loop devices backed by the file,
// partitions and holders of the device in sysfs), not held exclusively (O_EXCL on block devices),
// not locked (OFD and POSIX locks, as QEMU keeps on images; flock on files), not open for writing
// in another process that we may look into, all -EBUSY. While open, a target holds an OFD write
// lock itself, and O_EXCL besides on devices.
//
// Threads: read and write may be called from several threads at once.
#ifndef FS_SOURCE_TARGET_H
#define FS_SOURCE_TARGET_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct target;

// Runs the checks that need no writing and changes nothing: for refusing a restore when it is asked
// for.
int target_check(const char *path, uint64_t capacity, struct error *err);

// Checks and opens. For a path that does not exist (its folder must): a new file of exactly
// `capacity` bytes, all hole, mode 0600, which has no name until target_publish() where the file
// system can do that (O_TMPFILE: a crash leaves nothing), else the temporary name
// "PATH.backtree-XXXXXX".
int target_open(const char *path, uint64_t capacity, struct target **ret_target, struct error *err);

// Closes; a new file that was not published is removed.
struct target *target_close(struct target *target);

bool target_is_new(const struct target *target);
// The size of the target itself, which may be more than the disk's.
uint64_t target_capacity(const struct target *target);
// True when `path` is the same file or device as the source `text` names.
bool target_is_source(const struct target *target, const char *text);

// True when both paths lead to the same file, or to nodes of the same device. False for what cannot
// be looked at.
bool target_paths_meet(const char *path, const char *other);

// Extent of possible data, as source_next_data(): lets a restore skip what is hole on both sides.
int target_next_data(struct target *target, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end,
                     struct error *err);

int target_read(struct target *target, void *buf, size_t len, uint64_t offset, struct error *err);
int target_write(struct target *target, const void *buf, size_t len, uint64_t offset,
                 struct error *err);
// Makes a range read as zeros: a hole where the file system can, else written zeros.
int target_write_zeros(struct target *target, size_t len, uint64_t offset, struct error *err);

// Asks the kernel to begin writing a range to the device; neither waits nor fails. Not a flush.
void target_start_write_back(struct target *target, uint64_t offset, size_t len);

// Data on stable storage: fsync (BLKFLSBUF besides for devices).
int target_flush(struct target *target, struct error *err);

// Reads past the page cache (O_DIRECT on a second descriptor; where the file system has none, after
// fdatasync and POSIX_FADV_DONTNEED). `buf` must be aligned to 4096 and hold `len` rounded up to
// that; `offset` must be a multiple of 4096.
int target_read_direct(struct target *target, void *buf, size_t len, uint64_t offset,
                       struct error *err);

// New files: rename to the wanted name without replacing one that has appeared (-EEXIST), fsync of
// the folder. Others: nothing.
int target_publish(struct target *target, struct error *err);

DEFINE_CLEANUP(struct target *, target_close)

#endif
