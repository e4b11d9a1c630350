// SPDX-License-Identifier: MIT
//
// backtree backup: backs up a VM or one disk and reports each snapshot it made.
#include "tools/command.h"
#include "tools/human.h"
#include "tools/job_follow.h"
#include "tools/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORDS_SIZE 4096

struct backup_choices {
    char words[WORDS_SIZE]; // as the trigger takes them
    bool no_wait, verify_after;
};

static int backup_add_word(struct backup_choices *choices, const char *key, const char *value,
                           struct error *err)
{
    size_t used = strlen(choices->words);
    int n =
        snprintf(choices->words + used, WORDS_SIZE - used, "%s%s%s", used ? " " : "", key, value);
    if (n < 0 || (size_t)n >= WORDS_SIZE - used)
        return error_set(err, -EINVAL, "too many tags");
    return 0;
}

static int backup_take(struct backup_choices *choices, int option, struct error *err)
{
    switch (option) {
    case 'F':
        return backup_add_word(choices, "full", "", err);
    case 'I':
        return backup_add_word(choices, "incremental", "", err);
    case 'S':
        return backup_add_word(choices, "trigger=scheduled", "", err);
    case 't': // checked here, so that a blank in it cannot become another word
        return name_check_tag(optarg, err) < 0 ? -EINVAL
                                               : backup_add_word(choices, "tag=", optarg, err);
    case 'V':
        choices->verify_after = true;
        return backup_add_word(choices, "verify_after=1", "", err);
    case 'n':
        choices->no_wait = true;
        return 0;
    default:
        return -EINVAL;
    }
}

static int backup_parse(int argc, char **argv, struct backup_choices *choices, struct error *err)
{
    static const struct option longs[] = {{"full", no_argument, NULL, 'F'},
                                          {"incremental", no_argument, NULL, 'I'},
                                          {"tag", required_argument, NULL, 't'},
                                          {"scheduled", no_argument, NULL, 'S'},
                                          {"verify-after", no_argument, NULL, 'V'},
                                          {"no-wait", no_argument, NULL, 'n'},
                                          OPTIONS_HELP,
                                          OPTIONS_END};
    struct backup_request checked = {0};
    int option, r = 0;
    while (r == 0 && (option = options_next(argc, argv, "h", longs, err)) != -1)
        r = backup_take(choices, option, err);
    return r < 0 ? r : backup_request_parse(choices->words, strlen(choices->words), &checked, err);
}

struct backup_report {
    bool one_disk; // how that ended is what the command's error says
};

struct backup_follower {
    char words[32];
    int64_t job_id;
};

static int backup_print_disk(const struct snapshot_row *row, void *arg, struct error *err)
{
    char name[SNAPSHOT_NAME_SIZE], size[HUMAN_SIZE], added[HUMAN_SIZE], of[2 * NAME_SIZE];
    const struct backup_report *report = arg;
    (void)err;
    snprintf(of, sizeof(of), "%s/%s", row->context_name, row->disk_name);
    const char *reason = job_follow_reason(row->reason, of);
    if (row->state == JOB_COMPLETED)
        printf("%s: %s: %s, %s new\n", of, snapshot_name(row, name),
               human_size(row->capacity, size), human_size(row->new_bytes, added));
    else if (row->state == JOB_FAILED && !report->one_disk)
        printf("%s: failed: %s\n", of, reason);
    else if (!report->one_disk)
        printf("%s: %s\n", of, job_state_to_word(row->state));
    return 0;
}

// One line a disk, also of a job that failed: disks that completed keep their snapshots.
static int backup_print(struct owner *owner, const struct job_row *job, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct snapshot_filter filter = {.job_id = job->id, .every_row = true};
    struct backup_report report = {.one_disk = job->disk_id != 0};
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    return r < 0 ? r : snapshot_each(conn, &filter, backup_print_disk, &report, err);
}

static int backup_follow(struct owner *owner, int64_t job_id, const char *name, struct error *err)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    if (!job)
        return error_set_errno(err, -ENOMEM, "cannot follow job %" PRId64, job_id);
    int r = job_follow(owner, job_id, name, job, err);
    if (job->id == 0) // its end could not be seen
        return r;
    int printed = backup_print(owner, job, err);
    return r < 0 ? r : printed;
}

