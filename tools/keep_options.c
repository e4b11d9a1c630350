// SPDX-License-Identifier: MIT
//
// --keep-RULE=N; the words are checked by the parser that reads a policy anywhere else.
#include "tools/keep_options.h"

#include <stdio.h>
#include <string.h>

static const char *const KEEP_WORDS[RETENTION_RULE_COUNT] = {
    [RETENTION_WITHIN] = "keep-within", [RETENTION_LAST] = "keep-last",
    [RETENTION_HOURLY] = "keep-hourly", [RETENTION_DAILY] = "keep-daily",
    [RETENTION_WEEKLY] = "keep-weekly", [RETENTION_MONTHLY] = "keep-monthly",
    [RETENTION_YEARLY] = "keep-yearly",
};

int keep_options_take(struct keep_options *options, int option, const char *value,
                      struct error *err)
{
    int rule = option - KEEP_OPTION;
    char words[2 * RETENTION_TEXT_SIZE], given[RETENTION_TEXT_SIZE];

    if (rule <= RETENTION_RULE_UNKNOWN || rule >= RETENTION_RULE_COUNT)
        return 0;
    // A blank could begin another word, and an empty value would be read as none at all.
    if (strpbrk(value, " \t\r\n") || strlen(value) > 32)
        return error_set(err, -EINVAL, "--%s: '%.40s' is no number", KEEP_WORDS[rule], value);
    keep_options_words(options, given);
    snprintf(words, sizeof(words), "%s %s=%s", given, KEEP_WORDS[rule], value);
    int r = retention_parse(words, strlen(words), &options->policy, err);
    return r < 0 ? r : 1;
}

char *keep_options_words(const struct keep_options *options, char words[RETENTION_TEXT_SIZE])
{
    if (retention_keeps_everything(&options->policy))
        words[0] = '\0';
    else
        retention_format(&options->policy, words);
    return words;
}
