// SPDX-License-Identifier: MIT
//
// What stands against the repository, its disks and its jobs, on the report page.
#include "fs/job/report_page.h"

#include "base/clock.h"
#include "base/human.h"
#include "catalog/job.h"
#include "catalog/report_rows.h"
#include "fs/job/html.h"

#include <inttypes.h>

// --- trouble

struct trouble {
    struct report *page;
    size_t count;
};

// "job 17 (backup of web1): the reason"
static void print_failure(FILE *out, const struct job_row *job)
{
    fprintf(out, "<li>Job %" PRId64 ", %s", job->id, job_kind_to_word(job->kind));
    if (job->context_id) {
        fputs(" of <b>", out);
        html_text(out, job->context_name);
        fputs("</b>", out);
    }
    fputs(", failed ", out);
    html_time(out, job->finished_at);
    fputs(": ", out);
    html_text_short(out, *job->reason ? job->reason : "no reason is recorded", 300);
    fputs("</li>\n", out);
}

static int print_standing(int64_t job_id, void *arg, struct error *err)
{
    struct trouble *trouble = arg;
    struct job_row job;

    if (trouble->count++ >= REPORT_FAILURES)
        return 0;
    int r = job_get(trouble->page->conn, job_id, &job, err);
    if (r == 0)
        print_failure(trouble->page->out, &job);
    return r;
}

static void print_damage(struct report *page)
{
    const struct catalog_stats *t = &page->status.totals;
    FILE *out = page->out;
    int64_t vms = 0;

    for (size_t i = 0; i < page->vm_count; i++) {
        const struct vm_figures *vm = &page->vms[i];
        if (vm->damaged_snapshots == 0 || vms++ >= REPORT_FAILURES)
            continue;
        fputs("<li><b>", out);
        html_text(out, vm->name);
        fprintf(out,
                "</b>: %" PRId64 " of %" PRId64
                " snapshots cannot be read wholly; their <code>DAMAGED</code> files say "
                "where.</li>\n",
                vm->damaged_snapshots, vm->snapshots);
    }
    if (vms > REPORT_FAILURES)
        fprintf(out, "<li>So it is with %" PRId64 " VMs in all.</li>\n", vms);
    if (t->lost_records)
        fprintf(out, "<li>Stored records of which every copy is damaged: %" PRId64 ".</li>\n",
                t->lost_records);
    fputs("<li>The next backup that meets that content on its source heals it.</li>\n", out);
}

int report_print_trouble(struct report *page, struct error *err)
{
    struct trouble trouble = {.page = page};
    FILE *out = page->out;

    if (page->status.health == HEALTH_GOOD)
        return 0;
    fprintf(out,
            "<section class=\"trouble %s\" aria-labelledby=\"trouble\">\n"
            "<h2 id=\"trouble\">What needs a look</h2>\n<ul>\n",
            repository_health_to_word(page->status.health));
    if (page->status.health == HEALTH_DAMAGED)
        print_damage(page);
    if (page->status.free_bytes == 0)
        fputs("<li>The file system of the repository is full.</li>\n", out);
    int r = failing_job_each(page->conn, print_standing, &trouble, err);
    fputs("</ul>\n", out);
    if (trouble.count > REPORT_FAILURES)
        report_print_limit(out, REPORT_FAILURES, (int64_t)trouble.count, "failures");
    fputs("</section>\n", out);
    return r;
}

// --- disks

static int print_disk(const struct report_disk *row, void *arg, struct error *err)
{
    FILE *out = arg;

    (void)err;
    fputs("<tr><th scope=\"row\" class=\"name\">", out);
    html_text(out, row->context_name);
    fputs("/<wbr>", out);
    html_text(out, row->name);
    fputs("</th><td class=\"opt\"><code>", out);
    html_text_short(out, row->source, 120);
    fputs("</code></td><td class=\"n\">", out);
    html_size(out, row->capacity);
    fprintf(out, "</td><td class=\"n opt\">%" PRId64 "</td><td class=\"n opt\">", row->snapshots);
    html_size(out, row->new_bytes);
    fputs("</td><td class=\"t\">", out);
    html_time(out, row->newest_at);
    fputs("</td></tr>\n", out);
    return 0;
}

int report_print_disks(struct report *page, struct error *err)
{
    FILE *out = page->out;
    int64_t total = page->status.totals.disks;
    int r = 0;

    fputs("<section aria-labelledby=\"disks\">\n<h2 id=\"disks\">Disks</h2>\n"
          "<div class=\"card\">",
          out);
    if (total == 0) {
        fputs("<p>No disks yet.</p>", out);
    } else {
        fputs("<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Disk</th>"
              "<th scope=\"col\" class=\"opt\">Source</th><th scope=\"col\" class=\"n\">Size</th>"
              "<th scope=\"col\" class=\"n opt\">Snapshots</th>"
              "<th scope=\"col\" class=\"n opt\">Added by all</th>"
              "<th scope=\"col\">Newest</th></tr></thead>\n<tbody>\n",
              out);
        r = report_disk_each(page->conn, 0, REPORT_DISK_ROWS, print_disk, out, err);
        fputs("</tbody></table></div>\n", out);
        report_print_limit(out, REPORT_DISK_ROWS, total, "the first");
    }
    fputs("</div>\n</section>\n", out);
    return r;
}

