// SPDX-License-Identifier: MIT
//
// Backups: asked for in every way, cancelled, cut short by the end of their owner, failing at fault
// points, and joined while they wait.
//
// What a disturbed job got done is a matter of moments. Which of its disks were completed is taken
// from its record; that exactly these have their snapshots, with the right content, is the model's
// to say.
#include "tests/model/world.h"

#include "base/fault.h"

#include <stdio.h>
#include <string.h>

struct asked {
    struct model_vm *vm;
    struct model_disk *disk; // NULL: every one of the VM
    enum model_mode mode;
    enum model_origin origin;
    char tags[MODEL_TAGS];
};

static const char *const modes[] = {
    [MODEL_AUTO] = "auto", [MODEL_FULL] = "full", [MODEL_INCREMENTAL] = "incremental"};

static void random_tags(struct world *world, char tags[MODEL_TAGS])
{
    static const char *const words[] = {"daily", "before-update", "v1.2:x", "keep"};

    tags[0] = '\0';
    for (uint64_t i = world_percent(world, 60) ? 0 : world_below(world, 3) + 1; i > 0; i--)
        model_join_tags(tags, words[world_below(world, sizeof(words) / sizeof(words[0]))]);
}

static bool random_request(struct world *world, struct asked *asked)
{
    uint64_t mode = world_below(world, 10);

    *asked = (struct asked){.vm = world_pick_vm(world)};
    if (!asked->vm)
        return false;
    if (asked->vm->disk_count > 0 && world_percent(world, 60))
        asked->disk = asked->vm->disks[world_below(world, asked->vm->disk_count)];
    asked->mode = mode < 6 ? MODEL_AUTO : mode < 8 ? MODEL_FULL : MODEL_INCREMENTAL;
    asked->origin = world_percent(world, 30) ? MODEL_SCHEDULED : MODEL_MANUAL;
    random_tags(world, asked->tags);
    world->touched = asked->vm;
    return true;
}

static void say_request(struct world *world, const struct asked *asked)
{
    world_say(world, "%s%s%s %s%s%s%s; ", asked->vm->name, asked->disk ? "/" : "",
              asked->disk ? asked->disk->name : "", modes[asked->mode],
              asked->origin == MODEL_SCHEDULED ? " scheduled" : "", asked->tags[0] ? " " : "",
              asked->tags);
}

static bool is_meant(const struct asked *asked, const struct model_disk *disk)
{
    return !asked->disk || asked->disk == disk;
}

// What the request is refused with, 0 = it is not: the first disk by name decides.
static int refusal(const struct asked *asked)
{
    const struct model_disk *first = NULL;
    int result = asked->vm->disk_count ? 0 : -ENOENT;

    for (size_t i = 0; i < asked->vm->disk_count; i++) {
        const struct model_disk *disk = asked->vm->disks[i];
        int why = !disk->source[0] ? -ENOENT
                  : asked->mode == MODEL_INCREMENTAL && !model_can_go_on(disk, disk->source, NULL)
                      ? -EINVAL
                      : 0;
        if (is_meant(asked, disk) && why && (!first || strcmp(disk->name, first->name) < 0)) {
            first = disk;
            result = why;
        }
    }
    return result;
}

static int ask(struct world *world, const struct asked *asked, int64_t *ret_job, bool *ret_joined,
               struct error *err)
{
    static const enum backup_mode words[] = {[MODEL_AUTO] = BACKUP_AUTO,
                                             [MODEL_FULL] = BACKUP_FULL,
                                             [MODEL_INCREMENTAL] = BACKUP_INCREMENTAL};
    struct backup_request request = {.context_id = world_vm_id(world, asked->vm),
                                     .disk_id = asked->disk ? world_disk_id(world, asked->disk) : 0,
                                     .mode = words[asked->mode],
                                     .trigger = asked->origin == MODEL_SCHEDULED ? TRIGGER_SCHEDULED
                                                                                 : TRIGGER_MANUAL};

