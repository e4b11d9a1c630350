// SPDX-License-Identifier: MIT
//
// Sizes and numbers as people write them.
#include "tools/human.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char UNITS[] = "KMGTP";

// The power of 1024 that a suffix stands for, -1 when it is none.
static int human_suffix_power(const char *suffix)
{
    if (*suffix == '\0')
        return 0;
    const char *unit = strchr(UNITS, toupper((unsigned char)*suffix));
    if (!unit || *unit == '\0')
        return -1;
    if (suffix[1] != '\0' && strcmp(suffix + 1, "iB") != 0)
        return -1;
    return (int)(unit - UNITS) + 1;
}

int human_parse_size(const char *what, const char *text, uint64_t *ret_bytes, struct error *err)
{
    char *suffix;
    errno = 0;
    uint64_t number = strtoull(text, &suffix, 10);
    if (!isdigit((unsigned char)*text))
        return error_set(err, -EINVAL, "%s: '%s' is not a size (as 65536, 64K or 1M)", what, text);
    int power = human_suffix_power(suffix);
    if (power < 0)
        return error_set(err, -EINVAL, "%s: '%s' is not a size (as 65536, 64K or 1M)", what, text);
    if (errno == ERANGE || (power > 0 && number > UINT64_MAX >> (10 * power)))
        return error_set(err, -ERANGE, "%s: '%s' is too large", what, text);
    *ret_bytes = number << (10 * power);
    return 0;
}

int human_parse_number(const char *what, const char *text, int64_t min, int64_t max,
                       int64_t *ret_number, struct error *err)
{
    char *end;
    errno = 0;
    int64_t number = strtoll(text, &end, 10);
    if (*text == '\0' || isspace((unsigned char)*text) || *end != '\0' || errno != 0 ||
        number < min || number > max)
        return error_set(err, -EINVAL, "%s: '%s' is not a number from %" PRId64 " to %" PRId64,
                         what, text, min, max);
    *ret_number = number;
    return 0;
}
