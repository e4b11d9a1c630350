// SPDX-License-Identifier: MIT
//
// Sizes and durations as people write and read them.
#include "tools/human.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
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

char *human_size(uint64_t bytes, char text[HUMAN_SIZE])
{
    if (bytes < 1024) {
        snprintf(text, HUMAN_SIZE, "%" PRIu64 " B", bytes);
        return text;
    }
    // 1023.95 would be printed as 1024.0: it is already 1.0 of the next unit.
    double number = (double)bytes / 1024;
    size_t unit = 0;
    while (number >= 1023.95 && UNITS[unit + 1] != '\0') {
        number /= 1024;
        unit++;
    }
    snprintf(text, HUMAN_SIZE, "%.1f %ciB", number, UNITS[unit]);
    return text;
}

char *human_duration(int64_t seconds, char text[HUMAN_SIZE])
{
    int64_t days = seconds / 86400, hours = seconds / 3600 % 24;
    int minutes = (int)(seconds / 60 % 60), rest = (int)(seconds % 60);
    if (seconds < 0)
        snprintf(text, HUMAN_SIZE, "-:--");
    else if (days > 0)
        snprintf(text, HUMAN_SIZE, "%" PRId64 "d %" PRId64 ":%02d:%02d", days, hours, minutes,
                 rest);
    else if (hours > 0)
        snprintf(text, HUMAN_SIZE, "%" PRId64 ":%02d:%02d", hours, minutes, rest);
    else
        snprintf(text, HUMAN_SIZE, "%d:%02d", minutes, rest);
    return text;
}
