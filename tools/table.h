// SPDX-License-Identifier: MIT
//
// Text tables for listings: collects rows, then prints them with every column as wide as its widest
// cell. Widths count characters (UTF-8), not bytes. Control characters in cells are shown as '?',
// so that a recorded name or reason cannot drive the terminal.
#ifndef TOOLS_TABLE_H
#define TOOLS_TABLE_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table_column {
    const char *title;
    bool right; // numbers and sizes
};

struct table;

// `columns` is borrowed and must outlive the table.
int table_new(const struct table_column *columns, size_t count, struct table **ret_table,
              struct error *err);
struct table *table_free(struct table *table);

// Copies `count` cells (as many as columns); NULL is an empty cell.
int table_add(struct table *table, const char *const *cells, struct error *err);

size_t table_rows(const struct table *table);

// Titles, then rows, two blanks between columns and no blanks at the end of a line. Titles are bold
// when `colour`.
void table_print(const struct table *table, bool colour, FILE *out);

bool table_is_terminal(FILE *out);

// Whether `out` wants colour: a terminal, and NO_COLOR is not set.
bool table_colour(FILE *out);

// Characters of a UTF-8 text; a byte that is no continuation counts as one.
size_t table_width(const char *text);

DEFINE_CLEANUP(struct table *, table_free)

#endif
