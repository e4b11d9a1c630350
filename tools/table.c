// SPDX-License-Identifier: MIT
//
// Text tables for listings.
#include "tools/table.h"

#include <langinfo.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

struct table {
    const struct table_column *columns;
    size_t column_count;
    const char **titles; // the columns' own texts
    size_t *widths;
    char **cells; // row after row
    unsigned char *styles;
    size_t rows, room;
};

// Of a cut column, while others give way to it.
#define CUT_WIDTH 16

static const char *const STYLES[] = {
    [TABLE_BOLD] = "\033[1m",
    [TABLE_DIM] = "\033[2m",
    [TABLE_RED] = "\033[1;31m",
    [TABLE_YELLOW] = "\033[33m",
};

size_t table_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

int table_new(const struct table_column *columns, size_t count, struct table **ret_table,
              struct error *err)
{
    AUTO(table_free) struct table *table = calloc(1, sizeof(*table));
    if (!table)
        return error_set_errno(err, -ENOMEM, "cannot make a table");
    table->columns = columns;
    table->column_count = count;
    table->titles = calloc(count, sizeof(*table->titles));
    table->widths = calloc(count, sizeof(*table->widths));
    if (!table->titles || !table->widths)
        return error_set_errno(err, -ENOMEM, "cannot make a table");
    for (size_t i = 0; i < count; i++) {
        table->titles[i] = columns[i].title;
        table->widths[i] = table_width(columns[i].title);
    }
    *ret_table = TAKE(table, NULL);
    return 0;
}

struct table *table_free(struct table *table)
{
    if (!table)
        return NULL;
    for (size_t i = 0; i < table->rows * table->column_count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table->styles);
    free(table->titles);
    free(table->widths);
    free(table);
    return NULL;
}

