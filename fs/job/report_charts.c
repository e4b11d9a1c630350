// SPDX-License-Identifier: MIT
//
// Charts; see report_charts.h.
#include "fs/job/report_charts.h"

#include "base/clock.h"
#include "fs/job/html.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

// --- shapes, each round the point (0, 0)

void chart_print_shapes(FILE *out)
{
    fputs("<svg class=\"shapes\" aria-hidden=\"true\"><defs>\n"
          "<rect id=\"mf\" class=\"f\" x=\"-5.5\" y=\"-5.5\" width=\"11\" height=\"11\"/>\n"
          "<circle id=\"mi\" class=\"i\" r=\"4.5\"/>\n"
          "<path id=\"ms\" class=\"s\" d=\"M0-6.5L6 5H-6z\"/>\n"
          "<path id=\"mx\" class=\"x\" d=\"M-4.5-4.5L4.5 4.5M-4.5 4.5L4.5-4.5\"/>\n"
          "<circle id=\"mp\" class=\"p\" r=\"9.5\"/>\n"
          "<g id=\"md\"><path class=\"d\" d=\"M0-21L7-9H-7z\"/>"
          "<path class=\"bang\" d=\"M0-17v3.2M0-11.4v.1\"/></g>\n"
          "<pattern id=\"hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
          "patternTransform=\"rotate(45)\"><rect class=\"s\" width=\"5\" height=\"5\"/>"
          "<path class=\"hatch\" d=\"M0 0V5\"/></pattern>\n"
          "</defs></svg>\n",
          out);
}

static void print_legend_item(FILE *out, const char *shapes, const char *text)
{
    fprintf(out,
            "<li><svg viewBox=\"-11 -11 22 22\" aria-hidden=\"true\">%s</svg>"
            "<span>%s</span></li>\n",
            shapes, text);
}

void chart_print_legend(FILE *out)
{
    fputs("<ul class=\"legend\" aria-label=\"What the shapes mean\">\n", out);
    print_legend_item(out, "<use href=\"#mf\"/>", "full (square)");
    print_legend_item(out, "<use href=\"#mi\"/>", "incremental (dot)");
    print_legend_item(out, "<use href=\"#ms\"/>", "safety copy before a restore (triangle)");
    print_legend_item(out, "<use href=\"#mi\"/><use href=\"#mp\"/>", "protected (ring)");
    print_legend_item(out, "<use href=\"#mi\" y=\"6.5\"/><use href=\"#md\" y=\"9.5\"/>",
                      "damaged (warning sign)");
    print_legend_item(out, "<use href=\"#mx\"/>", "attempt that failed (cross)");
    fputs("</ul>\n", out);
}

static const char *shape_of(enum chart_mark_kind kind)
{
    static const char *const ids[] = {"", "mf", "mi", "ms", "mx"};

    return ids[kind];
}

// --- what a mark says

void chart_print_name(FILE *out, const struct report_snapshot *row)
{
    char when[CLOCK_ISO_SIZE];

    fprintf(out, "chain-%04" PRId64 "/%04" PRId64 "-%s-%s", row->chain_number, row->number,
            row->kind == SNAPSHOT_FULL ? "full" : "incr", clock_to_compact(row->taken_at, when));
}

static void print_snapshot_title(FILE *out, const struct report_snapshot *row)
{
    chart_print_name(out, row);
    fputs(", added ", out);
    html_size(out, row->new_bytes);
    fputs(" of ", out);
    html_size(out, row->data_bytes);
    if (row->safety)
        fputs(", safety copy before a restore", out);
    if (row->protected)
        fputs(", protected", out);
    if (row->damaged)
        fputs(", DAMAGED", out);
}

static void print_title(FILE *out, const struct chart_mark *mark)
{
    fputs("<title>", out);
    if (mark->kind == MARK_FAILED) {
        html_time_text(out, mark->at);
        fprintf(out, ", job %" PRId64 " failed: ", mark->job_id);
        html_text_short(out, mark->reason, 240);
    } else {
        print_snapshot_title(out, &mark->snapshot);
    }
    fputs("</title>", out);
}

// --- the time line

#define LANE_HEIGHT 58
#define LANE_Y 40 // of its line
#define EDGE 1.8  // percent that is left free on both sides
#define GAP 1.4   // percent between marks, where there is room for that

