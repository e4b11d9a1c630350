// SPDX-License-Identifier: MIT
//
// Metrics: the figures of status.h, in families. A family's samples stand together, so what differs
// by VM is gathered first. VM names need no escaping: no character that would is allowed in them.
#include "fs/job/metrics.h"

#include "base/clock.h"
#include "base/text.h"
#include "fs/job/status.h"

#include <inttypes.h>
#include <stdio.h>

static void family(FILE *out, const char *name, const char *help)
{
    fprintf(out, "# HELP backtree_%s %s\n# TYPE backtree_%s gauge\n", name, help, name);
}

static void gauge(FILE *out, const char *name, const char *help, double value)
{
    family(out, name, help);
    fprintf(out, "backtree_%s %.17g\n", name, value);
}

static void print_identity(FILE *out, const struct repository *repository,
                           const struct repository_status *status)
{
    family(out, "info", "The repository and the program that tells of it.");
    fprintf(out, "backtree_info{repository=\"%s\",version=\"%s\"} 1\n", repository->config.uuid,
            BACKTREE_VERSION);
    family(out, "state", "1 for the state that holds: healthy, failing or damaged.");
    for (int health = HEALTH_GOOD; health <= HEALTH_DAMAGED; health++)
        fprintf(out, "backtree_state{state=\"%s\"} %d\n",
                repository_health_to_word((enum repository_health)health),
                (int)status->health == health);
}

static void print_counts(FILE *out, const struct catalog_stats *t)
{
    gauge(out, "contexts", "VMs in this repository.", (double)t->contexts);
    gauge(out, "disks", "Disks of VMs.", (double)t->disks);
    gauge(out, "chains", "Chains that hold snapshots.", (double)t->chains);
    gauge(out, "snapshots", "Snapshots that can be read.", (double)t->snapshots);
    gauge(out, "protected_snapshots", "Snapshots that cannot be forgotten.",
          (double)t->protected_snapshots);
    family(out, "jobs", "Job records, by state.");
    for (int state = JOB_PENDING; state <= JOB_CANCELLED; state++)
        fprintf(out, "backtree_jobs{state=\"%s\"} %" PRId64 "\n", job_state_to_word(state),
                t->jobs_by_state[state]);
    gauge(out, "failing_jobs", "Failed jobs that no later one of their kind has made good.",
          (double)t->failing_jobs);
}

static void print_sizes(FILE *out, const struct repository_status *status)
{
    const struct catalog_stats *t = &status->totals;

    gauge(out, "logical_bytes", "Capacity of the disks of all snapshots.",
          (double)t->logical_bytes);
    gauge(out, "data_bytes", "Content of all snapshots, holes left out.", (double)t->data_bytes);
    gauge(out, "unique_bytes", "Content of the chunks that are stored, decoded.",
          (double)t->unique_bytes);
    gauge(out, "stored_bytes", "Files of packs.", (double)t->stored_bytes);
    gauge(out, "dedup_ratio", "Content of all snapshots by content that is stored.",
          repository_dedup_ratio(t));
    gauge(out, "compression_ratio", "Content that is stored by the files of packs.",
          repository_compression_ratio(t));
    gauge(out, "packs", "Pack files.", (double)t->packs);
    gauge(out, "records", "Records in packs.", (double)t->records);
    gauge(out, "deltas", "Of these, stored as what differs from another.", (double)t->deltas);
    gauge(out, "filesystem_size_bytes", "Size of the file system of the repository.",
          (double)status->capacity_bytes);
    gauge(out, "filesystem_free_bytes", "What is available on it.", (double)status->free_bytes);
    gauge(out, "reserve_bytes", "Kept for forgetting and gc on a full disk.",
          (double)status->reserve_bytes);
}

// 0 = never.
static void timestamp(FILE *out, const char *name, const char *help, int64_t when)
{
    gauge(out, name, help, (double)when / (double)CLOCK_SECOND);
}

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
    timestamp(out, "last_verified_timestamp_seconds",
              "When a verification last proved something; 0 = never.", t->last_verified_at);
    timestamp(out, "oldest_verified_timestamp_seconds",
              "When the pack was proved whose proof is the oldest; 0 = some never were.",
              t->oldest_verified_at);
}

