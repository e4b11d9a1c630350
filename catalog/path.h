// SPDX-License-Identifier: MIT
//
// Names as users write them — "web1", "web1/vda", "web1/vda/chain-0002",
// "web1/vda/chain-0002/0003-incr-…", "web1/vda/latest" — resolved to catalog rows. A leading "vms/"
// and a trailing slash are accepted.
#ifndef CATALOG_PATH_H
#define CATALOG_PATH_H

#include "catalog/snapshot.h"

enum path_depth { PATH_NOTHING, PATH_CONTEXT, PATH_DISK, PATH_CHAIN, PATH_SNAPSHOT };

struct catalog_path {
    enum path_depth depth; // what was named; rows up to it are filled
    struct context_row context;
    struct disk_row disk;
    struct chain_row chain;
    struct snapshot_row snapshot;
};

// -EINVAL (or -ENAMETOOLONG) for a malformed name, -ENOENT for an unknown one; the sentence names
// the part that failed ("no disk named vdb in VM web1").
int catalog_path_resolve(struct catalog_conn *conn, const char *text, struct catalog_path *ret_path,
                         struct error *err);

// "chain-0002" → 2; 0 when it is not a chain's name.
int64_t chain_number_from_name(const char *name);

#endif
