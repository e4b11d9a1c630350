// SPDX-License-Identifier: MIT
//
// backtree init: makes a repository.
#include "fs/job/repository.h"
#include "tools/command.h"
#include "tools/human.h"
#include "tools/keep_options.h"
#include "tools/options.h"

#include <stdio.h>

struct init_choices {
    uint64_t chunk_size; // 0 = default
    int64_t level;       // 0 = default
    struct keep_options keep;
    bool keep_all;
    bool no_delta;
};

static int init_parse(int argc, char **argv, struct init_choices *choices, struct error *err)
{
    static const struct option longs[] = {{"chunk-size", required_argument, NULL, 'c'},
                                          {"level", required_argument, NULL, 'l'},
                                          KEEP_OPTIONS,
                                          {"keep-all", no_argument, NULL, 'a'},
                                          {"no-delta", no_argument, NULL, 'd'},
                                          OPTIONS_HELP,
                                          OPTIONS_END};
    int option, r = 0;
    while (r >= 0 && (option = options_next(argc, argv, "h", longs, err)) != -1) {
        if ((r = keep_options_take(&choices->keep, option, optarg, err)) != 0)
            continue;
        if (option == 'a')
            choices->keep_all = true;
        else if (option == 'd')
            choices->no_delta = true;
        else if (option == 'c')
            r = human_parse_size("--chunk-size", optarg, &choices->chunk_size, err);
        else if (option == 'l')
            r = human_parse_number("--level", optarg, 1, 19, &choices->level, err);
        else
            r = -EINVAL;
        if (r == 0 && option == 'c' &&
            (choices->chunk_size < CHUNK_SIZE_MIN || choices->chunk_size > CHUNK_SIZE_MAX ||
             (choices->chunk_size & (choices->chunk_size - 1)) != 0))
            r = error_set(err, -EINVAL, "--chunk-size: '%s' is not a power of two from 16K to 4M",
                          optarg);
    }
    if (r >= 0 && choices->keep_all && !retention_keeps_everything(&choices->keep.policy))
        return error_set(err, -EINVAL, "--keep-all goes with no other rule");
    return r;
}

static int init_run(int argc, char **argv, struct error *err)
{
    struct init_choices choices = {0};
    char **operands, size[HUMAN_SIZE], words[RETENTION_TEXT_SIZE];
    int count;
    if (init_parse(argc, argv, &choices, err) < 0 ||
        options_operands(argc, argv, 1, 1, init_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    const char *retention =
        choices.keep_all ? RETENTION_NONE : keep_options_words(&choices.keep, words);
    if (!*retention)
        retention = RETENTION_DEFAULT;
    int r = repository_init(operands[0],
                            &(struct repository_choices){.chunk_size = (uint32_t)choices.chunk_size,
                                                         .compression_level = (int)choices.level,
                                                         .retention = retention,
                                                         .no_deltas = choices.no_delta},
                            err);
    struct repo_config config;
    if (r == 0)
        r = repo_config_load(operands[0], &config, err);
    if (r < 0)
        return error_prefix(err, "init %s", operands[0]);
    printf("%s: new repository, chunks of %s, compression level %d%s, retention %s\n", operands[0],
           human_size(config.chunk_size, size), config.compression_level,
           config.deltas ? "" : ", no deltas", retention);
    return 0;
}

const struct command init_command = {
    .name = "init",
    .operands = "REPO [OPTION...]",
    .summary = "make a repository",
    .details =
        "Makes a repository in the folder REPO, which must not exist or be empty. The\n"
        "options --keep-... are the retention policy of VMs that have none of their own (see\n"
        "prune); without one it is " RETENTION_DEFAULT ".\n"
        "\n"
        "Options:\n"
        "  --chunk-size=SIZE   size of a chunk, a power of two from 16K to 4M (64K)\n"
        "  --level=N           zstd compression level, 1 to 19 (1)\n"
        "  --no-delta          store every changed chunk in full: more bytes, quicker reads\n"
        "  --keep-within=TIME  keep what was taken within a time: 12h, 7d, 4w\n"
        "  --keep-last=N       keep the newest N\n"
        "  --keep-hourly=N     keep one of each of N hours\n"
        "  --keep-daily=N      keep one of each of N days\n"
        "  --keep-weekly=N     keep one of each of N weeks, Monday to Sunday\n"
        "  --keep-monthly=N    keep one of each of N months\n"
        "  --keep-yearly=N     keep one of each of N years\n"
        "  --keep-all          keep everything\n"
        "  --help              show this text\n",
    .run = init_run,
};
