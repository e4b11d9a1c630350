// SPDX-License-Identifier: MIT
//
// The repository's tree against the model's: VMs, disks, chains, snapshots, and nothing besides.
#include "tests/model/world.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

struct comparison {
    struct world *world;
    struct model_vm *vm;
    struct model_disk *disk;
    size_t seen;
    char name[128]; // of what is being compared
};

static void same_number(const struct comparison *at, const char *what, uint64_t is, uint64_t wanted)
{
    if (is != wanted)
        world_differ(at->world, "%s: %s is %llu instead of %llu", at->name, what,
                     (unsigned long long)is, (unsigned long long)wanted);
}

static void same_text(const struct comparison *at, const char *what, const char *is,
                      const char *wanted)
{
    if (strcmp(is, wanted) != 0)
        world_differ(at->world, "%s: %s is '%s' instead of '%s'", at->name, what, is, wanted);
}

// --- snapshots

static struct model_snapshot *find_snapshot(const struct model_disk *disk, int64_t chain,
                                            int64_t number)
{
    for (size_t i = 0; i < disk->snapshot_count; i++)
        if (disk->snapshots[i]->chain == chain && disk->snapshots[i]->number == number)
            return disk->snapshots[i];
    return NULL;
}

// What the program chose is noted at first sight, and is the same from then on.
static void compare_seen(struct comparison *at, const struct snapshot_row *row,
                         struct model_snapshot *snapshot)
{
    struct model_seen *seen = &snapshot->seen;
    char name[SNAPSHOT_NAME_SIZE], beginning[SNAPSHOT_NAME_SIZE];

    snapshot_name(row, name);
    if (!seen->known) {
        snprintf(seen->uuid, sizeof(seen->uuid), "%s", row->uuid);
        snprintf(seen->name, sizeof(seen->name), "%s", name);
        seen->taken_at = row->taken_at;
        memcpy(seen->digest, row->digest.bytes, sizeof(seen->digest));
        seen->new_bytes = row->new_bytes;
        seen->known = true;
        at->world->shared->snapshots_made++;
    }
    same_text(at, "the uuid", row->uuid, seen->uuid);
    same_text(at, "the name", name, seen->name);
    same_number(at, "the time", (uint64_t)row->taken_at, (uint64_t)seen->taken_at);
    same_number(at, "the added size", row->new_bytes, seen->new_bytes);
    if (memcmp(row->digest.bytes, seen->digest, sizeof(seen->digest)) != 0)
        world_differ(at->world, "%s: the digest has changed", at->name);
    snprintf(beginning, sizeof(beginning), "%04u-%s-20", snapshot->number,
             snapshot->incremental ? "incr" : "full");
    if (strncmp(name, beginning, strlen(beginning)) != 0)
        world_differ(at->world, "%s: the name is %s and does not begin with %s", at->name, name,
                     beginning);
}

static void compare_parent(const struct comparison *at, const struct snapshot_row *row,
                           const struct model_snapshot *snapshot)
{
    const struct model_snapshot *parent = model_parent(snapshot);

    same_text(at, "the parent", row->parent_name, parent ? parent->seen.name : "");
    same_number(at, "having a parent", row->parent_id != 0, parent != NULL);
}

static int compare_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    static const enum job_trigger triggers[] = {[MODEL_MANUAL] = TRIGGER_MANUAL,
                                                [MODEL_SCHEDULED] = TRIGGER_SCHEDULED,
                                                [MODEL_SAFETY] = TRIGGER_PRE_RESTORE_SAFETY};
    struct comparison *at = arg;
    struct model_snapshot *snapshot = find_snapshot(at->disk, row->chain_number, row->number);

    (void)err;
    snprintf(at->name, sizeof(at->name), "%s/%s chain %lld number %lld", at->vm->name,
             at->disk->name, (long long)row->chain_number, (long long)row->number);
    if (!snapshot || snapshot->forgotten)
        world_differ(at->world, "%s is there (job %lld) and should not be: %s", at->name,
                     (long long)row->job_id, snapshot ? "forgotten" : "never made");
    at->seen++;
    compare_seen(at, row, snapshot);
    compare_parent(at, row, snapshot);
    same_number(at, "its job", (uint64_t)row->job_id, (uint64_t)snapshot->job);
    same_number(at, "being incremental", row->kind == SNAPSHOT_INCREMENTAL, snapshot->incremental);
    same_number(at, "the trigger", row->trigger, triggers[snapshot->origin]);
    same_number(at, "being protected", row->protected, snapshot->protected);
    same_number(at, "the capacity", row->capacity, snapshot->capacity);
    same_number(at, "the chunk size", row->chunk_size, MODEL_CHUNK);
    same_number(at, "bytes of data", row->data_bytes, snapshot->data_bytes);
    same_number(at, "bytes changed", row->changed_bytes, snapshot->changed_bytes);
    same_text(at, "tags", row->tags, snapshot->tags);
    same_text(at, "its disk", row->disk_name, at->disk->name);
    same_text(at, "its VM", row->context_name, at->vm->name);
    return 0;
}

