// SPDX-License-Identifier: MIT
//
// backtree jobs: lists the jobs of a repository, oldest first.
#include "base/clock.h"
#include "catalog/record_json.h"
#include "tools/command.h"
#include "tools/filter.h"
#include "tools/human.h"
#include "tools/options.h"
#include "tools/record_text.h"
#include "tools/table.h"
#include "tools/viewer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define JOBS_ACTIVE FILTER_OWN

static const struct table_column JOBS_COLUMNS[] = {
    {"JOB", true}, {"KIND"},       {"OF"},          {"STATE"}, {"TRIGGER"},
    {"CREATED"},   {"TOOK", true}, {"BYTES", true}, {"TAGS"},  {"NOTE"},
};
#define JOBS_COLUMN_COUNT (sizeof(JOBS_COLUMNS) / sizeof(JOBS_COLUMNS[0]))

struct jobs_output {
    struct catalog_conn *conn;
    struct table *table; // one of the two
    json_t *array;
};

static int jobs_take_freed(const char *name, int64_t value, void *arg, struct error *err)
{
    (void)err;
    if (strcmp(name, "freed_bytes") == 0)
        *(uint64_t *)arg = (uint64_t)value;
    return 0;
}

// The words of a verification, gc or check, and what a gc gave back.
static int jobs_upkeep_note(struct catalog_conn *conn, const struct job_row *row, char *note,
                            size_t size, struct error *err)
{
    char freed[HUMAN_SIZE];
    uint64_t bytes = 0;
    const char *came_of_it = row->reason, *how = "";

    if (row->kind == JOB_GC && row->state == JOB_COMPLETED) {
        int r = job_figure_each(conn, row->id, jobs_take_freed, &bytes, err);
        if (r < 0)
            return r;
        came_of_it = human_size(bytes, freed);
        how = strstr(row->upkeep_words, "dry-run") ? " would be freed" : " freed";
    }
    snprintf(note, size, "%s%s%s%s", row->upkeep_words,
             row->upkeep_words[0] && came_of_it[0] ? ": " : "", came_of_it, how);
    return 0;
}

// What a job was asked for beside the usual, and why it did not do it.
static int jobs_note(struct catalog_conn *conn, const struct job_row *row, char *note, size_t size,
                     struct error *err)
{
    const char *colon = row->reason[0] ? ": " : "";
    if (row->kind == JOB_VERIFY || row->kind == JOB_GC || row->kind == JOB_CHECK)
        return jobs_upkeep_note(conn, row, note, size, err);
    if (row->kind == JOB_RESTORE)
        snprintf(note, size, "%s to %s%s%s", row->restore_snapshot, row->restore_target, colon,
                 row->reason);
    else if (row->kind == JOB_PRUNE && row->state == JOB_COMPLETED)
        snprintf(note, size, "%" PRId64 " forgotten, %" PRId64 " kept by %s", row->prune_forgotten,
                 row->prune_kept, row->prune_policy);
    else if (row->mode == BACKUP_FULL || row->mode == BACKUP_INCREMENTAL)
        snprintf(note, size, "%s%s%s", backup_mode_to_word(row->mode), colon, row->reason);
    else
        snprintf(note, size, "%s", row->reason);
    return 0;
}

// A job of no VM is of everything, or of what another job made; no VM can have names like that.
static void jobs_of(const struct job_row *row, char of[2 * NAME_SIZE])
{
    if (strncmp(row->upkeep_words, "job=", 4) == 0)
        snprintf(of, 2 * NAME_SIZE, "(job %.20s)", row->upkeep_words + 4);
    else if (row->context_name[0])
        snprintf(of, 2 * NAME_SIZE, "%s%s%s", row->context_name, row->disk_name[0] ? "/" : "",
                 row->disk_name);
    else
        snprintf(of, 2 * NAME_SIZE, "(all)");
}

static void jobs_took(const struct job_row *row, char took[HUMAN_SIZE])
{
    int64_t end = row->state == JOB_RUNNING ? clock_now() : row->finished_at;
    took[0] = '\0';
    if (row->started_at > 0 && end >= row->started_at)
        human_duration((end - row->started_at) / CLOCK_SECOND, took);
}

static int jobs_add_row(const struct job_row *row, struct jobs_output *output, struct error *err)
{
    char number[HUMAN_SIZE], of[2 * NAME_SIZE], created[CLOCK_ISO_SIZE], took[HUMAN_SIZE];
    char bytes[HUMAN_SIZE];
    size_t note_size = sizeof(row->restore_snapshot) + sizeof(row->restore_target) +
                       sizeof(row->upkeep_words) + sizeof(row->reason) + 64;
    AUTO_FREE char *note = malloc(note_size);
    if (!note)
        return error_set_errno(err, -ENOMEM, "cannot list job %" PRId64, row->id);
    snprintf(number, sizeof(number), "%" PRId64, row->id);
    jobs_of(row, of);
    jobs_took(row, took);
    int r = jobs_note(output->conn, row, note, note_size, err);
    if (r < 0)
        return r;
    const char *cells[JOBS_COLUMN_COUNT] = {
        number,
        job_kind_to_word(row->kind),
        of,
        job_state_to_word(row->state),
        job_trigger_to_word(row->trigger),
        clock_to_iso(row->created_at, created),
        took,
        human_size(row->done_bytes, bytes),
        row->tags,
        note,
    };
    return table_add(output->table, cells, err);
}

