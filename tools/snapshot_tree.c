// SPDX-License-Identifier: MIT
//
// The tree that `backtree list` draws.
#include "tools/snapshot_tree.h"

#include "tools/table.h"

#include <stdlib.h>
#include <string.h>

enum { CELL_NAME, CELL_KIND, CELL_TAKEN, CELL_SIZE, CELL_ADDED, CELL_PARENT, CELL_STATE, CELLS };

static const struct table_column COLUMNS[CELLS] = {
    {"NAME"}, {"KIND"}, {"TAKEN"}, {"SIZE", true}, {"NEW", true}, {"PARENT"}, {"STATE"},
};

struct tree_line {
    unsigned depth;
    char *path; // NULL = no path
    char *cells[CELLS];
};

struct snapshot_tree {
    struct tree_line *lines;
    size_t count, room;
};

struct branch_style {
    const char *fork, *last, *pass, *blank;
};

static const struct branch_style STYLE_UTF8 = {"├─ ", "└─ ", "│  ", "   "};
static const struct branch_style STYLE_ASCII = {"|- ", "`- ", "|  ", "   "};

int snapshot_tree_new(struct snapshot_tree **ret_tree, struct error *err)
{
    *ret_tree = calloc(1, sizeof(**ret_tree));
    return *ret_tree ? 0 : error_set_errno(err, -ENOMEM, "cannot list snapshots");
}

static void tree_line_free(struct tree_line *line)
{
    free(line->path);
    for (size_t i = 0; i < CELLS; i++)
        free(line->cells[i]);
}

struct snapshot_tree *snapshot_tree_free(struct snapshot_tree *tree)
{
    if (!tree)
        return NULL;
    for (size_t i = 0; i < tree->count; i++)
        tree_line_free(&tree->lines[i]);
    free(tree->lines);
    free(tree);
    return NULL;
}

static int snapshot_tree_grow(struct snapshot_tree *tree)
{
    if (tree->count < tree->room)
        return 0;
    size_t room = tree->room ? 2 * tree->room : 64;
    struct tree_line *lines = reallocarray(tree->lines, room, sizeof(*lines));
    if (!lines)
        return -ENOMEM;
    tree->lines = lines;
    tree->room = room;
    return 0;
}

static bool tree_line_copy(struct tree_line *copy, const struct snapshot_tree_line *line)
{
    const char *slash = strrchr(line->path, '/');
    const char *last = slash ? slash + 1 : line->path;
    const char *cells[CELLS] = {line->name ? line->name : last,
                                line->kind,
                                line->taken,
                                line->size,
                                line->added,
                                line->parent,
                                line->state};
    bool whole = true;
    copy->depth = line->depth;
    copy->path = NULL;
    if (!line->name) {
        copy->path = strdup(line->path);
        whole = copy->path != NULL;
    }
    for (size_t i = 0; i < CELLS; i++) {
        copy->cells[i] = strdup(cells[i] ? cells[i] : "");
        whole = whole && copy->cells[i];
    }
    return whole;
}

int snapshot_tree_add(struct snapshot_tree *tree, const struct snapshot_tree_line *line,
                      struct error *err)
{
    struct tree_line copy;
    if (snapshot_tree_grow(tree) < 0)
        return error_set_errno(err, -ENOMEM, "cannot list %s", line->path);
    if (!tree_line_copy(&copy, line)) {
        tree_line_free(&copy);
        return error_set_errno(err, -ENOMEM, "cannot list %s", line->path);
    }
    tree->lines[tree->count++] = copy;
    return 0;
}

// Whether a line is the last of its siblings shows only from what follows: found from the end.
static bool *snapshot_tree_find_last(const struct snapshot_tree *tree)
{
    bool *last = calloc(tree->count + 1, sizeof(*last));
    bool followed[SNAPSHOT_TREE_DEPTHS] = {false};
    for (size_t i = tree->count; last && i-- > 0;) {
        unsigned depth = tree->lines[i].depth;
        last[i] = !followed[depth];
        followed[depth] = true;
        for (unsigned below = depth + 1; below < SNAPSHOT_TREE_DEPTHS; below++)
            followed[below] = false;
    }
    return last;
}

#define BRANCH_SIZE (SNAPSHOT_TREE_DEPTHS * 16)

// `open[d]`: the line above at depth d has siblings still to come.
static void snapshot_tree_branch(const struct branch_style *style, unsigned depth, const bool *open,
                                 bool last, char branch[BRANCH_SIZE])
{
    branch[0] = '\0';
    for (unsigned above = 1; above < depth; above++)
        strcat(branch, open[above] ? style->pass : style->blank);
    if (depth > 0)
        strcat(branch, last ? style->last : style->fork);
}

static int snapshot_tree_add_row(struct table *table, const struct tree_line *line,
                                 const char *branch, struct error *err)
{
    AUTO_FREE char *name = NULL;
    const char *cells[CELLS];
    if (asprintf(&name, "%s%s", branch, line->cells[CELL_NAME]) < 0)
        return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    for (size_t i = 0; i < CELLS; i++)
        cells[i] = line->cells[i];
    cells[CELL_NAME] = name;
    return table_add(table, cells, err);
}

int snapshot_tree_print(const struct snapshot_tree *tree, bool utf8, bool colour, FILE *out,
                        struct error *err)
{
    AUTO(table_free) struct table *table = NULL;
    AUTO_FREE bool *last = snapshot_tree_find_last(tree);
    bool open[SNAPSHOT_TREE_DEPTHS] = {false};
    if (!last)
        return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    int r = table_new(COLUMNS, CELLS, &table, err);
    for (size_t i = 0; r == 0 && i < tree->count; i++) {
        const struct tree_line *line = &tree->lines[i];
        char branch[BRANCH_SIZE];
        snapshot_tree_branch(utf8 ? &STYLE_UTF8 : &STYLE_ASCII, line->depth, open, last[i], branch);
        open[line->depth] = !last[i];
        r = snapshot_tree_add_row(table, line, branch, err);
    }
    if (r == 0)
        table_print(table, colour, out);
    return r;
}

void snapshot_tree_print_paths(const struct snapshot_tree *tree, FILE *out)
{
    for (size_t i = 0; i < tree->count; i++)
        if (tree->lines[i].path)
            fprintf(out, "%s\n", tree->lines[i].path);
}
