// SPDX-License-Identifier: MIT
//
// The lines of a repository's tree.
#include "tools/repository_tree.h"

#include "base/clock.h"
#include "tools/human.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DISK_PATH_SIZE (2 * NAME_SIZE)
#define PATH_SIZE (DISK_PATH_SIZE + 2 * SNAPSHOT_NAME_SIZE)

struct tree_walk {
    struct catalog_conn *conn;
    const struct repository_tree *what;
    struct snapshot_tree *tree;
    const struct context_row *context;
    bool context_drawn;
};

// What listed snapshots add up to; those of one VM, unless it is 0.
static void add_up(const struct listed_snapshot *items, size_t count, int64_t context_id,
                   struct snapshot_tree_line *line)
{
    for (size_t i = 0; i < count; i++) {
        const struct listed_snapshot *item = &items[i];
        if (item->name[0] == '\0' || (context_id && item->context_id != context_id))
            continue;
        line->counted = true;
        line->added += item->new_bytes;
        line->data += item->data_bytes;
    }
}

static int add_context(struct tree_walk *walk, struct error *err)
{
    char state[CLOCK_ISO_SIZE + 32], when[CLOCK_ISO_SIZE];
    const struct context_row *row = walk->context;
    if (walk->context_drawn)
        return 0;
    walk->context_drawn = true;
    snprintf(state, sizeof(state), "last success %s",
             row->last_success_at > 0 ? clock_to_iso(row->last_success_at, when) : "never");
    struct snapshot_tree_line line = {.depth = 0, .path = row->name, .state = state};
    add_up(walk->what->listing->items, walk->what->listing->count, row->id, &line);
    return snapshot_tree_add(walk->tree, &line, err);
}

static int add_disk(struct tree_walk *walk, const struct disk_row *row, const char *path,
                    const struct listed_snapshot *items, size_t count, struct error *err)
{
    AUTO_FREE char *state = NULL;
    if (asprintf(&state, "%s%s", row->source[0] ? "source " : "no source", row->source) < 0)
        return error_set_errno(err, -ENOMEM, "cannot list %s", path);
    struct snapshot_tree_line line = {
        .depth = 1, .path = path, .sized = true, .capacity = row->capacity, .state = state};
    add_up(items, count, 0, &line);
    return snapshot_tree_add(walk->tree, &line, err);
}

static int add_chain(struct tree_walk *walk, const char *disk_path,
                     const struct listed_snapshot *items, size_t count, struct error *err)
{
    char path[PATH_SIZE], name[SNAPSHOT_NAME_SIZE];
    AUTO_FREE struct chain_row *chain = calloc(1, sizeof(*chain));
    if (!chain)
        return error_set_errno(err, -ENOMEM, "cannot list %s", disk_path);
    int r = chain_get(walk->conn, items->chain_id, chain, err);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "%s/%s", disk_path, chain_name(chain->number, name));
    struct snapshot_tree_line line = {
        .depth = 2,
        .path = path,
        .sized = true,
        .capacity = chain->capacity,
        .state = chain->foreign ? "safety backups of a restore target" : NULL,
    };
    add_up(items, count, 0, &line);
    return snapshot_tree_add(walk->tree, &line, err);
}

static enum snapshot_tree_mark mark_of(const struct tree_walk *walk,
                                       const struct listed_snapshot *item)
{
    if (item->bad)
        return MARK_BAD;
    if (walk->what->here && item->id == walk->what->here)
        return MARK_HERE;
    return item->protected ? MARK_PROTECTED : MARK_NONE;
}

static int add_snapshot(struct tree_walk *walk, const char *disk_path,
                        const struct listed_snapshot *item, struct error *err)
{
    char path[PATH_SIZE], chain[SNAPSHOT_NAME_SIZE], taken[CLOCK_ISO_SIZE];
    char parent[SNAPSHOT_NAME_SIZE], job[HUMAN_SIZE];
    bool whole = item->name[0] != '\0';
    if (whole)
        snprintf(path, sizeof(path), "%s/%s/%s", disk_path, chain_name(item->chain_number, chain),
                 item->name);
    else
        snprintf(path, sizeof(path), "%s/-", disk_path);
    snprintf(job, sizeof(job), "job %" PRId64, item->job_id);
    // "0002-incr-2026…": the number says which, the rest is in its own line.
    snprintf(parent, sizeof(parent), "%.*s", (int)strcspn(item->parent, "-"), item->parent);
    struct snapshot_tree_line line = {
        .depth = item->chain_id > 0 ? 3 : 2,
        .path = path,
        .name = whole ? NULL : job,
        .kind = whole ? snapshot_kind_to_word(item->kind) : NULL,
        .taken = clock_to_iso(item->when, taken),
        .parent = parent,
        .state = item->state,
        .sized = whole,
        .capacity = item->capacity,
        .counted = whole,
        .added = item->new_bytes,
        .data = item->data_bytes,
        .mark = mark_of(walk, item),
    };
    return snapshot_tree_add(walk->tree, &line, err);
}

// How many of the items, from the first one on, are of its chain: they stand together.
static size_t chain_length(const struct listed_snapshot *items, size_t count)
{
    size_t length = 0;
    while (length < count && items[length].chain_id == items->chain_id)
        length++;
    return length;
}

static int draw_disk(const struct disk_row *row, void *arg, struct error *err)
{
    struct tree_walk *walk = arg;
    const struct catalog_path *bound = walk->what->path;
    char path[DISK_PATH_SIZE];
    size_t count;
    const struct listed_snapshot *items =
        snapshot_listing_of_disk(walk->what->listing, row->id, &count);
    if ((bound->depth >= PATH_DISK && bound->disk.id != row->id) ||
        (walk->what->matching && count == 0))
        return 0;
    snprintf(path, sizeof(path), "%s/%s", row->context_name, row->name);
    int r = add_context(walk, err);
    if (r == 0)
        r = add_disk(walk, row, path, items, count, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        bool new_chain =
            items[i].chain_id > 0 && (i == 0 || items[i].chain_id != items[i - 1].chain_id);
        if (new_chain)
            r = add_chain(walk, path, items + i, chain_length(items + i, count - i), err);
        if (r == 0)
            r = add_snapshot(walk, path, &items[i], err);
    }
    return r;
}

static int draw_context(const struct context_row *row, void *arg, struct error *err)
{
    struct tree_walk *walk = arg;
    const struct catalog_path *bound = walk->what->path;
    if (bound->depth >= PATH_CONTEXT && bound->context.id != row->id)
        return 0;
    walk->context = row;
    walk->context_drawn = false;
    int r = walk->what->matching ? 0 : add_context(walk, err);
    return r < 0 ? r : disk_each(walk->conn, row->id, draw_disk, walk, err);
}

int repository_tree_make(struct catalog_conn *conn, const struct repository_tree *what,
                         struct snapshot_tree **ret_tree, struct error *err)
{
    AUTO(snapshot_tree_free) struct snapshot_tree *tree = NULL;
    struct tree_walk walk = {.conn = conn, .what = what};
    int r = snapshot_tree_new(&tree, err);
    walk.tree = tree;
    if (r == 0)
        r = context_each(conn, draw_context, &walk, err);
    if (r == 0)
        *ret_tree = TAKE(tree, NULL);
    return r;
}

int repository_tree_print(const struct snapshot_tree *tree, FILE *out, struct error *err)
{
    struct table_look look = table_look_of(out);
    if (!table_is_terminal(out))
        return snapshot_tree_print_plain(tree, out, err);
    return snapshot_tree_print(tree, &look, job_state_to_word(JOB_COMPLETED), out, err);
}
