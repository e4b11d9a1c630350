// SPDX-License-Identifier: MIT
//
// See recovered.h. Whoever finds something wrong first says so, and nothing after it is looked at.
#include "tests/crash/recovered.h"

#include "base/io.h"
#include "catalog/disk.h"
#include "catalog/snapshot.h"
#include "fs/job/check.h"
#include "fs/job/engine.h"
#include "fs/job/rebuild.h"
#include "fs/store/image.h"
#include "fs/store/snapshot_record.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define SECTOR 512u
#define BACKUP_WAIT_MS 20000

struct looking {
    const char *dir;
    char repo[PATH_MAX];
    const struct expect *expect;
    struct recovered *result;
    struct engine *engine;
    bool from_packs; // after a rebuild
    bool seen[EXPECT_SNAPSHOTS_MAX];
};

static int wrong(struct looking *look, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int wrong(struct looking *look, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (look->result->sentence[0] == '\0')
        vsnprintf(look->result->sentence, sizeof(look->result->sentence), fmt, args);
    va_end(args);
    return -1;
}

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

// --- snapshots

static bool reads_as(struct looking *look, const struct snapshot_row *row,
                     const struct expect_bytes *bytes, struct error *err)
{
    AUTO(image_close) struct image *image = NULL;
    AUTO_FREE uint8_t *read = malloc(bytes->len + SECTOR);
    struct store *store = engine_store(look->engine);
    int r = snapshot_record_check(store, NULL, row, err);
    ssize_t n;

    if (r == 0)
        r = image_open(store, &row->digest, row->capacity, row->chunk_size, &image, err);
    if (r < 0)
        return false;
    n = image_read(image, read, bytes->len + SECTOR, 0, err);
    if (n >= 0)
        error_set(err, -EIO, "other bytes");
    return n >= 0 && (size_t)n == bytes->len && memcmp(read, bytes->data, bytes->len) == 0;
}

// A rebuild knows packs alone. A snapshot whose record is in one is whole, even if the job that
// made it did not live to enter it in the catalog.
static int look_at_unfinished(struct looking *look, const struct snapshot_row *row,
                              const char *path)
{
    struct error err = ERROR_INIT;
    char disk[2 * NAME_SIZE];

    snprintf(disk, sizeof(disk), "%s/%s", row->context_name, row->disk_name);
    for (size_t i = 0; i < look->expect->content_count; i++) {
        const struct expect_content *content = &look->expect->contents[i];

        if (strcmp(content->disk, disk) == 0 && reads_as(look, row, &content->bytes, &err))
            return 0;
    }
    return wrong(look, "%s came with the rebuild and holds what was never there: %s", path,
                 error_message(&err));
}

static int look_at_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct looking *look = arg;
    char path[512], chain[SNAPSHOT_NAME_SIZE], name[SNAPSHOT_NAME_SIZE];
    struct error why = ERROR_INIT;

    (void)err;
    snprintf(path, sizeof(path), "%s/%s/%s/%s", row->context_name, row->disk_name,
             chain_name(row->chain_number, chain), snapshot_name(row, name));
    for (size_t i = 0; i < look->expect->snapshot_count; i++) {
        const struct expect_snapshot *known = &look->expect->snapshots[i];

        if (strcmp(known->path, path) != 0)
            continue;
        // What was not finished can have got the name of what came after it in the same second.
        if (look->from_packs && known->presence == EXPECT_MAY &&
            !reads_as(look, row, &known->bytes, &why))
            return look_at_unfinished(look, row, path);
        if (known->presence == EXPECT_GONE)
            return wrong(look, "%s was reported to be forgotten and is there", path);
        if (known->protected && !row->protected)
            return wrong(look, "%s was reported to be protected and is not", path);
        if (!reads_as(look, row, &known->bytes, &why))
            return wrong(look, "%s: %s", path, error_message(&why));
        look->seen[i] = true;
        return 0;
    }
    return look->from_packs ? look_at_unfinished(look, row, path)
                            : wrong(look, "%s is listed and nobody made it", path);
}