static int backup_note_follower(const struct job_row *job, void *arg, struct error *err)
{
    struct backup_follower *follower = arg;
    (void)err;
    if (strcmp(job->upkeep_words, follower->words) == 0)
        follower->job_id = job->id;
    return 0;
}

// The verification that was recorded with the end of the backup.
static int backup_find_follower(struct owner *owner, int64_t job_id, int64_t *ret_id,
                                struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct job_filter filter = {.kind = JOB_VERIFY};
    struct backup_follower follower = {0};
    snprintf(follower.words, sizeof(follower.words), "job=%" PRId64, job_id);
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    if (r == 0)
        r = job_each(conn, &filter, backup_note_follower, &follower, err);
    *ret_id = follower.job_id;
    return r;
}

static int backup_verify(struct owner *owner, int64_t job_id, const char *name, struct error *err)
{
    AUTO_FREE struct job_row *job = calloc(1, sizeof(*job));
    int64_t verify_id = 0;
    if (!job)
        return error_set_errno(err, -ENOMEM, "cannot follow the verification");
    int r = backup_find_follower(owner, job_id, &verify_id, err);
    if (r == 0 && verify_id == 0)
        r = error_set(err, -ENOENT, "the verification of job %" PRId64 " is not there", job_id);
    if (r == 0)
        r = job_follow(owner, verify_id, name, job, err);
    if (r == 0)
        printf("%s: verified\n", name);
    else
        error_prefix(err, "verification (job %" PRId64 ")", verify_id);
    return r;
}

static int backup_named(const char *repo, const char *name, const struct backup_choices *choices,
                        struct error *err)
{
    AUTO(owner_close) struct owner *owner = NULL;
    AUTO_FREE struct catalog_path *path = calloc(1, sizeof(*path));
    int64_t job_id = 0;
    if (!path)
        return error_set_errno(err, -ENOMEM, "cannot look for it");
    int r = owner_open(repo, "backup", &owner, err);
    if (r == 0 && choices->no_wait && !owner_is_daemon(owner))
        r = error_set(err, -EINVAL,
                      "--no-wait: the repository is not mounted, so nothing would "
                      "run the job once this command has ended");
    if (r == 0)
        r = owner_resolve(owner, name, path, err);
    if (r == 0 && path->depth > PATH_DISK)
        r = error_set(err, -EINVAL, "name a VM or a disk");
    if (r == 0)
        r = owner_request_backup(owner, path, choices->words, &job_id, err);
    if (r != 0)
        return r;
    if (choices->no_wait) {
        printf("%s: job %" PRId64 "\n", name, job_id);
        return 0;
    }
    r = backup_follow(owner, job_id, name, err);
    return r == 0 && choices->verify_after ? backup_verify(owner, job_id, name, err) : r;
}

static int backup_run(int argc, char **argv, struct error *err)
{
    struct backup_choices choices = {0};
    char **operands;
    int count;
    if (backup_parse(argc, argv, &choices, err) < 0 ||
        options_operands(argc, argv, 2, 2, backup_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    if (!choices.no_wait)
        job_follow_block_signals();
    int r = backup_named(operands[0], operands[1], &choices, err);
    if (r != 0)
        error_prefix(err, "backup %s", operands[1]);
    return r;
}

const struct command backup_command = {
    .name = "backup",
    .operands = "REPO VM[/DISK] [OPTION...]",
    .summary = "back up a VM or one of its disks",
    .details =
        "Backs up every disk of a VM as one job, or one disk, and waits for the end. Without an\n"
        "option a disk's chain goes on with an incremental where it can, else a full backup "
        "starts\n"
        "a new chain. An interrupt (SIGINT, SIGTERM, SIGHUP) cancels the job.\n"
        "\n"
        "Options:\n"
        "  --full         read everything and start a new chain\n"
        "  --incremental  go on with the chain; an error where it cannot go on\n"
        "  --tag=TAG      record a tag with the job and its snapshots; may be repeated\n"
        "  --scheduled    record the job as scheduled, for cron and timers\n"
        "  --verify-after verify what the job made, as a job of its own, and wait for it too;\n"
        "                 exit status 3 when that finds damage\n"
        "  --no-wait      return when the job is accepted; only while mounted\n"
        "  --help         show this text\n",
    .run = backup_run,
};
