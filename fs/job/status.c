// SPDX-License-Identifier: MIT
//
// The repository at a glance. One read lease a call, so that the totals and the VMs' rows agree
// with each other.
#include "fs/job/status.h"

#include "base/clock.h"
#include "base/text.h"
#include "catalog/context.h"
#include "catalog/record_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

const char *repository_health_to_word(enum repository_health health)
{
    static const char *const words[] = {"unknown", "healthy", "failing", "damaged"};

    return words[health];
}

static double ratio(uint64_t whole, uint64_t part)
{
    return part > 0 && whole > 0 ? (double)whole / (double)part : 1;
}

double repository_dedup_ratio(const struct catalog_stats *totals)
{
    return ratio(totals->data_bytes, totals->unique_bytes);
}

double repository_compression_ratio(const struct catalog_stats *totals)
{
    return ratio(totals->unique_bytes, totals->stored_bytes);
}

static enum repository_health judge(const struct repository_status *status)
{
    if (status->totals.damaged_snapshots > 0 || status->totals.lost_records > 0)
        return HEALTH_DAMAGED;
    return status->totals.failing_jobs > 0 || status->free_bytes == 0 ? HEALTH_FAILING
                                                                      : HEALTH_GOOD;
}

static int fill_space(const struct repository *repository, struct repository_status *status,
                      struct error *err)
{
    struct statvfs fs;

    if (statvfs(repository->dir, &fs) < 0)
        return error_set_errno(err, -errno, "cannot look at the file system of %s",
                               repository->dir);
    status->capacity_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    status->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    status->reserve_bytes = reserve_held(repository->dir);
    return 0;
}

int repository_status_fill(const struct repository *repository, struct catalog_conn *conn,
                           struct repository_status *ret_status, struct error *err)
{
    struct repository_status status = {0};
    int r = catalog_stats_get(conn, &status.totals, err);

    if (r == 0)
        r = context_default_retention(conn, status.retention, err);
    if (r == 0)
        r = fill_space(repository, &status, err);
    if (r < 0)
        return r;
    status.health = judge(&status);
    if (repository->store) {
        status.up_since = repository->opened_at;
        status.cache = store_cache_counts(repository->store);
    }
    *ret_status = status;
    return 0;
}

int repository_status_get(const struct repository *repository, struct repository_status *ret_status,
                          struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(repository->catalog, &conn, err);
    if (r < 0)
        return r;
    return repository_status_fill(repository, conn, ret_status, err);
}

static const char *time_or_never(int64_t when, char text[CLOCK_ISO_SIZE])
{
    return when ? clock_to_iso(when, text) : "never";
}

static int print_vm(const struct context_row *row, void *arg, struct error *err)
{
    char text[CLOCK_ISO_SIZE];

    (void)err;
    fprintf(arg, "last_success.%s %s\n", row->name, time_or_never(row->last_success_at, text));
    return 0;
}

static void print_count(FILE *out, const char *key, int64_t count)
{
    fprintf(out, "%s %" PRId64 "\n", key, count);
}

static void print_size(FILE *out, const char *key, uint64_t bytes)
{
    fprintf(out, "%s %" PRIu64 "\n", key, bytes);
}

static void print_time(FILE *out, const char *key, int64_t when)
{
    char text[CLOCK_ISO_SIZE];

    fprintf(out, "%s %s\n", key, time_or_never(when, text));
}

// A path may hold anything; a line of `status` is one line.
static void print_path(FILE *out, const char *path)
{
    fputs("path ", out);
    for (; *path; path++)
        fputc((unsigned char)*path < 0x20 || *path == 0x7f ? '?' : *path, out);
    fputc('\n', out);
}

static void print_identity(FILE *out, const struct repository *repository,
                           const struct repository_status *status)
{
    fprintf(out, "state %s\n", repository_health_to_word(status->health));
    fprintf(out, "repository %s\n", repository->config.uuid);
    print_path(out, repository->dir);
    fprintf(out, "version %s\nformat %u\nchunk_size %u\n", BACKTREE_VERSION,
            repository->config.version, repository->config.chunk_size);
}

static void print_counts(FILE *out, const struct catalog_stats *t)
{
    print_count(out, "contexts", t->contexts);
    print_count(out, "disks", t->disks);
    print_count(out, "chains", t->chains);
    print_count(out, "snapshots", t->snapshots);
    print_count(out, "protected_snapshots", t->protected_snapshots);
    for (int state = JOB_PENDING; state <= JOB_CANCELLED; state++)
        fprintf(out, "jobs_%s %" PRId64 "\n", job_state_to_word(state), t->jobs_by_state[state]);
    print_count(out, "failing_jobs", t->failing_jobs);
}

