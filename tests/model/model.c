// SPDX-License-Identifier: MIT
//
// The plain model; see model.h. Memory that runs out ends the program.
#include "tests/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *memory)
{
    if (!memory) {
        fputs("out of memory\n", stderr);
        exit(2);
    }
    return memory;
}

// --- bytes

struct content *content_new(const uint8_t *bytes, uint64_t size)
{
    struct content *content = must(calloc(1, sizeof(*content)));

    content->references = 1;
    content->size = size;
    content->bytes = must(malloc(size + 1));
    memcpy(content->bytes, bytes, size);
    return content;
}

struct content *content_ref(struct content *content)
{
    content->references++;
    return content;
}

void content_unref(struct content *content)
{
    if (!content || --content->references > 0)
        return;
    free(content->bytes);
    free(content);
}

bool model_is_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

uint64_t model_chunks(uint64_t size)
{
    return (size + MODEL_CHUNK - 1) / MODEL_CHUNK;
}

size_t model_chunk_bytes(uint64_t size, uint64_t chunk)
{
    uint64_t left = size - chunk * MODEL_CHUNK;

    return left < MODEL_CHUNK ? (size_t)left : MODEL_CHUNK;
}

uint64_t model_difference(const uint8_t *a, const uint8_t *b, uint64_t size)
{
    uint64_t bytes = 0;

    for (uint64_t chunk = 0; chunk < model_chunks(size); chunk++) {
        const uint8_t *at = a + chunk * MODEL_CHUNK;
        size_t len = model_chunk_bytes(size, chunk);
        if (b ? memcmp(at, b + chunk * MODEL_CHUNK, len) != 0 : !model_is_zero(at, len))
            bytes += len;
    }
    return bytes;
}

// --- VMs and disks

struct model_vm *model_add_vm(struct model *model, const char *name)
{
    struct model_vm *vm = must(calloc(1, sizeof(*vm)));

    snprintf(vm->name, sizeof(vm->name), "%s", name);
    model->vms = must(reallocarray(model->vms, model->vm_count + 1, sizeof(struct model_vm *)));
    model->vms[model->vm_count++] = vm;
    return vm;
}

struct model_disk *model_add_disk(struct model_vm *vm, const char *name)
{
    struct model_disk *disk = must(calloc(1, sizeof(*disk)));

    disk->vm = vm;
    snprintf(disk->name, sizeof(disk->name), "%s", name);
    vm->disks = must(reallocarray(vm->disks, vm->disk_count + 1, sizeof(struct model_disk *)));
    vm->disks[vm->disk_count++] = disk;
    return disk;
}

void model_set_source(struct model *model, struct model_disk *disk, const char *source,
                      uint8_t *bytes, uint64_t size)
{
    snprintf(disk->source, sizeof(disk->source), "%s", source);
    free(disk->bytes);
    disk->bytes = bytes;
    disk->size = disk->capacity = size;
    disk->order = ++model->clock;
}

static void free_disk(struct model_disk *disk)
{
    for (size_t i = 0; i < disk->snapshot_count; i++)
        model_free_snapshot(disk->snapshots[i]);
    for (size_t i = 0; i < disk->ghost_count; i++)
        model_free_snapshot(disk->ghosts[i]);
    free(disk->snapshots);
    free(disk->ghosts);
    free(disk->chains);
    free(disk->bytes);
    free(disk);
}

void model_remove_disk(struct model_disk *disk)
{
    struct model_vm *vm = disk->vm;

    for (size_t i = 0; i < vm->disk_count; i++)
        if (vm->disks[i] == disk)
            vm->disks[i] = vm->disks[--vm->disk_count];
    free_disk(disk);
}

static void free_vm(struct model_vm *vm)
{
    for (size_t i = 0; i < vm->disk_count; i++)
        free_disk(vm->disks[i]);
    free(vm->disks);
    free(vm);
}

void model_remove_vm(struct model *model, struct model_vm *vm)
{
    for (size_t i = 0; i < model->vm_count; i++)
        if (model->vms[i] == vm)
            model->vms[i] = model->vms[--model->vm_count];
    free_vm(vm);
}

void model_deinit(struct model *model)
{
    for (size_t i = 0; i < model->vm_count; i++)
        free_vm(model->vms[i]);
    free(model->vms);
    *model = (struct model){0};
}

unsigned model_policy(const struct model *model, const struct model_vm *vm)
{
    return vm->own_policy ? vm->keep_last : model->keep_last;
}

size_t model_count(const struct model_disk *disk)
{
    size_t count = 0;

    for (size_t i = 0; i < disk->snapshot_count; i++)
        count += !disk->snapshots[i]->forgotten;
    return count;
}

size_t model_count_vm(const struct model_vm *vm)
{
    size_t count = 0;

    for (size_t i = 0; i < vm->disk_count; i++)
        count += model_count(vm->disks[i]);
    return count;
}

