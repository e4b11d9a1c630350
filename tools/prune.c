// SPDX-License-Identifier: MIT
//
// backtree prune: forgets what the retention policies do not keep, shows what that would be, or
// sets the policy of a VM.
#include "base/clock.h"
#include "catalog/record_json.h"
#include "fs/job/prune_plan.h"
#include "tools/command.h"
#include "tools/human.h"
#include "tools/job_follow.h"
#include "tools/keep_options.h"
#include "tools/options.h"
#include "tools/record_text.h"
#include "tools/table.h"
#include "tools/viewer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct table_column PRUNE_COLUMNS[] = {
    {"SNAPSHOT"}, {"ADDED", true}, {"VERDICT"}, {"RULE"}};
#define PRUNE_COLUMN_COUNT (sizeof(PRUNE_COLUMNS) / sizeof(PRUNE_COLUMNS[0]))

struct prune_choices {
    const char *repo;
    const char *name;                 // NULL = every VM
    char policy[RETENTION_TEXT_SIZE]; // for this run, "" = the stored ones
    const char *set;                  // NULL = not to be set
    bool dry_run, json;
};

// --- what to prune

struct prune_list {
    struct catalog_path *paths;
    size_t count;
};

static int prune_note_vm(const struct context_row *row, void *arg, struct error *err)
{
    struct prune_list *list = arg;
    void *grown = reallocarray(list->paths, list->count + 1, sizeof(*list->paths));
    if (!grown)
        return error_set_errno(err, -ENOMEM, "cannot list VMs");
    list->paths = grown;
    list->paths[list->count++] = (struct catalog_path){.depth = PATH_CONTEXT, .context = *row};
    return 0;
}

// Every VM, or the one VM or disk that was named.
static int prune_resolve(struct catalog_conn *conn, const char *name, struct prune_list *list,
                         struct error *err)
{
    if (!name)
        return context_each(conn, prune_note_vm, list, err);
    list->paths = calloc(1, sizeof(*list->paths));
    if (!list->paths)
        return error_set_errno(err, -ENOMEM, "cannot look for it");
    list->count = 1;
    int r = catalog_path_resolve(conn, name, list->paths, err);
    if (r == 0 && list->paths->depth > PATH_DISK)
        r = error_set(err, -EINVAL, "name a VM or a disk");
    return r;
}

// --- --dry-run

static json_t *prune_item_json(const struct prune_item *item)
{
    char when[CLOCK_ISO_SIZE];
    return json_pack("{s:s, s:s, s:I, s:b, s:s?}", "path", item->path, "taken_at",
                     clock_to_iso(item->snapshot.taken_at, when), "new_bytes",
                     (json_int_t)item->new_bytes, "keep", item->verdict.keep, "rule",
                     item->verdict.keep ? item->verdict.why : NULL);
}

static int prune_show_item(const struct prune_item *item, struct table *table, json_t *array,
                           struct error *err)
{
    char added[HUMAN_SIZE];
    const char *cells[PRUNE_COLUMN_COUNT] = {item->path, human_size(item->new_bytes, added),
                                             item->verdict.keep ? "keep" : "forget",
                                             item->verdict.why};
    if (table)
        return table_add(table, cells, err);
    if (json_array_append_new(array, prune_item_json(item)) < 0)
        return error_set_errno(err, -ENOMEM, "cannot list %s", item->path);
    return 0;
}

static int prune_show_one(struct catalog_conn *conn, const struct catalog_path *path,
                          const char *policy, struct table *table, json_t *array, struct error *err)
{
    struct prune_plan plan;
    int r = prune_plan_make(conn, path->context.id, path->disk.id, policy, clock_now(), &plan, err);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < plan.count; i++)
        r = prune_show_item(&plan.items[i], table, array, err);
    prune_plan_deinit(&plan);
    return r;
}

static int prune_show_all(struct catalog_conn *conn, const struct prune_choices *choices,
                          struct table *table, json_t *array, struct error *err)
{
    struct prune_list list = {0};
    int r = prune_resolve(conn, choices->name, &list, err);
    for (size_t i = 0; r == 0 && i < list.count; i++)
        r = prune_show_one(conn, &list.paths[i], choices->policy, table, array, err);
    free(list.paths);
    return r;
}

