// SPDX-License-Identifier: MIT
//
// Garbage collection as a job: words in, log lines and figures out.
#include "fs/job/gc_job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SENTENCES_LOGGED 1000
#define THRESHOLD_WORD "threshold="

// --- words

int gc_threshold_parse(const char *text, unsigned *ret_percent, struct error *err)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long value = digits && digits <= 3 ? strtoul(text, NULL, 10) : 0;

    if (value < 1 || value > 100 || (text[digits] && strcmp(text + digits, "%") != 0))
        return error_set(err, -EINVAL, "the threshold '%s' is no share from 1%% to 100%%", text);
    *ret_percent = (unsigned)value;
    return 0;
}

static int option(const char *word, struct error *err)
{
    unsigned percent;

    if (strncmp(word, THRESHOLD_WORD, strlen(THRESHOLD_WORD)) == 0)
        return gc_threshold_parse(word + strlen(THRESHOLD_WORD), &percent, err) < 0 ? -EINVAL : 1;
    return strcmp(word, "dry-run") == 0;
}

// They were checked when the job was asked for.
static int parse(const char *words, struct gc_options *options, struct error *err)
{
    AUTO_FREE char *copy = strdup(words);
    char *rest = copy, *word;
    int r = copy ? 0 : error_set(err, -ENOMEM, "out of memory");

    while (r == 0 && (word = strsep(&rest, " ")) != NULL) {
        if (strcmp(word, "dry-run") == 0)
            options->dry_run = true;
        else if (*word)
            r = gc_threshold_parse(word + strlen(THRESHOLD_WORD), &options->threshold, err);
    }
    return r;
}

// --- running

struct collecting {
    struct job_run *run;
    uint64_t sentences;
};

static void take_sentence(const char *sentence, void *arg)
{
    struct collecting *collecting = arg;

    if (++collecting->sentences <= SENTENCES_LOGGED)
        job_run_log(collecting->run, "damage: %s", sentence);
}

static int take_progress(uint64_t done, uint64_t total, void *arg, struct error *err)
{
    struct collecting *collecting = arg;

    atomic_store(&collecting->run->total_bytes, total);
    atomic_store(&collecting->run->done_bytes, done);
    return job_run_check(collecting->run, err);
}

char *gc_result_sentence(const struct gc_result *result, bool dry_run, char *text, size_t size)
{
    snprintf(text, size,
             "%" PRIu64 " of %" PRIu64 " packs %sdropped, %" PRIu64 " rewritten as %" PRIu64
             " with %" PRIu64 " bytes of records; %" PRIu64 " bytes %sfreed",
             result->packs_dropped, result->packs, dry_run ? "would be " : "",
             result->packs_rewritten, result->packs_made, result->copied_bytes, result->freed_bytes,
             dry_run ? "would be " : "");
    return text;
}

static void record_figures(struct engine *engine, struct job_run *run,
                           const struct gc_result *result, bool dry_run)
{
    const struct upkeep_figure figures[] = {
        {"dry_run", dry_run},
        {"snapshots", (int64_t)result->snapshots},
        {"forgotten_open", (int64_t)result->forgotten_open},
        {"packs", (int64_t)result->packs},
        {"live_bytes", (int64_t)result->live_bytes},
        {"dead_bytes", (int64_t)result->dead_bytes},
        {"packs_dropped", (int64_t)result->packs_dropped},
        {"packs_rewritten", (int64_t)result->packs_rewritten},
        {"packs_made", (int64_t)result->packs_made},
        {"packs_passed_over", (int64_t)result->packs_passed_over},
        {"packs_without_room", (int64_t)result->packs_without_room},
        {"copied_bytes", (int64_t)result->copied_bytes},
        {"freed_bytes", (int64_t)result->freed_bytes},
        {"damage", (int64_t)result->damage},
    };

    upkeep_figures(engine, run, figures, sizeof(figures) / sizeof(figures[0]));
}

static void log_result(const struct collecting *collecting, const struct gc_result *result,
                       bool dry_run)
{
    char text[256];

    if (collecting->sentences > SENTENCES_LOGGED)
        job_run_log(collecting->run, "%" PRIu64 " more findings are not listed",
                    collecting->sentences - SENTENCES_LOGGED);
    if (result->forgotten_open > 0)
        job_run_log(collecting->run,
                    "%" PRIu64 " forgotten snapshots stay until their open files are closed",
                    result->forgotten_open);
    if (result->packs_passed_over > 0)
        job_run_log(collecting->run, "%" PRIu64 " packs were to go and are needed: they stay",
                    result->packs_passed_over);
    if (result->packs_without_room > 0)
        job_run_log(collecting->run,
                    "%" PRIu64 " packs stay as they are, for the disk is too full to rewrite them",
                    result->packs_without_room);
    job_run_log(collecting->run, "%s", gc_result_sentence(result, dry_run, text, sizeof(text)));
}

static int run(struct engine *engine, struct job_run *run, const struct job_row *job,
               struct error *err)
{
    struct collecting collecting = {.run = run};
    struct gc_options options = {
        .progress = take_progress, .tell = take_sentence, .arg = &collecting};
    struct gc_result result;
    int r = parse(job->upkeep_words, &options, err);

    if (r < 0)
        return r;
    r = store_gc(engine->repository.store, &options, &result, err);
    // Also of one that was ended early: what it did is done.
    record_figures(engine, run, &result, options.dry_run);
    log_result(&collecting, &result, options.dry_run);
    if (r == 0)
        atomic_store(&run->done_bytes, atomic_load(&run->total_bytes));
    if (r == 0 && result.damage > 0)
        return error_set(err, -ERROR_CORRUPT, "damage was met: %" PRIu64 " finding%s, see the log",
                         result.damage, result.damage == 1 ? "" : "s");
    return r;
}

const struct upkeep_kind gc_upkeep = {
    .kind = JOB_GC, .option = option, .options = "dry-run, threshold=N%", .run = run};
