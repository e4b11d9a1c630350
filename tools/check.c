// SPDX-License-Identifier: MIT
//
// backtree check: looks whether a repository is whole.
#include "fs/job/check.h"

#include "tools/command.h"
#include "tools/options.h"
#include "tools/progress_bar.h"
#include "tools/record_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct check_output {
    struct progress_bar bar;
    json_t *findings; // NULL: lines
    bool failed;      // a finding could not be kept
};

static const char *check_class_word(enum check_class class)
{
    return class == CHECK_DAMAGE ? "damage" : "leftover";
}

static void check_take_finding(enum check_class class, const char *subject, const char *text,
                               void *arg)
{
    struct check_output *output = arg;
    progress_bar_clear(&output->bar);
    if (!output->findings) {
        printf("%s: %s: %s\n", check_class_word(class), subject, text);
        fflush(stdout);
        return;
    }
    json_t *finding = json_pack("{s:s, s:s, s:s}", "class", check_class_word(class), "subject",
                                subject, "text", text);
    if (json_array_append_new(output->findings, finding) < 0)
        output->failed = true;
}

static int check_draw(const char *step, uint64_t done, uint64_t total, void *arg, struct error *err)
{
    struct check_output *output = arg;
    (void)err;
    progress_bar_step(&output->bar, step, done, total);
    return 0;
}

static int check_print_json(struct check_output *output, const struct check_result *result,
                            struct error *err)
{
    json_auto_t *record = json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "whole", result->damage == 0, "packs",
        (json_int_t)result->packs, "pack_bytes", (json_int_t)result->pack_bytes, "records",
        (json_int_t)result->records, "snapshots", (json_int_t)result->snapshots, "proved_bytes",
        (json_int_t)result->proved_bytes, "damage", (json_int_t)result->damage, "leftovers",
        (json_int_t)result->leftovers, "findings", output->findings);
    if (!record || output->failed)
        return error_set(err, -ENOMEM, "out of memory for the findings");
    return record_text_print_as(record, true, err);
}

static void check_print(const char *repo, const struct check_result *result, bool full)
{
    printf("%s: %" PRIu64 " snapshots, %" PRIu64 " packs with %" PRIu64 " records%s: ", repo,
           result->snapshots, result->packs, result->records, full ? ", each of them proved" : "");
    if (result->damage == 0)
        printf("whole");
    else
        printf("%" PRIu64 " damage%s", result->damage, result->damage == 1 ? "" : "s");
    if (result->leftovers > 0)
        printf(", %" PRIu64 " leftover%s", result->leftovers, result->leftovers == 1 ? "" : "s");
    putchar('\n');
}

static int check_do(const char *repo, bool full, struct check_output *output, struct error *err)
{
    struct check_options options = {
        .full = full, .finding = check_take_finding, .progress = check_draw, .arg = output};
    struct check_result result;
    progress_bar_init(&output->bar, stderr);
    int r = repository_check(repo, &options, &result, err);
    progress_bar_clear(&output->bar);
    if (r == 0 && output->findings)
        r = check_print_json(output, &result, err);
    else if (r == 0)
        check_print(repo, &result, full);
    if (r == 0 && result.damage > 0)
        r = error_set(err, -ERROR_CORRUPT, "it is damaged");
    return r;
}

static int check_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {{"full", no_argument, NULL, 'f'},
                                          {"json", no_argument, NULL, 'j'},
                                          OPTIONS_HELP,
                                          OPTIONS_END};
    json_auto_t *findings = NULL;
    char **operands;
    int option, count;
    bool full = false, json = false;
    while ((option = options_next(argc, argv, "h", longs, err)) != -1) {
        if (option != 'f' && option != 'j')
            return COMMAND_USAGE;
        full = full || option == 'f';
        json = json || option == 'j';
    }
    if (options_operands(argc, argv, 1, 1, check_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    if (json && !(findings = json_array()))
        return error_set(err, -ENOMEM, "out of memory");
    struct check_output output = {.findings = findings};
    int r = check_do(operands[0], full, &output, err);
    if (r < 0)
        error_prefix(err, "check %s", operands[0]);
    return r;
}

const struct command check_command = {
    .name = "check",
    .operands = "REPO [OPTION...]",
    .summary = "look whether a repository is whole",
    .details = "Checks the catalog's integrity, every pack's presence, size and index against the\n"
               "catalog, that everything a snapshot refers to is there, and that snapshots' rows\n"
               "say what their records in the packs say. Works beside a daemon; repairs nothing.\n"
               "Prints a line for each finding, then a summary. Exit status 3 says that something\n"
               "is damaged; leftovers of a crash, which the next start deals with, are no damage.\n"
               "\n"
               "Options:\n"
               "  --full  also read every record, check its checksums and prove it by SHA-256\n"
               "  --json  print a JSON object\n"
               "  --help  show this text\n",
    .run = check_run,
};