// The last two, if they hold the same, have one digest, and two if they differ.
static void compare_digests(struct comparison *at)
{
    const struct model_snapshot *a = NULL, *b = NULL;

    for (size_t i = 0; i < at->disk->snapshot_count; i++) {
        if (at->disk->snapshots[i]->forgotten)
            continue;
        a = b;
        b = at->disk->snapshots[i];
    }
    if (!a || a->capacity != b->capacity)
        return;
    bool alike = model_difference(a->content->bytes, b->content->bytes, a->capacity) == 0;
    bool same = memcmp(a->seen.digest, b->seen.digest, sizeof(a->seen.digest)) == 0;
    if (alike != same)
        world_differ(at->world, "%s: %s and %s hold %s and have %s", at->name, a->seen.name,
                     b->seen.name, alike ? "the same" : "different things",
                     same ? "one digest" : "two digests");
}

// --- chains

static size_t count_in_chain(const struct model_disk *disk, unsigned chain)
{
    size_t count = 0;

    for (size_t i = 0; i < disk->snapshot_count; i++)
        count += disk->snapshots[i]->chain == chain && !disk->snapshots[i]->forgotten;
    return count;
}

static int compare_chain(const struct chain_row *row, void *arg, struct error *err)
{
    struct comparison *at = arg;
    const struct model_chain *chain = model_chain(at->disk, (unsigned)row->number);

    (void)err;
    snprintf(at->name, sizeof(at->name), "%s/%s chain %lld", at->vm->name, at->disk->name,
             (long long)row->number);
    if (!chain)
        world_differ(at->world, "%s is there and should not be", at->name);
    at->seen++;
    same_text(at, "the source", row->source, chain->source);
    same_number(at, "the capacity", row->capacity, chain->capacity);
    same_number(at, "being foreign", row->foreign, chain->foreign);
    same_number(at, "the count of snapshots", (uint64_t)row->snapshots,
                count_in_chain(at->disk, chain->number));
    return 0;
}

static size_t count_chains(const struct model_disk *disk)
{
    size_t count = 0;

    for (size_t i = 0; i < disk->chain_count; i++)
        count += count_in_chain(disk, disk->chains[i].number) > 0;
    return count;
}

// --- disks

static void compare_found(struct comparison *at, const char *what, int result,
                          const struct snapshot_row *row, const struct model_snapshot *wanted)
{
    char name[SNAPSHOT_NAME_SIZE];

    if (result != (wanted ? 0 : -ENOENT))
        world_differ(at->world, "%s/%s: %s is %s", at->vm->name, at->disk->name, what,
                     wanted ? "not found" : "found and should not be");
    if (wanted && (row->chain_number != wanted->chain || row->number != wanted->number))
        world_differ(at->world, "%s/%s: %s is %s of chain %lld instead of %s of chain %u",
                     at->vm->name, at->disk->name, what, snapshot_name(row, name),
                     (long long)row->chain_number, wanted->seen.name, wanted->chain);
}