static int look_at_snapshots(struct looking *look, struct catalog_conn *conn)
{
    static const struct snapshot_filter all;
    struct error err = ERROR_INIT;

    memset(look->seen, 0, sizeof(look->seen));
    if (snapshot_each(conn, &all, look_at_snapshot, look, &err) < 0)
        return wrong(look, "listing: %s", error_message(&err));
    for (size_t i = 0; i < look->expect->snapshot_count; i++) {
        const struct expect_snapshot *known = &look->expect->snapshots[i];

        if (known->presence == EXPECT_MUST && !look->seen[i])
            return wrong(look, "%s was completed and is lost", known->path);
    }
    return 0;
}

// --- restores

struct restore_jobs {
    const char *file;
    struct job_row last; // the newest that names the file; id 0 = none
};

static int note_restore(const struct job_row *row, void *arg, struct error *err)
{
    struct restore_jobs *jobs = arg;
    size_t len = strlen(row->restore_target), file_len = strlen(jobs->file);

    (void)err;
    if (len >= file_len && strcmp(row->restore_target + len - file_len, jobs->file) == 0)
        jobs->last = *row;
    return 0;
}

static bool same(const struct expect_bytes *left, const uint8_t *bytes, size_t len)
{
    return left->len == len && memcmp(left->data, bytes, len) == 0;
}

// Each sector is of what was there or of what was to be there.
static bool is_between(const struct expect_target *target, const uint8_t *bytes, size_t len)
{
    if (len != target->before.len)
        return false;
    for (size_t at = 0; at < len; at += SECTOR) {
        size_t part = len - at < SECTOR ? len - at : SECTOR;

        if (memcmp(bytes + at, target->before.data + at, part) != 0 &&
            (at + part > target->after.len || memcmp(bytes + at, target->after.data + at, part)))
            return false;
    }
    return true;
}

static int look_at_written(struct looking *look, const struct expect_target *target,
                           const struct job_row *job)
{
    if (job->id == 0)
        return wrong(look, "%s was written to and no job says so", target->file);
    if (job->state == JOB_COMPLETED)
        return wrong(look, "%s: its restore is recorded as completed and is not", target->file);
    if (job->state != JOB_FAILED || !strstr(job->reason, "interrupted"))
        return wrong(look, "%s: its restore is %d: %s", target->file, job->state, job->reason);
    for (size_t i = 0; target->safety && i < look->expect->snapshot_count; i++) {
        if (strcmp(look->expect->snapshots[i].path, target->safety) == 0 && !look->seen[i])
            return wrong(look, "%s was written to and its safety snapshot is not there",
                         target->file);
    }
    return 0;
}

static int look_at_target(struct looking *look, struct catalog_conn *conn,
                          const struct expect_target *target)
{
    struct restore_jobs jobs = {.file = target->file};
    struct job_filter filter = {.kind = JOB_RESTORE};
    AUTO_FREE char *bytes = NULL;
    struct error err = ERROR_INIT;
    char path[PATH_MAX];
    size_t len;
    int r;

    snprintf(path, sizeof(path), "%s/%s", look->dir, target->file);
    r = io_read_file(path, (size_t)1 << 28, &bytes, &len, &err);
    if (r == -ENOENT && target->is_new && target->state != EXPECT_RESTORED)
        return job_each(conn, &filter, note_restore, &jobs, &err) < 0 ||
                       jobs.last.state == JOB_COMPLETED
                   ? wrong(look, "%s was restored and is lost", target->file)
                   : 0;
    if (r < 0)
        return wrong(look, "%s", error_message(&err));
    if (same(&target->after, (uint8_t *)bytes, len))
        return 0;
    if (target->state == EXPECT_RESTORED)
        return wrong(look, "%s was reported to be restored and holds other bytes", target->file);
    if (target->is_new)
        return wrong(look, "%s has its name and is not whole", target->file);
    if (job_each(conn, &filter, note_restore, &jobs, &err) < 0)
        return wrong(look, "jobs: %s", error_message(&err));
    if (same(&target->before, (uint8_t *)bytes, len))
        return jobs.last.state == JOB_COMPLETED
                   ? wrong(look, "%s: completed, and nothing was written", target->file)
                   : 0;
    if (target->state == EXPECT_ROLLED_BACK)
        return wrong(look, "%s was reported to be rolled back and is not", target->file);
    if (!is_between(target, (uint8_t *)bytes, len))
        return wrong(look, "%s holds what was neither there nor restored", target->file);
    return look_at_written(look, target, &jobs.last);
}

