// SPDX-License-Identifier: MIT
//
// Private to fs/source: a file or block device that a path led to, found without opening it for
// data, and what sources and targets do alike with one.
//
// A path is first resolved to an O_PATH descriptor, which touches no driver, waits for no fifo and
// asks a FUSE server for nothing but the names. Forbidden places and wrong kinds are refused on
// that; place_reopen() then opens exactly what was checked, whatever the path names by then.
//
// Threads: any, but for place_forbid(), which is called before threads start.
#ifndef FS_SOURCE_PLACE_H
#define FS_SOURCE_PLACE_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct place {
    int fd; // O_PATH; closed by place_deinit()
    bool is_block;
    dev_t dev; // file system and inode of the file or device node
    ino_t ino;
    dev_t rdev; // the device itself, 0 for files
};

// See source_forbid() and source_forbid_device().
int place_forbid(const char *folder, const char *why, struct error *err);
void place_forbid_device(uint64_t dev, const char *why);

// Absolute, no control characters, shorter than PATH_MAX. -EINVAL. `what` begins the sentence
// ("source", "target").
int place_check_path(const char *what, const char *path, struct error *err);

// Follows symbolic links. -EINVAL for what is neither a regular file nor a block device and for
// forbidden places, else what open(2) said.
int place_open(const char *path, struct place *ret_place, struct error *err);
void place_deinit(struct place *place);

// The same for a folder; *ret_fd is opened for reading, so that it can be flushed.
int place_open_folder(const char *path, int *ret_fd, struct error *err);

// Opens what `fd` (O_PATH or not) stands for with open(2)'s `flags`. Returns a descriptor.
int place_reopen(int fd, int flags, const char *path, struct error *err);

// True when `path` leads to the same file, or to a node of the same device. False for what cannot
// be looked at and for forbidden places.
bool place_is_same(const struct place *place, const char *path);

// Size in bytes of an open file or block device, as it is now.
int place_size(int fd, bool is_block, const char *path, uint64_t *ret_size, struct error *err);

// As source_next_data(), for the bytes below `capacity`.
int place_next_data(int fd, bool is_block, uint64_t capacity, uint64_t offset, uint64_t *ret_start,
                    uint64_t *ret_end, const char *path, struct error *err);

// Checks that [offset, offset + len) lies below `capacity`. -EINVAL.
int place_check_range(uint64_t capacity, uint64_t len, uint64_t offset, const char *path,
                      struct error *err);

static inline void place_deinit_at(struct place *place)
{
    place_deinit(place);
}

#define PLACE_INIT                                                                                 \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

#endif
