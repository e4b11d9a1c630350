// SPDX-License-Identifier: MIT
//
// What a command is to main: a name, its help, and a function that parses, calls and prints.
//
// A command writes its result to stdout and never its error: it returns the error and main prints
// the one line and decides the exit status. The sentence of an error begins with the command and
// what it was about ("backup web1/vda: ..."), which is put there by the command.
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

#include "base/error.h"

// What `run` returns beside 0 and -errno.
enum command_result {
    COMMAND_USAGE = 1, // the command line is wrong; err says how
    COMMAND_BUSY,      // another process owns the repository and no tree of it can be used
    COMMAND_TOLD,      // failed, and the error has been told elsewhere
};

struct command {
    const char *name;
    const char *operands; // "REPO VM [DISK=SOURCE...]"
    const char *summary;  // one line for `backtree --help`
    const char *details;  // paragraphs and the options, each line of which begins with "  --name"
    // argv[0] is the command's name.
    int (*run)(int argc, char **argv, struct error *err);
};

extern const struct command init_command;
extern const struct command mount_command;
extern const struct command umount_command;
extern const struct command add_command;
extern const struct command remove_command;
extern const struct command backup_command;
extern const struct command restore_command;
extern const struct command list_command;
extern const struct command show_command;
extern const struct command diff_command;
extern const struct command jobs_command;
extern const struct command prune_command;
extern const struct command stats_command;
extern const struct command check_command;
extern const struct command verify_command;
extern const struct command gc_command;
extern const struct command rebuild_command;

#endif
