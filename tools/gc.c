// SPDX-License-Identifier: MIT
//
// backtree gc: gives back the space of what was forgotten, or shows what that would be.
#include "base/clock.h"
#include "catalog/record_json.h"
#include "fs/job/gc_job.h"
#include "tools/command.h"
#include "tools/human.h"
#include "tools/job_follow.h"
#include "tools/options.h"
#include "tools/progress_bar.h"
#include "tools/record_text.h"
#include "tools/viewer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct gc_choices {
    const char *repo;
    unsigned threshold; // 0 = default
    bool dry_run, json;
};

static void gc_print(const char *repo, const struct gc_result *result, bool dry_run)
{
    char freed[HUMAN_SIZE], copied[HUMAN_SIZE];
    const char *would = dry_run ? "would be " : "";
    printf("%s: %s %sfreed: %" PRIu64 " of %" PRIu64 " packs %sdropped, %" PRIu64
           " rewritten as %" PRIu64 " (%s copied)\n",
           repo, human_size(result->freed_bytes, freed), would, result->packs_dropped,
           result->packs, would, result->packs_rewritten, result->packs_made,
           human_size(result->copied_bytes, copied));
}

// --- --dry-run: looks, without becoming an owner

struct gc_look {
    struct progress_bar bar;
    int64_t begun_at;
    bool json;
};

static int gc_draw(uint64_t done, uint64_t total, void *arg, struct error *err)
{
    struct gc_look *look = arg;
    (void)err;
    if (!look->bar.active)
        return 0;
    uint64_t ms = (uint64_t)(clock_monotonic() - look->begun_at) / 1000000;
    uint64_t rate = ms ? done * 1000 / ms : 0;
    struct progress_view view = {
        .label = "marking",
        .state = "",
        .done_bytes = done,
        .total_bytes = total,
        .bytes_per_second = rate,
        .eta_seconds = rate && total >= done ? (int64_t)((total - done) / rate) : -1,
    };
    progress_bar_update(&look->bar, &view);
    return 0;
}

static void gc_tell_damage(const char *sentence, void *arg)
{
    struct gc_look *look = arg;
    progress_bar_clear(&look->bar);
    if (!look->json)
        printf("damage: %s\n", sentence);
}

static int gc_print_json(const struct gc_result *result, struct error *err)
{
    json_auto_t *record = json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "dry_run", 1, "snapshots",
        (json_int_t)result->snapshots, "packs", (json_int_t)result->packs, "live_bytes",
        (json_int_t)result->live_bytes, "dead_bytes", (json_int_t)result->dead_bytes,
        "packs_dropped", (json_int_t)result->packs_dropped, "packs_rewritten",
        (json_int_t)result->packs_rewritten, "packs_made", (json_int_t)result->packs_made,
        "copied_bytes", (json_int_t)result->copied_bytes, "freed_bytes",
        (json_int_t)result->freed_bytes, "damage", (json_int_t)result->damage);
    if (!record)
        return error_set(err, -ENOMEM, "out of memory for the figures");
    return record_text_print_as(record, true, err);
}

static int gc_look(const struct gc_choices *choices, struct error *err)
{
    AUTO(viewer_close) struct repository *viewer = NULL;
    AUTO(store_close) struct store *store = NULL;
    struct gc_look look = {.begun_at = clock_monotonic(), .json = choices->json};
    struct gc_options options = {.threshold = choices->threshold,
                                 .dry_run = true,
                                 .progress = gc_draw,
                                 .tell = gc_tell_damage,
                                 .arg = &look};
    struct gc_result result;
    int r = viewer_open(choices->repo, &viewer, err);
    if (r == 0)
        r = store_open(viewer->dir, &viewer->config, viewer->catalog, NULL, &store, err);
    if (r < 0)
        return r;
    progress_bar_init(&look.bar, stderr);
    r = store_gc(store, &options, &result, err);
    progress_bar_clear(&look.bar);
    if (r == 0 && choices->json)
        r = gc_print_json(&result, err);
    else if (r == 0)
        gc_print(choices->repo, &result, true);
    if (r == 0 && result.damage > 0)
        r = error_set(err, -ERROR_CORRUPT, "damage was met");
    return r;
}

// --- collecting, as a job

