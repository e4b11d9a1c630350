// SPDX-License-Identifier: MIT
//
// A text of any size, written once and then read from anywhere: up to a mebibyte stays in memory,
// more goes to a file without a name in the repository's cache/, which nothing is left of however
// the daemon ends. It never takes the space that is kept for forgetting and gc (reserve.h).
//
// Threads: one writes; after spool_finish() any may read.
#ifndef FS_TREE_SPOOL_H
#define FS_TREE_SPOOL_H

#include "fs/store/reserve.h"

#include <stddef.h>
#include <sys/types.h>

struct spool;

// `dir` and `reserve` (NULL = none) are borrowed until spool_finish().
int spool_new(const char *dir, struct reserve *reserve, struct spool **ret_spool,
              struct error *err);
struct spool *spool_free(struct spool *spool);

// `len` is a line's length, at most 4096. -ENOSPC when the file system is (nearly) full.
int spool_add(struct spool *spool, const char *text, size_t len, struct error *err);

// Ends writing. Returns 0 or -errno.
int spool_finish(struct spool *spool, struct error *err);

uint64_t spool_length(const struct spool *spool);

// As pread(2): up to `len` bytes at `offset`, fewer only at the end. The count or -errno.
ssize_t spool_read(const struct spool *spool, void *buf, size_t len, uint64_t offset,
                   struct error *err);

DEFINE_CLEANUP(struct spool *, spool_free)

#endif