static int prune_show(const struct prune_choices *choices, struct error *err)
{
    AUTO(viewer_close) struct repository *viewer = NULL;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO(table_free) struct table *table = NULL;
    json_auto_t *array = json_array();
    int r = array ? viewer_open(choices->repo, &viewer, err)
                  : error_set_errno(err, -ENOMEM, "cannot list snapshots");
    if (r == 0)
        r = catalog_read_begin(viewer->catalog, &conn, err);
    if (r == 0 && !choices->json)
        r = table_new(PRUNE_COLUMNS, PRUNE_COLUMN_COUNT, &table, err);
    if (r == 0)
        r = prune_show_all(conn, choices, table, array, err);
    if (r < 0)
        return r;
    if (choices->json)
        return record_text_print_as(array, true, err);
    table_print(table, table_colour(stdout), stdout);
    return 0;
}

// --- pruning

static int prune_report(struct owner *owner, const struct job_row *job, const char *name,
                        json_t *array, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    json_t *record;
    if (!array) {
        printf("%s: %" PRId64 " forgotten, %" PRId64 " kept", name, job->prune_forgotten,
               job->prune_kept);
        if (job->prune_skipped > 0)
            printf(", %" PRId64 " in use and passed over", job->prune_skipped);
        puts("");
        return 0;
    }
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    if (r == 0)
        r = job_record_json(conn, job->id, &record, err);
    if (r == 0 && json_array_append_new(array, record) < 0)
        r = error_set_errno(err, -ENOMEM, "cannot list job %" PRId64, job->id);
    return r;
}

static int prune_one(struct owner *owner, const struct catalog_path *path, const char *policy,
                     json_t *array, struct error *err)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    char name[2 * NAME_SIZE];
    int64_t job_id = 0;
    if (!job)
        return error_set_errno(err, -ENOMEM, "cannot prune %s", path->context.name);
    snprintf(name, sizeof(name), "%s%s%s", path->context.name, path->depth == PATH_DISK ? "/" : "",
             path->disk.name);
    int r = owner_request_prune(owner, path, policy, &job_id, err);
    if (r == 0)
        r = job_follow(owner, job_id, name, job, err);
    return r < 0 ? r : prune_report(owner, job, name, array, err);
}

static int prune_list_owned(struct owner *owner, const char *name, struct prune_list *list,
                            struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    return r < 0 ? r : prune_resolve(conn, name, list, err);
}

static int prune_do(const struct prune_choices *choices, struct error *err)
{
    AUTO(owner_close) struct owner *owner = NULL;
    json_auto_t *array = choices->json ? json_array() : NULL;
    struct prune_list list = {0};
    int r = owner_open(choices->repo, "prune", &owner, err);
    if (r == 0)
        r = prune_list_owned(owner, choices->name, &list, err);
    for (size_t i = 0; r == 0 && i < list.count; i++) {
        r = prune_one(owner, &list.paths[i], choices->policy, array, err);
        if (r < 0 && !choices->name)
            error_prefix(err, "%s", list.paths[i].context.name);
    }
    free(list.paths);
    return r == 0 && array ? record_text_print_as(array, true, err) : r;
}

// --- --set

static int prune_set(const struct prune_choices *choices, struct error *err)
{
    AUTO(owner_close) struct owner *owner = NULL;
    AUTO_FREE struct catalog_path *path = calloc(1, sizeof(*path));
    if (!path)
        return error_set_errno(err, -ENOMEM, "cannot look for it");
    int r = owner_open(choices->repo, "prune", &owner, err);
    if (r == 0)
        r = owner_resolve(owner, choices->name, path, err);
    if (r == 0 && path->depth != PATH_CONTEXT)
        r = error_set(err, -EINVAL, "a policy is set for a VM: name one");
    if (r == 0)
        r = owner_set_retention(owner, path, choices->set, err);
    if (r == 0)
        r = owner_resolve(owner, choices->name, path, err);
    if (r == 0)
        printf("%s: %s%s\n", path->context.name, path->context.retention,
               path->context.own_retention ? "" : " (the repository's default)");
    return r;
}

