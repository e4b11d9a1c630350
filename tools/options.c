// SPDX-License-Identifier: MIT
//
// Command lines: getopt_long(3) with our own sentences.
#include "tools/options.h"

#include <stdio.h>

// getopt tells an unknown long option by optopt 0 and one given twice short of its name, or with an
// argument it does not take, by the word before optind.
static void options_refuse(int result, char **argv, struct error *err)
{
    const char *word = argv[optind - 1];
    if (result == ':')
        error_set(err, -EINVAL, "option '%s' needs a value", word);
    else if (optopt > 0 && optopt < 256 && word[0] == '-' && word[1] != '-')
        error_set(err, -EINVAL, "unknown option '-%c'", optopt);
    else if (optopt > 0)
        error_set(err, -EINVAL, "option '%s' takes no value", word);
    else
        error_set(err, -EINVAL, "unknown option '%s'", word);
}

int options_next(int argc, char **argv, const char *shorts, const struct option *longs,
                 struct error *err)
{
    char with_colon[64]; // a leading colon tells a missing value from an unknown option
    snprintf(with_colon, sizeof(with_colon), ":%s", shorts);
    opterr = 0;
    int result = getopt_long(argc, argv, with_colon, longs, NULL);
    if (result == '?' || result == ':') {
        options_refuse(result, argv, err);
        return '?';
    }
    return result;
}

int options_operands(int argc, char **argv, int min, int max, const char *names,
                     char ***ret_operands, int *ret_count, struct error *err)
{
    int count = argc - optind;
    if (count < min)
        return error_set(err, -EINVAL, "missing operand: %s %s", argv[0], names);
    if (max >= 0 && count > max)
        return error_set(err, -EINVAL, "unexpected operand '%s': %s %s", argv[optind + max],
                         argv[0], names);
    *ret_operands = argv + optind;
    *ret_count = count;
    return 0;
}
