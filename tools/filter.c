// SPDX-License-Identifier: MIT
//
// The filters that `list` and `jobs` share.
#include "tools/filter.h"

#include "base/clock.h"
#include "tools/human.h"

#include <stdio.h>
#include <string.h>

static int filter_take_time(const char *what, const char *value, int64_t *ret_when,
                            struct error *err)
{
    if (clock_parse(value, clock_now(), ret_when) < 0)
        return error_set(err, -EINVAL,
                         "%s: '%s' is not a time (as 2026-11-21, 2026-11-21T06:55, @UNIXSECONDS or "
                         "an age as 12h, 7d, 2w)",
                         what, value);
    return 0;
}

static int filter_take_trigger(struct filter *filter, const char *value, struct error *err)
{
    filter->trigger = job_trigger_from_word(value);
    if (filter->trigger == JOB_TRIGGER_UNKNOWN)
        return error_set(err, -EINVAL,
                         "--trigger: '%s' is none of manual, scheduled, pre_restore_safety", value);
    return 0;
}

static int filter_take_parsed(struct filter *filter, int option, const char *value,
                              struct error *err)
{
    switch (option) {
    case FILTER_TRIGGER:
        return filter_take_trigger(filter, value, err);
    case FILTER_SINCE:
        return filter_take_time("--since", value, &filter->since, err);
    case FILTER_UNTIL:
        return filter_take_time("--until", value, &filter->until, err);
    default:
        return human_parse_number("--limit", value, 1, INT64_MAX, &filter->limit, err);
    }
}

int filter_take(struct filter *filter, int option, const char *value, struct error *err)
{
    switch (option) {
    case FILTER_VM:
        filter->vm = value;
        return 1;
    case FILTER_DISK:
        filter->disk = value;
        return 1;
    case FILTER_KIND:
        filter->kind = value;
        return 1;
    case FILTER_STATE:
        filter->state = value;
        return 1;
    case FILTER_TAG:
        filter->tag = value;
        return 1;
    case FILTER_JSON:
        filter->json = true;
        return 1;
    case FILTER_TRIGGER:
    case FILTER_SINCE:
    case FILTER_UNTIL:
    case FILTER_LIMIT: {
        int r = filter_take_parsed(filter, option, value, err);
        return r < 0 ? r : 1;
    }
    default:
        return 0;
    }
}

int filter_check(const struct filter *filter, const char *operand, struct error *err)
{
    if (filter->disk && !strchr(filter->disk, '/') && !filter->vm && *operand == '\0')
        return error_set(err, -EINVAL, "--disk=%s needs a VM: say --disk=VM/%s or add --vm",
                         filter->disk, filter->disk);
    return 0;
}

static int filter_resolve_vm(const char *vm, struct catalog_conn *conn, struct catalog_path *path,
                             struct error *err)
{
    if (path->depth >= PATH_CONTEXT) {
        if (strcmp(path->context.name, vm) != 0)
            return error_set(err, -EINVAL, "--vm=%s contradicts VM %s", vm, path->context.name);
        return 0;
    }
    int r = context_find(conn, vm, &path->context, err);
    if (r == 0)
        path->depth = PATH_CONTEXT;
    return r;
}

static int filter_resolve_disk(const char *disk, struct catalog_conn *conn,
                               struct catalog_path *path, struct error *err)
{
    if (path->depth >= PATH_DISK) {
        if (strcmp(path->disk.name, disk) != 0)
            return error_set(err, -EINVAL, "--disk=%s contradicts disk %s", disk, path->disk.name);
        return 0;
    }
    int r = disk_find(conn, path->context.id, disk, &path->disk, err);
    if (r == 0)
        path->depth = PATH_DISK;
    return r;
}

int filter_resolve(const struct filter *filter, struct catalog_conn *conn,
                   struct catalog_path *path, struct error *err)
{
    int r = filter->vm ? filter_resolve_vm(filter->vm, conn, path, err) : 0;
    if (r < 0 || !filter->disk)
        return r;
    const char *slash = strchr(filter->disk, '/');
    if (!slash)
        return filter_resolve_disk(filter->disk, conn, path, err);
    char vm[NAME_SIZE];
    snprintf(vm, sizeof(vm), "%.*s", (int)(slash - filter->disk), filter->disk);
    r = filter_resolve_vm(vm, conn, path, err);
    return r < 0 ? r : filter_resolve_disk(slash + 1, conn, path, err);
}
