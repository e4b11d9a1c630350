// SPDX-License-Identifier: MIT
//
// VMs on the report page: a table of all, and for each a time line, and for each of its disks a
// chart and its newest snapshots. Rows of one VM are held at a time.
#include "fs/job/report_page.h"

#include "base/clock.h"
#include "base/human.h"
#include "catalog/context.h"
#include "fs/job/html.h"
#include "fs/job/report_charts.h"

#include <inttypes.h>
#include <string.h>

_Static_assert(REPORT_MARKS_MOST + REPORT_ATTEMPTS <= CHART_LANE_MARKS, "they fit into a lane");

// --- the table

static void print_vm_badge(FILE *out, const struct vm_figures *vm)
{
    if (vm->damaged_snapshots > 0)
        report_print_badge(out, "bad", "! damaged");
    if (vm->failing)
        report_print_badge(out, "warn", "\xe2\x9c\x95 failing");
    else if (vm->active_job)
        report_print_badge(out, "", "at work");
    else if (vm->last_success_at == 0)
        report_print_badge(out, "", "no backup yet");
    else if (vm->damaged_snapshots == 0)
        report_print_badge(out, "good", "\xe2\x9c\x93 fine");
}

static void print_vm_row(FILE *out, const struct vm_figures *vm, bool linked)
{
    char duration[HUMAN_SIZE];

    fputs("<tr><th scope=\"row\" class=\"name\">", out);
    if (linked) {
        fputs("<a href=\"#vm-", out);
        html_text(out, vm->name);
        fputs("\">", out);
    }
    html_text(out, vm->name);
    fprintf(out, "%s</th><td>", linked ? "</a>" : "");
    print_vm_badge(out, vm);
    fputs("</td><td class=\"t\">", out);
    html_time(out, vm->last_success_at);
    fprintf(out, "</td><td class=\"n opt\">%s</td><td class=\"n opt\">",
            vm->last_success_at ? human_duration(vm->last_duration / CLOCK_SECOND, duration) : "");
    if (vm->last_success_at)
        html_size(out, vm->last_new_bytes);
    fprintf(out, "</td><td class=\"n opt\">%" PRId64 "</td><td class=\"n opt\">", vm->snapshots);
    html_size(out, vm->new_bytes);
    fprintf(out, "</td><td class=\"n opt\">%" PRId64 "</td></tr>\n", vm->failures);
}