struct span {
    int64_t from, to;
};

static double place(const struct span *span, int64_t at)
{
    double part = ((double)at - (double)span->from) / (double)(span->to - span->from);

    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return EDGE + part * (100 - 2 * EDGE);
}

// Percentages of the marks of a lane: where their times are, but never closer than the gap. First
// each is pushed to the right of the one before it, then back from the right edge.
static void place_marks(const struct span *span, const struct chart_lane *lane, double *places)
{
    double widest = lane->count > 1 ? (100 - 2 * EDGE) / (double)(lane->count - 1) : 0;
    double gap = widest < GAP ? widest : GAP;

    for (size_t i = 0; i < lane->count; i++) {
        places[i] = place(span, lane->marks[i].at);
        if (i > 0 && places[i] < places[i - 1] + gap)
            places[i] = places[i - 1] + gap;
    }
    double limit = 100 - EDGE;
    for (size_t i = lane->count; i-- > 0; limit = places[i] - gap) {
        if (places[i] > limit)
            places[i] = limit;
    }
}

static void print_use(FILE *out, const char *shape, double x, int y)
{
    fprintf(out, "<use href=\"#%s\" x=\"%.2f%%\" y=\"%d\"/>", shape, x, y);
}

static void print_mark(FILE *out, const struct chart_mark *mark, double x, int y)
{
    fputs("<g>", out);
    print_title(out, mark);
    print_use(out, shape_of(mark->kind), x, y);
    if (mark->kind != MARK_FAILED && mark->snapshot.protected)
        print_use(out, "mp", x, y);
    if (mark->kind != MARK_FAILED && mark->snapshot.damaged)
        print_use(out, "md", x, y);
    fputs("</g>\n", out);
}

static void print_lane(FILE *out, const struct chart_lane *lane, const struct span *span, int top)
{
    double places[CHART_LANE_MARKS];

    fprintf(out, "<text class=\"lane\" x=\"0\" y=\"%d\">", top + 14);
    html_text_short(out, lane->name, 36);
    fprintf(out, "</text>\n<line class=\"axis\" x1=\"0\" x2=\"100%%\" y1=\"%d\" y2=\"%d\"/>\n",
            top + LANE_Y, top + LANE_Y);
    place_marks(span, lane, places);
    for (size_t i = 0; i < lane->count; i++)
        print_mark(out, &lane->marks[i], places[i], top + LANE_Y);
}

static void print_tick(FILE *out, const struct span *span, int quarter, int bottom)
{
    static const char *const anchors[] = {"start", "middle", "middle", "middle", "end"};
    int64_t at = span->from + (span->to - span->from) / 4 * quarter;
    bool hours = span->to - span->from < 4 * 86400 * CLOCK_SECOND;
    char iso[CLOCK_ISO_SIZE];

    clock_to_iso(at, iso);
    fprintf(out, "<text%s x=\"%d%%\" y=\"%d\" text-anchor=\"%s\">%.*s</text>\n",
            quarter % 2 ? " class=\"opt\"" : "", 25 * quarter, bottom, anchors[quarter],
            hours ? 11 : 10, hours ? iso + 5 : iso);
}

static struct span find_span(const struct chart_lane *lanes, size_t count, int64_t now)
{
    struct span span = {now, now};

    for (size_t i = 0; i < count; i++) {
        if (lanes[i].count && lanes[i].marks[0].at < span.from)
            span.from = lanes[i].marks[0].at;
    }
    // A time that no clock has told is no reason for a chart without end.
    if (span.from < 0)
        span.from = 0;
    if (span.to - span.from < CLOCK_SECOND)
        span.from = span.to - CLOCK_SECOND;
    return span;
}

static size_t count_kind(const struct chart_lane *lane, enum chart_mark_kind kind)
{
    size_t found = 0;

    for (size_t i = 0; i < lane->count; i++)
        found += lane->marks[i].kind == kind;
    return found;
}

static void print_time_line_label(FILE *out, const char *vm, const struct chart_lane *lanes,
                                  size_t count)
{
    size_t marks = 0, failed = 0;

    for (size_t i = 0; i < count; i++) {
        marks += lanes[i].count;
        failed += count_kind(&lanes[i], MARK_FAILED);
    }
    fputs(" role=\"img\" aria-label=\"Time line of ", out);
    html_text(out, vm);
    fprintf(out, ": %zu snapshots and %zu failed attempts on %zu disks\">\n", marks - failed,
            failed, count);
}

