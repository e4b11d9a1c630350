// SPDX-License-Identifier: MIT
//
// backtree restore: writes a snapshot to a file or block device, verified, and reports what it did.
#include "tools/command.h"
#include "tools/given_path.h"
#include "tools/human.h"
#include "tools/job_follow.h"
#include "tools/options.h"

#include <stdio.h>
#include <string.h>

// The trigger's line, proved to be understood as it is meant: a name that ends in a blank, for one,
// could not be told from the blank that separates words.
static int restore_line(const char *target, bool safety, char **ret_line, struct error *err)
{
    AUTO_FREE struct restore_request *checked = calloc(1, sizeof(*checked));
    AUTO_FREE char *line = NULL;
    if (!checked || asprintf(&line, "safety=%s %s", safety ? "on" : "off", target) < 0)
        return error_set_errno(err, -ENOMEM, "cannot restore to %s", target);
    int r = restore_request_parse(line, strlen(line), checked, err);
    if (r < 0)
        return r;
    if (strcmp(checked->target, target) != 0 || checked->safety != safety)
        return error_set(err, -EINVAL, "the target's path must not begin or end with a blank");
    *ret_line = TAKE(line, NULL);
    return 0;
}

// "web1/vda" alone and "web1/vda/latest" are its newest snapshot.
static int restore_resolve(struct owner *owner, const char *name, struct catalog_path *ret_path,
                           struct error *err)
{
    AUTO_FREE char *latest = NULL;
    int r = owner_resolve(owner, name, ret_path, err);
    if (r < 0 || ret_path->depth == PATH_SNAPSHOT)
        return r;
    if (ret_path->depth != PATH_DISK)
        return error_set(err, -EINVAL, "name a disk (for its latest snapshot) or a snapshot");
    if (asprintf(&latest, "%s/%s/latest", ret_path->context.name, ret_path->disk.name) < 0)
        return error_set_errno(err, -ENOMEM, "cannot look for %s", name);
    return owner_resolve(owner, latest, ret_path, err);
}

static void restore_print(const struct job_row *job)
{
    char compared[HUMAN_SIZE], written[HUMAN_SIZE], verified[HUMAN_SIZE];
    printf("%s: restored to %s: %s compared, %s written, %s verified\n", job->restore_snapshot,
           job->restore_target, human_size(job->restore_compared, compared),
           human_size(job->restore_written, written), human_size(job->restore_verified, verified));
}

static int restore_print_safety(const struct snapshot_row *row, void *arg, struct error *err)
{
    char chain[SNAPSHOT_NAME_SIZE], name[SNAPSHOT_NAME_SIZE];
    const struct job_row *job = arg;
    (void)err;
    printf("what %s held before is %s/%s/%s/%s\n", job->restore_target, row->context_name,
           row->disk_name, chain_name(row->chain_number, chain), snapshot_name(row, name));
    return 0;
}

static int restore_report(struct owner *owner, struct job_row *job, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct snapshot_filter filter = {.job_id = job->restore_safety_job};
    restore_print(job);
    if (job->restore_safety_job == 0)
        return 0;
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    return r < 0 ? r : snapshot_each(conn, &filter, restore_print_safety, job, err);
}

static int restore_named(const char *repo, const char *name, const char *line, struct error *err)
{
    AUTO(owner_close) struct owner *owner = NULL;
    AUTO_FREE struct catalog_path *path = calloc(1, sizeof(*path));
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    int64_t job_id = 0;
    if (!path || !job)
        return error_set_errno(err, -ENOMEM, "cannot look for it");
    int r = owner_open(repo, "restore", &owner, err);
    if (r == 0)
        r = restore_resolve(owner, name, path, err);
    if (r == 0)
        r = owner_request_restore(owner, path, line, &job_id, err);
    if (r == 0)
        r = job_follow(owner, job_id, name, job, err);
    if (r == 0)
        r = restore_report(owner, job, err);
    return r;
}

static int restore_to(char **operands, bool safety, struct error *err)
{
    AUTO_FREE char *target = NULL;
    AUTO_FREE char *line = NULL;
    int r = given_path_absolute(operands[2], &target, err);
    if (r == 0)
        r = restore_line(target, safety, &line, err);
    return r < 0 ? r : restore_named(operands[0], operands[1], line, err);
}

static int restore_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {
        {"no-safety", no_argument, NULL, 'n'}, OPTIONS_HELP, OPTIONS_END};
    char **operands;
    int option, count;
    bool safety = true;
    while ((option = options_next(argc, argv, "h", longs, err)) != -1) {
        if (option != 'n')
            return COMMAND_USAGE;
        safety = false;
    }
    if (options_operands(argc, argv, 3, 3, restore_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    job_follow_block_signals();
    int r = restore_to(operands, safety, err);
    if (r != 0)
        error_prefix(err, "restore %s", operands[1]);
    return r;
}

const struct command restore_command = {
    .name = "restore",
    .operands = "REPO VM/DISK[/CHAIN/SNAPSHOT|/latest] TARGET [OPTION...]",
    .summary = "write a snapshot back to a disk or file",
    .details =
        "Restores a snapshot (of a disk alone: its latest) to TARGET: an existing file or block\n"
        "device, in place, or a new file. Only what differs is written; it is flushed, read back\n"
        "and compared. What an existing target holds is backed up first. On any failure, or an\n"
        "interrupt (SIGINT, SIGTERM, SIGHUP), the target is rolled back.\n"
        "\n"
        "Options:\n"
        "  --no-safety  do not back up what the target holds\n"
        "  --help       show this text\n",
    .run = restore_run,
};