// --- jobs and the whole

static int find_running(const struct job_row *row, void *arg, struct error *err)
{
    (void)err;
    return row->state == JOB_RUNNING ? wrong(arg, "job %lld is running", (long long)row->id) : 0;
}

static int look_at_catalog(struct looking *look)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct job_filter active = {.active = true};
    struct error err = ERROR_INIT;
    int r;

    if (catalog_read_begin(engine_catalog(look->engine), &conn, &err) < 0)
        return wrong(look, "catalog: %s", error_message(&err));
    r = look_at_snapshots(look, conn);
    if (r == 0 && job_each(conn, &active, find_running, look, &err) < 0)
        r = wrong(look, "jobs: %s", error_message(&err));
    // Restores are not in packs.
    for (size_t i = 0; r == 0 && !look->from_packs && i < look->expect->target_count; i++)
        r = look_at_target(look, conn, &look->expect->targets[i]);
    return r;
}

struct findings {
    struct looking *look;
    bool before; // leftovers are no fault yet
};

static void note_finding(enum check_class class, const char *subject, const char *text, void *arg)
{
    struct findings *findings = arg;

    if (class == CHECK_DAMAGE || !findings->before)
        wrong(findings->look, "check%s: %s: %s", findings->before ? " before the start" : "",
              subject, text);
}

// Every snapshot is read anyhow; with `full` also what none of them refers to.
static int check_whole(struct looking *look, bool before, bool full)
{
    struct findings findings = {look, before};
    struct check_options options = {
        .full = full, .workers = 1, .finding = note_finding, .arg = &findings};
    struct check_result result;
    struct error err = ERROR_INIT;

    if (repository_check(look->repo, &options, &result, &err) < 0)
        return wrong(look, "check: %s", error_message(&err));
    return look->result->sentence[0] ? -1 : 0;
}

// --- starting

static int start(struct looking *look, struct error *err)
{
    struct engine_options options = {
        .command = "crash test", .workers = 1, .job_threads = 1, .leave_pending = true};
    double begun = now_ms();
    int r = engine_open(look->repo, &options, &look->engine, NULL, err);
    double took = now_ms() - begun;

    if (took > look->result->start_ms)
        look->result->start_ms = took;
    return r;
}

static void note_rebuild(const char *sentence, bool damage, void *arg)
{
    if (damage)
        wrong(arg, "rebuild: %s", sentence);
}

static int rebuild(struct looking *look)
{
    struct rebuild_options options = {.finding = note_rebuild, .arg = look};
    struct rebuild_result result = {0};
    struct error err = ERROR_INIT;

    look->from_packs = true;
    if (repository_rebuild(look->repo, &options, &result, NULL, &err) < 0)
        return wrong(look, "rebuild: %s", error_message(&err));
    look->result->rebuilt = true;
    return look->result->sentence[0] ? -1 : 0;
}

static int look_at_all(struct looking *look, bool full)
{
    int r = look_at_catalog(look);

    return r < 0 ? r : check_whole(look, false, full);
}

// --- going on

static int find_newest(struct looking *look, const struct disk_row *disk)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct error err = ERROR_INIT;
    struct expect_bytes bytes;
    struct snapshot_row row;
    char *data = NULL;
    int r = io_read_file(disk->source, (size_t)1 << 28, &data, &bytes.len, &err);

    bytes.data = (uint8_t *)data;
    if (r == 0)
        r = catalog_read_begin(engine_catalog(look->engine), &conn, &err);
    if (r == 0)
        r = snapshot_find_newest(conn, disk->id, &row, &err);
    if (r == 0 && !reads_as(look, &row, &bytes, &err))
        r = -1;
    free(data);
    return r < 0 ? wrong(look, "the next backup: %s", error_message(&err)) : 0;
}