static char *table_clean_copy(const char *text)
{
    char *copy = strdup(text ? text : "");
    for (char *c = copy; c && *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return copy;
}

static int table_grow(struct table *table)
{
    if (table->rows < table->room)
        return 0;
    size_t room = table->room ? 2 * table->room : 64;
    char **cells = reallocarray(table->cells, room * table->column_count, sizeof(*cells));
    if (!cells)
        return -ENOMEM;
    table->cells = cells;
    unsigned char *styles = reallocarray(table->styles, room * table->column_count, 1);
    if (!styles)
        return -ENOMEM;
    table->styles = styles;
    table->room = room;
    return 0;
}

int table_add(struct table *table, const char *const *cells, struct error *err)
{
    if (table_grow(table) < 0)
        return error_set_errno(err, -ENOMEM, "cannot grow a table");
    char **row = table->cells + table->rows * table->column_count;
    for (size_t i = 0; i < table->column_count; i++) {
        row[i] = table_clean_copy(cells[i]);
        if (!row[i]) {
            while (i > 0)
                free(row[--i]);
            return error_set_errno(err, -ENOMEM, "cannot grow a table");
        }
        size_t width = table_width(row[i]);
        if (width > table->widths[i])
            table->widths[i] = width;
    }
    memset(table->styles + table->rows * table->column_count, TABLE_NORMAL, table->column_count);
    table->rows++;
    return 0;
}

void table_style(struct table *table, size_t column, enum table_style style)
{
    table->styles[(table->rows - 1) * table->column_count + column] = (unsigned char)style;
}

size_t table_rows(const struct table *table)
{
    return table->rows;
}

static void table_pad(size_t count, FILE *out)
{
    while (count-- > 0)
        fputc(' ', out);
}

// Widths as they are shown; 0 = left out.
static size_t table_total(const size_t *widths, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += widths[i] ? widths[i] + (total ? 2 : 0) : 0;
    return total;
}

static bool table_is_empty(const struct table *table, size_t column)
{
    for (size_t row = 0; row < table->rows; row++)
        if (table->cells[row * table->column_count + column][0] != '\0')
            return false;
    return true;
}

// Columns go one after another, empty ones first, until the rest fits; then the one that can be cut
// is.
static void table_fit(const struct table *table, size_t width, size_t *widths)
{
    size_t count = table->column_count, full = 0, cut = count;
    memcpy(widths, table->widths, count * sizeof(*widths));
    if (table_total(widths, count) <= width)
        return;
    for (size_t i = 0; i < count; i++)
        if (table->columns[i].drop && table_is_empty(table, i))
            widths[i] = 0;
    for (size_t i = 0; i < count; i++)
        if (table->columns[i].cut && widths[i] > CUT_WIDTH) {
            cut = i;
            full = widths[i];
            widths[i] = CUT_WIDTH;
        }
    for (unsigned drop = 1; table_total(widths, count) > width && drop <= count; drop++)
        for (size_t i = 0; i < count; i++)
            if (table->columns[i].drop == drop)
                widths[i] = 0;
    size_t total = table_total(widths, count);
    if (cut == count)
        return;
    if (total > width)
        widths[cut] -= total - width < CUT_WIDTH ? total - width : CUT_WIDTH - 1;
    else if (width - total < full - CUT_WIDTH)
        widths[cut] += width - total;
    else
        widths[cut] = full;
}

// The first `width` characters, the last of them dots when there are more.
static void table_print_cut(const char *cell, size_t width, bool utf8, FILE *out)
{
    const char *dots = utf8 ? "\xe2\x80\xa6" : "...";
    size_t room = width > table_width(dots) ? width - table_width(dots) : 0;
    if (table_width(cell) <= width) {
        fputs(cell, out);
        return;
    }
    for (size_t shown = 0; *cell; cell++) {
        bool begins = ((unsigned char)*cell & 0xc0) != 0x80;
        if (begins && shown++ == room)
            break;
        fputc(*cell, out);
    }
    fputs(dots, out);
}

static void table_print_cell(const struct table_look *look, const char *cell, size_t width,
                             enum table_style style, FILE *out)
{
    bool styled = look->colour && style != TABLE_NORMAL;
    fputs(styled ? STYLES[style] : "", out);
    table_print_cut(cell, width, look->utf8, out);
    fputs(styled ? "\033[0m" : "", out);
}

// Blanks owed are printed only in front of a cell that is not empty: no line ends in blanks.
static void table_print_line(const struct table *table, const struct table_look *look,
                             const size_t *widths, const char *const *cells,
                             const unsigned char *styles, FILE *out)
{
    size_t owed = 0;
    for (size_t i = 0; i < table->column_count; i++) {
        size_t width = table_width(cells[i]);
        size_t spare = widths[i] > width ? widths[i] - width : 0;
        bool right = table->columns[i].right;
        if (widths[i] == 0)
            continue;
        if (width > 0) {
            table_pad(owed + (right ? spare : 0), out);
            table_print_cell(look, cells[i], widths[i], styles ? styles[i] : TABLE_NORMAL, out);
            owed = right ? 0 : spare;
        } else {
            owed += spare;
        }
        owed += 2;
    }
    fputc('\n', out);
}

static void table_print_all(const struct table *table, const struct table_look *look,
                            const size_t *widths, FILE *out)
{
    fputs(look->colour ? STYLES[TABLE_BOLD] : "", out);
    table_print_line(table, look, widths, table->titles, NULL, out);
    fputs(look->colour ? "\033[0m" : "", out);
    for (size_t row = 0; row < table->rows; row++) {
        size_t first = row * table->column_count;
        table_print_line(table, look, widths, (const char *const *)table->cells + first,
                         table->styles + first, out);
    }
}

void table_print(const struct table *table, bool colour, FILE *out)
{
    table_print_all(table, &(struct table_look){.colour = colour}, table->widths, out);
}

int table_print_within(const struct table *table, const struct table_look *look, FILE *out,
                       struct error *err)
{
    AUTO_FREE size_t *widths = calloc(table->column_count, sizeof(*widths));
    if (!widths)
        return error_set_errno(err, -ENOMEM, "cannot print a table");
    table_fit(table, look->width ? look->width : SIZE_MAX, widths);
    table_print_all(table, look, widths, out);
    return 0;
}

bool table_is_terminal(FILE *out)
{
    return isatty(fileno(out));
}

bool table_colour(FILE *out)
{
    const char *no_color = getenv("NO_COLOR");
    return table_is_terminal(out) && (!no_color || *no_color == '\0');
}

struct table_look table_look_of(FILE *out)
{
    struct winsize size = {0};
    if (!table_is_terminal(out))
        return (struct table_look){0};
    if (ioctl(fileno(out), TIOCGWINSZ, &size) < 0)
        size.ws_col = 0;
    return (struct table_look){.colour = table_colour(out),
                               .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
                               .width = size.ws_col};
}
