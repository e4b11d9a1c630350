// SPDX-License-Identifier: MIT
//
// What backtree should hold, as plainly as it can be said: arrays in memory. Nothing of the program
// is used here, neither its code nor what it has recorded; what the program alone decides (uuids,
// times, job numbers, stored sizes) is noted when it is first seen and must stay so.
//
// Snapshots that were forgotten stay in their disk's list, for their numbers are never used again
// and children look for a parent through them. Only their content goes.
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_CHUNK 16384u
#define MODEL_NAME 32
#define MODEL_TAGS 256
#define MODEL_PATH 256
#define MODEL_KEEP_ALL 0u // of a policy

enum model_origin { MODEL_MANUAL = 1, MODEL_SCHEDULED, MODEL_SAFETY };
enum model_mode { MODEL_AUTO = 1, MODEL_FULL, MODEL_INCREMENTAL };

struct content { // of a snapshot; shared by those that are alike
    unsigned references;
    uint64_t size;
    uint8_t *bytes;
};

struct model_chain {
    unsigned number;
    bool foreign;
    char source[MODEL_PATH];
    uint64_t capacity;
};

struct model_seen { // what the program chose
    bool known;
    char uuid[40];
    char name[64];
    int64_t taken_at;
    uint8_t digest[32];
    uint64_t new_bytes;
};

struct model_snapshot {
    struct model_disk *disk;
    uint64_t order; // of being taken, among all
    unsigned chain, number;
    struct model_chain begins; // the chain, of number 1 in it
    bool incremental, protected, forgotten;
    enum model_origin origin;
    int64_t job;
    char tags[MODEL_TAGS];              // comma-separated
    const struct model_snapshot *built; // on this one; NULL: on none
    struct content *content;            // NULL once forgotten
    uint64_t capacity, data_bytes, changed_bytes;
    struct model_seen seen;
};

struct model_disk {
    struct model_vm *vm;
    char name[MODEL_NAME];
    char source[MODEL_PATH]; // "" = none yet
    uint8_t *bytes;          // what the source holds now
    uint64_t size;
    uint64_t capacity; // as backtree was last told or has last seen,
    uint64_t order;    // and when that was, on the clock of snapshots
    struct model_chain *chains;
    size_t chain_count;
    struct model_snapshot **snapshots; // in the order they were taken
    size_t snapshot_count;
    // Written whole into packs by jobs that failed before their last step: a rebuild may list them.
    struct model_snapshot **ghosts;
    size_t ghost_count;
};

struct model_vm {
    char name[MODEL_NAME];
    bool own_policy;
    unsigned keep_last; // of the own policy
    unsigned successes, failures, cancellations;
    struct model_disk **disks;
    size_t disk_count;
};

struct model {
    unsigned keep_last; // of VMs without a policy of their own
    uint64_t clock;     // counts what happens
    struct model_vm **vms;
    size_t vm_count;
};

struct content *content_new(const uint8_t *bytes, uint64_t size);
struct content *content_ref(struct content *content);
void content_unref(struct content *content);

bool model_is_zero(const uint8_t *bytes, size_t len);
uint64_t model_chunks(uint64_t size);
// Bytes of chunk number `chunk` of a disk of `size` bytes: less than a chunk at its end.
size_t model_chunk_bytes(uint64_t size, uint64_t chunk);
// Bytes of the chunks that differ between `a` and `b` (NULL: nothing but zeros) in [0, size).
uint64_t model_difference(const uint8_t *a, const uint8_t *b, uint64_t size);

struct model_vm *model_add_vm(struct model *model, const char *name);
struct model_disk *model_add_disk(struct model_vm *vm, const char *name);
// It is read from this file, whose content is taken over (malloc'ed).
void model_set_source(struct model *model, struct model_disk *disk, const char *source,
                      uint8_t *bytes, uint64_t size);
void model_remove_disk(struct model_disk *disk);
void model_remove_vm(struct model *model, struct model_vm *vm);
void model_deinit(struct model *model);

unsigned model_policy(const struct model *model, const struct model_vm *vm);
size_t model_count(const struct model_disk *disk); // snapshots that are there
size_t model_count_vm(const struct model_vm *vm);
const struct model_chain *model_chain(const struct model_disk *disk, unsigned number);
// The nearest that is there of those it builds on, NULL = none.
const struct model_snapshot *model_parent(const struct model_snapshot *snapshot);
// What the next incremental builds on; what `latest` leads to. NULL = none.
struct model_snapshot *model_newest(const struct model_disk *disk);
struct model_snapshot *model_latest(const struct model_disk *disk);
// Whether an incremental can be asked for; with `size` whether it can be made of a source that
// large.
bool model_can_go_on(const struct model_disk *disk, const char *source, const uint64_t *size);

struct model_backup {
    enum model_mode mode;
    enum model_origin origin;
    const char *tags;
    int64_t job;
    // A restore's target that is not the disk's source; NULL: the source.
    const char *foreign;
    const uint8_t *foreign_bytes;
    uint64_t foreign_size;
};

// Makes the snapshot a backup of the disk as it is now would make, without adding it. NULL: an
// incremental that cannot go on.
struct model_snapshot *model_make_snapshot(struct model *model, struct model_disk *disk,
                                           const struct model_backup *backup);
// It is there now: takes it over.
void model_add_snapshot(struct model_snapshot *snapshot);
// It may be in a pack, but nobody has been told of it: takes it over.
void model_add_ghost(struct model_snapshot *snapshot);
void model_free_snapshot(struct model_snapshot *snapshot);

void model_forget(struct model_snapshot *snapshot);
// Forgets what keep-last does not keep of a disk, but for `held` (may be NULL), which somebody
// uses. Adds to the counts.
struct model_pruned {
    uint64_t kept, forgotten, skipped;
};
void model_prune(struct model_disk *disk, unsigned keep_last, const struct model_snapshot *held,
                 struct model_pruned *pruned);

// Adds words of a comma-separated list that are not there yet.
void model_join_tags(char tags[MODEL_TAGS], const char *more);

// What is lost with a catalog: jobs that made no snapshot.
void model_rebuilt(struct model *model);
// One of the disk's ghosts is there after a rebuild.
// A collection notes what never came to be as forgotten.
void model_collected(struct model *model);
void model_adopt_ghost(struct model_disk *disk, size_t which);

#endif
