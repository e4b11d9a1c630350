// SPDX-License-Identifier: MIT
//
// One line on a terminal that shows how far a job is: redrawn in place at most ten times a second,
// cleared at the end. On anything but a terminal it draws nothing. For one thread.
#ifndef TOOLS_PROGRESS_BAR_H
#define TOOLS_PROGRESS_BAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct progress_view {
    const char *label; // "web1/vda"
    const char *state; // "running"; shown while there is nothing to measure
    uint64_t done_bytes, total_bytes;
    uint64_t bytes_per_second;
    int64_t eta_seconds; // -1 = not known
};

// The line for a terminal `width` characters wide, cut to fit, without newline. Returns `line`.
char *progress_bar_format(const struct progress_view *view, size_t width, char *line, size_t size);

struct progress_bar {
    FILE *out;
    bool active;      // `out` is a terminal
    bool drawn;       // there is a line to clear
    int64_t drawn_at; // monotonic
    // of progress_bar_step():
    const char *step;
    int64_t step_begun_at;
};

void progress_bar_init(struct progress_bar *bar, FILE *out);
void progress_bar_update(struct progress_bar *bar, const struct progress_view *view);

// For work in steps: as progress_bar_update(), with rate and ETA of the step `name`, which must
// stay while it is shown.
void progress_bar_step(struct progress_bar *bar, const char *name, uint64_t done, uint64_t total);
void progress_bar_clear(struct progress_bar *bar);

#endif
