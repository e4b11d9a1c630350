// SPDX-License-Identifier: MIT
#include "base/human.h"

#include <inttypes.h>
#include <stdio.h>

static const char UNITS[] = "KMGTP";

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
