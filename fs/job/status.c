// SPDX-License-Identifier: MIT
//
// The repository at a glance. One read lease a call, so that the totals and the VMs' rows agree
// with each other.
#include "fs/job/status.h"

#include "base/clock.h"
#include "catalog/context.h"
#include "catalog/record_json.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

int repository_status_fill(const struct repository *repository, struct catalog_conn *conn,
                           struct repository_status *ret_status, struct error *err)
{
    struct repository_status status = {0};
    struct statvfs fs;
    int r = catalog_stats_get(conn, &status.totals, err);

    if (r == 0)
        r = context_default_retention(conn, status.retention, err);
    if (r < 0)
        return r;
    if (statvfs(repository->dir, &fs) < 0)
        return error_set_errno(err, -errno, "cannot look at the file system of %s",
                               repository->dir);
    status.capacity_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    status.free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
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

static void print_totals(FILE *out, const struct repository *repository,
                         const struct repository_status *status)
{
    const struct catalog_stats *t = &status->totals;
    char text[CLOCK_ISO_SIZE];

    fprintf(out, "repository %s\nformat %u\nchunk_size %u\n", repository->config.uuid,
            repository->config.version, repository->config.chunk_size);
    fprintf(out, "contexts %lld\ndisks %lld\nchains %lld\nsnapshots %lld\n", (long long)t->contexts,
            (long long)t->disks, (long long)t->chains, (long long)t->snapshots);
    for (int state = JOB_PENDING; state <= JOB_CANCELLED; state++)
        fprintf(out, "jobs_%s %lld\n", job_state_to_word(state),
                (long long)t->jobs_by_state[state]);
    fprintf(out, "logical_bytes %llu\ndata_bytes %llu\nunique_bytes %llu\nstored_bytes %llu\n",
            (unsigned long long)t->logical_bytes, (unsigned long long)t->data_bytes,
            (unsigned long long)t->unique_bytes, (unsigned long long)t->stored_bytes);
    fprintf(out, "capacity_bytes %llu\nfree_bytes %llu\n",
            (unsigned long long)status->capacity_bytes, (unsigned long long)status->free_bytes);
    fprintf(out, "retention %s\n", status->retention);
    fprintf(out, "damaged_snapshots %lld\nlost_records %lld\n", (long long)t->damaged_snapshots,
            (long long)t->lost_records);
    fprintf(out, "unverified_snapshots %lld\nunverified_bytes %llu\n",
            (long long)t->unverified_snapshots, (unsigned long long)t->unverified_bytes);
    fprintf(out, "last_verified %s\n", time_or_never(t->last_verified_at, text));
    fprintf(out, "oldest_verified %s\n", time_or_never(t->oldest_verified_at, text));
    fprintf(out, "last_success %s\n", time_or_never(t->last_success_at, text));
}

int repository_status_text(const struct repository *repository, char **ret_text, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct repository_status status;
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    int r = catalog_read_begin(repository->catalog, &conn, err);

    if (r == 0)
        r = repository_status_fill(repository, conn, &status, err);
    if (r < 0)
        return r;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return error_set(err, -ENOMEM, "out of memory");
    print_totals(out, repository, &status);
    r = context_each(conn, print_vm, out, err);
    if (fclose(out) != 0 && r == 0)
        r = error_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        *ret_text = TAKE(text, NULL);
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
    int r = json_object_set_new(json, "repository", json_string(repository->config.uuid));
    r |= json_object_set_new(json, "format", json_integer(repository->config.version));
    r |= json_object_set_new(json, "chunk_size", json_integer(repository->config.chunk_size));
    r |= json_object_set_new(json, "retention", json_string(status->retention));
    r |= json_object_set_new(json, "totals", stats_to_json(&status->totals));
    r |= json_object_set_new(json, "capacity_bytes",
                             json_integer((json_int_t)status->capacity_bytes));
    r |= json_object_set_new(json, "free_bytes", json_integer((json_int_t)status->free_bytes));
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
