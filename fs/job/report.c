// SPDX-License-Identifier: MIT
//
// The report page, from top to bottom. Its style is report.css, built in.
#include "fs/job/report.h"

#include "base/clock.h"
#include "base/text.h"
#include "fs/job/html.h"
#include "fs/job/report_charts.h"
#include "fs/job/report_page.h"

#include <inttypes.h>
#include <string.h>

extern const char report_css[];

void report_print_badge(FILE *out, const char *kind, const char *text)
{
    fprintf(out, "<span class=\"badge %s\">%s</span>", kind, text);
}

void report_print_limit(FILE *out, size_t shown, int64_t total, const char *which)
{
    if ((int64_t)shown < total)
        fprintf(out, "<p class=\"note\">Showing %s %zu of %" PRId64 ".</p>\n", which, shown, total);
}

// --- the head

static void print_head(struct report *page)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
          "style-src 'unsafe-inline'; img-src data:\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"generator\" content=\"backtree " BACKTREE_VERSION "\">\n<title>",
          page->out);
    fprintf(page->out, "%s: backups in ", repository_health_to_word(page->status.health));
    html_text(page->out, page->repository->dir);
    fprintf(page->out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", report_css);
    fputs("<a class=\"skip\" href=\"#main\">Skip to the content</a>\n", page->out);
}

static void print_health(struct report *page)
{
    switch (page->status.health) {
    case HEALTH_GOOD:
        report_print_badge(page->out, "good", "\xe2\x9c\x93 healthy");
        break;
    case HEALTH_FAILING:
        report_print_badge(page->out, "warn", "\xe2\x9c\x95 failing jobs");
        break;
    case HEALTH_DAMAGED:
        report_print_badge(page->out, "bad", "! damage");
        break;
    case HEALTH_UNKNOWN:
        break;
    }
}

static void print_header(struct report *page)
{
    FILE *out = page->out;

    fputs("<header>\n<div class=\"top\"><h1>Backups in <code>", out);
    html_text(out, page->repository->dir);
    fputs("</code></h1>", out);
    print_health(page);
    fputs("</div>\n<p class=\"soft\">As of ", out);
    html_time(out, page->now);
    fprintf(out, " UTC, as all times here. backtree %s, repository %s.</p>\n", BACKTREE_VERSION,
            page->repository->config.uuid);
    fputs("<nav aria-label=\"Sections\"><a href=\"#space\">Space</a> \xc2\xb7 "
          "<a href=\"#vms\">VMs</a> \xc2\xb7 <a href=\"#disks\">Disks</a> \xc2\xb7 "
          "<a href=\"#jobs\">Jobs</a></nav>\n</header>\n",
          out);
}

// --- figures

// The value follows; then maybe further lines, each after figure_next().
static void figure(FILE *out, const char *what)
{
    fprintf(out, "<div><dt>%s</dt><dd>", what);
}

static void figure_next(FILE *out)
{
    fputs("</dd><dd>", out);
}

static void figure_end(FILE *out)
{
    fputs("</dd></div>\n", out);
}

static void print_snapshot_figure(FILE *out, const struct catalog_stats *t)
{
    figure(out, "Snapshots");
    fprintf(out, "%" PRId64, t->snapshots);
    figure_next(out);
    fprintf(out, "%" PRId64 " protected, %" PRId64 " damaged", t->protected_snapshots,
            t->damaged_snapshots);
    figure_end(out);
    figure(out, "VMs");
    fprintf(out, "%" PRId64, t->contexts);
    figure_next(out);
    fprintf(out, "%" PRId64 " disks, %" PRId64 " chains", t->disks, t->chains);
    figure_end(out);
}

static void print_space_figure(FILE *out, const struct repository_status *status)
{
    const struct catalog_stats *t = &status->totals;

    figure(out, "Stored");
    html_size(out, t->stored_bytes);
    figure_next(out);
    fprintf(out, "%" PRId64 " records, %" PRId64 " of them deltas", t->records, t->deltas);
    figure_end(out);
    figure(out, "Free on its file system");
    html_size(out, status->free_bytes);
    figure_next(out);
    fputs("of ", out);
    html_size(out, status->capacity_bytes);
    fputs("; reserve ", out);
    html_size(out, status->reserve_bytes);
    figure_end(out);
}

static void print_time_figure(FILE *out, const char *what, int64_t when)
{
    figure(out, what);
    html_time(out, when);
    figure_next(out);
}

