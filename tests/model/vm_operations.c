// SPDX-License-Identifier: MIT
//
// Operations on VMs, disks, their sources and policies.
#include "tests/model/world.h"

#include <stdio.h>
#include <string.h>

#define VMS_MAX 4
#define DISKS_MAX 3
#define NAMES 6 // so many different ones: those of removed VMs come again

static struct model_vm *find_vm(struct world *world, const char *name)
{
    for (size_t i = 0; i < world->model.vm_count; i++)
        if (strcmp(world->model.vms[i]->name, name) == 0)
            return world->model.vms[i];
    return NULL;
}

static bool has_disk(const struct model_vm *vm, const char *name)
{
    for (size_t i = 0; i < vm->disk_count; i++)
        if (strcmp(vm->disks[i]->name, name) == 0)
            return true;
    return false;
}

bool operation_add_vm(struct world *world)
{
    struct error err = ERROR_INIT;
    char name[MODEL_NAME], path[MODEL_PATH];
    size_t disks = (size_t)world_below(world, 3);
    struct engine_disk_spec specs[] = {{.name = "vda"}, {.name = "vdb"}};
    uint8_t *bytes[2];
    uint64_t sizes[2];
    char paths[2][MODEL_PATH];

    snprintf(name, sizeof(name), "vm%u", (unsigned)world_below(world, NAMES));
    if (world->model.vm_count >= VMS_MAX || find_vm(world, name))
        return false;
    world_say(world, "%s with %zu disks", name, disks);
    for (size_t i = 0; i < disks; i++) {
        world_new_path(world, path);
        snprintf(paths[i], sizeof(paths[i]), "%s", path);
        bytes[i] = source_random(world, &sizes[i]);
        source_write_file(world, paths[i], bytes[i], sizes[i]);
        specs[i].source = paths[i];
    }
    world_expect(world, engine_add_vm(world->engine, name, specs, disks, &err), 0, &err,
                 "adding a VM");
    struct model_vm *vm = model_add_vm(&world->model, name);
    for (size_t i = 0; i < disks; i++)
        model_set_source(&world->model, model_add_disk(vm, specs[i].name), paths[i], bytes[i],
                         sizes[i]);
    return true;
}

// A new file for the disk, or the one it has again.
static void set_source(struct world *world, struct model_disk *disk, bool another)
{
    struct error err = ERROR_INIT;
    char path[MODEL_PATH];

    if (disk->source[0] && !another) {
        world_say(world, " source again, %llu bytes", (unsigned long long)disk->size);
        world_expect(
            world, engine_set_source(world->engine, world_disk_id(world, disk), disk->source, &err),
            0, &err, "setting a source");
        disk->capacity = disk->size;
        disk->order = ++world->model.clock;
        return;
    }
    if (disk->source[0])
        unlink(disk->source);
    world_new_path(world, path);
    source_make(world, disk, path);
    world_say(world, " source %s, %llu bytes", strrchr(path, '/') + 1,
              (unsigned long long)disk->size);
    world_expect(world, engine_set_source(world->engine, world_disk_id(world, disk), path, &err), 0,
                 &err, "setting a source");
}

bool operation_add_disk(struct world *world)
{
    struct model_vm *vm = world_pick_vm(world);
    struct error err = ERROR_INIT;
    char name[MODEL_NAME];
    int64_t id;

    snprintf(name, sizeof(name), "vd%c", (char)('a' + (int)world_below(world, DISKS_MAX)));
    if (!vm || has_disk(vm, name))
        return false;
    world_say(world, "%s/%s", vm->name, name);
    world_expect(world, engine_add_disk(world->engine, world_vm_id(world, vm), name, &id, &err), 0,
                 &err, "adding a disk");
    struct model_disk *disk = model_add_disk(vm, name);
    if (world_percent(world, 85))
        set_source(world, disk, true);
    world->touched = vm;
    return true;
}

bool operation_set_source(struct world *world)
{
    struct model_vm *vm = world_pick_vm(world);
    struct model_disk *disk = NULL;

    for (size_t i = 0; vm && i < vm->disk_count; i++)
        if (!disk || !vm->disks[i]->source[0] || (disk->source[0] && world_percent(world, 50)))
            disk = vm->disks[i];
    if (!disk)
        return false;
    world_say(world, "%s/%s", vm->name, disk->name);
    set_source(world, disk, world_percent(world, 40));
    world->touched = vm;
    return true;
}

