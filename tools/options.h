// SPDX-License-Identifier: MIT
//
// Command lines: getopt_long(3) with our own sentences, and the operands after the options. Prints
// nothing. For the main thread, as getopt is.
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include "base/error.h"

#include <getopt.h>
#include <stddef.h>

// Every command takes --help; main answers it before the command runs, so that it only has to be
// known here for getopt's sake.
#define OPTIONS_HELP                                                                               \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }
#define OPTIONS_END                                                                                \
    {                                                                                              \
        NULL, 0, NULL, 0                                                                           \
    }

// The next option's value, -1 after the last one, or '?' with a sentence in `err`. `shorts` is
// getopt's string without a leading colon. The option's argument is in getopt's optarg.
int options_next(int argc, char **argv, const char *shorts, const struct option *longs,
                 struct error *err);

// The operands left when options_next() gave -1: at least `min` and at most `max` (-1 = any
// number). `names` is the synopsis for the sentence. Returns 0 or -EINVAL.
int options_operands(int argc, char **argv, int min, int max, const char *names,
                     char ***ret_operands, int *ret_count, struct error *err);

#endif
