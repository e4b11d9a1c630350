// SPDX-License-Identifier: MIT
//
// A JSON record as text for people: `key: value` a line, nested records indented under their key,
// bytes also in binary units, null and empty as "-". Only prints; which keys there are is decided
// where the record is made.
#ifndef TOOLS_RECORD_TEXT_H
#define TOOLS_RECORD_TEXT_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

void record_text_print(const json_t *record, FILE *out);

// To stdout: as JSON when `json` (an array or an object), else as text (an object).
int record_text_print_as(const json_t *record, bool json, struct error *err);

#endif
