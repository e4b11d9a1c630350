// SPDX-License-Identifier: MIT
//
// A check as a whole: the catalog itself, then packs, snapshots and, when asked for, every record.
// No read lease is held over more than one pack or snapshot, so that a daemon's log can be emptied
// meanwhile.
#include "fs/job/check_state.h"

#include "catalog/check_rows.h"
#include "catalog/check_watched.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void check_tell(struct check *check, enum check_class class, const char *subject, const char *fmt,
                ...)
{
    char text[ERROR_MESSAGE_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (class == CHECK_DAMAGE)
        check->result.damage++;
    else
        check->result.leftovers++;
    if (check->options->finding)
        check->options->finding(class, subject, text, check->options->arg);
}

int check_progress(struct check *check, const char *step, uint64_t done, uint64_t total,
                   struct error *err)
{
    const struct check_options *options = check->options;

    return options->progress ? options->progress(step, done, total, options->arg, err) : 0;
}

int check_pack_known(struct check *check, const char *uuid, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct error local = ERROR_INIT;
    struct pack_row row;
    int r = catalog_read_begin(check->viewer.catalog, &conn, err);

    if (r < 0)
        return r;
    r = pack_find_uuid(conn, uuid, &row, &local);
    if (r == -ENOENT)
        return 0;
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 1;
}

static int tick_catalog(void *arg, struct error *err)
{
    return check_progress(arg, "checking the catalog", 0, 0, err);
}

// 1 when the catalog can be used for the rest, 0 when it is too damaged (which was told).
static int check_catalog(struct check *check, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct error local = ERROR_INIT;
    int r = catalog_read_begin(check->viewer.catalog, &conn, &local);

    if (r == 0)
        r = catalog_check_watched(conn, check->options->full, tick_catalog, check, &local);
    if (r == -ERROR_CORRUPT)
        check_tell(check, CHECK_DAMAGE, "catalog.db", "%s", error_message(&local));
    else if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    return 1;
}

static int run_parts(struct check *check, struct error *err)
{
    int r = check_catalog(check, err);

    if (r > 0)
        r = check_packs(check, err);
    if (r == 0)
        r = check_snapshots(check, err);
    if (r == 0 && check->options->full)
        r = check_records(check, err);
    return r;
}

// Damage in the catalog may end any part; it has been a finding then, or is one now.
static int run(struct check *check, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = map_check_new(check->store, &check->maps, &local);

    if (r == 0)
        r = run_parts(check, &local);
    check->maps = map_check_free(check->maps);
    if (r == -ERROR_CORRUPT) {
        check_tell(check, CHECK_DAMAGE, "catalog.db", "%s", error_message(&local));
        return 0;
    }
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}

static int open_store(struct check *check, const char *dir, struct error *err)
{
    struct error local = ERROR_INIT;
    int r = repository_open_viewer(dir, &check->viewer, &local);

    // A catalog that is no database any more is what the check is there to find.
    if (r == -ERROR_CORRUPT && strncmp(error_message(&local), "catalog", 7) == 0) {
        check_tell(check, CHECK_DAMAGE, "catalog.db", "%s", error_message(&local));
        return 0;
    }
    if (r == 0)
        r = store_open(check->viewer.dir, &check->viewer.config, check->viewer.catalog, NULL,
                       &check->store, &local);
    return r < 0 ? error_set(err, r, "%s", error_message(&local)) : 0;
}

int repository_check(const char *dir, const struct check_options *options,
                     struct check_result *ret_result, struct error *err)
{
    struct check *check = calloc(1, sizeof(*check));

    if (!check)
        return error_set(err, -ENOMEM, "out of memory");
    check->options = options;
    check->viewer.lock_fd = -1;
    int r = open_store(check, dir, err);
    if (r == 0 && check->store)
        r = run(check, err);
    store_close(check->store);
    repository_close(&check->viewer);
    if (r == 0)
        *ret_result = check->result;
    free(check->packs);
    free(check);
    return r;
}