static void print_times(FILE *out, const struct catalog_stats *t)
{
    timestamp(out, "last_success_timestamp_seconds",
              "When the last backup of any VM that completed ended; 0 = never.",
              t->last_success_at);
    timestamp(out, "last_verify_timestamp_seconds",
              "When the last verification that completed ended; 0 = never.", t->last_verify_at);
    timestamp(out, "last_gc_timestamp_seconds",
              "When the last garbage collection that completed ended; 0 = never.", t->last_gc_at);
    timestamp(out, "last_check_timestamp_seconds",
              "When the last check that completed ended; 0 = never.", t->last_check_at);
}

// Of this process.
static void print_owner(FILE *out, const struct repository_status *status)
{
    gauge(out, "cache_hits",
          "Reads that found their chunk decoded, since the repository was opened.",
          (double)status->cache.hits);
    gauge(out, "cache_misses", "Reads that had to decode their chunk, since then.",
          (double)status->cache.misses);
    gauge(out, "cache_bytes", "What the cache of decoded chunks holds.",
          (double)status->cache.bytes);
    gauge(out, "cache_prefetched", "Chunks decoded ahead of readers, since then.",
          (double)status->cache.ahead_loads);
    gauge(out, "cache_prefetched_used", "Those of them that were read.",
          (double)status->cache.ahead_used);
    timestamp(out, "start_time_seconds", "When the repository was opened.", status->up_since);
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

static double failing(const struct vm_figures *vm)
{
    return vm->failing;
}

static double protected_snapshots(const struct vm_figures *vm)
{
    return (double)vm->protected_snapshots;
}

static double damaged_snapshots(const struct vm_figures *vm)
{
    return (double)vm->damaged_snapshots;
}

static double snapshot_bytes(const struct vm_figures *vm)
{
    return (double)vm->new_bytes;
}

static const struct vm_family vm_families[] = {
    {"vm_last_success_timestamp_seconds", "When the last backup that completed ended; 0 = never.",
     last_success},
    {"vm_last_duration_seconds", "How long that backup took.", duration},
    {"vm_last_read_bytes", "What that backup read from its sources.", read_bytes},
    {"vm_last_new_bytes", "What that backup added to the repository.", new_bytes},
    {"vm_snapshots", "Snapshots of the VM.", snapshots},
    {"vm_protected_snapshots", "Those that cannot be forgotten.", protected_snapshots},
    {"vm_damaged_snapshots", "Those that cannot be read wholly.", damaged_snapshots},
    {"vm_new_bytes", "What its snapshots added to the repository.", snapshot_bytes},
    {"vm_failing", "1 when the newest backup that ended has failed.", failing},
    {"vm_failed_jobs", "Backups of the VM that failed.", failures},
};

static void print_vms(FILE *out, const struct vm_figures *vms, size_t count)
{
    for (size_t f = 0; f < sizeof(vm_families) / sizeof(vm_families[0]); f++) {
        const struct vm_family *each = &vm_families[f];

        family(out, each->name, each->help);
        for (size_t i = 0; i < count; i++)
            fprintf(out, "backtree_%s{vm=\"%s\"} %.17g\n", each->name, vms[i].name,
                    each->value(&vms[i]));
    }
}

static void print_all(FILE *out, const struct repository *repository,
                      const struct repository_status *status, const struct vm_figures *vms,
                      size_t count)
{
    print_identity(out, repository, status);
    print_counts(out, &status->totals);
    print_sizes(out, status);
    print_damage(out, &status->totals);
    print_times(out, &status->totals);
    if (repository->store)
        print_owner(out, status);
    print_vms(out, vms, count);
    fputs("# EOF\n", out);
}

int repository_metrics_text(const struct repository *repository, char **ret_text, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct vm_figures *vms = NULL;
    AUTO(text_discard) struct text text = {0};
    struct repository_status status;
    size_t count = 0;
    int r = catalog_read_begin(repository->catalog, &conn, err);

    if (r == 0)
        r = repository_status_fill(repository, conn, &status, err);
    if (r == 0)
        r = vm_figures_load(conn, &vms, &count, err);
    if (r < 0)
        return r;
    FILE *out = text_begin(&text);
    if (!out)
        return error_set(err, -ENOMEM, "out of memory");
    print_all(out, repository, &status, vms, count);
    if (!text_end(&text))
        return error_set(err, -ENOMEM, "out of memory");
    *ret_text = TAKE(text.data, NULL);
    return 0;
}