    snprintf(request.tags, sizeof(request.tags), "%s", asked->tags);
    return engine_request_backup(world->engine, &request, ret_job, ret_joined, err);
}

// --- what came of it

struct record {
    const char *disk;
    enum job_state state;
};

static int note_state(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct record *record = arg;

    (void)err;
    if (strcmp(row->disk_name, record->disk) == 0)
        record->state = row->state;
    return 0;
}

static enum job_state state_of_disk(struct world *world, int64_t job, const struct model_disk *disk)
{
    struct snapshot_filter filter = {.job_id = job, .every_row = true};
    struct record record = {.disk = disk->name};
    struct catalog_conn *conn = world_read(world);
    struct error err = ERROR_INIT;
    int r = snapshot_each(conn, &filter, note_state, &record, &err);

    catalog_read_end(conn);
    world_expect(world, r, 0, &err, "reading a job's disks");
    if (!job_state_is_ended(record.state))
        world_differ(world, "job %lld has ended, its record of disk %s says %s", (long long)job,
                     disk->name, job_state_to_word(record.state));
    return record.state;
}

// One disk: true when it was completed.
static bool settle_disk(struct world *world, const struct asked *asked, struct model_disk *disk,
                        const struct job_row *job, bool disturbed)
{
    struct model_backup backup = {
        .mode = asked->mode, .origin = asked->origin, .tags = asked->tags, .job = job->id};
    struct model_snapshot *snapshot = model_make_snapshot(&world->model, disk, &backup);
    enum job_state state = state_of_disk(world, job->id, disk);

    if (state == JOB_COMPLETED && snapshot) {
        model_add_snapshot(snapshot);
        return true;
    }
    if (state == JOB_COMPLETED)
        world_differ(world, "an incremental of %s/%s was made where no chain can go on",
                     disk->vm->name, disk->name);
    if (snapshot && !disturbed)
        world_differ(world, "the backup of %s/%s is %s: %s", disk->vm->name, disk->name,
                     job_state_to_word(state), job->reason);
    // A cancelled job takes back what it has stored.
    if (snapshot && state == JOB_FAILED) {
        model_add_ghost(snapshot);
        world->shared->ghosts++;
    } else {
        model_free_snapshot(snapshot);
    }
    return false;
}

static void prune_after(struct world *world, const struct asked *asked)
{
    struct model_pruned pruned = {0};
    unsigned keep = model_policy(&world->model, asked->vm);

    if (asked->origin != MODEL_SCHEDULED || keep == MODEL_KEEP_ALL)
        return;
    world_settle(world);
    for (size_t i = 0; i < asked->vm->disk_count; i++)
        if (is_meant(asked, asked->vm->disks[i]))
            model_prune(asked->vm->disks[i], keep, NULL, &pruned);
    world_say(world, "prune: %llu forgotten; ", (unsigned long long)pruned.forgotten);
}

// Waits for the job and does in the model what it did. `disturbed`: it need not have completed.
static enum job_state settle(struct world *world, const struct asked *asked, int64_t job_id,
                             bool disturbed)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    enum job_state state = world_wait(world, job_id);
    bool all = true;

    world_get_job(world, job_id, job);
    world_say(world, "job %lld %s; ", (long long)job_id, job_state_to_word(state));
    for (size_t i = 0; i < asked->vm->disk_count; i++)
        if (is_meant(asked, asked->vm->disks[i]))
            all = settle_disk(world, asked, asked->vm->disks[i], job, disturbed) && all;
    if (all != (state == JOB_COMPLETED))
        world_differ(world, "job %lld is %s, its disks were %s", (long long)job_id,
                     job_state_to_word(state), all ? "all completed" : "not all completed");
    if (state == JOB_COMPLETED) {
        asked->vm->successes++;
        prune_after(world, asked);
        world->shared->outcomes[0]++;
    } else if (state == JOB_FAILED) {
        asked->vm->failures++;
        world->shared->outcomes[1]++;
    } else {
        asked->vm->cancellations++;
        world->shared->outcomes[2]++;
    }
    if ((state == JOB_COMPLETED) != (job->reason[0] == '\0'))
        world_differ(world, "job %lld is %s and gives as reason '%s'", (long long)job_id,
                     job_state_to_word(state), job->reason);
    return state;
}

