// SPDX-License-Identifier: MIT
//
// A repository and the model beside it, and what operations need to work on both.
//
// A world lives in a process of its own: a difference is told and ends it, and whoever started it
// finds out about a crash or a hang. What both processes know is in struct shared.
#ifndef TESTS_MODEL_WORLD_H
#define TESTS_MODEL_WORLD_H

#include "catalog/snapshot.h"
#include "fs/job/engine.h"
#include "tests/model/model.h"
#include "tests/model/random.h"

#define SHARED_LINES 24
#define SHARED_LINE 320
#define OPERATIONS_MAX 48

struct shared {
    uint64_t seed;
    uint64_t operation;                    // under way, from 1
    char lines[SHARED_LINES][SHARED_LINE]; // the last operations, by number
    char difference[2048];                 // "" = none
    // totals
    uint64_t done[OPERATIONS_MAX]; // by kind
    uint64_t trees, snapshots_read, bytes_read, snapshots_made, ghosts, outcomes[4];
};

struct world {
    struct shared *shared;
    bool trace;
    uint64_t random;
    char folder[MODEL_PATH], repo[MODEL_PATH + 8];
    unsigned files; // named so far
    struct engine *engine;
    struct model_vm *touched; // by the operation under way; NULL: everything may be
    bool leftovers;           // a failed job may have left some, until the next start
    struct model model;
};

// Says what the operation under way is about; more calls add to it.
void world_say(struct world *world, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Program and model differ: tells it and ends the process with 1.
void world_differ(struct world *world, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));
// Differs unless `result` is `wanted`.
void world_expect(struct world *world, int result, int wanted, const struct error *err,
                  const char *what);

void world_open(struct world *world);  // the engine
void world_close(struct world *world); // it
// Pending jobs of an earlier owner end.
void world_settle(struct world *world);

static inline uint64_t world_below(struct world *world, uint64_t count)
{
    return random_below(&world->random, count);
}

static inline bool world_percent(struct world *world, unsigned percent)
{
    return random_percent(&world->random, percent);
}

// Any; NULL when there is none.
struct model_vm *world_pick_vm(struct world *world);
struct model_disk *world_pick_disk(struct world *world); // one with a source
struct model_snapshot *world_pick_snapshot(struct world *world);
struct model_snapshot *world_pick_snapshot_of(struct world *world, const struct model_vm *vm);

// A name in the world's folder that was not used yet.
void world_new_path(struct world *world, char path[MODEL_PATH]);

// The program's numbers; what is not there is a difference.
int64_t world_vm_id(struct world *world, const struct model_vm *vm);
int64_t world_disk_id(struct world *world, const struct model_disk *disk);
int64_t world_snapshot_id(struct world *world, const struct model_snapshot *snapshot);
struct catalog_conn *world_read(struct world *world); // a lease; catalog_read_end()

// Waits for a job's end, two minutes at most.
enum job_state world_wait(struct world *world, int64_t job_id);
void world_get_job(struct world *world, int64_t job_id, struct job_row *ret_row);

void world_arm(const char *fault); // "source-read=EIO"; disarmed by fault_disarm()

// sources.c: files with the model's bytes.
void source_make(struct world *world, struct model_disk *disk, const char *path);
uint8_t *source_random(struct world *world, uint64_t *ret_size); // new content, malloc'ed
void source_write_file(struct world *world, const char *path, const uint8_t *bytes, uint64_t size);
void source_change(struct world *world, struct model_disk *disk);
void source_resize(struct world *world, struct model_disk *disk);
uint8_t *source_read_file(struct world *world, const char *path, uint64_t *ret_size);
// Differs unless the file holds this.
void source_compare_file(struct world *world, const char *path, const uint8_t *bytes,
                         uint64_t size);

// compare.c: one VM with all it holds; everything; and all of its content.
void compare_vm(struct world *world, struct model_vm *vm);
void compare_tree(struct world *world);
void compare_content(struct world *world, struct model_snapshot *snapshot);
void compare_all(struct world *world);

// What can happen. `run` returns false when there was nothing to do it to.
struct operation {
    const char *name;
    unsigned weight;
    bool (*run)(struct world *world);
};

extern const struct operation operations[];
extern const size_t operation_count;

// One operation and the comparisons that follow it.
void operation_next(struct world *world);

// The operations by subject: vm_operations.c, backup_operations.c, restore_operations.c,
// snapshot_operations.c, repository_operations.c.
bool operation_add_vm(struct world *world);
bool operation_add_disk(struct world *world);
bool operation_set_source(struct world *world);
bool operation_remove_disk(struct world *world);
bool operation_remove_vm(struct world *world);
bool operation_change_source(struct world *world);
bool operation_resize_source(struct world *world);
bool operation_set_policy(struct world *world);

bool operation_backup(struct world *world);
bool operation_backup_cancelled(struct world *world);
bool operation_backup_interrupted(struct world *world);
bool operation_backup_failing(struct world *world);
bool operation_requests_at_once(struct world *world);

bool operation_restore_in_place(struct world *world);
bool operation_restore_new_file(struct world *world);
bool operation_restore_other(struct world *world);

bool operation_forget(struct world *world);
bool operation_protect(struct world *world);
bool operation_prune(struct world *world);
bool operation_read(struct world *world);

bool operation_reopen(struct world *world);
bool operation_drop_cache(struct world *world);
bool operation_rebuild(struct world *world);
bool operation_check(struct world *world);
bool operation_check_full(struct world *world);
bool operation_gc(struct world *world);
bool operation_verify(struct world *world);
bool operation_bad_request(struct world *world);

#endif
