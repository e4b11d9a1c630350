// SPDX-License-Identifier: MIT
//
// Texts of the tree; see generated.h. What a record looks like is catalog/record_json.h's business,
// what `status` says fs/job/status.h's.
#include "fs/tree/generated.h"

#include "base/clock.h"
#include "base/text.h"
#include "catalog/damage.h"
#include "catalog/record_json.h"
#include "fs/job/metrics.h"
#include "fs/job/report.h"
#include "fs/job/status.h"
#include "fs/tree/help_text.h"
#include "fs/tree/tree_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int out_of_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "out of memory");
}

__attribute__((format(printf, 3, 4))) static int print(char **ret_text, struct error *err,
                                                       const char *fmt, ...)
{
    va_list args;
    char *text;

    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        return out_of_memory(err);
    *ret_text = text;
    return 0;
}

// Takes over `json`, which may be NULL (out of memory).
static int print_json(json_t *json, char **ret_text, struct error *err)
{
    char *text = json ? record_json_text(json) : NULL;
    json_decref(json);
    if (!text)
        return out_of_memory(err);
    *ret_text = text;
    return 0;
}

static int end_text(struct text *text, char **ret_text, struct error *err)
{
    if (!text_end(text))
        return out_of_memory(err);
    *ret_text = TAKE(text->data, NULL);
    return 0;
}

static int print_log_line(int64_t at, const char *line, void *arg, struct error *err)
{
    char iso[CLOCK_ISO_SIZE];
    if (fprintf(arg, "%s %s\n", clock_to_iso(at, iso), line) < 0)
        return out_of_memory(err);
    return 0;
}

static int print_log(struct catalog_conn *conn, int64_t job_id, char **ret_text, struct error *err)
{
    AUTO(text_discard) struct text text = {0};
    FILE *out = text_begin(&text);

    if (!out)
        return out_of_memory(err);
    int r = job_log_each(conn, job_id, print_log_line, out, err);
    return r < 0 ? r : end_text(&text, ret_text, err);
}

static int print_job_record(struct catalog_conn *conn, int64_t job_id, char **ret_text,
                            struct error *err)
{
    json_t *json;
    int r = job_record_json(conn, job_id, &json, err);
    return r < 0 ? r : print_json(json, ret_text, err);
}

static int print_extent(const struct damage_extent *extent, void *arg, struct error *err)
{
    if (fprintf(arg, "%" PRIu64 " %" PRIu64 " %s\n", extent->offset, extent->length, extent->why) <
        0)
        return out_of_memory(err);
    return 0;
}

static int print_damage(struct catalog_conn *conn, int64_t snapshot_id, char **ret_text,
                        struct error *err)
{
    AUTO(text_discard) struct text text = {0};
    FILE *out = text_begin(&text);

    if (!out)
        return out_of_memory(err);
    fputs("# bytes of the disk that cannot be read: offset, length, why\n", out);
    int r = damage_each(conn, snapshot_id, print_extent, out, err);
    return r < 0 ? r : end_text(&text, ret_text, err);
}

// What is made from rows alone.
static int print_row(struct catalog_conn *conn, struct node node, const union node_row *row,
                     char **ret_text, struct error *err)
{
    const char *state;

    switch (node.kind) {
    case NODE_JOB_STATE:
        return print(ret_text, err, "%s\n", job_state_to_word(row->job.state));
    case NODE_JOB_WAIT:
        state = job_state_is_ended(row->job.state) ? job_state_to_word(row->job.state) : NULL;
        return print(ret_text, err, "%s%s", state ? state : "", state ? "\n" : "");
    case NODE_JOB_LOG:
        return print_log(conn, node.id, ret_text, err);
    case NODE_JOB_INFO:
        return print_job_record(conn, node.id, ret_text, err);
    case NODE_VM_INFO:
        return print_json(context_to_json(&row->context), ret_text, err);
    case NODE_DISK_INFO:
        return print_json(disk_to_json(&row->disk), ret_text, err);
    case NODE_CHAIN_INFO:
        return print_json(chain_to_json(&row->chain), ret_text, err);
    case NODE_SNAPSHOT_INFO:
        return print_json(snapshot_to_json(&row->snapshot), ret_text, err);
    case NODE_SNAPSHOT_DAMAGED:
        return print_damage(conn, node.id, ret_text, err);
    default:
        return error_set(err, -EINVAL, "not a generated file");
    }
}

static int print_owned(struct tree *tree, struct node node, char **ret_text, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    union node_row row;

    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    r = node_load(conn, node, &row, err);
    return r < 0 ? r : print_row(conn, node, &row, ret_text, err);
}

static int print_progress(struct tree *tree, int64_t job_id, char **ret_text, struct error *err)
{
    struct job_progress progress;
    int r = engine_job_progress(tree->engine, job_id, &progress, err);
    if (r < 0)
        return r;
    return print(ret_text, err, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 "\n",
                 progress.done_bytes, progress.total_bytes, progress.bytes_per_second,
                 progress.eta_seconds);
}

int generated_text(struct tree *tree, struct node node, char **ret_text, size_t *ret_len,
                   struct error *err)
{
    char *text = NULL;
    int r;

    switch (node.kind) {
    case NODE_README:
        r = print(&text, err, "%s", help_text);
        break;
    case NODE_STATUS:
        r = repository_status_text(engine_repository(tree->engine), &text, err);
        break;
    case NODE_METRICS:
        r = repository_metrics_text(engine_repository(tree->engine), &text, err);
        break;
    case NODE_REPORT:
        r = repository_report_text(engine_repository(tree->engine), &text, err);
        break;
    case NODE_LAST_ERROR:
        r = refusal_text(tree, &text, err);
        break;
    case NODE_JOB_PROGRESS:
        r = print_progress(tree, node.id, &text, err);
        break;
    default:
        r = print_owned(tree, node, &text, err);
        break;
    }
    if (r < 0)
        return r;
    *ret_text = text;
    *ret_len = strlen(text);
    return 0;
}

static int print_snapshot_path(const char *prefix, const struct snapshot_row *row, char **ret_text,
                               struct error *err)
{
    char chain[SNAPSHOT_NAME_SIZE], name[SNAPSHOT_NAME_SIZE];
    return print(ret_text, err, "%s%s/%s", prefix, chain_name(row->chain_number, chain),
                 snapshot_name(row, name));
}

static int print_job_link(const struct snapshot_row *row, char **ret_text, struct error *err)
{
    char prefix[2 * NAME_SIZE + 16];
    snprintf(prefix, sizeof(prefix), "../../vms/%s/%s/", row->context_name, row->disk_name);
    return print_snapshot_path(prefix, row, ret_text, err);
}

int generated_link(struct tree *tree, struct node node, char **ret_target, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    union node_row row;

    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    r = node_load(conn, node, &row, err);
    if (r < 0)
        return r;
    switch (node.kind) {
    case NODE_ACTIVE_JOB:
        return print(ret_target, err, "../%" PRId64, row.job.id);
    case NODE_JOB_SNAPSHOT:
        return print_job_link(&row.snapshot, ret_target, err);
    case NODE_DISK_LATEST:
        r = snapshot_find_latest(conn, node.id, &row.snapshot, err);
        return r < 0 ? r : print_snapshot_path("", &row.snapshot, ret_target, err);
    default:
        return error_set(err, -EINVAL, "not a link");
    }
}