static void compare_disk(struct comparison *at, struct catalog_conn *conn,
                         const struct disk_row *row)
{
    struct snapshot_filter filter = {.disk_id = row->id};
    struct snapshot_row found;
    struct error err = ERROR_INIT;
    int r;

    same_text(at, "the source", row->source, at->disk->source);
    same_number(at, "the capacity", row->capacity, at->disk->capacity);
    same_number(at, "the count of snapshots", (uint64_t)row->snapshots, model_count(at->disk));
    at->seen = 0;
    r = snapshot_each(conn, &filter, compare_snapshot, at, &err);
    world_expect(at->world, r, 0, &err, "listing snapshots");
    snprintf(at->name, sizeof(at->name), "%s/%s", at->vm->name, at->disk->name);
    same_number(at, "the list of snapshots", at->seen, model_count(at->disk));
    at->seen = 0;
    r = chain_each(conn, row->id, compare_chain, at, &err);
    world_expect(at->world, r, 0, &err, "listing chains");
    snprintf(at->name, sizeof(at->name), "%s/%s", at->vm->name, at->disk->name);
    same_number(at, "the list of chains", at->seen, count_chains(at->disk));
    r = snapshot_find_newest(conn, row->id, &found, NULL);
    compare_found(at, "the newest snapshot", r, &found, model_newest(at->disk));
    r = snapshot_find_latest(conn, row->id, &found, NULL);
    compare_found(at, "the latest snapshot", r, &found, model_latest(at->disk));
    compare_digests(at);
}

static int count_disk(const struct disk_row *row, void *arg, struct error *err)
{
    (void)row;
    (void)err;
    ++*(size_t *)arg;
    return 0;
}

// --- VMs

static void compare_context(struct comparison *at, const struct context_row *row)
{
    unsigned keep = model_policy(&at->world->model, at->vm);
    char words[64] = "none";

    if (keep != MODEL_KEEP_ALL)
        snprintf(words, sizeof(words), "keep-last=%u", keep);
    same_text(at, "the policy", row->retention, words);
    same_number(at, "having a policy", row->own_retention, at->vm->own_policy);
    same_number(at, "successes", (uint64_t)row->successes, at->vm->successes);
    same_number(at, "failures", (uint64_t)row->failures, at->vm->failures);
    same_number(at, "cancellations", (uint64_t)row->cancellations, at->vm->cancellations);
    same_number(at, "runs", (uint64_t)row->runs,
                at->vm->successes + at->vm->failures + at->vm->cancellations);
}

void compare_vm(struct world *world, struct model_vm *vm)
{
    struct comparison at = {.world = world, .vm = vm};
    struct catalog_conn *conn = world_read(world);
    struct error err = ERROR_INIT;
    struct context_row context;
    struct disk_row disk;
    size_t disks = 0;
    int r = context_find(conn, vm->name, &context, &err);

    world_expect(world, r, 0, &err, "looking for a VM");
    snprintf(at.name, sizeof(at.name), "%s", vm->name);
    compare_context(&at, &context);
    r = disk_each(conn, context.id, count_disk, &disks, &err);
    world_expect(world, r, 0, &err, "listing disks");
    same_number(&at, "the count of disks", disks, vm->disk_count);
    for (size_t d = 0; d < vm->disk_count; d++) {
        at.disk = vm->disks[d];
        snprintf(at.name, sizeof(at.name), "%s/%s", vm->name, at.disk->name);
        r = disk_find(conn, context.id, at.disk->name, &disk, &err);
        world_expect(world, r, 0, &err, "looking for a disk");
        compare_disk(&at, conn, &disk);
    }
    catalog_read_end(conn);
}

static int count_vm(const struct context_row *row, void *arg, struct error *err)
{
    (void)row;
    (void)err;
    ++*(size_t *)arg;
    return 0;
}

static int refuse_job(const struct job_row *row, void *arg, struct error *err)
{
    (void)err;
    world_differ(arg, "job %lld is still %s", (long long)row->id, job_state_to_word(row->state));
}

void compare_tree(struct world *world)
{
    struct catalog_conn *conn = world_read(world);
    struct job_filter filter = {.active = true};
    struct error err = ERROR_INIT;
    size_t count = 0;
    int r = context_each(conn, count_vm, &count, &err);

    world_expect(world, r, 0, &err, "listing VMs");
    r = job_each(conn, &filter, refuse_job, world, &err);
    world_expect(world, r, 0, &err, "listing jobs");
    catalog_read_end(conn);
    if (count != world->model.vm_count)
        world_differ(world, "there are %zu VMs instead of %zu", count, world->model.vm_count);
    for (size_t v = 0; v < world->model.vm_count; v++)
        compare_vm(world, world->model.vms[v]);
    world->shared->trees++;
}