// --- the operations

bool operation_backup(struct world *world)
{
    struct error err = ERROR_INIT;
    struct asked asked;
    int64_t job = 0;

    if (!random_request(world, &asked))
        return false;
    say_request(world, &asked);
    int r = ask(world, &asked, &job, NULL, &err);
    world_expect(world, r, refusal(&asked), &err, "asking for a backup");
    if (r == 0)
        settle(world, &asked, job, false);
    return true;
}

// So that there is time to come in between.
static void arm_slowness(struct world *world)
{
    static const char *const faults[] = {"job-started=sleep-2", "source-read=sleep-3",
                                         "4-snapshot-sealed=sleep-3", "5-snapshot-commit=sleep-2"};
    uint64_t which = world_below(world, 6);

    if (which < sizeof(faults) / sizeof(faults[0]))
        world_arm(faults[which]);
}

static bool disturbable(struct world *world, struct asked *asked)
{
    return random_request(world, asked) && refusal(asked) == 0;
}

// Asks for a slow backup and lets it come somewhere. False: nothing can be asked for now.
static bool begin_slow(struct world *world, struct asked *asked, int64_t *job)
{
    struct error err = ERROR_INIT;

    if (!disturbable(world, asked))
        return false;
    say_request(world, asked);
    arm_slowness(world);
    world_expect(world, ask(world, asked, job, NULL, &err), 0, &err, "asking for a backup");
    if (world_percent(world, 60))
        usleep((useconds_t)world_below(world, 4000));
    return true;
}

bool operation_backup_cancelled(struct world *world)
{
    struct error err = ERROR_INIT;
    struct asked asked;
    int64_t job = 0;

    if (!begin_slow(world, &asked, &job))
        return false;
    int r = engine_cancel_job(world->engine, job, &err);
    fault_disarm();
    if (r != -EALREADY)
        world_expect(world, r, 0, &err, "cancelling a job");
    enum job_state state = settle(world, &asked, job, true);
    if (state == JOB_CANCELLED && r != 0)
        world_differ(world, "a job that could not be cancelled is cancelled");
    return true;
}

bool operation_backup_interrupted(struct world *world)
{
    AUTO_FREE struct job_row *row = calloc(1, sizeof(*row));
    struct asked asked;
    int64_t job = 0;

    if (!begin_slow(world, &asked, &job))
        return false;
    world_close(world);
    fault_disarm();
    world_open(world);
    world_settle(world);
    enum job_state state = settle(world, &asked, job, true);
    world_get_job(world, job, row);
    bool no_chain = asked.mode == MODEL_INCREMENTAL && strstr(row->reason, "no chain can go on");
    if (state != JOB_COMPLETED && !no_chain && !strstr(row->reason, "interrupted"))
        world_differ(world, "job %lld is %s because: %s", (long long)job, job_state_to_word(state),
                     row->reason);
    return true;
}

bool operation_backup_failing(struct world *world)
{
    static const char *const faults[] = {
        "job-started=EIO",          "source-read=EIO",       "source-read:2=EIO",
        "pack-create=ENOSPC",       "1-pack-append=ENOSPC",  "2-pack-index=EIO",
        "2-pack-sync=EIO",          "2-pack-rename=EIO",     "2-pack-dirsync=EIO",
        "3-pack-commit=ENOSPC",     "4-snapshot-record=EIO", "4-snapshot-sealed=EIO",
        "5-snapshot-commit=ENOSPC", "cache-write=EIO",
    };
    struct error err = ERROR_INIT;
    struct asked asked;
    int64_t job = 0;

    if (!disturbable(world, &asked))
        return false;
    const char *fault = faults[world_below(world, sizeof(faults) / sizeof(faults[0]))];
    say_request(world, &asked);
    world_say(world, "%s; ", fault);
    world_arm(fault);
    world_expect(world, ask(world, &asked, &job, NULL, &err), 0, &err, "asking for a backup");
    world_wait(world, job);
    fault_disarm();
    world->leftovers = true;
    if (settle(world, &asked, job, true) == JOB_CANCELLED)
        world_differ(world, "a job that nobody cancelled is cancelled");
    return true;
}

