// SPDX-License-Identifier: MIT
//
// Check as a job; the check itself is repository_check().
#include "fs/job/check_job.h"

#include "fs/job/check.h"

#include <string.h>

#define FINDINGS_LOGGED 1000

struct checking {
    struct job_run *run;
    uint64_t findings;
};

static int option(const char *word, struct error *err)
{
    (void)err;
    return strcmp(word, "full") == 0;
}

static void take_finding(enum check_class class, const char *subject, const char *text, void *arg)
{
    struct checking *checking = arg;

    if (++checking->findings <= FINDINGS_LOGGED)
        job_run_log(checking->run, "%s: %s: %s", class == CHECK_DAMAGE ? "damage" : "leftover",
                    subject, text);
}

// Steps that count packs and snapshots are short; the one that counts bytes is what takes time.
static int take_progress(const char *step, uint64_t done, uint64_t total, void *arg,
                         struct error *err)
{
    struct checking *checking = arg;

    if (strcmp(step, CHECK_STEP_RECORDS) == 0) {
        atomic_store(&checking->run->total_bytes, total);
        atomic_store(&checking->run->done_bytes, done);
    }
    return job_run_check(checking->run, err);
}

static void record_figures(struct engine *engine, struct job_run *run,
                           const struct check_result *result)
{
    const struct upkeep_figure figures[] = {
        {"packs", (int64_t)result->packs},         {"records", (int64_t)result->records},
        {"snapshots", (int64_t)result->snapshots}, {"proved_bytes", (int64_t)result->proved_bytes},
        {"damage", (int64_t)result->damage},       {"leftovers", (int64_t)result->leftovers},
    };

    upkeep_figures(engine, run, figures, sizeof(figures) / sizeof(figures[0]));
}

static void log_result(struct job_run *run, const struct check_result *result, bool full)
{
    job_run_log(
        run,
        "%llu snapshots, %llu packs with %llu records%s: %llu findings of damage, %llu leftovers",
        (unsigned long long)result->snapshots, (unsigned long long)result->packs,
        (unsigned long long)result->records, full ? ", each of them proved" : "",
        (unsigned long long)result->damage, (unsigned long long)result->leftovers);
}

static int run(struct engine *engine, struct job_run *run, const struct job_row *job,
               struct error *err)
{
    struct checking checking = {.run = run};
    struct check_options options = {.full = strcmp(job->upkeep_words, "full") == 0,
                                    .workers = engine->workers,
                                    .finding = take_finding,
                                    .progress = take_progress,
                                    .arg = &checking};
    struct check_result result;
    int r = repository_check(engine->repository.dir, &options, &result, err);

    if (r < 0)
        return r;
    if (checking.findings > FINDINGS_LOGGED)
        job_run_log(run, "%llu more findings are not listed",
                    (unsigned long long)(checking.findings - FINDINGS_LOGGED));
    record_figures(engine, run, &result);
    log_result(run, &result, options.full);
    if (result.damage > 0)
        return error_set(err, -ERROR_CORRUPT,
                         "the repository is damaged: %llu finding%s, see the log",
                         (unsigned long long)result.damage, result.damage == 1 ? "" : "s");
    return 0;
}

const struct upkeep_kind check_upkeep = {
    .kind = JOB_CHECK, .option = option, .options = "full", .run = run};
