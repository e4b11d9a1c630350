// SPDX-License-Identifier: MIT
//
// backtree diff: the extents in which two snapshots differ, from their maps alone. Extents are
// printed as they are found: a list may be longer than memory.
#include "catalog/path.h"
#include "fs/job/snapshot_diff.h"
#include "fs/job/snapshot_gaps.h"
#include "tools/command.h"
#include "tools/human.h"
#include "tools/options.h"
#include "tools/table.h"
#include "tools/viewer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum diff_form { DIFF_PLAIN, DIFF_TABLE, DIFF_JSON };

struct diff_sides {
    struct catalog_path from, to; // from.depth 0: `to` has no parent
};

struct diff_print {
    enum diff_form form;
    const struct snapshot_row *from, *to; // from NULL: `to` has no parent
    uint64_t extents, bytes;
};

// --- names

// "web1/vda" alone and "web1/vda/latest" are its newest snapshot.
static int diff_resolve_one(struct catalog_conn *conn, const char *name,
                            struct catalog_path *ret_path, struct error *err)
{
    char latest[2 * NAME_SIZE + sizeof("/latest")];
    int r = catalog_path_resolve(conn, name, ret_path, err);
    if (r < 0 || ret_path->depth == PATH_SNAPSHOT)
        return r;
    if (ret_path->depth != PATH_DISK)
        return error_set(err, -EINVAL, "%s: name a disk (for its latest snapshot) or a snapshot",
                         name);
    snprintf(latest, sizeof(latest), "%s/%s/latest", ret_path->context.name, ret_path->disk.name);
    return catalog_path_resolve(conn, latest, ret_path, err);
}

static int diff_resolve(const struct repository *viewer, char **names, int count,
                        struct diff_sides *sides, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(viewer->catalog, &conn, err);
    if (r == 0)
        r = diff_resolve_one(conn, names[count - 1], &sides->to, err);
    if (r < 0)
        return r;
    if (count == 2)
        return diff_resolve_one(conn, names[0], &sides->from, err);
    if (sides->to.snapshot.parent_id == 0)
        return 0;
    sides->from.depth = PATH_SNAPSHOT;
    return snapshot_get(conn, sides->to.snapshot.parent_id, &sides->from.snapshot, err);
}

// --- printing

// Names hold no character that JSON would escape (name_check()).
static void diff_print_side(const char *key, const struct snapshot_row *row)
{
    char path[SNAPSHOT_PATH_SIZE], hex[DIGEST_HEX_SIZE];
    if (!row) {
        printf("  \"%s\": null,\n", key);
        return;
    }
    printf("  \"%s\": {\"path\": \"%s\", \"capacity\": %" PRIu64 ", \"digest\": \"%s\"},\n", key,
           snapshot_path(row, path), row->capacity, digest_to_hex(&row->digest, hex));
}

// With the first extent or at the end, so that a refusal is all that is said.
static void diff_begin(const struct diff_print *print)
{
    if (print->form == DIFF_TABLE) {
        bool bold = table_colour(stdout);
        printf("%s%16s  %16s  %10s%s\n", bold ? "\033[1m" : "", "OFFSET", "LENGTH", "SIZE",
               bold ? "\033[0m" : "");
    } else if (print->form == DIFF_JSON) {
        puts("{");
        diff_print_side("from", print->from);
        diff_print_side("to", print->to);
        printf("  \"chunk_size\": %" PRIu32 ",\n  \"extents\": [", print->to->chunk_size);
    }
}

static int diff_print_extent(uint64_t offset, uint64_t length, void *arg, struct error *err)
{
    struct diff_print *print = arg;
    char size[HUMAN_SIZE];
    int n;
    if (print->extents == 0)
        diff_begin(print);
    if (print->form == DIFF_JSON)
        n = printf("%s\n    {\"offset\": %" PRIu64 ", \"length\": %" PRIu64 "}",
                   print->extents ? "," : "", offset, length);
    else if (print->form == DIFF_TABLE)
        n = printf("%16" PRIu64 "  %16" PRIu64 "  %10s\n", offset, length,
                   human_size(length, size));
    else
        n = printf("%" PRIu64 " %" PRIu64 "\n", offset, length);
    if (n < 0)
        return error_set_errno(err, errno ? -errno : -EIO, "cannot write the output");
    print->extents++;
    print->bytes += length;
    return 0;
}

