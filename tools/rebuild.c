// SPDX-License-Identifier: MIT
//
// backtree rebuild: makes a repository's catalog anew from its packs.
#include "fs/job/rebuild.h"

#include "tools/command.h"
#include "tools/options.h"
#include "tools/progress_bar.h"

#include <inttypes.h>
#include <stdio.h>

static void rebuild_print_finding(const char *sentence, bool damage, void *arg)
{
    progress_bar_clear(arg);
    printf("%s%s\n", damage ? "" : "note: ", sentence);
    fflush(stdout);
}

static void rebuild_draw(const char *step, uint64_t done, uint64_t total, void *arg)
{
    progress_bar_step(arg, step, done, total);
}

static void rebuild_print_result(const char *repo, const struct rebuild_result *result,
                                 bool dry_run)
{
    printf("%s: %" PRIu64 " packs with %" PRIu64 " records; %" PRIu64 " VMs, %" PRIu64
           " disks, %" PRIu64 " chains, %" PRIu64 " snapshots (%" PRIu64 " more forgotten), "
           "%" PRIu64 " jobs\n",
           repo, result->packs, result->records, result->vms, result->disks, result->chains,
           result->snapshots, result->forgotten, result->jobs);
    if (dry_run)
        puts("nothing was changed");
    else if (result->aside[0])
        printf("the old catalog is %s/%s\n", repo, result->aside);
}

static int rebuild_do(const char *repo, bool dry_run, struct error *err)
{
    struct progress_bar bar;
    struct rebuild_options options = {.dry_run = dry_run,
                                      .finding = rebuild_print_finding,
                                      .progress = rebuild_draw,
                                      .arg = &bar};
    struct rebuild_result result;
    progress_bar_init(&bar, stderr);
    int r = repository_rebuild(repo, &options, &result, NULL, err);
    progress_bar_clear(&bar);
    if (r < 0)
        return r == -EBUSY ? COMMAND_BUSY : r;
    rebuild_print_result(repo, &result, dry_run);
    if (result.damage > 0)
        return error_set(err, -ERROR_CORRUPT,
                         "%" PRIu64 " finding%s of something missing or damaged; %" PRIu64
                         " snapshots cannot be read in full",
                         result.damage, result.damage == 1 ? "" : "s", result.incomplete);
    return 0;
}

static int rebuild_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {
        {"dry-run", no_argument, NULL, 'n'}, OPTIONS_HELP, OPTIONS_END};
    char **operands;
    int option, count;
    bool dry_run = false;
    while ((option = options_next(argc, argv, "hn", longs, err)) != -1) {
        if (option != 'n')
            return COMMAND_USAGE;
        dry_run = true;
    }
    if (options_operands(argc, argv, 1, 1, rebuild_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    int r = rebuild_do(operands[0], dry_run, err);
    if (r != 0)
        error_prefix(err, "rebuild %s", operands[0]);
    return r;
}

const struct command rebuild_command = {
    .name = "rebuild",
    .operands = "REPO [OPTION...]",
    .summary = "make the catalog anew from the packs",
    .details =
        "Makes catalog.db anew from config and packs/ alone: for a catalog that is lost or\n"
        "damaged. Everything about snapshots comes back; jobs that made none, restores and\n"
        "the logs of jobs do not. The repository must not be mounted. The new catalog is\n"
        "put in place as the last step, and the old one kept as catalog.db.TIME.\n"
        "Exit status 3 says that something was missing or damaged; each such thing is told.\n"
        "\n"
        "Options:\n"
        "  --dry-run  find out what would come back, and change nothing\n"
        "  --help     show this text\n",
    .run = rebuild_run,
};
