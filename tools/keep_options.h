// SPDX-License-Identifier: MIT
//
// The options --keep-RULE=N that `init` and `prune` share, put together as the words of a retention
// policy (fs/job/retention.h).
#ifndef TOOLS_KEEP_OPTIONS_H
#define TOOLS_KEEP_OPTIONS_H

#include "fs/job/retention.h"

#include <getopt.h>

// Values for getopt; each rule's is KEEP_OPTION + the rule.
#define KEEP_OPTION 512

// clang-format off
#define KEEP_OPTIONS                                                              \
    {"keep-within", required_argument, NULL, KEEP_OPTION + RETENTION_WITHIN},     \
    {"keep-last", required_argument, NULL, KEEP_OPTION + RETENTION_LAST},         \
    {"keep-hourly", required_argument, NULL, KEEP_OPTION + RETENTION_HOURLY},     \
    {"keep-daily", required_argument, NULL, KEEP_OPTION + RETENTION_DAILY},       \
    {"keep-weekly", required_argument, NULL, KEEP_OPTION + RETENTION_WEEKLY},     \
    {"keep-monthly", required_argument, NULL, KEEP_OPTION + RETENTION_MONTHLY},   \
    {"keep-yearly", required_argument, NULL, KEEP_OPTION + RETENTION_YEARLY}
// clang-format on

struct keep_options {
    struct retention_policy policy;
};

// Takes one of KEEP_OPTIONS. Returns 1 taken, 0 not one of them, or -EINVAL with a sentence.
int keep_options_take(struct keep_options *options, int option, const char *value,
                      struct error *err);

// The words; "" when none of the options was given. Returns `words`.
char *keep_options_words(const struct keep_options *options, char words[RETENTION_TEXT_SIZE]);

#endif
