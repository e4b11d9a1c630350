// SPDX-License-Identifier: MIT
//
// Operations on the repository as a whole, none of which may change what it holds, and requests
// that must be refused.
#include "tests/model/world.h"

#include "fs/job/check.h"
#include "fs/job/rebuild.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

bool operation_reopen(struct world *world)
{
    world_close(world);
    world_open(world);
    return true;
}

// Removes what a folder holds whose name begins so.
static unsigned remove_files(struct world *world, const char *folder, const char *beginning)
{
    char path[MODEL_PATH + 300];
    DIR *dir = opendir(folder);
    struct dirent *entry;
    unsigned count = 0;

    if (!dir)
        world_differ(world, "cannot list %s: %s", folder, strerror(errno));
    while ((entry = readdir(dir))) {
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && strncmp(entry->d_name, beginning, strlen(beginning)) == 0)
            count += unlink(path) == 0;
    }
    closedir(dir);
    return count;
}

bool operation_drop_cache(struct world *world)
{
    char folder[MODEL_PATH + 16];

    snprintf(folder, sizeof(folder), "%s/cache", world->repo);
    world_close(world);
    world_say(world, "%u files", remove_files(world, folder, ""));
    world_open(world);
    return true;
}

// --- check

static void note_finding(enum check_class class, const char *subject, const char *text, void *arg)
{
    struct world *world = arg;

    if (class == CHECK_DAMAGE || !world->leftovers)
        world_differ(world, "check finds %s: %s: %s",
                     class == CHECK_DAMAGE ? "damage" : "a leftover", subject, text);
}

static bool check(struct world *world, bool full)
{
    struct check_options options = {
        .full = full, .workers = 1, .finding = note_finding, .arg = world};
    struct check_result result = {0};
    struct error err = ERROR_INIT;
    uint64_t snapshots = 0;

    world_expect(world, repository_check(world->repo, &options, &result, &err), 0, &err,
                 "checking the repository");
    for (size_t i = 0; i < world->model.vm_count; i++)
        snapshots += model_count_vm(world->model.vms[i]);
    world_say(world, "%llu packs, %llu snapshots", (unsigned long long)result.packs,
              (unsigned long long)result.snapshots);
    if (result.snapshots != snapshots)
        world_differ(world, "check has seen %llu snapshots instead of %llu",
                     (unsigned long long)result.snapshots, (unsigned long long)snapshots);
    return true;
}

bool operation_check(struct world *world)
{
    return check(world, false);
}

bool operation_check_full(struct world *world)
{
    return check(world, true);
}

// --- upkeep

static const char *reason_of(struct world *world, int64_t id)
{
    static struct job_row job;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;

    if (catalog_read_begin(engine_catalog(world->engine), &conn, NULL) < 0 ||
        job_get(conn, id, &job, NULL) < 0)
        return "its record cannot be read";
    return job.reason;
}

// Runs to its end, which must be a good one: nothing here damages anything.
static bool upkeep(struct world *world, enum job_kind kind, const char *words)
{
    struct error err = ERROR_INIT;
    int64_t job = 0;

    world_expect(
        world,
        engine_request_upkeep(world->engine, kind, words, strlen(words), 0, &job, NULL, &err), 0,
        &err, "asking for upkeep");
    enum job_state state = world_wait(world, job);
    world_say(world, "%s, job %lld", words, (long long)job);
    if (state != JOB_COMPLETED)
        world_differ(world, "%s %s is %s: %s", job_kind_to_word(kind), words,
                     job_state_to_word(state), reason_of(world, job));
    return true;
}

bool operation_gc(struct world *world)
{
    static const char *const words[] = {"", "threshold=1%", "threshold=100%", "dry-run"};

    const char *chosen = words[world_below(world, sizeof(words) / sizeof(words[0]))];

    upkeep(world, JOB_GC, chosen);
    if (strcmp(chosen, "dry-run") != 0)
        model_collected(&world->model);
    return true;
}