void chart_time_line(FILE *out, const char *vm, const struct chart_lane *lanes, size_t count,
                     int64_t now)
{
    struct span span = find_span(lanes, count, now);
    int height = (int)count * LANE_HEIGHT + 22;

    fprintf(out, "<svg height=\"%d\"", height);
    print_time_line_label(out, vm, lanes, count);
    for (size_t i = 0; i < count; i++)
        print_lane(out, &lanes[i], &span, (int)i * LANE_HEIGHT);
    for (int quarter = 0; quarter <= 4; quarter++)
        print_tick(out, &span, quarter, height - 4);
    fputs("</svg>\n", out);
}

// --- size and new bytes by generation

#define PLOT_TOP 18
#define PLOT_BOTTOM 128
#define PLOT_HEIGHT 150
#define SLOTS_MIN 16

struct scale { // powers of two from low to high, a grid line every `step`
    int low, high, step;
};

static double log_size(uint64_t bytes)
{
    return bytes ? log2((double)bytes) : 0;
}

static struct scale find_scale(const struct chart_lane *lane)
{
    double least = 63, most = 0;

    for (size_t i = 0; i < lane->count; i++) {
        const struct report_snapshot *row = &lane->marks[i].snapshot;
        if (lane->marks[i].kind == MARK_FAILED)
            continue;
        double sizes[2] = {log_size(row->new_bytes), log_size(row->data_bytes)};
        for (int n = 0; n < 2; n++) {
            most = sizes[n] > most ? sizes[n] : most;
            least = sizes[n] > 0 && sizes[n] < least ? sizes[n] : least;
        }
    }
    if (most < 10)
        most = 10;
    if (least > most)
        least = most - 10;
    struct scale scale = {.low = (int)floor((least - 0.5) / 5) * 5,
                          .high = (int)ceil((most + 0.25) / 5) * 5};
    scale.low = scale.low < 0 ? 0 : scale.low;
    scale.high = scale.high > 60 ? 60 : scale.high;
    scale.low = scale.low > scale.high - 5 ? scale.high - 5 : scale.low;
    scale.step = scale.high - scale.low > 20 ? 10 : 5;
    return scale;
}

static double level(const struct scale *scale, uint64_t bytes)
{
    double part = (log_size(bytes) - scale->low) / (scale->high - scale->low);

    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return PLOT_BOTTOM - part * (PLOT_BOTTOM - PLOT_TOP);
}

static void print_scale(FILE *out, const struct scale *scale)
{
    fprintf(out, "<svg height=\"%d\" aria-hidden=\"true\">\n", PLOT_HEIGHT);
    for (int power = scale->low; power <= scale->high; power += scale->step) {
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        fprintf(out, "<text x=\"50\" y=\"%.1f\" text-anchor=\"end\">%d %s</text>\n",
                level(scale, UINT64_C(1) << power) + 4, 1 << power % 10, units[power / 10]);
    }
    fputs("</svg>\n", out);
}

static void print_grid(FILE *out, const struct scale *scale)
{
    for (int power = scale->low; power <= scale->high; power += scale->step) {
        double y = level(scale, UINT64_C(1) << power);
        fprintf(out, "<line class=\"grid\" x1=\"0\" x2=\"100%%\" y1=\"%.1f\" y2=\"%.1f\"/>\n", y,
                y);
    }
}

// At the first generation of each chain that is shown.
static void print_chain(FILE *out, int64_t number, double x, size_t *labelled_until, size_t slot,
                        size_t slots)
{
    if (slot > 0)
        fprintf(out, "<line class=\"chain\" x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"2\" y2=\"%d\"/>\n", x,
                x, PLOT_BOTTOM);
    // A label takes about a fifth of a narrow chart.
    if (slot >= *labelled_until && slot + slots / 5 <= slots) {
        fprintf(out, "<text x=\"%.2f%%\" dx=\"3\" y=\"12\">chain %" PRId64 "</text>\n", x, number);
        *labelled_until = slot + slots / 4 + 1;
    }
}

