// SPDX-License-Identifier: MIT
//
// Metrics: the figures of status.h, in families. A family's samples stand together, so what differs
// by VM is gathered first. VM names need no escaping: no character that would is allowed in them.
#include "fs/job/metrics.h"

#include "base/clock.h"
#include "fs/job/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct vm_list {
    struct vm_figures *rows;
    size_t count, room;
};

static int add_vm(const struct vm_figures *row, void *arg, struct error *err)
{
    struct vm_list *vms = arg;

    if (vms->count == vms->room) {
        size_t room = vms->room ? 2 * vms->room : 64;
        void *grown = reallocarray(vms->rows, room, sizeof(*vms->rows));
        if (!grown)
            return error_set(err, -ENOMEM, "out of memory");
        vms->rows = grown;
        vms->room = room;
    }
    vms->rows[vms->count++] = *row;
    return 0;
}

static void family(FILE *out, const char *name, const char *help)
{
    fprintf(out, "# HELP backtree_%s %s\n# TYPE backtree_%s gauge\n", name, help, name);
}

static void gauge(FILE *out, const char *name, const char *help, double value)
{
    family(out, name, help);
    fprintf(out, "backtree_%s %.17g\n", name, value);
}

// One part in proportion to another; 1 where there is nothing yet.
static double ratio(uint64_t part, uint64_t whole)
{
    return part > 0 && whole > 0 ? (double)part / (double)whole : 1;
}

static void print_totals(FILE *out, const struct repository_status *status)
{
    const struct catalog_stats *t = &status->totals;

    gauge(out, "contexts", "VMs in this repository.", (double)t->contexts);
    gauge(out, "disks", "Disks of VMs.", (double)t->disks);
    gauge(out, "chains", "Chains that hold snapshots.", (double)t->chains);
    gauge(out, "snapshots", "Snapshots that can be read.", (double)t->snapshots);
    family(out, "jobs", "Job records, by state.");
    for (int state = JOB_PENDING; state <= JOB_CANCELLED; state++)
        fprintf(out, "backtree_jobs{state=\"%s\"} %" PRId64 "\n", job_state_to_word(state),
                t->jobs_by_state[state]);
    gauge(out, "logical_bytes", "Capacity of the disks of all snapshots.",
          (double)t->logical_bytes);
    gauge(out, "data_bytes", "Content of all snapshots, holes left out.", (double)t->data_bytes);
    gauge(out, "unique_bytes", "Content of the chunks that are stored, decoded.",
          (double)t->unique_bytes);
    gauge(out, "stored_bytes", "Files of packs.", (double)t->stored_bytes);
    gauge(out, "dedup_ratio", "Content of all snapshots by content that is stored.",
          ratio(t->data_bytes, t->unique_bytes));
    gauge(out, "compression_ratio", "Content that is stored by the files of packs.",
          ratio(t->unique_bytes, t->stored_bytes));
    gauge(out, "packs", "Pack files.", (double)t->packs);
    gauge(out, "filesystem_size_bytes", "Size of the file system of the repository.",
          (double)status->capacity_bytes);
    gauge(out, "filesystem_free_bytes", "What is available on it.", (double)status->free_bytes);
}

// Times of 0 are "never", as those of VMs are.
static void print_damage(FILE *out, const struct catalog_stats *t)
{
    gauge(out, "damaged_snapshots", "Snapshots that cannot be read wholly.",
          (double)t->damaged_snapshots);
    gauge(out, "lost_records", "Stored records of which every copy is known to be damaged.",
          (double)t->lost_records);
    gauge(out, "unverified_snapshots", "Snapshots that no verification of their own has proved.",
          (double)t->unverified_snapshots);
    gauge(out, "unverified_bytes", "Files of packs that no verification has proved.",
          (double)t->unverified_bytes);
    gauge(out, "last_verified_timestamp_seconds",
          "When a verification last proved something; 0 = never.",
          (double)t->last_verified_at / (double)CLOCK_SECOND);
    gauge(out, "oldest_verified_timestamp_seconds",
          "When the pack was proved whose proof is the oldest; 0 = some never were.",
          (double)t->oldest_verified_at / (double)CLOCK_SECOND);
}