bool operation_verify(struct world *world)
{
    static const char *const words[] = {"", "30%", "2/3", "unverified=1d"};

    return upkeep(world, JOB_VERIFY, words[world_below(world, sizeof(words) / sizeof(words[0]))]);
}

// --- rebuild

static void note_rebuild(const char *sentence, bool damage, void *arg)
{
    struct world *world = arg;

    if (damage)
        world_differ(world, "rebuild finds damage: %s", sentence);
    world_say(world, "%s; ", sentence);
}

static size_t find_ghost(const struct model_disk *disk, const struct snapshot_row *row)
{
    for (size_t i = 0; i < disk->ghost_count; i++)
        if (disk->ghosts[i]->job == row->job_id && disk->ghosts[i]->chain == row->chain_number &&
            disk->ghosts[i]->number == row->number)
            return i;
    return disk->ghost_count;
}

struct listing {
    struct world *world;
    struct model_disk *disk;
};

static int adopt(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct listing *listing = arg;
    size_t which = find_ghost(listing->disk, row);

    (void)err;
    if (which < listing->disk->ghost_count) {
        world_say(listing->world, "a job's last step left chain %lld number %lld; ",
                  (long long)row->chain_number, (long long)row->number);
        model_adopt_ghost(listing->disk, which);
    }
    return 0;
}

// What a job had stored whole when it failed may be listed now.
static void adopt_ghosts(struct world *world, struct model_disk *disk)
{
    struct listing listing = {world, disk};
    struct snapshot_filter filter = {.disk_id = world_disk_id(world, disk)};
    struct catalog_conn *conn = world_read(world);
    struct error err = ERROR_INIT;
    int r = snapshot_each(conn, &filter, adopt, &listing, &err);

    catalog_read_end(conn);
    world_expect(world, r, 0, &err, "listing snapshots");
}

bool operation_rebuild(struct world *world)
{
    struct rebuild_options options = {.finding = note_rebuild, .arg = world};
    struct rebuild_result result = {0};
    struct error err = ERROR_INIT;

    world_close(world);
    world_expect(world, repository_rebuild(world->repo, &options, &result, NULL, &err), 0, &err,
                 "rebuilding the catalog");
    world_say(world, "%llu packs, %llu snapshots, %llu forgotten; ",
              (unsigned long long)result.packs, (unsigned long long)result.snapshots,
              (unsigned long long)result.forgotten);
    if (result.incomplete || result.salvaged)
        world_differ(world, "rebuild finds %llu incomplete snapshots and salvages %llu packs",
                     (unsigned long long)result.incomplete, (unsigned long long)result.salvaged);
    remove_files(world, world->repo, "catalog.db.2"); // the old one, with a time as its name
    world_open(world);
    for (size_t v = 0; v < world->model.vm_count; v++)
        for (size_t d = 0; d < world->model.vms[v]->disk_count; d++)
            if (world->model.vms[v]->disks[d]->ghost_count > 0)
                adopt_ghosts(world, world->model.vms[v]->disks[d]);
    model_rebuilt(&world->model);
    return true;
}

// --- what must be refused

#define NOBODY 987654321 // a number that nothing has

static int bad_backup(struct world *world, struct model_vm *vm, bool vm_unknown, struct error *err)
{
    struct backup_request request = {.context_id = vm_unknown ? NOBODY : world_vm_id(world, vm),
                                     .disk_id = vm_unknown ? 0 : NOBODY,
                                     .mode = BACKUP_AUTO,
                                     .trigger = TRIGGER_MANUAL};
    int64_t job;

    return engine_request_backup(world->engine, &request, &job, NULL, err);
}

static int bad_restore(struct world *world, int64_t snapshot_id, const char *target,
                       struct error *err)
{
    struct restore_request request = {.snapshot_id = snapshot_id, .safety = true};
    int64_t job;

    snprintf(request.target, sizeof(request.target), "%s", target);
    return engine_request_restore(world->engine, &request, &job, err);
}

