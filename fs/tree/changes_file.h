// SPDX-License-Identifier: MIT
//
// SNAPSHOT/changes: the extents in which a snapshot differs from its parent, `offset length` a
// line, in bytes; of a snapshot without a parent, all that holds data. Made from maps alone
// (map_diff.h) when it is opened, and the same within that open. The parent is the one recorded
// then: forgetting a snapshot makes its own parent the parent of what followed it.
//
// Its size. A stat must not walk maps: nobody wants `find` over a thousand snapshots to. So a size
// is told without them where it can be (0, when nothing differs), is true from the first open on,
// which is what cp, wc, tar and the like ask after they have opened it, and is CHANGES_SIZE_UNKNOWN
// before that: like sysfs, which says a page of what it makes when it is read, and not 0 like
// procfs, so that `test -s` and `find -empty` are right.
//
// Threads: any. `lock` guards the sizes; reading takes no lock.
#ifndef FS_TREE_CHANGES_FILE_H
#define FS_TREE_CHANGES_FILE_H

#include "fs/tree/fuse_api.h"
#include "fs/tree/node.h"

#include <pthread.h>

#define CHANGES_SIZE_UNKNOWN 4096
#define CHANGES_SIZES 1024

// Sizes of texts that were made, one a slot: a newer one takes the place of an older one.
struct changes_sizes {
    pthread_mutex_t lock;
    struct changes_size {
        int64_t snapshot_id, parent_id;
        uint64_t size;
    } slots[CHANGES_SIZES];
};

void changes_sizes_init(struct changes_sizes *sizes);
void changes_sizes_deinit(struct changes_sizes *sizes);

// The size to tell of the snapshot's file; `conn` is the caller's. Reads no map.
int changes_file_size(struct tree *tree, struct catalog_conn *conn, const struct snapshot_row *row,
                      off_t *ret_size, struct error *err);

// Opening for writing is EPERM. A map that cannot be read is EIO.
void changes_file_open(struct tree *tree, fuse_req_t req, struct node node,
                       struct fuse_file_info *fi);
void changes_file_read(struct tree *tree, fuse_req_t req, size_t size, off_t offset,
                       struct fuse_file_info *fi);
void changes_file_seek(struct tree *tree, fuse_req_t req, off_t offset, int whence,
                       struct fuse_file_info *fi);

#endif
