// SPDX-License-Identifier: MIT
//
// Sizes and durations as people read them; binary units only (1 K = 1 KiB = 1024 bytes), because
// capacities, chunks and packs are powers of two. Pure functions.
#ifndef BASE_HUMAN_H
#define BASE_HUMAN_H

#include <stdint.h>

#define HUMAN_SIZE 32 // room for any text made here

// "0 B", "512 B", "4.0 KiB", "12.3 MiB", "1023.9 GiB". Returns `text`.
char *human_size(uint64_t bytes, char text[HUMAN_SIZE]);

// "0:07", "12:05", "1:02:03", "2d 3:04:05"; "-:--" for a negative number. Returns `text`.
char *human_duration(int64_t seconds, char text[HUMAN_SIZE]);

#endif