static void print_proof_figures(FILE *out, const struct catalog_stats *t)
{
    print_time_figure(out, "Last backup", t->last_success_at);
    fprintf(out, "%" PRId64 " running, %" PRId64 " pending", t->jobs_by_state[JOB_RUNNING],
            t->jobs_by_state[JOB_PENDING]);
    figure_end(out);
    print_time_figure(out, "Last proof of content", t->last_verified_at);
    if (t->unverified_bytes) {
        html_size(out, t->unverified_bytes);
        fputs(" never proved", out);
    } else {
        fputs("oldest ", out);
        html_time(out, t->oldest_verified_at);
    }
    figure_end(out);
    print_time_figure(out, "Last gc", t->last_gc_at);
    fputs("gives back what was forgotten", out);
    figure_end(out);
    print_time_figure(out, "Last check", t->last_check_at);
    fputs("whether all is there and fits", out);
    figure_end(out);
}

static void print_figures(struct report *page)
{
    fputs("<dl class=\"figures\">\n", page->out);
    print_snapshot_figure(page->out, &page->status.totals);
    print_space_figure(page->out, &page->status);
    print_proof_figures(page->out, &page->status.totals);
    fputs("</dl>\n", page->out);
}

static void print_space(struct report *page)
{
    const struct catalog_stats *t = &page->status.totals;
    FILE *out = page->out;

    fputs("<section aria-labelledby=\"space\">\n<h2 id=\"space\">Space</h2>\n"
          "<div class=\"card\">\n",
          out);
    if (t->snapshots == 0)
        fputs("<p>Nothing is stored yet.</p>\n", out);
    chart_savings(out, t);
    fprintf(out, "<p>Deduplication <b>%.2f\xc3\x97</b>, compression <b>%.2f\xc3\x97</b>",
            repository_dedup_ratio(t), repository_compression_ratio(t));
    if (t->stored_bytes && t->stored_bytes < t->data_bytes)
        fprintf(out, ", together %.2f\xc3\x97: %.1f\xe2\x80\xaf%% of the content is saved",
                (double)t->data_bytes / (double)t->stored_bytes,
                100 - 100 * (double)t->stored_bytes / (double)t->data_bytes);
    fputs(".</p>\n<p class=\"soft\">Kept: <code>", out);
    html_text(out, page->status.retention);
    fputs("</code>, where a VM has no policy of its own.</p>\n</div>\n</section>\n", out);
}

// --- the page

static int trouble_of(const struct vm_figures *vm)
{
    return vm->damaged_snapshots > 0 ? 2 : vm->failing;
}

static int by_trouble(const void *left, const void *right)
{
    const struct vm_figures *a = left, *b = right;
    int more = trouble_of(b) - trouble_of(a);

    return more ? more : strcmp(a->name, b->name);
}

static int load(struct report *page, struct error *err)
{
    int r = repository_status_fill(page->repository, page->conn, &page->status, err);

    if (r == 0)
        r = vm_figures_load(page->conn, &page->vms, &page->vm_count, err);
    if (r < 0)
        return r;
    if (page->vm_count > 1)
        qsort(page->vms, page->vm_count, sizeof(*page->vms), by_trouble);
    int64_t disks = page->status.totals.disks > 0 ? page->status.totals.disks : 1;
    int64_t marks = REPORT_MARKS / disks;
    page->marks = marks < REPORT_MARKS_LEAST  ? REPORT_MARKS_LEAST
                  : marks > REPORT_MARKS_MOST ? REPORT_MARKS_MOST
                                              : (size_t)marks;
    return 0;
}

static int print_page(struct report *page, struct error *err)
{
    print_head(page);
    print_header(page);
    fputs("<main id=\"main\">\n", page->out);
    int r = report_print_trouble(page, err);
    print_figures(page);
    print_space(page);
    if (r == 0)
        r = report_print_vms(page, err);
    if (r == 0)
        r = report_print_disks(page, err);
    if (r == 0)
        r = report_print_jobs(page, err);
    fputs(
        "</main>\n<footer class=\"soft\"><p>Sizes in units of 1024. The same for a monitoring "
        "system: <code>metrics</code>; a line for each figure: <code>status</code>.</p></footer>\n"
        "</body>\n</html>\n",
        page->out);
    return r;
}

int repository_report_text(const struct repository *repository, char **ret_text, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO(text_discard) struct text text = {0};
    struct report page = {.repository = repository, .now = clock_now()};
    int r = catalog_read_begin(repository->catalog, &conn, err);

    page.conn = conn;
    if (r == 0)
        r = load(&page, err);
    if (r == 0) {
        page.out = text_begin(&text);
        r = page.out ? print_page(&page, err) : error_set(err, -ENOMEM, "out of memory");
    }
    free(page.vms);
    if (r < 0)
        return r;
    if (!text_end(&text))
        return error_set(err, -ENOMEM, "out of memory");
    *ret_text = TAKE(text.data, NULL);
    return 0;
}