static int bad_prune(struct world *world, int64_t context_id, const char *policy, struct error *err)
{
    struct prune_request request = {.context_id = context_id, .trigger = TRIGGER_MANUAL};
    int64_t job;

    snprintf(request.policy, sizeof(request.policy), "%s", policy);
    return engine_request_prune(world->engine, &request, &job, NULL, err);
}

static void expect_refusal(struct world *world, int result, int wanted, const struct error *err,
                           const char *what)
{
    world_say(world, "%s", what);
    world_expect(world, result, wanted, err, what);
    if (err->message[0] == '\0')
        world_differ(world, "%s is refused without a sentence", what);
}

static void refuse_of_vm(struct world *world, struct model_vm *vm)
{
    struct engine_disk_spec disk = {.name = "vdz", .source = "/nowhere/at/all"};
    struct error err = ERROR_INIT;
    struct engine *engine = world->engine;
    int64_t id = world_vm_id(world, vm), made;

    switch (world_below(world, 8)) {
    case 0:
        expect_refusal(world, bad_backup(world, vm, true, &err), -ENOENT, &err, "an unknown VM");
        return;
    case 1:
        expect_refusal(world, bad_backup(world, vm, false, &err), -ENOENT, &err, "an unknown disk");
        return;
    case 2:
        expect_refusal(world, engine_add_vm(engine, vm->name, NULL, 0, &err), -EEXIST, &err,
                       "a VM that is there");
        return;
    case 3:
        expect_refusal(world, engine_add_vm(engine, vm->name, &disk, 1, &err), -ENOENT, &err,
                       "a source that is not there");
        return;
    case 4:
        expect_refusal(world, engine_add_disk(engine, id, "a/b", &made, &err), -EINVAL, &err,
                       "a name with a slash");
        return;
    case 5:
        expect_refusal(world, engine_set_retention(engine, id, "keep-last=0", 11, &err), -EINVAL,
                       &err, "a policy that is none");
        return;
    case 6:
        expect_refusal(world, bad_prune(world, id, "keep-some=1", &err), -EINVAL, &err,
                       "a prune by no policy");
        return;
    default:
        expect_refusal(world, bad_prune(world, NOBODY, "keep-last=1", &err), -ENOENT, &err,
                       "a prune of no VM");
    }
}

static void refuse_of_snapshot(struct world *world, struct model_snapshot *snapshot)
{
    int64_t id = world_snapshot_id(world, snapshot), made;
    const struct model_disk *disk = snapshot->disk;
    struct error err = ERROR_INIT;
    char inside[MODEL_PATH + 24];

    switch (world_below(world, 6)) {
    case 0:
        expect_refusal(world, bad_restore(world, NOBODY, disk->source, &err), -ENOENT, &err,
                       "a restore of nothing");
        return;
    case 1:
        expect_refusal(world, bad_restore(world, id, "relative.raw", &err), -EINVAL, &err,
                       "a relative path");
        return;
    case 2:
        snprintf(inside, sizeof(inside), "%s/config", world->repo);
        expect_refusal(world, bad_restore(world, id, inside, &err), -EINVAL, &err,
                       "a restore into the repository");
        return;
    case 3:
        expect_refusal(world, engine_cancel_job(world->engine, snapshot->job, &err), -EALREADY,
                       &err, "cancelling what has ended");
        return;
    case 4:
        expect_refusal(
            world,
            engine_add_disk(world->engine, world_vm_id(world, disk->vm), disk->name, &made, &err),
            -EEXIST, &err, "a disk that is there");
        return;
    default:
        expect_refusal(world, engine_remove_disk(world->engine, world_disk_id(world, disk), &err),
                       -ENOTEMPTY, &err, "removing a disk with snapshots");
    }
}

bool operation_bad_request(struct world *world)
{
    struct model_snapshot *snapshot = world_pick_snapshot(world);
    struct model_vm *vm = world_pick_vm(world);

    if (!vm)
        return false;
    if (snapshot && world_percent(world, 50))
        refuse_of_snapshot(world, snapshot);
    else
        refuse_of_vm(world, vm);
    return true;
}
