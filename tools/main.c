// SPDX-License-Identifier: MIT
//
// The command line of backtree: finds the command, answers --help and --version, prints the one
// line of an error and decides the exit status. Nothing else in the program prints errors or exits.
#include "base/fault.h"
#include "tools/command.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_MISUSED = 2,
    EXIT_DAMAGED = 3,
    EXIT_BUSY = 75, // EX_TEMPFAIL: try again
};

static const struct command *const COMMANDS[] = {
    &init_command,   &mount_command,   &umount_command, &add_command,   &remove_command,
    &backup_command, &restore_command, &list_command,   &show_command,  &diff_command,
    &jobs_command,   &prune_command,   &stats_command,  &check_command, &verify_command,
    &gc_command,     &rebuild_command,
};

#define COMMAND_COUNT (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

static const struct command *main_find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(COMMANDS[i]->name, name) == 0)
            return COMMANDS[i];
    return NULL;
}

static void main_print_help(void)
{
    puts("Usage: backtree COMMAND REPO [OPERAND...] [OPTION...]\n"
         "\n"
         "A backup repository for VM disks that can be mounted.\n"
         "\n"
         "Commands:");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-9s %s\n", COMMANDS[i]->name, COMMANDS[i]->summary);
    puts("\n"
         "Options:\n"
         "  --help     show this text, or that of a command: backtree COMMAND --help\n"
         "  --version  show the version\n"
         "\n"
         "Exit status: 0 done, 1 failed, 2 wrong usage, 3 damage found, 75 busy (try again).");
}

static void main_print_command_help(const struct command *command)
{
    printf("Usage: backtree %s %s\n\n%s", command->name, command->operands, command->details);
}

// --help is answered wherever it stands before "--", so that no command has to.
static int main_asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return 1;
    return 0;
}

static enum exit_status main_exit_status(int result)
{
    switch (result) {
    case 0:
        return EXIT_DONE;
    case COMMAND_USAGE:
        return EXIT_MISUSED;
    case COMMAND_BUSY:
        return EXIT_BUSY;
    case -ERROR_CORRUPT:
        return EXIT_DAMAGED;
    default:
        return EXIT_FAILED;
    }
}

// Output that did not arrive (a full disk behind a redirection) is a failure too.
static int main_flush(struct error *err)
{
    if (fflush(stdout) == EOF || ferror(stdout))
        return error_set_errno(err, errno ? -errno : -EIO, "cannot write the output");
    return 0;
}

static int main_run(const struct command *command, int argc, char **argv, struct error *err)
{
    int r = fault_init(err);
    if (r == 0)
        r = command->run(argc, argv, err);
    if (r == COMMAND_USAGE)
        error_prefix(err, "%s", command->name);
    int flushed = main_flush(r == 0 ? err : NULL);
    return r == 0 ? flushed : r;
}

static int main_misused(const char *what, const char *word)
{
    fprintf(stderr, "backtree: %s%s%s (see backtree --help)\n", what, *word ? " " : "", word);
    return EXIT_MISUSED;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    setlocale(LC_CTYPE, "");
    umask(077); // whoever reads a repository reads disks
    if (argc < 2)
        return main_misused("no command given", "");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        main_print_help();
        return main_exit_status(main_flush(&err));
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("backtree " BACKTREE_VERSION);
        return main_exit_status(main_flush(&err));
    }
    const struct command *command = main_find_command(argv[1]);
    if (!command)
        return main_misused("unknown command", argv[1]);
    if (main_asks_for_help(argc - 1, argv + 1)) {
        main_print_command_help(command);
        return main_exit_status(main_flush(&err));
    }
    int r = main_run(command, argc - 1, argv + 1, &err);
    if (r != 0 && r != COMMAND_TOLD)
        fprintf(stderr, "backtree: %s%s\n", error_message(&err),
                r == COMMAND_USAGE ? " (see --help)" : "");
    return main_exit_status(r);
}
