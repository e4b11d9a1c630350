// SPDX-License-Identifier: MIT
//
// Text tables for listings.
#include "tools/table.h"

#include <stdlib.h>
#include <string.h>

struct table {
    const struct table_column *columns;
    size_t column_count;
    const char **titles; // the columns' own texts
    size_t *widths;
    char **cells; // row after row
    size_t rows, room;
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
    table->rows++;
    return 0;
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

// Blanks owed are printed only in front of a cell that is not empty: no line ends in blanks.
static void table_print_line(const struct table *table, const char *const *cells, FILE *out)
{
    size_t owed = 0;
    for (size_t i = 0; i < table->column_count; i++) {
        size_t width = table_width(cells[i]);
        size_t spare = table->widths[i] - width;
        bool right = table->columns[i].right;
        if (width > 0) {
            table_pad(owed + (right ? spare : 0), out);
            fputs(cells[i], out);
            owed = right ? 0 : spare;
        } else {
            owed += spare;
        }
        owed += 2;
    }
    fputc('\n', out);
}

void table_print(const struct table *table, bool colour, FILE *out)
{
    fputs(colour ? "\033[1m" : "", out);
    table_print_line(table, table->titles, out);
    fputs(colour ? "\033[0m" : "", out);
    for (size_t row = 0; row < table->rows; row++)
        table_print_line(table, (const char *const *)table->cells + row * table->column_count, out);
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