static void diff_end_table(const struct diff_print *print)
{
    const struct snapshot_row *from = print->from, *to = print->to;
    char from_path[SNAPSHOT_PATH_SIZE], to_path[SNAPSHOT_PATH_SIZE];
    char changed[HUMAN_SIZE], old[HUMAN_SIZE], new[HUMAN_SIZE];
    uint64_t whole = from && from->capacity > to->capacity ? from->capacity : to->capacity;
    printf("%" PRIu64 " extent%s, %s of %s (%.1f %%) %s %s%s%s\n", print->extents,
           print->extents == 1 ? "" : "s", human_size(print->bytes, changed),
           human_size(whole, new), whole ? 100.0 * (double)print->bytes / (double)whole : 0.0,
           from ? "differ from" : "hold data in",
           from ? snapshot_path(from, from_path) : snapshot_path(to, to_path), from ? " to " : "",
           from ? snapshot_path(to, to_path) : "");
    if (from && from->capacity != to->capacity)
        printf("the disk's size: %s before, %s after\n", human_size(from->capacity, old),
               human_size(to->capacity, new));
}

static void diff_end(const struct diff_print *print)
{
    if (print->extents == 0 && print->form == DIFF_JSON)
        diff_begin(print);
    if (print->form == DIFF_TABLE)
        diff_end_table(print);
    else if (print->form == DIFF_JSON)
        printf("%s],\n  \"extent_count\": %" PRIu64 ",\n  \"changed_bytes\": %" PRIu64 "\n}\n",
               print->extents ? "\n  " : "", print->extents, print->bytes);
}

static int diff_print(const char *repo, char **names, int count, enum diff_form form,
                      struct error *err)
{
    AUTO(viewer_close) struct repository *viewer = NULL;
    AUTO_FREE struct diff_sides *sides = calloc(1, sizeof(*sides));
    struct diff_print print = {.form = form};
    struct map_diff_walk walk = {.extent = diff_print_extent, .arg = &print};
    if (!sides)
        return error_set_errno(err, -ENOMEM, "cannot compare snapshots");
    int r = viewer_open(repo, &viewer, err);
    if (r == 0)
        r = diff_resolve(viewer, names, count, sides, err);
    if (r < 0)
        return r;
    print.from = sides->from.depth ? &sides->from.snapshot : NULL;
    print.to = &sides->to.snapshot;
    r = repository_snapshot_diff(viewer, print.from, print.to, &walk, err);
    if (r == 0)
        diff_end(&print);
    return r;
}

static int diff_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, OPTIONS_HELP, OPTIONS_END};
    enum diff_form form = table_is_terminal(stdout) ? DIFF_TABLE : DIFF_PLAIN;
    char **operands;
    int option, count;
    while ((option = options_next(argc, argv, "h", longs, err)) != -1) {
        if (option != 'j')
            return COMMAND_USAGE;
        form = DIFF_JSON;
    }
    if (options_operands(argc, argv, 2, 3, diff_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    int r = diff_print(operands[0], operands + 1, count - 1, form, err);
    if (r < 0)
        error_prefix(err, "diff %s%s%s", operands[1], count == 3 ? " " : "",
                     count == 3 ? operands[2] : "");
    return r;
}

const struct command diff_command = {
    .name = "diff",
    .operands = "REPO [SNAPSHOT] SNAPSHOT [--json]",
    .summary = "list the extents in which two snapshots differ",
    .details =
        "Compares two snapshots (VM/DISK/CHAIN/SNAPSHOT; VM/DISK and VM/DISK/latest are a disk's\n"
        "newest), in either order, or one with its parent, and prints `offset length` in bytes "
        "for\n"
        "each extent that differs; on a terminal, a table with a total. Only maps are read, so "
        "the\n"
        "cost follows the difference. Extents are whole chunks; bytes past the end of the smaller\n"
        "disk count as changed. Exit status 0 whether or not anything differs.\n"
        "\n"
        "Options:\n"
        "  --json  print JSON: from, to, chunk_size, extents, extent_count, changed_bytes\n"
        "  --help  show this text\n",
    .run = diff_run,
};