static void print_sizes(FILE *out, const struct repository_status *status)
{
    const struct catalog_stats *t = &status->totals;

    print_size(out, "logical_bytes", t->logical_bytes);
    print_size(out, "data_bytes", t->data_bytes);
    print_size(out, "unique_bytes", t->unique_bytes);
    print_size(out, "stored_bytes", t->stored_bytes);
    fprintf(out, "dedup_ratio %.3f\ncompression_ratio %.3f\n", repository_dedup_ratio(t),
            repository_compression_ratio(t));
    print_count(out, "records", t->records);
    print_count(out, "deltas", t->deltas);
    print_count(out, "packs", t->packs);
    print_size(out, "capacity_bytes", status->capacity_bytes);
    print_size(out, "free_bytes", status->free_bytes);
    print_size(out, "reserve_bytes", status->reserve_bytes);
    fprintf(out, "retention %s\n", status->retention);
}

static void print_proofs(FILE *out, const struct catalog_stats *t)
{
    print_count(out, "damaged_snapshots", t->damaged_snapshots);
    print_count(out, "lost_records", t->lost_records);
    print_count(out, "unverified_snapshots", t->unverified_snapshots);
    print_size(out, "unverified_bytes", t->unverified_bytes);
    print_time(out, "last_verified", t->last_verified_at);
    print_time(out, "oldest_verified", t->oldest_verified_at);
    print_time(out, "last_verify", t->last_verify_at);
    print_time(out, "last_gc", t->last_gc_at);
    print_time(out, "last_check", t->last_check_at);
}

static void print_owner(FILE *out, const struct repository_status *status)
{
    print_size(out, "cache_hits", status->cache.hits);
    print_size(out, "cache_misses", status->cache.misses);
    print_size(out, "cache_bytes", status->cache.bytes);
    print_time(out, "up_since", status->up_since);
}

static void print_status(FILE *out, const struct repository *repository,
                         const struct repository_status *status)
{
    print_identity(out, repository, status);
    print_counts(out, &status->totals);
    print_sizes(out, status);
    print_proofs(out, &status->totals);
    if (repository->store)
        print_owner(out, status);
    print_time(out, "last_success", status->totals.last_success_at);
}

int repository_status_text(const struct repository *repository, char **ret_text, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct repository_status status;
    AUTO(text_discard) struct text text = {0};
    int r = catalog_read_begin(repository->catalog, &conn, err);

    if (r == 0)
        r = repository_status_fill(repository, conn, &status, err);
    if (r < 0)
        return r;
    FILE *out = text_begin(&text);
    if (!out)
        return error_set(err, -ENOMEM, "out of memory");
    print_status(out, repository, &status);
    r = context_each(conn, print_vm, out, err);
    if (!text_end(&text) && r == 0)
        r = error_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        *ret_text = TAKE(text.data, NULL);
    return r;
}

static int add_vm(const struct context_row *row, void *arg, struct error *err)
{
    json_t *vms = arg;

    // Steals the reference, also when it fails.
    if (json_object_set_new(vms, row->name, context_to_json(row)) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    return 0;
}

static int set_all(json_t *json, const struct repository *repository,
                   const struct repository_status *status)
{
    // A path is bytes; where it is no text it stands in `status` alone.
    json_t *path = json_string(repository->dir);
    int r = path ? json_object_set_new(json, "path", path) : 0;
    r |= json_object_set_new(json, "state", json_string(repository_health_to_word(status->health)));
    r |= json_object_set_new(json, "repository", json_string(repository->config.uuid));
    r |= json_object_set_new(json, "version", json_string(BACKTREE_VERSION));
    r |= json_object_set_new(json, "format", json_integer(repository->config.version));
    r |= json_object_set_new(json, "chunk_size", json_integer(repository->config.chunk_size));
    r |= json_object_set_new(json, "retention", json_string(status->retention));
    r |= json_object_set_new(json, "totals", stats_to_json(&status->totals));
    r |= json_object_set_new(json, "dedup_ratio",
                             json_real(repository_dedup_ratio(&status->totals)));
    r |= json_object_set_new(json, "compression_ratio",
                             json_real(repository_compression_ratio(&status->totals)));
    r |= json_object_set_new(json, "capacity_bytes",
                             json_integer((json_int_t)status->capacity_bytes));
    r |= json_object_set_new(json, "free_bytes", json_integer((json_int_t)status->free_bytes));
    r |=
        json_object_set_new(json, "reserve_bytes", json_integer((json_int_t)status->reserve_bytes));
    return r;
}

int repository_status_json(const struct repository *repository, json_t **ret_json,
                           struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct repository_status status;
    int r = catalog_read_begin(repository->catalog, &conn, err);

    if (r == 0)
        r = repository_status_fill(repository, conn, &status, err);
    if (r < 0)
        return r;
    json_t *json = json_object();
    json_t *vms = json_object();
    if (!json || !vms || set_all(json, repository, &status) != 0) {
        r = error_set(err, -ENOMEM, "out of memory");
    } else {
        r = context_each(conn, add_vm, vms, err);
        if (r == 0 && json_object_set(json, "vms", vms) < 0)
            r = error_set(err, -ENOMEM, "out of memory");
    }
    json_decref(vms);
    if (r < 0)
        json_decref(json);
    else
        *ret_json = json;
    return r;
}
