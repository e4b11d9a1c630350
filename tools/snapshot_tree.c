// SPDX-License-Identifier: MIT
//
// The tree that `backtree list` and `show` draw.
#include "tools/snapshot_tree.h"

#include "base/grow.h"
#include "tools/human.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    CELL_NAME,
    CELL_KIND,
    CELL_TAKEN,
    CELL_SIZE,
    CELL_ADDED,
    CELL_RATIO,
    CELL_PARENT,
    CELL_STATE,
    CELLS
};

// What a name tells too goes first where there is little room.
static const struct table_column COLUMNS[CELLS] = {
    {"NAME"},
    {"KIND", .drop = 1},
    {"TAKEN", .drop = 3},
    {"SIZE", true, .drop = 4},
    {"NEW", true, .drop = 6},
    {"RATIO", true, .drop = 5},
    {"PARENT", .drop = 2},
    {"STATE", .cut = true},
};

struct tree_line {
    unsigned depth;
    char *path; // "web1/vda/chain-0001"
    char *name; // in the place of its last part, of a line that is no path; else NULL
    char *kind, *taken, *parent, *state;
    bool sized, counted;
    uint64_t capacity, added, data;
    enum snapshot_tree_mark mark;
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
    free(line->name);
    free(line->kind);
    free(line->taken);
    free(line->parent);
    free(line->state);
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

static bool copy_text(const char *text, char **ret_copy)
{
    *ret_copy = strdup(text ? text : "");
    return *ret_copy != NULL;
}

static bool tree_line_copy(struct tree_line *copy, const struct snapshot_tree_line *line)
{
    *copy = (struct tree_line){.depth = line->depth,
                               .sized = line->sized,
                               .counted = line->counted,
                               .capacity = line->capacity,
                               .added = line->added,
                               .data = line->data,
                               .mark = line->mark};
    return copy_text(line->path, &copy->path) && copy_text(line->kind, &copy->kind) &&
           copy_text(line->taken, &copy->taken) && copy_text(line->parent, &copy->parent) &&
           copy_text(line->state, &copy->state) &&
           (!line->name || copy_text(line->name, &copy->name));
}

int snapshot_tree_add(struct snapshot_tree *tree, const struct snapshot_tree_line *line,
                      struct error *err)
{
    struct tree_line copy;
    if (GROW(tree->lines, tree->count, tree->room, "lines", NULL) < 0)
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

// "12.3x": what plain copies of the data would take over what it takes.
static char *tree_ratio(const struct tree_line *line, char text[HUMAN_SIZE])
{
    double ratio = line->added ? (double)line->data / (double)line->added : 0;
    if (!line->counted || line->added == 0)
        text[0] = '\0';
    else
        snprintf(text, HUMAN_SIZE, "%.*fx", ratio < 99.95 ? 1 : 0, ratio);
    return text;
}

// "completed, protected" without "completed" is "protected"; "completed [x]" is "[x]".
static const char *tree_state(const char *state, const char *usual)
{
    size_t len = usual ? strlen(usual) : 0;
    if (len == 0 || strncmp(state, usual, len) != 0)
        return state;
    if (state[len] == ',')
        len++;
    return state[len] == ' ' || state[len] == '\0' ? state + len + (state[len] == ' ') : state;
}

static void tree_style_row(struct table *table, const struct tree_line *line)
{
    if (line->depth < 2 || line->mark == MARK_HERE)
        table_style(table, CELL_NAME, TABLE_BOLD);
    if (line->mark == MARK_BAD)
        table_style(table, CELL_STATE, TABLE_RED);
    else if (line->mark == MARK_PROTECTED)
        table_style(table, CELL_STATE, TABLE_YELLOW);
    else
        table_style(table, CELL_STATE, line->depth < 3 ? TABLE_DIM : TABLE_NORMAL);
}

static int tree_add_drawn(struct table *table, const struct tree_line *line, const char *branch,
                          const char *usual, struct error *err)
{
    AUTO_FREE char *name = NULL;
    char size[HUMAN_SIZE] = "", added[HUMAN_SIZE] = "", ratio[HUMAN_SIZE];
    const char *slash = strrchr(line->path, '/');
    const char *last = slash ? slash + 1 : line->path;
    if (asprintf(&name, "%s%s", branch, line->name ? line->name : last) < 0)
        return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    if (line->sized)
        human_size(line->capacity, size);
    if (line->counted)
        human_size(line->added, added);
    const char *cells[CELLS] = {name,         line->kind,
                                line->taken,  size,
                                added,        tree_ratio(line, ratio),
                                line->parent, tree_state(line->state, usual)};
    int r = table_add(table, cells, err);
    if (r == 0)
        tree_style_row(table, line);
    return r;
}

int snapshot_tree_print(const struct snapshot_tree *tree, const struct table_look *look,
                        const char *usual, FILE *out, struct error *err)
{
    AUTO(table_free) struct table *table = NULL;
    AUTO_FREE bool *last = snapshot_tree_find_last(tree);
    const struct branch_style *style = look->utf8 ? &STYLE_UTF8 : &STYLE_ASCII;
    bool open[SNAPSHOT_TREE_DEPTHS] = {false};
    if (!last)
        return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    int r = table_new(COLUMNS, CELLS, &table, err);
    for (size_t i = 0; r == 0 && i < tree->count; i++) {
        const struct tree_line *line = &tree->lines[i];
        char branch[BRANCH_SIZE];
        snapshot_tree_branch(style, line->depth, open, last[i], branch);
        open[line->depth] = !last[i];
        r = tree_add_drawn(table, line, branch, usual, err);
    }
    return r < 0 ? r : table_print_within(table, look, out, err);
}

static const char *or_dash(const char *text)
{
    return *text ? text : "-";
}

static int tree_add_plain(struct table *table, const struct tree_line *line, struct error *err)
{
    AUTO_FREE char *path = NULL;
    char size[HUMAN_SIZE] = "", added[HUMAN_SIZE] = "", ratio[HUMAN_SIZE];
    const char *slash = strrchr(line->path, '/');
    // What is no path stands in the place of one, as one word.
    if (asprintf(&path, "%.*s%s%s", line->name && slash ? (int)(slash - line->path) : 1 << 20,
                 line->path, line->name ? "/" : "", line->name ? line->name : "") < 0)
        return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    for (char *c = path; *c; c++)
        if (*c == ' ')
            *c = '-';
    if (line->sized)
        snprintf(size, sizeof(size), "%" PRIu64, line->capacity);
    if (line->counted)
        snprintf(added, sizeof(added), "%" PRIu64, line->added);
    const char *cells[CELLS] = {path,
                                or_dash(line->kind),
                                or_dash(line->taken),
                                or_dash(size),
                                or_dash(added),
                                or_dash(tree_ratio(line, ratio)),
                                or_dash(line->parent),
                                or_dash(line->state)};
    return table_add(table, cells, err);
}

int snapshot_tree_print_plain(const struct snapshot_tree *tree, FILE *out, struct error *err)
{
    AUTO(table_free) struct table *table = NULL;
    int r = table_new(COLUMNS, CELLS, &table, err);
    for (size_t i = 0; r == 0 && i < tree->count; i++)
        r = tree_add_plain(table, &tree->lines[i], err);
    if (r == 0)
        table_print(table, false, out);
    return r;
}

void snapshot_tree_print_paths(const struct snapshot_tree *tree, FILE *out)
{
    for (size_t i = 0; i < tree->count; i++)
        if (!tree->lines[i].name)
            fprintf(out, "%s\n", tree->lines[i].path);
}