// --- the command line

enum prune_option { PRUNE_DRY_RUN = 'd', PRUNE_SET = 's', PRUNE_JSON = 'j' };

static int prune_parse(int argc, char **argv, struct prune_choices *choices, struct error *err)
{
    static const struct option longs[] = {KEEP_OPTIONS,
                                          {"dry-run", no_argument, NULL, PRUNE_DRY_RUN},
                                          {"set", required_argument, NULL, PRUNE_SET},
                                          {"json", no_argument, NULL, PRUNE_JSON},
                                          OPTIONS_HELP,
                                          OPTIONS_END};
    struct keep_options keep = {0};
    int option, r = 0;
    while (r >= 0 && (option = options_next(argc, argv, "h", longs, err)) != -1) {
        r = keep_options_take(&keep, option, optarg, err);
        if (option == PRUNE_DRY_RUN)
            choices->dry_run = true;
        else if (option == PRUNE_SET)
            choices->set = optarg;
        else if (option == PRUNE_JSON)
            choices->json = true;
        else if (r == 0)
            r = -EINVAL;
    }
    keep_options_words(&keep, choices->policy);
    return r;
}

static int prune_check(const struct prune_choices *choices, struct error *err)
{
    struct retention_policy policy;
    if (!choices->set)
        return 0;
    if (choices->dry_run || choices->json || choices->policy[0])
        return error_set(err, -EINVAL, "--set goes with no other option");
    if (!choices->name)
        return error_set(err, -EINVAL, "--set needs a VM");
    if (strpbrk(choices->set, "\r\n"))
        return error_set(err, -EINVAL, "--set takes one line");
    if (strcmp(choices->set, "default") == 0)
        return 0;
    return retention_parse(choices->set, strlen(choices->set), &policy, err);
}

static int prune_run(int argc, char **argv, struct error *err)
{
    struct prune_choices choices = {0};
    char **operands;
    int count;
    if (prune_parse(argc, argv, &choices, err) < 0 ||
        options_operands(argc, argv, 1, 2, prune_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    choices.repo = operands[0];
    choices.name = count > 1 ? operands[1] : NULL;
    if (prune_check(&choices, err) < 0)
        return COMMAND_USAGE;
    if (!choices.dry_run)
        job_follow_block_signals();
    int r = choices.set       ? prune_set(&choices, err)
            : choices.dry_run ? prune_show(&choices, err)
                              : prune_do(&choices, err);
    if (r != 0)
        error_prefix(err, "prune %s", choices.name ? choices.name : choices.repo);
    return r;
}

const struct command prune_command = {
    .name = "prune",
    .operands = "REPO [VM[/DISK]] [OPTION...]",
    .summary = "forget the snapshots that retention does not keep",
    .details =
        "Forgets the snapshots of every VM, of one VM or of one disk that the VM's retention\n"
        "policy does not keep, as a job of each VM. The options --keep-... together take the\n"
        "place of the policy for this run. A disk's newest snapshot, protected ones and those\n"
        "that are in use stay. A rule keeps the newest snapshot of each of N periods (UTC) that\n"
        "no rule before it has covered; the rules are gone through in the order below.\n"
        "\n"
        "Options:\n"
        "  --keep-within=TIME  keep what was taken within a time: 12h, 7d, 4w\n"
        "  --keep-last=N       keep the newest N\n"
        "  --keep-hourly=N     keep one of each of N hours\n"
        "  --keep-daily=N      keep one of each of N days\n"
        "  --keep-weekly=N     keep one of each of N weeks, Monday to Sunday\n"
        "  --keep-monthly=N    keep one of each of N months\n"
        "  --keep-yearly=N     keep one of each of N years\n"
        "  --dry-run           change nothing; list every snapshot with the rule that keeps it\n"
        "  --set=POLICY        set the VM's policy (\"keep-last=3 keep-daily=7\", none, default)\n"
        "                      and prune nothing\n"
        "  --json              print JSON, sizes in bytes\n"
        "  --help              show this text\n",
    .run = prune_run,
};
