// SPDX-License-Identifier: MIT
//
// Nodes: everything that has an inode number in the tree. A number *is* the node: its kind in the
// high 16 bits, the catalog id of the row it belongs to in the low 48 (the root is 1). So there is
// no table of nodes, forgetting one costs nothing, and numbers stay the same over remounts. Ids are
// never reused by the catalog, so generations are always 0.
//
// One table (node.c) lists every kind with its place, name, role and mode: the whole shape of the
// tree. Folders named by rows (VMs, disks, chains, snapshots, jobs) are found through the catalog.
//
// Threads: no state. Functions that take a `tree` lease a reader for the call; those that take a
// `conn` use the caller's. Leases are never nested.
#ifndef FS_TREE_NODE_H
#define FS_TREE_NODE_H

#include "catalog/job.h"
#include "catalog/snapshot.h"

#include <stdint.h>
#include <sys/types.h>

struct tree;

// Part of every inode number: append, never reorder.
enum node_kind {
    NODE_UNKNOWN,
    NODE_ROOT,
    NODE_README,
    NODE_STATUS,
    NODE_LAST_ERROR,
    NODE_JOBS,
    NODE_ACTIVE,
    NODE_VMS,
    NODE_JOB,
    NODE_JOB_INFO,
    NODE_JOB_STATE,
    NODE_JOB_PROGRESS,
    NODE_JOB_LOG,
    NODE_JOB_CANCEL,
    NODE_JOB_WAIT,
    NODE_JOB_SNAPSHOT, // jobs/N/DISK: a link to a snapshot the job made; id of the snapshot
    NODE_ACTIVE_JOB,   // jobs/active/N: a link to ../N
    NODE_VM,
    NODE_VM_BACKUP,
    NODE_VM_INFO,
    NODE_DISK,
    NODE_DISK_BACKUP,
    NODE_DISK_SOURCE,
    NODE_DISK_INFO,
    NODE_DISK_LATEST,
    NODE_CHAIN,
    NODE_CHAIN_INFO,
    NODE_SNAPSHOT,
    NODE_SNAPSHOT_RAW,
    NODE_SNAPSHOT_INFO,
    NODE_SNAPSHOT_RESTORE,
    NODE_SNAPSHOT_PROTECTED,
    NODE_CONTROL,
    NODE_CONTROL_PRUNE,
    NODE_VM_RETENTION,
    NODE_CONTROL_CHECK,
    NODE_CONTROL_VERIFY,
    NODE_CONTROL_GC,
    NODE_SNAPSHOT_VERIFY,
    NODE_METRICS,
    NODE_SNAPSHOT_DAMAGED, // only while something is recorded as damaged
    NODE_SNAPSHOT_CHANGES,
    NODE_REPORT,
    NODE_SNAPSHOT_QCOW2, // only of a disk that the format has offsets for
    NODE_KIND_COUNT
};

enum node_role {
    NODE_ROLE_UNKNOWN,
    NODE_FOLDER,
    NODE_LINK,
    NODE_TEXT,    // made at open, the same within one open
    NODE_LIVE,    // text about a running job: made anew by a read at offset 0, can be polled
    NODE_TRIGGER, // one open-to-close is one command
    NODE_IMAGE,   // a disk
    NODE_EXTENTS  // a list of extents, which may be long
};

enum node_owner { // which table the id is of
    NODE_OF_NOTHING,
    NODE_OF_JOB,
    NODE_OF_CONTEXT,
    NODE_OF_DISK,
    NODE_OF_CHAIN,
    NODE_OF_SNAPSHOT
};

struct node {
    enum node_kind kind;
    int64_t id; // 0 when the kind belongs to nothing
};

struct node_info {
    enum node_kind parent;
    const char *name; // NULL: named by its row
    enum node_owner owner;
    enum node_role role;
    mode_t mode;        // for the mount's owner
    mode_t others_mode; // when others may look
};

union node_row {
    struct job_row job;
    struct context_row context;
    struct disk_row disk;
    struct chain_row chain;
    struct snapshot_row snapshot;
};

uint64_t node_to_ino(struct node node);

// NODE_UNKNOWN for a number this program never gave out.
struct node node_from_ino(uint64_t ino);

// Of a known kind; borrowed, static.
const struct node_info *node_info(enum node_kind kind);

// The row `node` belongs to. -ENOENT when there is none (any more): a forgotten snapshot and an
// empty chain are not there. Nothing is written for NODE_OF_NOTHING.
int node_load(struct catalog_conn *conn, struct node node, union node_row *ret_row,
              struct error *err);

// Whether a snapshot has this node: some are there on conditions only. 0 or -ENOENT.
int node_check_there(enum node_kind kind, const struct snapshot_row *row, struct error *err);

// What `name` is in `parent`. -ENOENT when there is no such name, -ENOTDIR when parent is no
// folder.
int node_lookup(struct tree *tree, struct node parent, const char *name, struct node *ret_node,
                struct error *err);

// The fixed names of a folder: the next kind after `previous` (NODE_UNKNOWN to begin) whose parent
// is `parent`, NODE_UNKNOWN at the end. Conditional names (`latest`, `DAMAGED`, `disk.qcow2`) are
// among them.
enum node_kind node_next_fixed(enum node_kind parent, enum node_kind previous);

// The folder `node` is in.
int node_parent(struct tree *tree, struct node node, struct node *ret_parent, struct error *err);

#define NODE_PATH_SIZE 512

// "vms/web1/vda/backup", relative to the mountpoint, and "/name" behind it unless name is NULL; ""
// for the root. A node that is gone gives what can still be told. Returns `path`.
char *node_path(struct tree *tree, struct node node, const char *name, char path[NODE_PATH_SIZE]);

#endif
