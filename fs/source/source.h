// SPDX-License-Identifier: MIT
//
// Where disks are read from. A source is named by text and never guessed from content:
//   /absolute/path          a raw file or a block device
// Later formats carry a prefix ("qcow2:PATH", "nbd+unix://…"); an unknown prefix is refused by
// name.
//
// Threads: a source may be read by several threads at once (pread). Lengths and offsets are bytes.
#ifndef FS_SOURCE_SOURCE_H
#define FS_SOURCE_SOURCE_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source;

// Checks the form of `text`: absolute, known format, no control characters, not too long. Opens
// nothing. -EINVAL.
int source_check(const char *text, struct error *err);

// Folders that no source or target may be on: our own mountpoint (reading it from its own server
// would dead-lock) and the repository. Compared by device number and by resolved path. Set before
// threads start; copied.
int source_forbid(const char *folder, const char *why, struct error *err);
// The st_dev of our mount once it is mounted, 0 = none.
void source_forbid_device(uint64_t dev, const char *why);

// Opens for reading without following anything but the path, O_NONBLOCK against fifos: -EINVAL for
// a folder, fifo, socket or character device ("is a directory, not a file or block device"),
// -ENOENT, -EACCES, -EINVAL for a forbidden place. Discovery: the capacity is known after this.
int source_open(const char *text, struct source **ret_source, struct error *err);
struct source *source_close(struct source *source);

uint64_t source_capacity(const struct source *source); // as it was at source_open()

// Reads exactly `len` bytes: a source that ends early or vanished fails with the reason (-EIO "...
// ended at byte N of M").
int source_read(struct source *source, void *buf, size_t len, uint64_t offset, struct error *err);

// The next extent that may hold data at or after `offset`: SEEK_DATA/SEEK_HOLE for files; for block
// devices and file systems without it, everything to the end. Returns 1 found, 0 only holes follow,
// -errno.
int source_next_data(struct source *source, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end,
                     struct error *err);

// After the last read: -EIO when the capacity is no longer what it was at source_open().
int source_check_unchanged(struct source *source, struct error *err);

DEFINE_CLEANUP(struct source *, source_close)

#endif
