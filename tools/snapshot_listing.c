// SPDX-License-Identifier: MIT
//
// The snapshots that `backtree list` shows.
#include "tools/snapshot_listing.h"

#include "base/grow.h"
#include "catalog/record_json.h"

#include <stdio.h>
#include <string.h>

// Beside the states of a job: what was a snapshot and has been forgotten.
static const char STATE_FORGOTTEN[] = "forgotten";

struct collector {
    const struct filter *filter;
    struct snapshot_listing *listing;
};

struct snapshot_listing *snapshot_listing_free(struct snapshot_listing *listing)
{
    if (!listing)
        return NULL;
    for (size_t i = 0; i < listing->count; i++) {
        free(listing->items[i].state);
        json_decref(listing->items[i].json);
    }
    free(listing->items);
    free(listing);
    return NULL;
}

int snapshot_listing_check(const struct filter *filter, struct error *err)
{
    if (filter->kind && snapshot_kind_from_word(filter->kind) == SNAPSHOT_KIND_UNKNOWN)
        return error_set(err, -EINVAL, "--kind: '%s' is none of full, incremental", filter->kind);
    if (filter->state && strcmp(filter->state, STATE_FORGOTTEN) != 0 &&
        job_state_from_word(filter->state) == JOB_STATE_UNKNOWN)
        return error_set(err, -EINVAL,
                         "--state: '%s' is none of pending, running, completed, failed, cancelled, "
                         "forgotten",
                         filter->state);
    return 0;
}

static int64_t listed_when(const struct snapshot_row *row)
{
    if (row->taken_at > 0)
        return row->taken_at;
    return row->started_at > 0 ? row->started_at : row->finished_at;
}

static bool listed_wanted(const struct filter *filter, const struct snapshot_row *row)
{
    bool forgotten = row->forgotten_at > 0;
    const char *state = filter->state ? filter->state : job_state_to_word(JOB_COMPLETED);
    int64_t when = listed_when(row);
    if (strcmp(state, forgotten ? STATE_FORGOTTEN : job_state_to_word(row->state)) != 0)
        return false;
    return (filter->since == 0 || when >= filter->since) &&
           (filter->until == 0 || when < filter->until);
}

static char *listed_state(const struct snapshot_row *row)
{
    char *text;
    const char *state = row->forgotten_at > 0 ? STATE_FORGOTTEN : job_state_to_word(row->state);
    bool manual = row->trigger == TRIGGER_MANUAL;
    if (asprintf(&text, "%s%s%s%s%s%s%s%s%s%s", state, manual ? "" : ", ",
                 manual ? "" : job_trigger_to_word(row->trigger),
                 row->protected ? ", protected" : "", row->damaged ? ", DAMAGED" : "",
                 row->tags[0] ? " [" : "", row->tags, row->tags[0] ? "]" : "",
                 row->reason[0] ? ": " : "", row->reason) < 0)
        return NULL;
    return text;
}

static bool listed_fill(struct listed_snapshot *item, const struct snapshot_row *row, bool json)
{
    *item = (struct listed_snapshot){
        .id = row->id,
        .context_id = row->context_id,
        .disk_id = row->disk_id,
        .chain_id = row->chain_id,
        .chain_number = row->chain_number,
        .number = row->number,
        .job_id = row->job_id,
        .when = listed_when(row),
        .kind = row->kind,
        .capacity = row->capacity,
        .data_bytes = row->data_bytes,
        .new_bytes = row->new_bytes,
        .protected = row->protected,
        .bad = row->damaged || row->state == JOB_FAILED,
        .state = listed_state(row),
        .json = json ? snapshot_to_json(row) : NULL,
    };
    if (row->state == JOB_COMPLETED)
        snapshot_name(row, item->name);
    snprintf(item->parent, sizeof(item->parent), "%s", row->parent_name);
    return item->state && (item->json || !json);
}