// --- chains

const struct model_chain *model_chain(const struct model_disk *disk, unsigned number)
{
    for (size_t i = 0; i < disk->chain_count; i++)
        if (disk->chains[i].number == number)
            return &disk->chains[i];
    return NULL;
}

static unsigned highest_chain(const struct model_disk *disk)
{
    unsigned highest = 0;

    for (size_t i = 0; i < disk->chain_count; i++)
        if (disk->chains[i].number > highest)
            highest = disk->chains[i].number;
    return highest;
}

static unsigned highest_number(const struct model_disk *disk, unsigned chain)
{
    unsigned highest = 0;

    for (size_t i = 0; i < disk->snapshot_count; i++)
        if (disk->snapshots[i]->chain == chain && disk->snapshots[i]->number > highest)
            highest = disk->snapshots[i]->number;
    return highest;
}

static void add_chain(struct model_disk *disk, const struct model_chain *chain)
{
    disk->chains =
        must(reallocarray(disk->chains, disk->chain_count + 1, sizeof(struct model_chain)));
    disk->chains[disk->chain_count++] = *chain;
}

const struct model_snapshot *model_parent(const struct model_snapshot *snapshot)
{
    const struct model_snapshot *parent = snapshot->built;

    while (parent && parent->forgotten)
        parent = parent->built;
    return parent;
}

static struct model_snapshot *find_newest(const struct model_disk *disk, bool safety)
{
    struct model_snapshot *newest = NULL;

    for (size_t i = 0; i < disk->snapshot_count; i++) {
        struct model_snapshot *snapshot = disk->snapshots[i];
        if (snapshot->forgotten || model_chain(disk, snapshot->chain)->foreign ||
            (!safety && snapshot->origin == MODEL_SAFETY))
            continue;
        if (!newest || snapshot->chain > newest->chain ||
            (snapshot->chain == newest->chain && snapshot->number > newest->number))
            newest = snapshot;
    }
    return newest;
}

struct model_snapshot *model_newest(const struct model_disk *disk)
{
    return find_newest(disk, true);
}

struct model_snapshot *model_latest(const struct model_disk *disk)
{
    return find_newest(disk, false);
}

bool model_can_go_on(const struct model_disk *disk, const char *source, const uint64_t *size)
{
    const struct model_snapshot *newest = model_newest(disk);

    if (!newest)
        return false;
    const struct model_chain *chain = model_chain(disk, newest->chain);
    return strcmp(chain->source, source) == 0 && (!size || chain->capacity == *size);
}

// --- backups

struct model_snapshot *model_make_snapshot(struct model *model, struct model_disk *disk,
                                           const struct model_backup *backup)
{
    const uint8_t *bytes = backup->foreign ? backup->foreign_bytes : disk->bytes;
    uint64_t size = backup->foreign ? backup->foreign_size : disk->size;
    bool goes_on = !backup->foreign && backup->mode != MODEL_FULL &&
                   model_can_go_on(disk, disk->source, &size);

    if (!goes_on && backup->mode == MODEL_INCREMENTAL)
        return NULL;
    struct model_snapshot *snapshot = must(calloc(1, sizeof(*snapshot)));
    const struct model_snapshot *parent = goes_on ? model_newest(disk) : NULL;
    snapshot->disk = disk;
    snapshot->order = ++model->clock;
    snapshot->built = parent;
    snapshot->incremental = goes_on;
    snapshot->chain = goes_on ? parent->chain : highest_chain(disk) + 1;
    snapshot->number = goes_on ? highest_number(disk, parent->chain) + 1 : 1;
    snapshot->origin = backup->origin;
    snapshot->job = backup->job;
    snprintf(snapshot->tags, sizeof(snapshot->tags), "%s", backup->tags ? backup->tags : "");
    snapshot->capacity = size;
    snapshot->data_bytes = model_difference(bytes, NULL, size);
    snapshot->changed_bytes = model_difference(bytes, parent ? parent->content->bytes : NULL, size);
    if (parent && snapshot->changed_bytes == 0)
        snapshot->content = content_ref(parent->content);
    else
        snapshot->content = content_new(bytes, size);
    snapshot->begins = (struct model_chain){
        .number = snapshot->chain, .foreign = backup->foreign != NULL, .capacity = size};
    snprintf(snapshot->begins.source, sizeof(snapshot->begins.source), "%s",
             backup->foreign ? backup->foreign : disk->source);
    return snapshot;
}

