// SPDX-License-Identifier: MIT
//
// backtree list: the VMs, disks, chains and snapshots of a repository, drawn as a tree on a
// terminal.
#include "tools/command.h"
#include "tools/options.h"
#include "tools/record_text.h"
#include "tools/repository_tree.h"
#include "tools/viewer.h"

#include <stdio.h>

#define LIST_NAMES FILTER_OWN

enum list_form { LIST_TREE, LIST_PATHS };

static bool list_is_filtered(const struct filter *filter)
{
    return filter->kind || filter->state || filter->tag || filter->trigger || filter->since ||
           filter->until || filter->limit;
}

static int list_print_json(const struct snapshot_listing *listing, struct error *err)
{
    json_auto_t *array = json_array();
    for (size_t i = 0; i < listing->count; i++)
        if (!array || json_array_append(array, listing->items[i].json) < 0)
            return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    return record_text_print_as(array, true, err);
}

static int list_resolve(struct catalog_conn *conn, const char *operand, const struct filter *filter,
                        struct catalog_path *path, struct error *err)
{
    int r = *operand ? catalog_path_resolve(conn, operand, path, err) : 0;
    if (r == 0 && path->depth == PATH_SNAPSHOT)
        return error_set(err, -EINVAL, "a snapshot holds no snapshots (see backtree show)");
    return r < 0 ? r : filter_resolve(filter, conn, path, err);
}

static int list_print(const char *repo, const char *operand, const struct filter *filter,
                      enum list_form form, struct error *err)
{
    AUTO(viewer_close) struct repository *viewer = NULL;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO(snapshot_listing_free) struct snapshot_listing *listing = NULL;
    AUTO(snapshot_tree_free) struct snapshot_tree *tree = NULL;
    AUTO_FREE struct catalog_path *path = calloc(1, sizeof(*path));
    if (!path)
        return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    int r = viewer_open(repo, &viewer, err);
    if (r == 0)
        r = catalog_read_begin(viewer->catalog, &conn, err);
    if (r == 0)
        r = list_resolve(conn, operand, filter, path, err);
    if (r == 0)
        r = snapshot_listing_collect(conn, filter, path, &listing, err);
    if (r < 0)
        return r;
    if (filter->json)
        return list_print_json(listing, err);
    snapshot_listing_sort(listing);
    struct repository_tree what = {
        .path = path, .listing = listing, .matching = list_is_filtered(filter)};
    r = repository_tree_make(conn, &what, &tree, err);
    if (r < 0)
        return r;
    if (form == LIST_TREE)
        return repository_tree_print(tree, stdout, err);
    snapshot_tree_print_paths(tree, stdout);
    return 0;
}

static int list_parse(int argc, char **argv, struct filter *filter, enum list_form *form,
                      struct error *err)
{
    static const struct option longs[] = {
        FILTER_OPTIONS, {"names", no_argument, NULL, LIST_NAMES}, OPTIONS_HELP, OPTIONS_END};
    int option, r = 0;
    while (r >= 0 && (option = options_next(argc, argv, "h", longs, err)) != -1) {
        r = option == LIST_NAMES ? 0 : filter_take(filter, option, optarg, err);
        if (option == LIST_NAMES)
            *form = LIST_PATHS;
        else if (r == 0)
            r = -EINVAL;
    }
    if (r >= 0 && *form == LIST_PATHS && filter->json)
        r = error_set(err, -EINVAL, "--names and --json exclude each other");
    return r < 0 ? r : snapshot_listing_check(filter, err);
}

static int list_run(int argc, char **argv, struct error *err)
{
    struct filter filter = {0};
    enum list_form form = LIST_TREE;
    char **operands;
    int count;
    if (list_parse(argc, argv, &filter, &form, err) < 0 ||
        options_operands(argc, argv, 1, 2, list_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    const char *operand = count == 2 ? operands[1] : "";
    if (filter_check(&filter, operand, err) < 0)
        return COMMAND_USAGE;
    int r = list_print(operands[0], operand, &filter, form, err);
    if (r < 0)
        error_prefix(err, "list %s", *operand ? operand : operands[0]);
    return r;
}

const struct command list_command = {
    .name = "list",
    .operands = "REPO [VM[/DISK[/CHAIN]]] [OPTION...]",
    .summary = "list VMs, disks, chains and snapshots",
    .details =
        "Draws VMs, disks, chains and snapshots as a tree: when each snapshot was taken, the\n"
        "disk's size, what the snapshot added to the repository, how many times its data that is,\n"
        "the number of its parent, and its state. Where the output is no terminal: one line each,\n"
        "the path first, sizes in bytes, - for nothing. A time is a date (2026-11-21), a date and\n"
        "time in UTC (2026-11-21T06:55), @UNIXSECONDS, or an age (90s, 30m, 12h, 7d, 2w).\n"
        "\n"
        "Options:\n"
        "  --vm=VM            only this VM\n"
        "  --disk=[VM/]DISK   only this disk\n"
        "  --kind=KIND        full or incremental\n"
        "  --state=STATE      completed (what is listed otherwise), or what is no snapshot:\n"
        "                     pending, running, failed, cancelled, forgotten\n"
        "  --trigger=TRIGGER  manual, scheduled or pre_restore_safety\n"
        "  --tag=TAG          only snapshots with this tag\n"
        "  --since=TIME       taken at this time or later\n"
        "  --until=TIME       taken before this time\n"
        "  --limit=N          only the newest N\n"
        "  --names            print one path a line and nothing else\n"
        "  --json             print the snapshots as JSON, sizes in bytes\n"
        "  --help             show this text\n",
    .run = list_run,
};