// --- the pending rule

static bool has_begun(struct world *world, int64_t job)
{
    struct job_progress progress;
    struct error err = ERROR_INIT;

    world_expect(world, engine_job_progress(world->engine, job, &progress, &err), 0, &err,
                 "asking for progress");
    return progress.state != JOB_PENDING;
}

// What a request made while `first` waits comes to: 1 it is joined, 0 it gets a record of its own,
// -EBUSY. `ret_wider` is what the joined job does then.
static int rule(const struct asked *first, const struct asked *second, struct asked *ret_wider)
{
    *ret_wider = *first;
    if (first->disk && first->disk != second->disk)
        return 0;
    if (first->mode == MODEL_AUTO)
        ret_wider->mode = second->mode;
    else if (second->mode != MODEL_AUTO && second->mode != first->mode)
        return -EBUSY;
    model_join_tags(ret_wider->tags, second->tags);
    return ret_wider->mode == first->mode || refusal(ret_wider) == 0;
}

// A second request of the VM, of one or every disk. Nothing that depends on what the job that runs
// has done by then: an explicit incremental only where a chain is there already.
static void second_request(struct world *world, const struct asked *first, struct asked *second)
{
    *second = *first;
    if (world_percent(world, 50))
        second->disk = first->disk ? NULL : first->vm->disks[0];
    second->mode = (enum model_mode)(world_below(world, 3) + 1);
    second->origin = world_percent(world, 30) ? MODEL_SCHEDULED : MODEL_MANUAL;
    random_tags(world, second->tags);
    if (refusal(second) != 0)
        second->mode = MODEL_AUTO;
}

static bool depends_on_the_moment(const struct asked *asked)
{
    struct asked every = {.vm = asked->vm, .mode = MODEL_INCREMENTAL};

    return refusal(&every) != 0;
}

bool operation_requests_at_once(struct world *world)
{
    struct error err = ERROR_INIT;
    struct asked running, first, second, wider;
    int64_t jobs[3] = {0};
    bool joined = false;

    if (!disturbable(world, &running) || depends_on_the_moment(&running))
        return false;
    second_request(world, &running, &first);
    second_request(world, &first, &second);
    if (running.mode == MODEL_INCREMENTAL)
        running.mode = MODEL_AUTO;
    world_arm("source-read=sleep-12");
    world_expect(world, ask(world, &running, &jobs[0], NULL, &err), 0, &err, "a first request");
    while (!has_begun(world, jobs[0]))
        usleep(100);
    world_expect(world, ask(world, &first, &jobs[1], NULL, &err), 0, &err, "a second request");
    int wanted = rule(&first, &second, &wider);
    int r = ask(world, &second, &jobs[2], &joined, &err);
    bool waited = !has_begun(world, jobs[1]); // else nobody knows which came first
    fault_disarm();
    say_request(world, &running);
    say_request(world, &first);
    say_request(world, &second);
    if (waited && r != (wanted < 0 ? wanted : 0))
        world_expect(world, r, wanted < 0 ? wanted : 0, &err, "a request while one waits");
    if (waited && r == 0 && joined != (wanted > 0))
        world_differ(world, "a request while one waits is %s", joined ? "joined" : "not joined");
    if (r != 0 && r != -EBUSY)
        world_expect(world, r, 0, &err, "a request while one waits");
    world_say(world, "%s; ", r ? "refused" : joined ? "joined" : "not joined");
    settle(world, &running, jobs[0], false);
    settle(world, joined ? &wider : &first, jobs[1], false);
    if (r == 0 && joined && jobs[2] != jobs[1])
        world_differ(world, "a request is joined to another job than the one that waits");
    if (r == 0 && !joined)
        settle(world, &second, jobs[2], false);
    return true;
}
