// SPDX-License-Identifier: MIT
//
// What start-up does about a crash: the lock is ours, so no job of an earlier owner runs any more.
//
// Jobs found running become failed ("interrupted"), with what they may have left behind named;
// pending ones are queued. The store deals with its own leftovers (open packs, packs the catalog
// does not know); what it finds goes to the logs of the interrupted jobs.
#include "fs/job/engine_state.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

struct orphan {
    struct job_row row;
    struct orphan *prev, *next;
};

struct findings {
    struct engine *engine;
    struct orphan *orphans; // jobs that nobody will go on with
    struct text text;       // sentences of the store, a line each
};

static int sort_job(const struct job_row *row, void *arg, struct error *err)
{
    struct findings *findings = arg;

    // A backup that was asked for is answered, however late. A restore is not: what it would write
    // over may be in use again by now, and who asked for it was told that it failed.
    bool resumes = row->state == JOB_PENDING && row->kind != JOB_RESTORE;

    if (resumes && findings->engine->leave_pending)
        return 0;
    if (resumes) {
        struct pending_job *place = queue_place(err);
        if (!place)
            return -ENOMEM;
        queue_add(findings->engine, place, row->id, queue_lane(row->kind, row->context_id));
        return 0;
    }
    struct orphan *orphan = calloc(1, sizeof(*orphan));
    if (!orphan)
        return error_set(err, -ENOMEM, "out of memory");
    orphan->row = *row;
    DL_APPEND(findings->orphans, orphan);
    return 0;
}

static int find_active(struct findings *findings, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct job_filter filter = {.active = true};
    int r = catalog_read_begin(findings->engine->repository.catalog, &conn, err);

    if (r == 0)
        r = job_each(conn, &filter, sort_job, findings, err);
    return r;
}

static void report(const char *sentence, void *arg)
{
    struct findings *findings = arg;

    log_warning("start-up: %s", sentence);
    fprintf(findings->text.out, "%s\n", sentence);
}

static void describe(const struct job_row *row, char *text, size_t size)
{
    if (row->kind == JOB_PRUNE) {
        snprintf(text, size,
                 "interrupted: the process that ran it ended before the job did; what its "
                 "sealed notes say is forgotten, else nothing");
        return;
    }
    if (job_kind_is_upkeep(row->kind)) {
        snprintf(text, size,
                 "interrupted: the process that ran it ended before the job did; it may be asked "
                 "for again");
        return;
    }
    if (row->kind != JOB_RESTORE) {
        snprintf(text, size,
                 "interrupted: the process that ran it ended before the job did; what it had "
                 "stored is kept for the next run");
        return;
    }
    if (row->state == JOB_PENDING)
        snprintf(text, size,
                 "interrupted: the process that was to run it ended before it had begun; nothing "
                 "was written, and it may be asked for again");
    else if (row->restore_safety_job)
        snprintf(text, size,
                 "interrupted: the process that ran it ended before the job did; %.300s may be "
                 "partly written, and "
                 "the snapshot made by job %lld holds what was there before",
                 row->restore_target, (long long)row->restore_safety_job);
    else
        snprintf(text, size,
                 "interrupted: the process that ran it ended before the job did; %.300s may be "
                 "partly written",
                 row->restore_target);
}

static int log_findings(struct catalog_conn *conn, int64_t job_id, const char *text,
                        struct error *err)
{
    char line[ERROR_MESSAGE_MAX];
    int r = 0;

    while (r == 0 && *text) {
        size_t len = strcspn(text, "\n");
        snprintf(line, sizeof(line), "start-up: %.*s", (int)len, text);
        r = job_log_append(conn, job_id, clock_now(), line, err);
        text += len + (text[len] == '\n');
    }
    return r;
}

static int end_orphan(struct catalog_conn *conn, const struct job_row *row, const char *text,
                      struct error *err)
{
    char reason[REASON_TEXT_SIZE];

    describe(row, reason, sizeof(reason));
    log_warning("job %lld: %s", (long long)row->id, reason);
    int r = job_log_append(conn, row->id, clock_now(), reason, err);
    if (r == 0)
        r = log_findings(conn, row->id, text, err);
    if (r == 0)
        r = job_end(conn, row->id, JOB_FAILED, reason, row->done_bytes, row->total_bytes, err);
    return r;
}

static int end_orphans(struct findings *findings, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    struct orphan *orphan;
    int r;

    if (!findings->orphans)
        return 0;
    r = catalog_write_begin(findings->engine->repository.catalog, &conn, err);
    DL_FOREACH(findings->orphans, orphan)
    {
        if (r == 0)
            r = end_orphan(conn, &orphan->row, findings->text.data, err);
    }
    if (r == 0)
        r = catalog_write_commit(TAKE(conn, NULL), err);
    return r;
}

int reconcile(struct engine *engine, struct error *err)
{
    struct findings findings = {.engine = engine};
    struct orphan *orphan, *tmp;
    int r = 0;

    if (!text_begin(&findings.text))
        return error_set(err, -ENOMEM, "out of memory");
    r = store_reconcile(engine->repository.store, report, &findings, err);
    if (!text_end(&findings.text) && r == 0)
        r = error_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        r = find_active(&findings, err);
    if (r == 0)
        r = end_orphans(&findings, err);
    DL_FOREACH_SAFE(findings.orphans, orphan, tmp)
    {
        free(orphan);
    }
    text_discard(&findings.text);
    return r;
}
