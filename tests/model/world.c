// SPDX-License-Identifier: MIT
//
// Opening and asking the repository, and telling differences.
#include "tests/model/world.h"

#include "base/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// --- telling

static char *line_of(struct shared *shared, uint64_t operation)
{
    return shared->lines[operation % SHARED_LINES];
}

void world_say(struct world *world, const char *fmt, ...)
{
    char *line = line_of(world->shared, world->shared->operation);
    size_t used = strlen(line);
    va_list args;

    va_start(args, fmt);
    vsnprintf(line + used, SHARED_LINE - used, fmt, args);
    va_end(args);
}

void world_differ(struct world *world, const char *fmt, ...)
{
    struct shared *shared = world->shared;
    va_list args;

    va_start(args, fmt);
    vsnprintf(shared->difference, sizeof(shared->difference), fmt, args);
    va_end(args);
    _exit(1);
}

void world_expect(struct world *world, int result, int wanted, const struct error *err,
                  const char *what)
{
    if (result != wanted)
        world_differ(world, "%s gives %d instead of %d: %s", what, result, wanted,
                     err && err->code ? error_message(err) : "no reason given");
}

// --- the engine

void world_open(struct world *world)
{
    struct engine_options options = {
        .command = "model", .workers = (unsigned)world_below(world, 2) + 1, .job_threads = 2};
    struct error err = ERROR_INIT;
    int r = engine_open(world->repo, &options, &world->engine, NULL, &err);

    world_expect(world, r, 0, &err, "opening the repository");
    world->leftovers = false;
}

void world_close(struct world *world)
{
    world->engine = engine_close(world->engine);
}

static int note_active(const struct job_row *row, void *arg, struct error *err)
{
    (void)err;
    *(int64_t *)arg = row->id;
    return 0;
}

void world_settle(struct world *world)
{
    struct job_filter filter = {.active = true};

    for (;;) {
        int64_t active = 0;
        struct catalog_conn *conn = world_read(world);
        int r = job_each(conn, &filter, note_active, &active, NULL);
        catalog_read_end(conn);
        world_expect(world, r, 0, NULL, "listing jobs");
        if (active == 0)
            return;
        world_wait(world, active);
    }
}

struct catalog_conn *world_read(struct world *world)
{
    struct error err = ERROR_INIT;
    struct catalog_conn *conn = NULL;

    world_expect(world, catalog_read_begin(engine_catalog(world->engine), &conn, &err), 0, &err,
                 "reading the catalog");
    return conn;
}

enum job_state world_wait(struct world *world, int64_t job_id)
{
    struct error err = ERROR_INIT;
    enum job_state state = JOB_STATE_UNKNOWN;

    world_expect(world, engine_wait_job(world->engine, job_id, 120000, &state, &err), 0, &err,
                 "waiting for a job");
    return state;
}

void world_get_job(struct world *world, int64_t job_id, struct job_row *ret_row)
{
    struct catalog_conn *conn = world_read(world);
    struct error err = ERROR_INIT;
    int r = job_get(conn, job_id, ret_row, &err);

    catalog_read_end(conn);
    world_expect(world, r, 0, &err, "reading a job");
}

void world_arm(const char *fault)
{
    setenv("BACKTREE_FAULT", fault, 1);
    fault_init(NULL);
    unsetenv("BACKTREE_FAULT");
}

// --- choosing

struct model_vm *world_pick_vm(struct world *world)
{
    struct model *model = &world->model;

    return model->vm_count ? model->vms[world_below(world, model->vm_count)] : NULL;
}

struct model_disk *world_pick_disk(struct world *world)
{
    struct model_disk *found = NULL;
    uint64_t seen = 0;

    for (size_t v = 0; v < world->model.vm_count; v++)
        for (size_t d = 0; d < world->model.vms[v]->disk_count; d++)
            if (world->model.vms[v]->disks[d]->source[0] && world_below(world, ++seen) == 0)
                found = world->model.vms[v]->disks[d];
    return found;
}

struct model_snapshot *world_pick_snapshot_of(struct world *world, const struct model_vm *vm)
{
    struct model_snapshot *found = NULL;
    uint64_t seen = 0;

    for (size_t d = 0; d < vm->disk_count; d++)
        for (size_t i = 0; i < vm->disks[d]->snapshot_count; i++)
            if (!vm->disks[d]->snapshots[i]->forgotten && world_below(world, ++seen) == 0)
                found = vm->disks[d]->snapshots[i];
    return found;
}

struct model_snapshot *world_pick_snapshot(struct world *world)
{
    struct model_vm *vm = world_pick_vm(world);

    return vm ? world_pick_snapshot_of(world, vm) : NULL;
}

void world_new_path(struct world *world, char path[MODEL_PATH])
{
    snprintf(path, MODEL_PATH, "%.200s/file-%u.raw", world->folder, ++world->files);
}

// --- the program's numbers

int64_t world_vm_id(struct world *world, const struct model_vm *vm)
{
    struct catalog_conn *conn = world_read(world);
    struct error err = ERROR_INIT;
    struct context_row row;
    int r = context_find(conn, vm->name, &row, &err);

    catalog_read_end(conn);
    world_expect(world, r, 0, &err, "looking for a VM");
    return row.id;
}

int64_t world_disk_id(struct world *world, const struct model_disk *disk)
{
    int64_t vm_id = world_vm_id(world, disk->vm);
    struct catalog_conn *conn = world_read(world);
    struct error err = ERROR_INIT;
    struct disk_row row;
    int r = disk_find(conn, vm_id, disk->name, &row, &err);

    catalog_read_end(conn);
    world_expect(world, r, 0, &err, "looking for a disk");
    return row.id;
}

int64_t world_snapshot_id(struct world *world, const struct model_snapshot *snapshot)
{
    int64_t disk_id = world_disk_id(world, snapshot->disk);
    struct catalog_conn *conn = world_read(world);
    struct error err = ERROR_INIT;
    struct chain_row chain;
    struct snapshot_row row;
    int r = chain_find(conn, disk_id, snapshot->chain, &chain, &err);

    if (r == 0)
        r = snapshot_find(conn, chain.id, snapshot->seen.name, &row, &err);
    catalog_read_end(conn);
    world_expect(world, r, 0, &err, "looking for a snapshot");
    return row.id;
}
