// SPDX-License-Identifier: MIT
//
// backtree stats: totals of a repository and the latest success of every VM.
#include "fs/job/status.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/record_text.h"
#include "tools/viewer.h"

#include <stdio.h>

static int stats_print(const char *repo, bool json, struct error *err)
{
    AUTO(viewer_close) struct repository *viewer = NULL;
    json_auto_t *record = NULL;
    int r = viewer_open(repo, &viewer, err);
    if (r == 0)
        r = repository_status_json(viewer, &record, err);
    return r < 0 ? r : record_text_print_as(record, json, err);
}

static int stats_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, OPTIONS_HELP, OPTIONS_END};
    char **operands;
    int option, count;
    bool json = false;
    while ((option = options_next(argc, argv, "h", longs, err)) != -1) {
        if (option != 'j')
            return COMMAND_USAGE;
        json = true;
    }
    if (options_operands(argc, argv, 1, 1, stats_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    int r = stats_print(operands[0], json, err);
    if (r < 0)
        error_prefix(err, "stats %s", operands[0]);
    return r;
}

const struct command stats_command = {
    .name = "stats",
    .operands = "REPO [OPTION...]",
    .summary = "show totals and the latest success of every VM",
    .details =
        "Shows the repository's totals: what its snapshots would take in full (logical), as\n"
        "data without holes, once without duplicates (unique), and what is stored; whether it\n"
        "is healthy, failing or damaged; free space; and for every VM its runs and its latest\n"
        "success.\n"
        "\n"
        "Options:\n"
        "  --json  print JSON, sizes in bytes\n"
        "  --help  show this text\n",
    .run = stats_run,
};
