// SPDX-License-Identifier: MIT
//
// Charts of the report page as inline SVG. Places along the page are percentages and heights are
// pixels, so a chart is as wide as its place and nothing in it is ever scaled: marks and letters
// have one size on a phone and on a wide screen. Each mark has a <title>; each chart says in its
// aria-label what it shows. What kind a mark is is told by its shape, colour comes on top.
#ifndef FS_JOB_REPORT_CHARTS_H
#define FS_JOB_REPORT_CHARTS_H

#include "catalog/report_rows.h"
#include "catalog/stats.h"

#include <stddef.h>
#include <stdio.h>

enum chart_mark_kind {
    MARK_UNKNOWN,
    MARK_FULL,
    MARK_INCREMENTAL,
    MARK_SAFETY,
    MARK_FAILED, // an attempt that made no snapshot
};

struct chart_mark {
    enum chart_mark_kind kind;
    int64_t at;                      // nanoseconds since the epoch
    struct report_snapshot snapshot; // not of MARK_FAILED
    int64_t job_id;                  // of MARK_FAILED
    char *reason;                    // of MARK_FAILED; owned by whoever made the mark
};

#define CHART_LANE_MARKS 96

struct chart_lane { // a disk
    char name[NAME_SIZE];
    struct chart_mark marks[CHART_LANE_MARKS]; // oldest first
    size_t count;
};

// The shapes that charts refer to; once a page, before the first.
void chart_print_shapes(FILE *out);

// A list that names each shape.
void chart_print_legend(FILE *out);

// "chain-0001/0003-incr-20261121T065500Z"
void chart_print_name(FILE *out, const struct report_snapshot *row);

// A line for each lane, from its oldest mark to `now`. Marks that would hide each other are moved
// apart and keep their order. At least one lane has a mark.
void chart_time_line(FILE *out, const char *vm, const struct chart_lane *lanes, size_t count,
                     int64_t now);

// Of each snapshot of the lane a bar for what it added and a line for what it holds, on a
// logarithmic scale. At least one mark is a snapshot.
void chart_generations(FILE *out, const char *vm, const struct chart_lane *lane);

// Four bars: the disks of all snapshots in full, without holes, without duplicates, compressed.
void chart_savings(FILE *out, const struct catalog_stats *totals);

#endif
