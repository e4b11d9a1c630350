// SPDX-License-Identifier: MIT
//
// Collects the snapshots of a VM and has each disk's judged.
#include "fs/job/prune_plan.h"

#include "base/grow.h"

#include <stdio.h>
#include <string.h>

struct collection {
    struct prune_plan plan;
    size_t room;
};

static int add_snapshot(const struct snapshot_row *row, void *arg, struct error *err)
{
    struct collection *collection = arg;
    struct prune_plan *plan = &collection->plan;
    char chain[SNAPSHOT_NAME_SIZE], name[SNAPSHOT_NAME_SIZE];

    if (GROW(plan->items, plan->count, collection->room, "a list", err) < 0)
        return -ENOMEM;
    struct prune_item *item = &plan->items[plan->count++];
    *item = (struct prune_item){.snapshot = {.id = row->id,
                                             .taken_at = row->taken_at,
                                             .protected = row->protected,
                                             .safety = row->trigger == TRIGGER_PRE_RESTORE_SAFETY},
                                .disk_id = row->disk_id,
                                .new_bytes = row->new_bytes};
    memcpy(item->uuid, row->uuid, sizeof(item->uuid));
    snprintf(item->path, sizeof(item->path), "%s/%s/%s/%s", row->context_name, row->disk_name,
             chain_name(row->chain_number, chain), snapshot_name(row, name));
    return 0;
}

// What `latest` leads to; of a disk that has nothing but copies of other restore targets, the last
// of those.
static int mark_newest(struct catalog_conn *conn, struct prune_item *items, size_t count,
                       struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    size_t last = 0;
    int r = row ? snapshot_find_latest(conn, items[0].disk_id, row, NULL)
                : error_set(err, -ENOMEM, "out of memory");

    if (r < 0 && r != -ENOENT)
        return error_set_errno(err, r, "cannot find the newest snapshot of a disk");
    for (size_t i = 0; i < count; i++) {
        items[i].snapshot.newest = r == 0 && items[i].snapshot.id == row->id;
        if (items[i].snapshot.taken_at >= items[last].snapshot.taken_at)
            last = i;
    }
    if (r == -ENOENT)
        items[last].snapshot.newest = true;
    return 0;
}

static int judge_disk(struct catalog_conn *conn, const struct retention_policy *policy, int64_t now,
                      struct prune_item *items, size_t count, struct error *err)
{
    AUTO_FREE struct retention_snapshot *snapshots = calloc(count, sizeof(*snapshots));
    AUTO_FREE struct retention_verdict *verdicts = calloc(count, sizeof(*verdicts));
    int r = snapshots && verdicts ? mark_newest(conn, items, count, err)
                                  : error_set(err, -ENOMEM, "out of memory");

    for (size_t i = 0; r == 0 && i < count; i++)
        snapshots[i] = items[i].snapshot;
    if (r == 0)
        r = retention_apply(policy, now, snapshots, count, verdicts, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        items[i].verdict = verdicts[i];
    return r;
}

static int judge(struct catalog_conn *conn, const struct retention_policy *policy, int64_t now,
                 struct prune_plan *plan, struct error *err)
{
    int r = 0;

    for (size_t begin = 0, end; r == 0 && begin < plan->count; begin = end) {
        for (end = begin;
             end < plan->count && plan->items[end].disk_id == plan->items[begin].disk_id;)
            end++;
        r = judge_disk(conn, policy, now, &plan->items[begin], end - begin, err);
    }
    return r;
}

// The words to judge by, parsed and in their canonical form.
static int settle_policy(struct catalog_conn *conn, int64_t context_id, const char *words,
                         struct retention_policy *ret_policy, char ret_text[RETENTION_TEXT_SIZE],
                         struct error *err)
{
    struct context_row context;

    if (!*words) {
        int r = context_get(conn, context_id, &context, err);
        if (r < 0)
            return r;
        words = context.retention;
    }
    int r = retention_parse(words, strlen(words), ret_policy, err);
    if (r < 0)
        return error_prefix(err, "the retention policy '%.80s'", words);
    retention_format(ret_policy, ret_text);
    return 0;
}

int prune_plan_make(struct catalog_conn *conn, int64_t context_id, int64_t disk_id,
                    const char *policy, int64_t now, struct prune_plan *ret_plan, struct error *err)
{
    struct snapshot_filter filter = {.context_id = context_id, .disk_id = disk_id};
    struct collection collection = {0};
    struct retention_policy parsed;
    int r = settle_policy(conn, context_id, policy, &parsed, collection.plan.policy, err);

    if (r == 0)
        r = snapshot_each(conn, &filter, add_snapshot, &collection, err);
    if (r == 0)
        r = judge(conn, &parsed, now, &collection.plan, err);
    if (r < 0) {
        prune_plan_deinit(&collection.plan);
        return r;
    }
    *ret_plan = collection.plan;
    return 0;
}

void prune_plan_deinit(struct prune_plan *plan)
{
    free(plan->items);
    *plan = (struct prune_plan){0};
}
