// SPDX-License-Identifier: MIT
//
// From marks on records to what of a snapshot cannot be read, and back: what was healed.
//
// A record heals when it is stored again: the new copy is unmarked and comes first. So healing is
// no repair of anything, only a look at what is recorded of snapshots.
#ifndef FS_JOB_DAMAGE_FIND_H
#define FS_JOB_DAMAGE_FIND_H

#include "catalog/damage.h"
#include "catalog/snapshot.h"
#include "fs/job/engine_state.h"
#include "fs/store/map_check.h"
#include "fs/store/row_bitmap.h"

struct damage_list { // zeroed = empty; owns the sentences
    struct damage_extent *extents;
    size_t count, room;
    uint64_t bytes;
};

void damage_list_deinit(struct damage_list *list);

// Adds what is recorded of a snapshot.
int damage_list_load(struct damage_list *list, struct catalog_conn *conn, int64_t snapshot_id,
                     struct error *err);

// Whether the byte at `offset` lies in one of them; they are ascending and disjoint.
bool damage_list_has(const struct damage_list *list, uint64_t offset);

// Walks over maps that judge by marks. One thread; what snapshots share is walked once.
struct damage_search {
    // given; borrowed
    struct store *store;
    struct job_run *run; // asked whether to go on
    int64_t job_id;      // whose provisional packs count as well; 0 = none
    bool prove;          // read and prove chunks too, not only look for their marks

    struct map_check *maps;
    struct row_bitmap proved; // chunks, each once however many snapshots share them
};

int damage_search_init(struct damage_search *search, struct error *err);
void damage_search_deinit(struct damage_search *search);

// Adds what of the snapshot cannot be read: bytes of maps and chunks without a whole copy; all of
// it when nothing proves its row (snapshot_record_check()), for it cannot be opened then.
int damage_find(struct damage_search *search, struct catalog_conn *conn,
                const struct snapshot_row *row, struct damage_list *list, struct error *err);

// The same of a map without a snapshot yet.
int damage_find_map(struct damage_search *search, struct catalog_conn *conn,
                    const struct digest *root, uint64_t capacity, uint32_t chunk_size,
                    struct damage_list *list, struct error *err);

// --- marks that may be wrong by now

// Proves marked copies again and takes the marks of those that are whole: a pack that was missing
// is back, what a delta is made against was stored again. `deltas_only`: just the latter.
int damage_prove_marked(struct engine *engine, struct job_run *run, bool deltas_only,
                        uint64_t *ret_cleared, struct error *err);

// --- healing

struct damage_change { // of one snapshot
    int64_t snapshot_id;
    char path[2 * NAME_SIZE + 2 * SNAPSHOT_NAME_SIZE];
    uint64_t bytes_before;
    struct damage_list left;
};

struct damage_review {
    struct damage_change *changes;
    size_t count, room;
    uint64_t healed_bytes;
    uint64_t healed_snapshots; // of which nothing is damaged any more
};

// Looks again at the extents that are recorded of snapshots: which of them can be read by now,
// counting what `job_id` has stored and not completed yet (0 = none). What can is read and proved,
// for below a map node that was lost nobody has looked at chunks; nothing else of the snapshots is,
// so it costs next to nothing. Changes nothing; damage_review_apply() does, in a
// transaction.
int damage_review_make(struct engine *engine, struct job_run *run, int64_t job_id,
                       struct damage_review *review, struct error *err);
int damage_review_apply(struct catalog_conn *conn, const struct damage_review *review,
                        struct error *err);
// Tells the job's log.
void damage_review_log(const struct damage_review *review, struct job_run *run);
void damage_review_deinit(struct damage_review *review);

#endif
