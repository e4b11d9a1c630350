// SPDX-License-Identifier: MIT
//
// A snapshot opened as a disk: random access by byte, holes exact at chunk granularity.
// An image may be used by many threads at once.
//
// What an open image refers to is kept by garbage collection, as if it were a snapshot's. So
// whoever opens one of a snapshot that may be forgotten sees to it that it is not until
// image_open() has returned.
//
// Who reads in order is read ahead of: chunks beyond his reads are decoded on the store's threads
// into its cache (read_streams.h says when). Nothing of that goes on once image_close() returned.
#ifndef FS_STORE_IMAGE_H
#define FS_STORE_IMAGE_H

#include "fs/store/map.h"

#include <sys/uio.h>

struct image;

int image_open(struct store *store, const struct digest *root, uint64_t capacity,
               uint32_t chunk_size, struct image **ret_image, struct error *err);
struct image *image_close(struct image *image);

uint64_t image_capacity(const struct image *image);
uint32_t image_chunk_size(const struct image *image);

// Copies up to `len` bytes from `offset`; fewer only at the end of the disk, 0 past it. Returns the
// count or -errno; never a byte that did not pass its checksum.
ssize_t image_read(struct image *image, void *buf, size_t len, uint64_t offset, struct error *err);

// A read that copies nothing: the bytes where they stand, in the cache of decoded content, in one
// block of zeros that stands for every hole, and in memory of the view's own for chunks that were
// not in the cache and are asked for as a whole.
struct image_view {
    struct iovec *iov; // `count` of them, `len` bytes together; never to be written to
    unsigned count;
    size_t len;
    // private
    struct store *store;
    struct chunk_view *pins;
    unsigned pin_count;
    uint8_t *memory;
};

// As image_read(). On success (0) *ret_view is what image_view_release() must be called with; an
// image may be closed before that, its store may not.
int image_view(struct image *image, size_t len, uint64_t offset, struct image_view *ret_view,
               struct error *err);
void image_view_release(struct image_view *view);

// The id at chunk number `chunk` (zero digest = hole).
int image_chunk_id(struct image *image, uint64_t chunk, struct digest *ret_id, struct error *err);

// lseek(2)'s SEEK_DATA and SEEK_HOLE: -ENXIO at or past the end, and for data when only holes
// follow. The end is a hole.
int image_seek_data(struct image *image, uint64_t offset, uint64_t *ret_offset, struct error *err);
int image_seek_hole(struct image *image, uint64_t offset, uint64_t *ret_offset, struct error *err);

// For each of `count` pieces of `piece` bytes, the first of which begins at `offset`: whether there
// is data in it. Pieces may reach past the end. Bounded by the map nodes of that range: no chunk is
// read, and a leaf that lies in one piece is not looked at. What a damaged part of the map covers
// counts as data, for a read of it must fail, not give zeros.
int image_find_data(struct image *image, uint64_t offset, uint64_t piece, size_t count,
                    bool *ret_data, struct error *err);

DEFINE_CLEANUP(struct image *, image_close)

#endif
