// SPDX-License-Identifier: MIT
//
// backtree list: the VMs, disks, chains and snapshots of a repository, drawn as a tree.
#include "base/clock.h"
#include "tools/command.h"
#include "tools/human.h"
#include "tools/options.h"
#include "tools/record_text.h"
#include "tools/snapshot_listing.h"
#include "tools/snapshot_tree.h"
#include "tools/table.h"
#include "tools/viewer.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdio.h>
#include <string.h>

#define LIST_NAMES FILTER_OWN
#define LIST_DISK_PATH_SIZE (2 * NAME_SIZE)
#define LIST_PATH_SIZE (LIST_DISK_PATH_SIZE + 2 * SNAPSHOT_NAME_SIZE)

enum list_form { LIST_TREE, LIST_PATHS };

// What the walk over VMs and disks needs.
struct list_walk {
    struct catalog_conn *conn;
    const struct catalog_path *path;
    const struct snapshot_listing *listing;
    struct snapshot_tree *tree;
    bool filtered; // VMs and disks without a match are left out
    const struct context_row *context;
    bool context_drawn;
};

static bool list_is_filtered(const struct filter *filter)
{
    return filter->kind || filter->state || filter->tag || filter->trigger || filter->since ||
           filter->until || filter->limit;
}

static int list_add_context(struct list_walk *walk, struct error *err)
{
    char state[CLOCK_ISO_SIZE + 32], when[CLOCK_ISO_SIZE];
    const struct context_row *row = walk->context;
    if (walk->context_drawn)
        return 0;
    walk->context_drawn = true;
    snprintf(state, sizeof(state), "last success %s",
             row->last_success_at > 0 ? clock_to_iso(row->last_success_at, when) : "never");
    struct snapshot_tree_line line = {.depth = 0, .path = row->name, .state = state};
    return snapshot_tree_add(walk->tree, &line, err);
}

static int list_add_chain(struct list_walk *walk, const char *disk_path, int64_t chain_id,
                          struct error *err)
{
    char path[LIST_PATH_SIZE], name[SNAPSHOT_NAME_SIZE], size[HUMAN_SIZE], added[HUMAN_SIZE];
    AUTO_FREE struct chain_row *chain = calloc(1, sizeof(*chain));
    if (!chain)
        return error_set_errno(err, -ENOMEM, "cannot list %s", disk_path);
    int r = chain_get(walk->conn, chain_id, chain, err);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "%s/%s", disk_path, chain_name(chain->number, name));
    struct snapshot_tree_line line = {
        .depth = 2,
        .path = path,
        .size = human_size(chain->capacity, size),
        .added = human_size(chain->new_bytes, added),
        .state = chain->foreign ? "safety backups of a restore target" : NULL,
    };
    return snapshot_tree_add(walk->tree, &line, err);
}

static int list_add_snapshot(struct list_walk *walk, const char *disk_path,
                             const struct listed_snapshot *item, struct error *err)
{
    char path[LIST_PATH_SIZE], chain[SNAPSHOT_NAME_SIZE], taken[CLOCK_ISO_SIZE];
    char size[HUMAN_SIZE], added[HUMAN_SIZE], parent[SNAPSHOT_NAME_SIZE], job[HUMAN_SIZE];
    bool whole = item->name[0] != '\0';
    snprintf(path, sizeof(path), "%s/%s/%s", disk_path, chain_name(item->chain_number, chain),
             item->name);
    snprintf(job, sizeof(job), "job %" PRId64, item->job_id);
    // "0002-incr-2026…": the number says which, the rest is in its own line.
    snprintf(parent, sizeof(parent), "%.*s", (int)strcspn(item->parent, "-"), item->parent);
    struct snapshot_tree_line line = {
        .depth = item->chain_id > 0 ? 3 : 2,
        .path = path,
        .name = whole ? NULL : job,
        .kind = whole ? snapshot_kind_to_word(item->kind) : NULL,
        .taken = clock_to_iso(item->when, taken),
        .size = whole ? human_size(item->capacity, size) : NULL,
        .added = whole ? human_size(item->new_bytes, added) : NULL,
        .parent = parent,
        .state = item->state,
    };
    return snapshot_tree_add(walk->tree, &line, err);
}

static int list_add_disk(struct list_walk *walk, const struct disk_row *row, const char *path,
                         struct error *err)
{
    char size[HUMAN_SIZE];
    AUTO_FREE char *state = NULL;
    if (asprintf(&state, "%s%s", row->source[0] ? "source " : "no source", row->source) < 0)
        return error_set_errno(err, -ENOMEM, "cannot list %s", path);
    struct snapshot_tree_line line = {
        .depth = 1, .path = path, .size = human_size(row->capacity, size), .state = state};
    return snapshot_tree_add(walk->tree, &line, err);
}

static int list_disk(const struct disk_row *row, void *arg, struct error *err)
{
    struct list_walk *walk = arg;
    char path[LIST_DISK_PATH_SIZE];
    size_t count;
    const struct listed_snapshot *items = snapshot_listing_of_disk(walk->listing, row->id, &count);
    if ((walk->path->depth >= PATH_DISK && walk->path->disk.id != row->id) ||
        (walk->filtered && count == 0))
        return 0;
    snprintf(path, sizeof(path), "%s/%s", row->context_name, row->name);
    int r = list_add_context(walk, err);
    if (r == 0)
        r = list_add_disk(walk, row, path, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        bool new_chain =
            items[i].chain_id > 0 && (i == 0 || items[i].chain_id != items[i - 1].chain_id);
        if (new_chain)
            r = list_add_chain(walk, path, items[i].chain_id, err);
        if (r == 0)
            r = list_add_snapshot(walk, path, &items[i], err);
    }
    return r;
}

static int list_context(const struct context_row *row, void *arg, struct error *err)
{
    struct list_walk *walk = arg;
    if (walk->path->depth >= PATH_CONTEXT && walk->path->context.id != row->id)
        return 0;
    walk->context = row;
    walk->context_drawn = false;
    int r = walk->filtered ? 0 : list_add_context(walk, err);
    return r < 0 ? r : disk_each(walk->conn, row->id, list_disk, walk, err);
}

static int list_draw(struct list_walk *walk, enum list_form form, struct error *err)
{
    AUTO(snapshot_tree_free) struct snapshot_tree *tree = NULL;
    int r = snapshot_tree_new(&tree, err);
    walk->tree = tree;
    if (r == 0)
        r = context_each(walk->conn, list_context, walk, err);
    if (r < 0)
        return r;
    if (form == LIST_PATHS) {
        snapshot_tree_print_paths(tree, stdout);
        return 0;
    }
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    return snapshot_tree_print(tree, utf8, table_colour(stdout), stdout, err);
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
    struct list_walk walk = {
        .conn = conn, .path = path, .listing = listing, .filtered = list_is_filtered(filter)};
    return list_draw(&walk, form, err);
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
        "disk's size, what the snapshot added to the repository, and the number of its parent. A\n"
        "time is a date (2026-11-21), a date and time in UTC (2026-11-21T06:55), @UNIXSECONDS, or\n"
        "an age (90s, 30m, 12h, 7d, 2w).\n"
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
