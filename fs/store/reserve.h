// SPDX-License-Identifier: MIT
//
// The reserve: space that is kept so that a full disk can still be told to forget and to collect
// garbage, which both need some before they give any back. It is a file of allocated blocks,
// REPO/cache/reserve (whoever empties cache/ only takes the precaution away).
//
// Rules: a backup's packs never take the last reserve_floor() bytes of the file system, nor what
// the file is short of its size, else the space of one that was given up would go to the next
// backup; its writer asks reserve_check() and fails with -ENOSPC in time. The catalog, notes and
// garbage collection may use them, and when they are gone as well (somebody else writes to the same
// disk), the file is given up by reserve_make_room(). reserve_refill() allocates it again once
// there is room for it twice over.
//
// ext4, xfs and btrfs allocate on fallocate(2); where that is not supported the file is written.
//
// Threads: any; each function takes the reserve's own lock, a leaf.
#ifndef FS_STORE_RESERVE_H
#define FS_STORE_RESERVE_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct reserve;

// For the repository's owner. The file is not made yet. `dir` is the repository's.
int reserve_open(const char *dir, struct reserve **ret_reserve, struct error *err);
struct reserve *reserve_close(struct reserve *reserve); // the file stays

// Makes the file as large as a repository with `stored_bytes` in packs needs: a sixteenth of that,
// from 4 MiB to 64 MiB, and at most a sixteenth of the file system. Does nothing while there is
// less than twice the room, or when it cannot (then it says so in the log once).
void reserve_refill(struct reserve *reserve, uint64_t stored_bytes);

// Half of what the reserve should be: with less than that free, the file is given up.
uint64_t reserve_floor(struct reserve *reserve);

// Gives the file up when less than reserve_floor() is free. Called before whatever must not fail
// for want of space. Returns whether it was given up now.
bool reserve_make_room(struct reserve *reserve);

// 0 when `bytes` may be written by a backup, -ENOSPC with the reason when not. NULL: no reserve.
int reserve_check(struct reserve *reserve, uint64_t bytes, struct error *err);

// Bytes of the reserve of the repository in `dir`, whoever owns it; 0 when there is none.
uint64_t reserve_held(const char *dir);

DEFINE_CLEANUP(struct reserve *, reserve_close)

#endif