static int listing_add(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct collector *collector = arg;
    struct snapshot_listing *listing = collector->listing;
    if (!listed_wanted(collector->filter, row))
        return 0;
    if (GROW(listing->items, listing->count, listing->room, "snapshots", err) < 0)
        return -ENOMEM;
    if (!listed_fill(&listing->items[listing->count++], row, collector->filter->json))
        return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    return 0;
}

static int listed_newest_first(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left < right) - (left > right);
}

// Keeps the newest `limit` items in their order; of items of one time, the first ones.
static int listing_limit(struct snapshot_listing *listing, size_t limit, struct error *err)
{
    if (limit == 0 || listing->count <= limit)
        return 0;
    AUTO_FREE int64_t *times = calloc(listing->count, sizeof(*times));
    if (!times)
        return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    for (size_t i = 0; i < listing->count; i++)
        times[i] = listing->items[i].when;
    qsort(times, listing->count, sizeof(*times), listed_newest_first);
    int64_t oldest = times[limit - 1];
    size_t of_oldest = 0; // how many of exactly that time are still within the limit
    while (of_oldest < limit && times[limit - 1 - of_oldest] == oldest)
        of_oldest++;
    size_t kept = 0;
    for (size_t i = 0; i < listing->count; i++) {
        struct listed_snapshot *item = &listing->items[i];
        if (item->when > oldest || (item->when == oldest && of_oldest > 0)) {
            of_oldest -= item->when == oldest;
            listing->items[kept++] = *item;
        } else {
            free(item->state);
            json_decref(item->json);
        }
    }
    listing->count = kept;
    return 0;
}

int snapshot_listing_collect(struct catalog_conn *conn, const struct filter *filter,
                             const struct catalog_path *path, struct snapshot_listing **ret_listing,
                             struct error *err)
{
    AUTO(snapshot_listing_free) struct snapshot_listing *listing = calloc(1, sizeof(*listing));
    if (!listing)
        return error_set_errno(err, -ENOMEM, "cannot list snapshots");
    struct snapshot_filter snapshots = {
        .context_id = path->context.id,
        .disk_id = path->disk.id,
        .chain_id = path->chain.id,
        .kind = filter->kind ? snapshot_kind_from_word(filter->kind) : SNAPSHOT_KIND_UNKNOWN,
        .trigger = filter->trigger,
        .tag = filter->tag,
        .every_row = filter->state != NULL,
    };
    struct collector collector = {.filter = filter, .listing = listing};
    int r = snapshot_each(conn, &snapshots, listing_add, &collector, err);
    if (r == 0)
        r = listing_limit(listing, (size_t)filter->limit, err);
    if (r == 0)
        *ret_listing = TAKE(listing, NULL);
    return r;
}

static int compare_numbers(int64_t left, int64_t right)
{
    return (left > right) - (left < right);
}

static int listed_compare(const void *a, const void *b)
{
    const struct listed_snapshot *left = a, *right = b;
    int order = compare_numbers(left->disk_id, right->disk_id);
    if (order == 0)
        order = compare_numbers(left->chain_id == 0, right->chain_id == 0);
    if (order == 0)
        order = compare_numbers(left->chain_number, right->chain_number);
    if (order == 0)
        order = compare_numbers(left->number, right->number);
    return order ? order : compare_numbers(left->job_id, right->job_id);
}

void snapshot_listing_sort(struct snapshot_listing *listing)
{
    if (listing->count > 1) // an empty listing has no array to give
        qsort(listing->items, listing->count, sizeof(*listing->items), listed_compare);
}

const struct listed_snapshot *snapshot_listing_of_disk(const struct snapshot_listing *listing,
                                                       int64_t disk_id, size_t *ret_count)
{
    size_t low = 0, high = listing->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (listing->items[middle].disk_id < disk_id)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < listing->count && listing->items[end].disk_id == disk_id)
        end++;
    *ret_count = end - low;
    return listing->items + low;
}
