// SPDX-License-Identifier: MIT
//
// backtree show: every recorded detail of a VM, disk, chain, snapshot or job.
#include "base/clock.h"
#include "catalog/path.h"
#include "catalog/record_json.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/record_text.h"
#include "tools/repository_tree.h"
#include "tools/viewer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Appends and takes the reference, also of NULL, which is how jansson says "out of memory".
static int show_append(json_t *array, json_t *item, struct error *err)
{
    if (json_array_append_new(array, item) < 0)
        return error_set_errno(err, -ENOMEM, "cannot collect the records");
    return 0;
}

static int show_add_disk(const struct disk_row *row, void *arg, struct error *err)
{
    return show_append(arg, disk_to_json(row), err);
}

static int show_add_chain(const struct chain_row *row, void *arg, struct error *err)
{
    return show_append(arg, chain_to_json(row), err);
}

static int show_add_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    return show_append(arg, snapshot_to_json(row), err);
}

static int show_add_log_line(int64_t at, const char *line, void *arg, struct error *err)
{
    char when[CLOCK_ISO_SIZE];
    return show_append(arg, json_sprintf("%s %s", clock_to_iso(at, when), line), err);
}

// A VM's disks, a disk's chains or a chain's snapshots.
static int show_members(struct catalog_conn *conn, const struct catalog_path *path, json_t *members,
                        const char **ret_key, struct error *err)
{
    struct snapshot_filter filter = {.chain_id = path->chain.id};
    switch (path->depth) {
    case PATH_CONTEXT:
        *ret_key = "disks";
        return disk_each(conn, path->context.id, show_add_disk, members, err);
    case PATH_DISK:
        *ret_key = "chains";
        return chain_each(conn, path->disk.id, show_add_chain, members, err);
    case PATH_CHAIN:
        *ret_key = "members"; // "snapshots" is their number
        return snapshot_each(conn, &filter, show_add_snapshot, members, err);
    default:
        return 0;
    }
}

static json_t *show_row(const struct catalog_path *path)
{
    switch (path->depth) {
    case PATH_CONTEXT:
        return context_to_json(&path->context);
    case PATH_DISK:
        return disk_to_json(&path->disk);
    case PATH_CHAIN:
        return chain_to_json(&path->chain);
    default:
        return snapshot_to_json(&path->snapshot);
    }
}

// The chains a record is about, drawn below it. Of a snapshot, its chain.
static int show_draw(struct catalog_conn *conn, const struct catalog_path *path, struct error *err)
{
    AUTO(snapshot_listing_free) struct snapshot_listing *listing = NULL;
    AUTO(snapshot_tree_free) struct snapshot_tree *tree = NULL;
    const struct filter everything = {0};
    int64_t here = path->depth == PATH_SNAPSHOT ? path->snapshot.id : 0;
    int r = snapshot_listing_collect(conn, &everything, path, &listing, err);
    if (r < 0)
        return r;
    snapshot_listing_sort(listing);
    struct repository_tree what = {.path = path, .listing = listing, .here = here};
    r = repository_tree_make(conn, &what, &tree, err);
    if (r < 0)
        return r;
    putchar('\n');
    return repository_tree_print(tree, stdout, err);
}

// On a terminal: the record itself as text, what it holds as a tree.
static int show_drawn(struct catalog_conn *conn, const struct catalog_path *path, struct error *err)
{
    json_auto_t *record = show_row(path);
    if (!record)
        return error_set_errno(err, -ENOMEM, "cannot collect the records");
    record_text_print(record, stdout);
    return show_draw(conn, path, err);
}

// Takes `record` and `members`; gives the record with its members under `key`.
static int show_join(json_t *record, const char *key, json_t *members, json_t **ret_record,
                     struct error *err)
{
    if (!record || (key && json_object_set(record, key, members) < 0)) {
        json_decref(record);
        return error_set_errno(err, -ENOMEM, "cannot collect the records");
    }
    *ret_record = record;
    return 0;
}