static void empty_disk(struct world *world, struct model_disk *disk)
{
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < disk->snapshot_count; i++) {
        struct model_snapshot *snapshot = disk->snapshots[i];
        if (snapshot->forgotten)
            continue;
        int64_t id = world_snapshot_id(world, snapshot);
        if (snapshot->protected)
            world_expect(world, engine_set_protected(world->engine, id, false, &err), 0, &err,
                         "unprotecting");
        snapshot->protected = false;
        world_expect(world, engine_forget_snapshot(world->engine, id, &err), 0, &err, "forgetting");
        model_forget(snapshot);
    }
}

bool operation_remove_disk(struct world *world)
{
    struct model_vm *vm = world_pick_vm(world);
    struct error err = ERROR_INIT;

    if (!vm || vm->disk_count == 0)
        return false;
    struct model_disk *disk = vm->disks[world_below(world, vm->disk_count)];
    if (world_percent(world, 50))
        empty_disk(world, disk);
    bool full = model_count(disk) > 0;
    world_say(world, "%s/%s with %zu snapshots", vm->name, disk->name, model_count(disk));
    world_expect(world, engine_remove_disk(world->engine, world_disk_id(world, disk), &err),
                 full ? -ENOTEMPTY : 0, &err, "removing a disk");
    world->touched = vm;
    if (full)
        return true;
    if (disk->source[0])
        unlink(disk->source);
    model_remove_disk(disk);
    return true;
}

bool operation_remove_vm(struct world *world)
{
    struct model_vm *vm = world_pick_vm(world);
    struct error err = ERROR_INIT;
    bool with_disks = world_percent(world, 80);

    if (!vm)
        return false;
    if (world_percent(world, 30))
        for (size_t i = 0; i < vm->disk_count; i++)
            empty_disk(world, vm->disks[i]);
    bool refused = model_count_vm(vm) > 0 || (vm->disk_count > 0 && !with_disks);
    world_say(world, "%s with %zu disks and %zu snapshots%s", vm->name, vm->disk_count,
              model_count_vm(vm), with_disks ? "" : ", without its disks");
    world_expect(world,
                 engine_remove_context(world->engine, world_vm_id(world, vm), with_disks, &err),
                 refused ? -ENOTEMPTY : 0, &err, "removing a VM");
    if (refused)
        return true;
    for (size_t i = 0; i < vm->disk_count; i++)
        if (vm->disks[i]->source[0])
            unlink(vm->disks[i]->source);
    model_remove_vm(&world->model, vm);
    return true;
}

bool operation_change_source(struct world *world)
{
    struct model_disk *disk = world_pick_disk(world);

    if (!disk)
        return false;
    world_say(world, "%s/%s", disk->vm->name, disk->name);
    source_change(world, disk);
    world->touched = disk->vm;
    return true;
}

bool operation_resize_source(struct world *world)
{
    struct model_disk *disk = world_pick_disk(world);

    if (!disk)
        return false;
    world_say(world, "%s/%s from %llu", disk->vm->name, disk->name, (unsigned long long)disk->size);
    source_resize(world, disk);
    world_say(world, " to %llu", (unsigned long long)disk->size);
    world->touched = disk->vm;
    return true;
}

bool operation_set_policy(struct world *world)
{
    struct model_vm *vm = world_pick_vm(world);
    struct error err = ERROR_INIT;
    unsigned keep = (unsigned)world_below(world, 9);
    char words[64] = "default";

    if (!vm)
        return false;
    vm->own_policy = keep != 0;
    vm->keep_last = keep == 1 ? MODEL_KEEP_ALL : keep;
    if (keep == 1)
        snprintf(words, sizeof(words), " none ");
    else if (keep != 0)
        snprintf(words, sizeof(words), "keep-last=%u", keep);
    world_say(world, "%s: %s", vm->name, words);
    world_expect(
        world,
        engine_set_retention(world->engine, world_vm_id(world, vm), words, strlen(words), &err), 0,
        &err, "setting a policy");
    world->touched = vm;
    return true;
}
