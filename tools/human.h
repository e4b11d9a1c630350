// SPDX-License-Identifier: MIT
//
// Sizes and durations as people write and read them; binary units only (1 K = 1 KiB = 1024 bytes),
// because capacities, chunks and packs are powers of two. Pure functions.
#ifndef TOOLS_HUMAN_H
#define TOOLS_HUMAN_H

#include "base/error.h"

#include <stdint.h>

#define HUMAN_SIZE 32 // room for any text made here

// "65536", "64K", "64KiB" (k, m, g, t, p too); a whole number. "64KB" is refused, as it would mean
// 64,000 elsewhere. `what` begins the sentence ("--chunk-size"). Returns 0, -EINVAL or -ERANGE.
int human_parse_size(const char *what, const char *text, uint64_t *ret_bytes, struct error *err);

// A whole number in [min, max]. Returns 0 or -EINVAL.
int human_parse_number(const char *what, const char *text, int64_t min, int64_t max,
                       int64_t *ret_number, struct error *err);

// "0 B", "512 B", "4.0 KiB", "12.3 MiB", "1023.9 GiB". Returns `text`.
char *human_size(uint64_t bytes, char text[HUMAN_SIZE]);

// "0:07", "12:05", "1:02:03", "2d 3:04:05"; "-:--" for a negative number. Returns `text`.
char *human_duration(int64_t seconds, char text[HUMAN_SIZE]);

#endif