static int show_path(struct catalog_conn *conn, const char *name, bool json, struct error *err)
{
    AUTO_FREE struct catalog_path *path = calloc(1, sizeof(*path));
    json_auto_t *members = json_array();
    json_auto_t *record = NULL;
    const char *key = NULL;
    if (!path || !members)
        return error_set_errno(err, -ENOMEM, "cannot look for it");
    int r = catalog_path_resolve(conn, name, path, err);
    if (r == 0 && path->depth == PATH_NOTHING)
        r = error_set(err, -EINVAL, "name a VM, disk, chain, snapshot or job");
    if (r < 0)
        return r;
    if (!json && table_is_terminal(stdout))
        return show_drawn(conn, path, err);
    r = show_members(conn, path, members, &key, err);
    if (r == 0)
        r = show_join(show_row(path), key, members, &record, err);
    return r < 0 ? r : record_text_print_as(record, json, err);
}

static int show_job(struct catalog_conn *conn, int64_t job_id, bool json, struct error *err)
{
    json_auto_t *whole = NULL;
    json_auto_t *lines = json_array();
    json_t *record = NULL;
    if (!lines)
        return error_set_errno(err, -ENOMEM, "cannot look for it");
    int r = job_log_each(conn, job_id, show_add_log_line, lines, err);
    if (r == 0)
        r = job_record_json(conn, job_id, &record, err);
    if (r == 0)
        r = show_join(record, "log", lines, &whole, err);
    return r < 0 ? r : record_text_print_as(whole, json, err);
}

// "17" and "jobs/17" are a job; a VM named so is reached as "vms/17".
static int64_t show_job_number(const char *name)
{
    if (strncmp(name, "jobs/", 5) == 0)
        name += 5;
    if (*name == '\0' || strspn(name, "0123456789") != strlen(name) || strlen(name) > 18)
        return 0;
    return strtoll(name, NULL, 10);
}

static int show_print(const char *repo, const char *name, bool json, struct error *err)
{
    AUTO(viewer_close) struct repository *viewer = NULL;
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int64_t job_id = show_job_number(name);
    int r = viewer_open(repo, &viewer, err);
    if (r == 0)
        r = catalog_read_begin(viewer->catalog, &conn, err);
    if (r < 0)
        return r;
    return job_id > 0 ? show_job(conn, job_id, json, err) : show_path(conn, name, json, err);
}

static int show_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, OPTIONS_HELP, OPTIONS_END};
    char **operands;
    int option, count;
    bool json = false;
    while ((option = options_next(argc, argv, "h", longs, err)) != -1) {
        if (option != 'j')
            return COMMAND_USAGE;
        json = true;
    }
    if (options_operands(argc, argv, 2, 3, show_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    if (count == 3 && (strcmp(operands[1], "job") != 0 || show_job_number(operands[2]) == 0)) {
        error_set(err, -EINVAL, "'%s %s' is not a job, as 'job 17' is", operands[1], operands[2]);
        return COMMAND_USAGE;
    }
    int r = show_print(operands[0], operands[count - 1], json, err);
    if (r < 0)
        error_prefix(err, "show %s", operands[count - 1]);
    return r;
}

const struct command show_command = {
    .name = "show",
    .operands = "REPO VM[/DISK[/CHAIN[/SNAPSHOT]]]|[job] NUMBER [OPTION...]",
    .summary = "show every recorded detail of one thing",
    .details =
        "Shows all that is recorded of a VM and its disks, a disk and its chains, a chain and its\n"
        "snapshots, a snapshot (VM/DISK/latest is the newest), or a job with its log. A plain\n"
        "number is a job; a VM with such a name is vms/NUMBER. On a terminal, what it holds, or "
        "the\n"
        "chain a snapshot stands in, is drawn as backtree list does.\n"
        "\n"
        "Options:\n"
        "  --json  print JSON, sizes in bytes\n"
        "  --help  show this text\n",
    .run = show_run,
};
