// SPDX-License-Identifier: MIT
//
// Sizes and numbers as people write them, beside base/human.h, which is how they read them. Pure
// functions.
#ifndef TOOLS_HUMAN_H
#define TOOLS_HUMAN_H

#include "base/error.h"
#include "base/human.h"

#include <stdint.h>

// "65536", "64K", "64KiB" (k, m, g, t, p too); a whole number. "64KB" is refused, as it would mean
// 64,000 elsewhere. `what` begins the sentence ("--chunk-size"). Returns 0, -EINVAL or -ERANGE.
int human_parse_size(const char *what, const char *text, uint64_t *ret_bytes, struct error *err);

// A whole number in [min, max]. Returns 0 or -EINVAL.
int human_parse_number(const char *what, const char *text, int64_t min, int64_t max,
                       int64_t *ret_number, struct error *err);

#endif
