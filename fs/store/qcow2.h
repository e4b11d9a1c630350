// SPDX-License-Identifier: MIT
//
// A snapshot as a qcow2 version 3 image, made as it is read. The format is that of QEMU's
// docs/interop/qcow2.txt, of which this writes the plainest form: one header of 104 bytes without
// extensions or feature bits, 16-bit refcounts, no backing file, no snapshots inside, nothing
// compressed.
//
// Everything has a fixed place that follows from the disk's size alone:
//
//   header | refcount table | L1 table | refcount blocks | L2 tables | data clusters
//
// There is room for every refcount block, L2 table and cluster, but one that would hold nothing is
// not allocated: the entry that would point to it is 0, its refcount is 0, and the file has a hole
// there. So cluster k of the disk is always at `data` + k, any byte of the file is computed from
// the part of the map it is about, and no state is kept whatever the size. A cluster is allocated
// when any chunk in it is data.
//
// Clusters are 64 KiB, whatever the chunks are: qemu's default, to which its caches and users'
// habits fit. They grow for disks of more than 2 PiB only, whose tables would break qemu's bounds.
//
// Threads: any; no state.
#ifndef FS_STORE_QCOW2_H
#define FS_STORE_QCOW2_H

#include "fs/store/image.h"

enum qcow2_area_kind {
    QCOW2_FIXED,  // header, refcount table, L1 table
    QCOW2_BLOCKS, // refcount blocks
    QCOW2_TABLES, // L2 tables
    QCOW2_DATA,
    QCOW2_AREAS
};

// Clusters of one sort, one after another. The first `always` of them are allocated; of the others,
// number i is when the disk has data in the `span` bytes from i * span - before on.
struct qcow2_area {
    uint64_t begin, count, always; // clusters
    uint64_t span, before;         // bytes
};

struct qcow2_layout {
    unsigned cluster_bits;
    uint64_t virtual_size; // what a guest sees: whole sectors of 512 bytes, as qemu has raw disks
    uint64_t file_size;
    uint64_t refcount_table, l1_table; // where they begin, in clusters
    uint64_t l1_size;                  // entries, one at least
    struct qcow2_area areas[QCOW2_AREAS];
};

// -EFBIG for a disk that the format, or qemu, has no offsets for (some 64 PiB).
int qcow2_layout_init(uint64_t capacity, struct qcow2_layout *ret_layout, struct error *err);

// Bytes of the file that are allocated, at the least, when `data_bytes` of the disk are: tables
// are counted as if all data lay together.
uint64_t qcow2_allocated(const struct qcow2_layout *layout, uint64_t data_bytes);

// As image_read(), image_seek_data() and image_seek_hole(), of the file. `layout` is that of the
// image's capacity. Where the map is damaged, clusters count as allocated: reading the tables
// works, reading the clusters is -ERROR_CORRUPT.
ssize_t qcow2_read(const struct qcow2_layout *layout, struct image *image, void *buf, size_t len,
                   uint64_t offset, struct error *err);
int qcow2_seek_data(const struct qcow2_layout *layout, struct image *image, uint64_t offset,
                    uint64_t *ret_offset, struct error *err);
int qcow2_seek_hole(const struct qcow2_layout *layout, struct image *image, uint64_t offset,
                    uint64_t *ret_offset, struct error *err);

#endif