static void print_cache(FILE *out, struct store *store)
{
    struct chunk_cache_counts counts = store_cache_counts(store);

    gauge(out, "cache_hits",
          "Reads that found their chunk decoded, since the repository was opened.",
          (double)counts.hits);
    gauge(out, "cache_misses", "Reads that had to decode their chunk, since then.",
          (double)counts.misses);
    gauge(out, "cache_bytes", "What the cache of decoded chunks holds.", (double)counts.bytes);
    gauge(out, "cache_prefetched", "Chunks decoded ahead of readers, since then.",
          (double)counts.ahead_loads);
    gauge(out, "cache_prefetched_used", "Those of them that were read.", (double)counts.ahead_used);
}

struct vm_family {
    const char *name, *help;
    double (*value)(const struct vm_figures *vm);
};

static double last_success(const struct vm_figures *vm)
{
    return (double)vm->last_success_at / (double)CLOCK_SECOND;
}

static double duration(const struct vm_figures *vm)
{
    return (double)vm->last_duration / (double)CLOCK_SECOND;
}

static double read_bytes(const struct vm_figures *vm)
{
    return (double)vm->last_read_bytes;
}

static double new_bytes(const struct vm_figures *vm)
{
    return (double)vm->last_new_bytes;
}

static double snapshots(const struct vm_figures *vm)
{
    return (double)vm->snapshots;
}

static double failures(const struct vm_figures *vm)
{
    return (double)vm->failures;
}

static const struct vm_family vm_families[] = {
    {"vm_last_success_timestamp_seconds", "When the last backup that completed ended; 0 = never.",
     last_success},
    {"vm_last_duration_seconds", "How long that backup took.", duration},
    {"vm_last_read_bytes", "What that backup read from its sources.", read_bytes},
    {"vm_last_new_bytes", "What that backup added to the repository.", new_bytes},
    {"vm_snapshots", "Snapshots of the VM.", snapshots},
    {"vm_failed_jobs", "Backups of the VM that failed.", failures},
};

static void print_vms(FILE *out, const struct vm_list *vms)
{
    for (size_t f = 0; f < sizeof(vm_families) / sizeof(vm_families[0]); f++) {
        const struct vm_family *each = &vm_families[f];

        family(out, each->name, each->help);
        for (size_t i = 0; i < vms->count; i++)
            fprintf(out, "backtree_%s{vm=\"%s\"} %.17g\n", each->name, vms->rows[i].name,
                    each->value(&vms->rows[i]));
    }
}

static int read_all(const struct repository *repository, struct repository_status *status,
                    struct vm_list *vms, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(repository->catalog, &conn, err);

    if (r == 0)
        r = repository_status_fill(repository, conn, status, err);
    return r < 0 ? r : vm_figures_each(conn, add_vm, vms, err);
}

int repository_metrics_text(const struct repository *repository, char **ret_text, struct error *err)
{
    struct repository_status status;
    struct vm_list vms = {0};
    char *text = NULL;
    size_t len = 0;
    int r = read_all(repository, &status, &vms, err);
    FILE *out = r == 0 ? open_memstream(&text, &len) : NULL;

    if (out) {
        print_totals(out, &status);
        print_damage(out, &status.totals);
        if (repository->store)
            print_cache(out, repository->store);
        print_vms(out, &vms);
        fputs("# EOF\n", out);
    }
    free(vms.rows);
    if (r < 0)
        return r;
    if (!out || fclose(out) != 0) {
        free(text);
        return error_set(err, -ENOMEM, "out of memory");
    }
    *ret_text = text;
    return 0;
}