// --- jobs

static void print_job_state(FILE *out, const struct job_row *job)
{
    static const struct {
        const char *kind, *text;
    } badges[] = {
        [JOB_STATE_UNKNOWN] = {"", "unknown"},
        [JOB_PENDING] = {"", "pending"},
        [JOB_RUNNING] = {"", "running"},
        [JOB_COMPLETED] = {"good", "\xe2\x9c\x93 completed"},
        [JOB_FAILED] = {"bad", "\xe2\x9c\x95 failed"},
        [JOB_CANCELLED] = {"", "cancelled"},
    };

    report_print_badge(out, badges[job->state].kind, badges[job->state].text);
}

static void print_job_subject(FILE *out, const struct job_row *job)
{
    fputs(job_kind_to_word(job->kind), out);
    if (job->trigger == TRIGGER_PRE_RESTORE_SAFETY)
        fputs(" (safety)", out);
    if (job->context_id)
        fputs(" of ", out);
    html_text(out, job->context_name);
    if (job->disk_id) {
        fputs("/<wbr>", out);
        html_text(out, job->disk_name);
    }
    if (job->kind == JOB_RESTORE) {
        fputs(" to <code>", out);
        html_text_short(out, job->restore_target, 80);
        fputs("</code>", out);
    }
    if (*job->tags) {
        fputs(" <span class=\"soft\">", out);
        html_text_short(out, job->tags, 60);
        fputs("</span>", out);
    }
}

static void print_job_times(FILE *out, const struct job_row *job)
{
    char duration[HUMAN_SIZE];

    fputs("<td class=\"t\">", out);
    html_time(out, job->started_at ? job->started_at : job->created_at);
    fputs("</td><td class=\"n opt\">", out);
    if (job->started_at && job->finished_at >= job->started_at)
        fputs(human_duration((job->finished_at - job->started_at) / CLOCK_SECOND, duration), out);
    fputs("</td>", out);
}

static void print_job(FILE *out, const struct job_row *job)
{
    fprintf(out, "<tr><th scope=\"row\">%" PRId64 "</th><td class=\"name\">", job->id);
    print_job_subject(out, job);
    fputs("</td><td>", out);
    print_job_state(out, job);
    fputs("</td>", out);
    print_job_times(out, job);
    fputs("</tr>\n", out);
    if (*job->reason) {
        fputs("<tr class=\"reason\"><td></td><td colspan=\"4\">", out);
        html_text_short(out, job->reason, 300);
        fputs("</td></tr>\n", out);
    }
}

struct job_list { // oldest first, as they are found
    struct job_row *rows;
    size_t count;
};

static int keep_job(const struct job_row *row, void *arg, struct error *err)
{
    struct job_list *list = arg;

    (void)err;
    if (list->count < REPORT_JOBS)
        list->rows[list->count++] = *row;
    return 0;
}

static int print_job_table(struct report *page, enum job_state state, int64_t limit,
                           const char *caption, size_t *ret_shown, struct error *err)
{
    AUTO_FREE struct job_row *rows = calloc(REPORT_JOBS, sizeof(*rows));
    struct job_list list = {.rows = rows};
    struct job_filter filter = {.state = state, .limit = limit};
    FILE *out = page->out;

    if (!rows)
        return error_set(err, -ENOMEM, "out of memory");
    int r = job_each(page->conn, &filter, keep_job, &list, err);
    fprintf(out,
            "<div class=\"wide\"><table>\n<caption>%s</caption>\n<thead><tr>"
            "<th scope=\"col\">Job</th><th scope=\"col\">What</th>"
            "<th scope=\"col\">State</th>"
            "<th scope=\"col\">Started</th><th scope=\"col\" class=\"n opt\">Took</th></tr>"
            "</thead>\n<tbody>\n",
            caption);
    for (size_t i = list.count; i-- > 0;)
        print_job(out, &rows[i]);
    fputs("</tbody></table></div>\n", out);
    *ret_shown = list.count;
    return r;
}

int report_print_jobs(struct report *page, struct error *err)
{
    const struct catalog_stats *t = &page->status.totals;
    FILE *out = page->out;
    int64_t total = 0;
    size_t shown = 0;
    int r = 0;

    for (int state = JOB_PENDING; state <= JOB_CANCELLED; state++)
        total += t->jobs_by_state[state];
    fputs("<section aria-labelledby=\"jobs\">\n<h2 id=\"jobs\">Jobs</h2>\n<div class=\"card\">",
          out);
    if (total == 0)
        fputs("<p>No jobs yet.</p>", out);
    else
        r = print_job_table(page, JOB_STATE_UNKNOWN, REPORT_JOBS, "Newest first", &shown, err);
    report_print_limit(out, shown, total, "the newest");
    if (r == 0 && t->jobs_by_state[JOB_FAILED]) {
        fputs("</div>\n<h3 class=\"block\">Failures</h3>\n<div class=\"card\">", out);
        r = print_job_table(page, JOB_FAILED, REPORT_FAILURES, "Newest first", &shown, err);
        report_print_limit(out, shown, t->jobs_by_state[JOB_FAILED], "the newest");
    }
    fputs("</div>\n</section>\n", out);
    return r;
}