static int gc_take_figure(const char *name, int64_t value, void *arg, struct error *err)
{
    struct gc_result *result = arg;
    const struct {
        const char *name;
        uint64_t *value;
    } figures[] = {
        {"packs", &result->packs},
        {"packs_dropped", &result->packs_dropped},
        {"packs_rewritten", &result->packs_rewritten},
        {"packs_made", &result->packs_made},
        {"copied_bytes", &result->copied_bytes},
        {"freed_bytes", &result->freed_bytes},
    };
    (void)err;
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        if (strcmp(name, figures[i].name) == 0)
            *figures[i].value = (uint64_t)value;
    return 0;
}

static int gc_print_line(int64_t at, const char *line, void *arg, struct error *err)
{
    (void)at;
    (void)arg;
    (void)err;
    if (strncmp(line, "damage: ", 8) == 0)
        puts(line);
    return 0;
}

// Also of a job that failed: what it did is done.
static int gc_report(struct owner *owner, const struct gc_choices *choices, int64_t job_id,
                     struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct gc_result result = {0};
    json_t *record;
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    if (r == 0 && choices->json) {
        r = job_record_json(conn, job_id, &record, err);
        if (r == 0) {
            r = record_text_print_as(record, true, err);
            json_decref(record);
        }
        return r;
    }
    if (r == 0)
        r = job_log_each(conn, job_id, gc_print_line, NULL, err);
    if (r == 0)
        r = job_figure_each(conn, job_id, gc_take_figure, &result, err);
    if (r == 0)
        gc_print(choices->repo, &result, false);
    return r;
}

static int gc_do(const struct gc_choices *choices, struct error *err)
{
    AUTO(owner_close) struct owner *owner = NULL;
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    char words[32] = "";
    int64_t job_id = 0;
    if (!job)
        return error_set_errno(err, -ENOMEM, "cannot ask for it");
    if (choices->threshold)
        snprintf(words, sizeof(words), "threshold=%u%%", choices->threshold);
    int r = owner_open(choices->repo, "gc", &owner, err);
    if (r == 0)
        r = owner_request_upkeep(owner, JOB_GC, words, &job_id, err);
    if (r != 0)
        return r;
    r = job_follow(owner, job_id, "gc", job, err);
    if (job_state_is_ended(job->state)) {
        int told = gc_report(owner, choices, job_id, r == 0 ? err : NULL);
        r = r == 0 ? told : r;
    }
    return r;
}

// --- the command line

static int gc_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {{"dry-run", no_argument, NULL, 'd'},
                                          {"threshold", required_argument, NULL, 't'},
                                          {"json", no_argument, NULL, 'j'},
                                          OPTIONS_HELP,
                                          OPTIONS_END};
    struct gc_choices choices = {0};
    char **operands;
    int option, count;
    while ((option = options_next(argc, argv, "h", longs, err)) != -1) {
        if (option != 'd' && option != 't' && option != 'j')
            return COMMAND_USAGE;
        choices.dry_run = choices.dry_run || option == 'd';
        choices.json = choices.json || option == 'j';
        if (option == 't' && gc_threshold_parse(optarg, &choices.threshold, err) < 0)
            return COMMAND_USAGE;
    }
    if (options_operands(argc, argv, 1, 1, gc_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    choices.repo = operands[0];
    if (!choices.dry_run)
        job_follow_block_signals();
    int r = choices.dry_run ? gc_look(&choices, err) : gc_do(&choices, err);
    if (r != 0)
        error_prefix(err, "gc %s", choices.repo);
    return r;
}

const struct command gc_command = {
    .name = "gc",
    .operands = "REPO [OPTION...]",
    .summary = "give back the space of what was forgotten",
    .details =
        "Removes packs that hold nothing any snapshot needs, rewrites those of which a good part\n"
        "is not needed any more, and merges small ones. Runs as a job, beside backups, restores\n"
        "and readers; it may be cancelled at any moment, and the next run goes on. Exit status 3\n"
        "says that damage was met: what cannot be read is left where it is.\n"
        "\n"
        "Options:\n"
        "  --dry-run         change nothing and make no job; tell what would be freed\n"
        "  --threshold=N%    rewrite packs of which at least N percent is not needed (20%)\n"
        "  --json            print JSON, sizes in bytes\n"
        "  --help            show this text\n",
    .run = gc_run,
};