static void print_table(struct report *page)
{
    FILE *out = page->out;
    size_t shown = page->vm_count < REPORT_VM_ROWS ? page->vm_count : REPORT_VM_ROWS;

    fputs("<div class=\"card\"><div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">VM</th>"
          "<th scope=\"col\">State</th><th scope=\"col\">Last success</th>"
          "<th scope=\"col\" class=\"n opt\">Took</th><th scope=\"col\" class=\"n opt\">Added</th>"
          "<th scope=\"col\" class=\"n opt\">Snapshots</th>"
          "<th scope=\"col\" class=\"n opt\">Added by all</th>"
          "<th scope=\"col\" class=\"n opt\">Failed jobs</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < shown; i++)
        print_vm_row(out, &page->vms[i], i < REPORT_VMS);
    fputs("</tbody></table></div>\n", out);
    report_print_limit(out, shown, (int64_t)page->vm_count, "the first");
    fputs("</div>\n", out);
}

// --- one VM

struct vm_view {
    struct report *page;
    struct chart_lane *lanes; // REPORT_VM_DISKS of them
    struct report_disk disks[REPORT_VM_DISKS];
    char *sources[REPORT_VM_DISKS];
    size_t count;
    bool more; // disks than are shown
};

// Makes room for one mark at the front: rows come newest first.
static struct chart_mark *next_mark(struct chart_lane *lane)
{
    return lane->count < CHART_LANE_MARKS ? &lane->marks[lane->count++] : NULL;
}

static int add_snapshot(const struct report_snapshot *row, void *arg, struct error *err)
{
    struct chart_mark *mark = next_mark(arg);

    (void)err;
    if (mark)
        *mark = (struct chart_mark){.kind = row->safety                  ? MARK_SAFETY
                                            : row->kind == SNAPSHOT_FULL ? MARK_FULL
                                                                         : MARK_INCREMENTAL,
                                    .at = row->taken_at,
                                    .snapshot = *row};
    return 0;
}

static int add_attempt(const struct report_attempt *row, void *arg, struct error *err)
{
    struct chart_mark *mark = next_mark(arg);

    if (!mark)
        return 0;
    *mark = (struct chart_mark){.kind = MARK_FAILED, .at = row->finished_at, .job_id = row->job_id};
    mark->reason = strdup(row->reason);
    return mark->reason ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static int by_time(const void *left, const void *right)
{
    const struct chart_mark *a = left, *b = right;

    return a->at < b->at ? -1 : a->at > b->at;
}

// Failures that are older than what is shown of the snapshots are left out.
static int load_lane(struct report *page, const struct report_disk *disk, struct chart_lane *lane,
                     struct error *err)
{
    int r =
        report_snapshot_each(page->conn, disk->id, (int64_t)page->marks, add_snapshot, lane, err);
    bool all = lane->count < page->marks;
    int64_t since = all ? 0 : lane->marks[lane->count - 1].at;

    if (r == 0)
        r = report_attempt_each(page->conn, disk->id, since, REPORT_ATTEMPTS, add_attempt, lane,
                                err);
    qsort(lane->marks, lane->count, sizeof(lane->marks[0]), by_time);
    return r;
}

static int add_disk(const struct report_disk *row, void *arg, struct error *err)
{
    struct vm_view *view = arg;

    view->more = view->count == REPORT_VM_DISKS;
    if (view->more)
        return 0;
    struct chart_lane *lane = &view->lanes[view->count];
    view->sources[view->count] = strdup(row->source);
    if (!view->sources[view->count])
        return error_set(err, -ENOMEM, "out of memory");
    view->disks[view->count] = *row;
    memcpy(lane->name, row->name, sizeof(lane->name));
    lane->count = 0;
    view->count++;
    return load_lane(view->page, row, lane, err);
}

static void drop_view(struct vm_view *view)
{
    for (size_t i = 0; i < view->count; i++) {
        for (size_t n = 0; n < view->lanes[i].count; n++)
            free(view->lanes[i].marks[n].reason);
        free(view->sources[i]);
    }
}

static void print_newest_row(FILE *out, const struct report_snapshot *row)
{
    fputs("<tr><th scope=\"row\" class=\"name\"><code>", out);
    chart_print_name(out, row);
    fputs("</code></th><td class=\"n\">", out);
    html_size(out, row->new_bytes);
    fputs("</td><td class=\"n opt\">", out);
    html_size(out, row->data_bytes);
    fputs("</td><td>", out);
    if (row->damaged)
        report_print_badge(out, "bad", "! damaged");
    if (row->protected)
        report_print_badge(out, "", "protected");
    if (row->safety)
        report_print_badge(out, "", "safety");
    fputs("</td><td class=\"t opt\">", out);
    html_time(out, row->verified_at);
    fputs("</td></tr>\n", out);
}

static void print_newest(FILE *out, const struct chart_lane *lane)
{
    size_t shown = 0;

    fputs("<details><summary>Newest snapshots</summary><div class=\"wide\"><table>\n<thead><tr>"
          "<th scope=\"col\">Snapshot</th><th scope=\"col\" class=\"n\">Added</th>"
          "<th scope=\"col\" class=\"n opt\">Holds</th><th scope=\"col\">State</th>"
          "<th scope=\"col\" class=\"opt\">Verified</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = lane->count; i-- > 0 && shown < REPORT_NEWEST;) {
        if (lane->marks[i].kind == MARK_FAILED)
            continue;
        print_newest_row(out, &lane->marks[i].snapshot);
        shown++;
    }
    fputs("</tbody></table></div></details>\n", out);
}

static void print_disk(const struct vm_view *view, const struct vm_figures *vm, size_t index)
{
    const struct report_disk *disk = &view->disks[index];
    const struct chart_lane *lane = &view->lanes[index];
    FILE *out = view->page->out;
    size_t shown = 0;

    for (size_t i = 0; i < lane->count; i++)
        shown += lane->marks[i].kind != MARK_FAILED;
    fputs("<section><h4>", out);
    html_text(out, disk->name);
    fputs("</h4>\n<p class=\"soft\">", out);
    html_size(out, disk->capacity);
    fputs(" from <code>", out);
    html_text_short(out, *view->sources[index] ? view->sources[index] : "nowhere yet", 160);
    fputs("</code></p>\n", out);
    if (shown == 0) {
        fputs("<p class=\"note\">No snapshots.</p></section>\n", out);
        return;
    }
    chart_generations(out, vm->name, lane);
    report_print_limit(out, shown, disk->snapshots, "the newest");
    print_newest(out, lane);
    fputs("</section>\n", out);
}

static void print_policy(FILE *out, const struct context_row *row)
{
    fputs("<p class=\"soft\">Kept: <code>", out);
    html_text(out, row->retention);
    fprintf(out, "</code>%s.</p>\n", row->own_retention ? "" : " (the repository\xe2\x80\x99s)");
}

static bool has_marks(const struct vm_view *view)
{
    for (size_t i = 0; i < view->count; i++) {
        if (view->lanes[i].count)
            return true;
    }
    return false;
}

static void print_view(const struct vm_view *view, const struct vm_figures *vm)
{
    FILE *out = view->page->out;

    if (has_marks(view))
        chart_time_line(out, vm->name, view->lanes, view->count, view->page->now);
    if (view->count == 0)
        fputs("<p class=\"note\">No disks.</p>\n", out);
    fputs("<div class=\"disks\">\n", out);
    for (size_t i = 0; i < view->count; i++)
        print_disk(view, vm, i);
    fputs("</div>\n", out);
    if (view->more)
        fprintf(out, "<p class=\"note\">Further disks are not shown: %d are.</p>\n",
                REPORT_VM_DISKS);
}

static void print_vm_head(struct report *page, const struct vm_figures *vm, bool open)
{
    FILE *out = page->out;

    fputs("<details class=\"vm\" id=\"vm-", out);
    html_text(out, vm->name);
    fprintf(out, "\"%s>\n<summary><h3>", open ? " open" : "");
    html_text(out, vm->name);
    fputs("</h3>", out);
    print_vm_badge(out, vm);
    fprintf(out, "<span class=\"soft\">%" PRId64 " snapshots, last success ", vm->snapshots);
    html_time(out, vm->last_success_at);
    fputs("</span></summary>\n", out);
}

static int print_vm(struct report *page, struct vm_view *view, const struct vm_figures *vm,
                    bool open, struct error *err)
{
    struct context_row context;
    int r = context_get(page->conn, vm->context_id, &context, err);

    view->count = 0;
    view->more = false;
    if (r == 0)
        r = report_disk_each(page->conn, vm->context_id, REPORT_VM_DISKS + 1, add_disk, view, err);
    if (r == 0) {
        print_vm_head(page, vm, open);
        print_policy(page->out, &context);
        print_view(view, vm);
        fputs("</details>\n", page->out);
    }
    drop_view(view);
    return r;
}

static int print_sections(struct report *page, struct error *err)
{
    size_t shown = page->vm_count < REPORT_VMS ? page->vm_count : REPORT_VMS;
    AUTO_FREE struct chart_lane *lanes = calloc(REPORT_VM_DISKS, sizeof(*lanes));
    struct vm_view view = {.page = page, .lanes = lanes};
    int r = lanes ? 0 : error_set(err, -ENOMEM, "out of memory");

    chart_print_shapes(page->out);
    chart_print_legend(page->out);
    fputs("<p class=\"note\">In the charts a bar is what a snapshot added to the repository and "
          "the line above it what it holds; the scale is logarithmic. Marks that would hide each "
          "other on a time line are moved apart.</p>\n",
          page->out);
    for (size_t i = 0; i < shown && r == 0; i++)
        r = print_vm(page, &view, &page->vms[i], shown <= 12 || i < 4, err);
    report_print_limit(page->out, shown, (int64_t)page->vm_count, "charts of");
    return r;
}

int report_print_vms(struct report *page, struct error *err)
{
    int r = 0;

    fputs("<section aria-labelledby=\"vms\">\n<h2 id=\"vms\">VMs</h2>\n", page->out);
    if (page->vm_count == 0) {
        fputs("<div class=\"card\"><p>No VMs yet. <code>mkdir vms/web1 vms/web1/vda</code>, then "
              "<code>echo /dev/vg0/web1 &gt; vms/web1/vda/source</code>, then "
              "<code>touch vms/web1/backup</code>.</p></div>\n",
              page->out);
    } else {
        print_table(page);
        r = print_sections(page, err);
    }
    fputs("</section>\n", page->out);
    return r;
}
