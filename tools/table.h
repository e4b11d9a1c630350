// SPDX-License-Identifier: MIT
//
// Text tables for listings: collects rows, then prints them with every column as wide as its widest
// cell, or as a terminal has room for. Widths count characters (UTF-8), not bytes. Control
// characters in cells are shown as '?', so that a recorded name or reason cannot drive the
// terminal.
#ifndef TOOLS_TABLE_H
#define TOOLS_TABLE_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table_column {
    const char *title;
    bool right;    // numbers and sizes
    unsigned drop; // left out where the terminal is too narrow, 1 first; 0 = never
    bool cut;      // cut short where it is too narrow: for one column, the last
};

enum table_style { TABLE_NORMAL, TABLE_BOLD, TABLE_DIM, TABLE_RED, TABLE_YELLOW };

// How a table is shown: a zeroed one is plain text of any width.
struct table_look {
    bool colour;
    bool utf8;    // the output's characters
    size_t width; // characters; 0 = any
};

struct table;

// `columns` is borrowed and must outlive the table.
int table_new(const struct table_column *columns, size_t count, struct table **ret_table,
              struct error *err);
struct table *table_free(struct table *table);

// Copies `count` cells (as many as columns); NULL is an empty cell.
int table_add(struct table *table, const char *const *cells, struct error *err);

// The style of a cell of the row added last.
void table_style(struct table *table, size_t column, enum table_style style);

size_t table_rows(const struct table *table);

// Titles, then rows, two blanks between columns and no blanks at the end of a line. Titles are bold
// when `colour`.
void table_print(const struct table *table, bool colour, FILE *out);

// As table_print(), within `look`.
int table_print_within(const struct table *table, const struct table_look *look, FILE *out,
                       struct error *err);

bool table_is_terminal(FILE *out);

// What the terminal `out` is can show; plain text when it is none.
struct table_look table_look_of(FILE *out);

// Whether `out` wants colour: a terminal, and NO_COLOR is not set.
bool table_colour(FILE *out);

// Characters of a UTF-8 text; a byte that is no continuation counts as one.
size_t table_width(const char *text);

DEFINE_CLEANUP(struct table *, table_free)

#endif