static void print_generation(FILE *out, const struct chart_mark *mark, const struct scale *scale,
                             double x, double slot)
{
    static const char *const fills[] = {"", "class=\"f\"", "class=\"i\"", "fill=\"url(#hatch)\""};
    double top = level(scale, mark->snapshot.new_bytes);
    double held = level(scale, mark->snapshot.data_bytes);

    fputs("<g>", out);
    print_title(out, mark);
    if (mark->snapshot.new_bytes)
        fprintf(out, "<rect %s x=\"%.2f%%\" y=\"%.1f\" width=\"%.2f%%\" height=\"%.1f\"/>",
                fills[mark->kind], x + slot * 0.17, top < PLOT_BOTTOM - 1 ? top : PLOT_BOTTOM - 1,
                slot * 0.66, PLOT_BOTTOM - top < 1 ? 1 : PLOT_BOTTOM - top);
    fprintf(out, "<line class=\"b\" x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"%.1f\" y2=\"%.1f\"/></g>\n",
            x + slot * 0.08, x + slot * 0.92, held, held);
}

static void print_generations(FILE *out, const struct chart_lane *lane, const struct scale *scale)
{
    size_t shown = lane->count - count_kind(lane, MARK_FAILED), slot = 0, labelled_until = 0;
    size_t slots = shown > SLOTS_MIN ? shown : SLOTS_MIN;
    double width = 100.0 / (double)slots;
    int64_t chain = 0;

    for (size_t i = 0; i < lane->count; i++) {
        const struct chart_mark *mark = &lane->marks[i];
        if (mark->kind == MARK_FAILED)
            continue;
        double x = (double)slot * width;
        if (mark->snapshot.chain_number != chain) {
            chain = mark->snapshot.chain_number;
            print_chain(out, chain, x, &labelled_until, slot, slots);
        }
        print_generation(out, mark, scale, x, width);
        slot++;
    }
    fprintf(out, "<line class=\"axis\" x1=\"0\" x2=\"100%%\" y1=\"%d\" y2=\"%d\"/>\n", PLOT_BOTTOM,
            PLOT_BOTTOM);
    fprintf(out, "<text x=\"0\" y=\"%d\">oldest shown</text>\n", PLOT_HEIGHT - 4);
    if (shown > 1)
        fprintf(out, "<text x=\"%.2f%%\" y=\"%d\" text-anchor=\"%s\">newest</text>\n",
                (double)shown * width, PLOT_HEIGHT - 4, shown * 2 > slots ? "end" : "middle");
}

void chart_generations(FILE *out, const char *vm, const struct chart_lane *lane)
{
    struct scale scale = find_scale(lane);

    fputs("<div class=\"plot\">", out);
    print_scale(out, &scale);
    fprintf(out, "<svg height=\"%d\" role=\"img\" aria-label=\"", PLOT_HEIGHT);
    html_text(out, vm);
    fputc('/', out);
    html_text(out, lane->name);
    fprintf(out, ": what each of %zu snapshots added and what it holds\">\n",
            lane->count - count_kind(lane, MARK_FAILED));
    print_grid(out, &scale);
    print_generations(out, lane, &scale);
    fputs("</svg></div>\n", out);
}

// --- savings

static void print_saving(FILE *out, const char *what, uint64_t bytes, uint64_t most)
{
    double part = most ? 100 * (double)bytes / (double)most : 0;

    fprintf(out,
            "<li><span>%s</span><svg height=\"16\" aria-hidden=\"true\">"
            "<rect class=\"i\" width=\"%.2f%%\" height=\"16\" rx=\"2\"/></svg><b>",
            what, bytes && part < 0.25 ? 0.25 : part);
    html_size(out, bytes);
    fputs("</b></li>\n", out);
}

void chart_savings(FILE *out, const struct catalog_stats *totals)
{
    uint64_t most = totals->logical_bytes;

    most = totals->data_bytes > most ? totals->data_bytes : most;
    most = totals->unique_bytes > most ? totals->unique_bytes : most;
    most = totals->stored_bytes > most ? totals->stored_bytes : most;
    fputs("<ul class=\"bars\">\n", out);
    print_saving(out, "Every snapshot in full", totals->logical_bytes, most);
    print_saving(out, "Without holes", totals->data_bytes, most);
    print_saving(out, "Without duplicates", totals->unique_bytes, most);
    print_saving(out, "Compressed, as stored", totals->stored_bytes, most);
    fputs("</ul>\n", out);
}