void model_add_snapshot(struct model_snapshot *snapshot)
{
    struct model_disk *disk = snapshot->disk;

    if (snapshot->number == 1)
        add_chain(disk, &snapshot->begins);
    disk->snapshots = must(
        reallocarray(disk->snapshots, disk->snapshot_count + 1, sizeof(struct model_snapshot *)));
    size_t at = disk->snapshot_count++;
    for (; at > 0 && disk->snapshots[at - 1]->order > snapshot->order; at--)
        disk->snapshots[at] = disk->snapshots[at - 1];
    disk->snapshots[at] = snapshot;
    if (!model_chain(disk, snapshot->chain)->foreign && snapshot->order > disk->order) {
        disk->capacity = snapshot->capacity;
        disk->order = snapshot->order;
    }
}

void model_add_ghost(struct model_snapshot *snapshot)
{
    struct model_disk *disk = snapshot->disk;

    disk->ghosts =
        must(reallocarray(disk->ghosts, disk->ghost_count + 1, sizeof(struct model_snapshot *)));
    disk->ghosts[disk->ghost_count++] = snapshot;
}

void model_free_snapshot(struct model_snapshot *snapshot)
{
    if (!snapshot)
        return;
    content_unref(snapshot->content);
    free(snapshot);
}

void model_join_tags(char tags[MODEL_TAGS], const char *more)
{
    char word[MODEL_TAGS], around[MODEL_TAGS + 2], wanted[MODEL_TAGS + 2];

    for (const char *at = more; *at;) {
        size_t len = strcspn(at, ",");
        snprintf(word, sizeof(word), "%.*s", (int)len, at);
        snprintf(around, sizeof(around), ",%s,", tags);
        snprintf(wanted, sizeof(wanted), ",%s,", word);
        if (!strstr(around, wanted))
            snprintf(tags + strlen(tags), MODEL_TAGS - strlen(tags), "%s%s", *tags ? "," : "",
                     word);
        at += len + (at[len] == ',');
    }
}

// --- forgetting

void model_forget(struct model_snapshot *snapshot)
{
    snapshot->forgotten = true;
    content_unref(snapshot->content);
    snapshot->content = NULL;
}

// Snapshots are listed as they were made, so the last ones are the newest. What is protected and
// what a restore wrote over takes no place; the latter is kept for a week, longer than any run.
void model_prune(struct model_disk *disk, unsigned keep_last, const struct model_snapshot *held,
                 struct model_pruned *pruned)
{
    const struct model_snapshot *latest = model_latest(disk);
    bool all = keep_last == MODEL_KEEP_ALL;

    for (size_t i = disk->snapshot_count; i-- > 0;) {
        struct model_snapshot *snapshot = disk->snapshots[i];
        bool seen = !snapshot->protected && snapshot->origin != MODEL_SAFETY;
        if (snapshot->forgotten)
            continue;
        bool placed = seen && keep_last > 0;
        keep_last -= placed;
        if (all || !seen || placed || snapshot == latest) {
            pruned->kept++;
        } else if (snapshot == held) {
            pruned->skipped++;
        } else {
            model_forget(snapshot);
            pruned->forgotten++;
        }
    }
}

// --- rebuilding

static bool is_counted(struct model_vm *vm, const struct model_disk *last, size_t before,
                       int64_t job)
{
    for (size_t d = 0; d < vm->disk_count; d++) {
        const struct model_disk *disk = vm->disks[d];
        size_t end = disk == last ? before : disk->snapshot_count;
        for (size_t i = 0; i < end; i++)
            if (disk->snapshots[i]->job == job)
                return true;
        if (disk == last)
            break;
    }
    return false;
}

// Each job that made a snapshot once.
static unsigned count_jobs(struct model_vm *vm)
{
    unsigned count = 0;

    for (size_t d = 0; d < vm->disk_count; d++) {
        const struct model_disk *disk = vm->disks[d];
        for (size_t i = 0; i < disk->snapshot_count; i++)
            count += disk->snapshots[i]->origin != MODEL_SAFETY &&
                     !is_counted(vm, disk, i, disk->snapshots[i]->job);
    }
    return count;
}

void model_rebuilt(struct model *model)
{
    for (size_t i = 0; i < model->vm_count; i++) {
        struct model_vm *vm = model->vms[i];
        vm->successes = count_jobs(vm);
        vm->failures = vm->cancellations = 0;
    }
    model_collected(model);
}

void model_collected(struct model *model)
{
    for (size_t i = 0; i < model->vm_count; i++) {
        const struct model_vm *vm = model->vms[i];
        for (size_t d = 0; d < vm->disk_count; d++) {
            struct model_disk *disk = vm->disks[d];
            while (disk->ghost_count > 0)
                model_free_snapshot(disk->ghosts[--disk->ghost_count]);
        }
    }
}

void model_adopt_ghost(struct model_disk *disk, size_t which)
{
    struct model_snapshot *ghost = disk->ghosts[which];

    disk->ghosts[which] = disk->ghosts[--disk->ghost_count];
    model_add_snapshot(ghost);
}