static int jobs_add(const struct job_row *row, void *arg, struct error *err)
{
    struct jobs_output *output = arg;
    if (output->table)
        return jobs_add_row(row, output, err);
    if (json_array_append_new(output->array, job_to_json(row)) < 0)
        return error_set_errno(err, -ENOMEM, "cannot list job %" PRId64, row->id);
    return 0;
}

static int jobs_walk(struct catalog_conn *conn, const struct filter *filter,
                     struct job_filter *jobs, struct jobs_output *output, struct error *err)
{
    AUTO_FREE struct catalog_path *path = calloc(1, sizeof(*path));
    if (!path)
        return error_set_errno(err, -ENOMEM, "cannot list jobs");
    int r = filter_resolve(filter, conn, path, err);
    if (r < 0)
        return r;
    jobs->context_id = path->context.id;
    jobs->disk_id = path->disk.id;
    jobs->trigger = filter->trigger;
    jobs->tag = filter->tag;
    jobs->since = filter->since;
    jobs->until = filter->until;
    jobs->limit = filter->limit;
    return job_each(conn, jobs, jobs_add, output, err);
}

static int jobs_print(const char *repo, const struct filter *filter, struct job_filter *jobs,
                      struct error *err)
{
    AUTO(viewer_close) struct repository *viewer = NULL;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO(table_free) struct table *table = NULL;
    json_auto_t *array = json_array();
    int r =
        array ? viewer_open(repo, &viewer, err) : error_set_errno(err, -ENOMEM, "cannot list jobs");
    if (r == 0)
        r = catalog_read_begin(viewer->catalog, &conn, err);
    if (r == 0 && !filter->json)
        r = table_new(JOBS_COLUMNS, JOBS_COLUMN_COUNT, &table, err);
    struct jobs_output output = {.conn = conn, .table = table, .array = array};
    if (r == 0)
        r = jobs_walk(conn, filter, jobs, &output, err);
    if (r < 0)
        return r;
    if (filter->json)
        return record_text_print_as(array, true, err);
    table_print(table, table_colour(stdout), stdout);
    return 0;
}

static int jobs_parse(int argc, char **argv, struct filter *filter, struct job_filter *jobs,
                      struct error *err)
{
    static const struct option longs[] = {
        FILTER_OPTIONS, {"active", no_argument, NULL, JOBS_ACTIVE}, OPTIONS_HELP, OPTIONS_END};
    int option, r = 0;
    while (r >= 0 && (option = options_next(argc, argv, "h", longs, err)) != -1) {
        r = option == JOBS_ACTIVE ? 0 : filter_take(filter, option, optarg, err);
        if (option == JOBS_ACTIVE)
            jobs->active = true;
        else if (r == 0)
            r = -EINVAL;
    }
    if (r < 0)
        return r;
    jobs->kind = filter->kind ? job_kind_from_word(filter->kind) : JOB_KIND_UNKNOWN;
    jobs->state = filter->state ? job_state_from_word(filter->state) : JOB_STATE_UNKNOWN;
    if (filter->kind && jobs->kind == JOB_KIND_UNKNOWN)
        return error_set(err, -EINVAL,
                         "--kind: '%s' is none of backup, restore, prune, verify, gc, check",
                         filter->kind);
    if (filter->state && jobs->state == JOB_STATE_UNKNOWN)
        return error_set(err, -EINVAL,
                         "--state: '%s' is none of pending, running, completed, failed, cancelled",
                         filter->state);
    return 0;
}

static int jobs_run(int argc, char **argv, struct error *err)
{
    struct filter filter = {0};
    struct job_filter jobs = {0};
    char **operands;
    int count;
    if (jobs_parse(argc, argv, &filter, &jobs, err) < 0 || filter_check(&filter, "", err) < 0 ||
        options_operands(argc, argv, 1, 1, jobs_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    int r = jobs_print(operands[0], &filter, &jobs, err);
    if (r < 0)
        error_prefix(err, "jobs %s", operands[0]);
    return r;
}

const struct command jobs_command = {
    .name = "jobs",
    .operands = "REPO [OPTION...]",
    .summary = "list jobs",
    .details = "Lists jobs, oldest first. A time is a date (2026-11-21), a date and time in UTC\n"
               "(2026-11-21T06:55), @UNIXSECONDS, or an age (90s, 30m, 12h, 7d, 2w).\n"
               "\n"
               "Options:\n"
               "  --active           only jobs that are pending or running\n"
               "  --vm=VM            only jobs of this VM\n"
               "  --disk=[VM/]DISK   only jobs that are of this disk, alone or among others\n"
               "  --kind=KIND        backup, restore, prune, verify, gc or check\n"
               "  --state=STATE      pending, running, completed, failed or cancelled\n"
               "  --trigger=TRIGGER  manual, scheduled or pre_restore_safety\n"
               "  --tag=TAG          only jobs with this tag\n"
               "  --since=TIME       created at this time or later\n"
               "  --until=TIME       created before this time\n"
               "  --limit=N          only the newest N\n"
               "  --json             print JSON, sizes in bytes\n"
               "  --help             show this text\n",
    .run = jobs_run,
};
