// SPDX-License-Identifier: MIT
//
// backtree verify: proves what is stored, as a job.
#include "catalog/record_json.h"
#include "fs/job/verify_words.h"
#include "tools/command.h"
#include "tools/human.h"
#include "tools/job_follow.h"
#include "tools/options.h"
#include "tools/record_text.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct verify_choices {
    const char *repo, *name;
    char words[UPKEEP_WORDS_SIZE]; // as the trigger takes them
    bool json;
};

static int verify_add_word(struct verify_choices *choices, const char *key, const char *value,
                           struct error *err)
{
    size_t used = strlen(choices->words), room = sizeof(choices->words) - used;
    if (strpbrk(value, " \t\r\n"))
        return error_set(err, -EINVAL, "'%.60s' is more than one word", value);
    if ((size_t)snprintf(choices->words + used, room, "%s%s%s", used ? " " : "", key, value) >=
        room)
        return error_set(err, -EINVAL, "too many words");
    return 0;
}

// --- what came of it

static int verify_print_line(int64_t at, const char *line, void *arg, struct error *err)
{
    (void)at;
    (void)arg;
    (void)err;
    if (strncmp(line, "damage: ", 8) == 0)
        puts(line);
    return 0;
}

static int verify_print_text(struct catalog_conn *conn, const struct job_row *job,
                             const char *label, struct error *err)
{
    json_auto_t *record = NULL;
    int r = job_log_each(conn, job->id, verify_print_line, NULL, err);
    if (r == 0)
        r = job_record_json(conn, job->id, &record, err);
    json_t *figures = r == 0 ? json_object_get(record, "figures") : NULL;
    if (!figures) // it did not get that far
        return r;
    char proved[HUMAN_SIZE];
    json_int_t records = json_integer_value(json_object_get(figures, "records"));
    json_int_t packs = json_integer_value(json_object_get(figures, "packs"));
    json_int_t whole = json_integer_value(json_object_get(figures, "verified_snapshots"));
    json_int_t bytes = json_integer_value(json_object_get(figures, "proved_bytes"));
    json_int_t indexes = json_integer_value(json_object_get(figures, "damaged_indexes"));
    if (indexes > 0)
        printf("%" PRId64 " packs without a whole index: see backtree check\n", (int64_t)indexes);
    printf("%s: %" PRId64 " records of %" PRId64 " packs proved, %s, %" PRId64
           " snapshots found whole: %s\n",
           label, (int64_t)records, (int64_t)packs, human_size((uint64_t)bytes, proved),
           (int64_t)whole, job->damage ? "damaged" : "no damage");
    return 0;
}

static int verify_print(struct owner *owner, const struct verify_choices *choices,
                        const struct job_row *job, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    json_auto_t *record = NULL;
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    if (r < 0)
        return r;
    if (!choices->json)
        return verify_print_text(conn, job, choices->name ? choices->name : choices->repo, err);
    r = job_record_json(conn, job->id, &record, err);
    return r < 0 ? r : record_text_print_as(record, true, err);
}

static int verify_do(const struct verify_choices *choices, struct error *err)
{
    AUTO(owner_close) struct owner *owner = NULL;
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    const char *label = choices->name ? choices->name : "verify";
    int64_t job_id = 0;
    if (!job)
        return error_set_errno(err, -ENOMEM, "cannot verify");
    int r = owner_open(choices->repo, "verify", &owner, err);
    if (r == 0)
        r = owner_request_upkeep(owner, JOB_VERIFY, choices->words, &job_id, err);
    if (r != 0)
        return r;
    r = job_follow(owner, job_id, label, job, err);
    if (job->id == 0) // its end could not be seen
        return r;
    int printed = verify_print(owner, choices, job, r < 0 ? NULL : err);
    return r < 0 ? r : printed;
}

// --- the command line

static int verify_parse(int argc, char **argv, struct verify_choices *choices, struct error *err)
{
    static const struct option longs[] = {{"share", required_argument, NULL, 's'},
                                          {"unverified", required_argument, NULL, 'u'},
                                          {"scheduled", no_argument, NULL, 'S'},
                                          {"json", no_argument, NULL, 'j'},
                                          OPTIONS_HELP,
                                          OPTIONS_END};
    int option, r = 0;
    while (r == 0 && (option = options_next(argc, argv, "h", longs, err)) != -1) {
        struct verify_words share = {0};
        if (option == 's' && strncmp(optarg, "job=", 4) != 0 &&
            strncmp(optarg, "unverified=", 11) != 0)
            r = verify_word(optarg, clock_now(), &share, err);
        if (option == 's' && r == 0)
            r = error_set(err, -EINVAL, "--share: '%.60s' is none: use 5%% or 1/7", optarg);
        else if (option == 's' && r == 1)
            r = verify_add_word(choices, "", optarg, err);
        else if (option == 'u')
            r = verify_add_word(choices, "unverified=", optarg, err);
        else if (option == 'S')
            r = verify_add_word(choices, "trigger=scheduled", "", err);
        else if (option == 'j')
            choices->json = true;
        else if (r == 0)
            r = -EINVAL;
    }
    return r;
}

// What the words say is looked at before the name and the trigger join them: those are for the job.
static int verify_check(struct verify_choices *choices, struct error *err)
{
    char words[UPKEEP_WORDS_SIZE];
    struct verify_words parsed;
    snprintf(words, sizeof(words), "%s", choices->words);
    char *trigger = strstr(words, "trigger=scheduled");
    if (trigger)
        memset(trigger, ' ', strlen("trigger=scheduled"));
    int r = verify_words_parse(words, choices->name != NULL, clock_now(), &parsed, err);
    return r == 0 && choices->name ? verify_add_word(choices, "", choices->name, err) : r;
}

static int verify_run(int argc, char **argv, struct error *err)
{
    struct verify_choices choices = {0};
    char **operands;
    int count;
    if (verify_parse(argc, argv, &choices, err) < 0 ||
        options_operands(argc, argv, 1, 2, verify_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    choices.repo = operands[0];
    choices.name = count > 1 ? operands[1] : NULL;
    if (verify_check(&choices, err) < 0)
        return COMMAND_USAGE;
    job_follow_block_signals();
    int r = verify_do(&choices, err);
    if (r != 0)
        error_prefix(err, "verify %s", choices.name ? choices.name : choices.repo);
    return r;
}

const struct command verify_command = {
    .name = "verify",
    .operands = "REPO [NAME] [OPTION...]",
    .summary = "prove what is stored, and find what is damaged",
    .details =
        "Reads packs, decodes every record, computes its SHA-256 anew and walks the maps, as a\n"
        "job. NAME is a VM, VM/DISK or a snapshot's path: then what its snapshots refer to is\n"
        "proved. Without a name and a share everything is. Snapshots that damage touches get a\n"
        "file DAMAGED that lists the extents; the next backup that meets the content on its\n"
        "source heals them. Prints a line for each finding, then a summary. Exit status 3 says\n"
        "that something is damaged. An interrupt (SIGINT, SIGTERM, SIGHUP) cancels the job.\n"
        "\n"
        "Options:\n"
        "  --share=N%         that share of the stored bytes, what was proved longest ago first,\n"
        "                     so that runs in a row cover everything\n"
        "  --share=N/T        part N of T: T runs with N from 1 to T cover everything\n"
        "  --unverified=TIME  what was not proved within a time (7d) or since a date; with a\n"
        "                     share, that share of it\n"
        "  --scheduled        record the job as scheduled, for cron and timers\n"
        "  --json             print the job's record as JSON\n"
        "  --help             show this text\n",
    .run = verify_run,
};