static int take_disk(const struct disk_row *row, void *arg, struct error *err)
{
    struct disk_row *disk = arg;

    (void)err;
    if (disk->id == 0 && row->source[0])
        *disk = *row;
    return 0;
}

static int take_disk_of(const struct context_row *row, void *arg, struct error *err)
{
    (void)err;
    if (*(int64_t *)arg == 0)
        *(int64_t *)arg = row->id;
    return 0;
}

static int back_up_again(struct looking *look)
{
    struct backup_request request = {.mode = BACKUP_AUTO, .trigger = TRIGGER_MANUAL};
    struct disk_row disk = {0};
    struct error err = ERROR_INIT;
    enum job_state state = 0;
    int64_t job;
    int r;

    {
        AUTO(catalog_read_end) struct catalog_conn *conn = NULL;

        r = catalog_read_begin(engine_catalog(look->engine), &conn, &err);
        if (r == 0)
            r = context_each(conn, take_disk_of, &request.context_id, &err);
        if (r == 0 && request.context_id)
            r = disk_each(conn, request.context_id, take_disk, &disk, &err);
    }
    if (r == 0 && disk.id == 0)
        return 0; // nothing was added yet
    request.disk_id = disk.id;
    if (r == 0)
        r = engine_request_backup(look->engine, &request, &job, NULL, &err);
    if (r == 0)
        r = engine_wait_job(look->engine, job, BACKUP_WAIT_MS, &state, &err);
    if (r < 0 || state != JOB_COMPLETED)
        return wrong(look, "the next backup ends as %d: %s", state, error_message(&err));
    return find_newest(look, &disk);
}

// A backup, another start, and what was there is still there.
static int go_on(struct looking *look)
{
    struct error err = ERROR_INIT;
    int r = back_up_again(look);

    look->engine = engine_close(look->engine);
    if (r == 0 && start(look, &err) < 0)
        r = wrong(look, "the second start: %s", error_message(&err));
    return r < 0 ? r : check_whole(look, false, true);
}

static int rebuild_and_look(struct looking *look)
{
    struct error err = ERROR_INIT;

    look->engine = engine_close(look->engine);
    if (rebuild(look) < 0)
        return -1;
    if (start(look, &err) < 0)
        return wrong(look, "start after the rebuild: %s", error_message(&err));
    return look_at_all(look, true);
}

// There is no repository, and init may be run again.
static int init_again(struct looking *look)
{
    struct error err = ERROR_INIT;

    if (repository_init(look->repo, &(struct repository_choices){.chunk_size = 16384}, &err) < 0)
        return wrong(look, "init again: %s", error_message(&err));
    if (start(look, &err) < 0)
        return wrong(look, "start after init: %s", error_message(&err));
    return check_whole(look, false, true);
}

static int open_and_look(struct looking *look, bool thorough)
{
    const struct expect *expect = look->expect;
    struct error err = ERROR_INIT;
    int r;

    if (thorough && expect->must_open && !expect->rebuilding && check_whole(look, true, false) < 0)
        return -1;
    r = start(look, &err);
    if (r == -ENOENT && !expect->must_open) {
        look->result->no_repository = true;
        return thorough ? init_again(look) : 0;
    }
    if (r < 0 && expect->rebuilding)
        return rebuild_and_look(look);
    if (r < 0)
        return wrong(look, "start: %s", error_message(&err));
    if (look_at_all(look, thorough) < 0)
        return -1;
    if (!thorough)
        return 0;
    return rebuild_and_look(look) < 0 ? -1 : go_on(look);
}

void recovered_check(const char *dir, const struct expect *expect, bool thorough,
                     struct recovered *ret_recovered)
{
    struct looking look = {.dir = dir, .expect = expect, .result = ret_recovered};

    memset(ret_recovered, 0, sizeof(*ret_recovered));
    snprintf(look.repo, sizeof(look.repo), "%s/repo", dir);
    open_and_look(&look, thorough);
    engine_close(look.engine);
}
