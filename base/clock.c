// SPDX-License-Identifier: MIT
//
// Reads the clocks and turns times into text and back. All text is UTC, whatever TZ says. No state.
#include "base/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// Seconds that still fit into int64_t nanoseconds.
#define SECONDS_MAX (INT64_MAX / CLOCK_SECOND)

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * CLOCK_SECOND + ts.tv_nsec;
}

int64_t clock_now(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_monotonic(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

// False when `when` is no time ("not yet"). Rounds down on both sides of 1970.
static bool split_time(int64_t when, struct tm *ret_tm)
{
    time_t seconds = when / CLOCK_SECOND - (when % CLOCK_SECOND < 0 ? 1 : 0);
    return when != 0 && gmtime_r(&seconds, ret_tm) != NULL;
}

char *clock_to_iso(int64_t when, char text[CLOCK_ISO_SIZE])
{
    struct tm tm;
    if (!split_time(when, &tm) || strftime(text, CLOCK_ISO_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        text[0] = '\0';
    return text;
}

char *clock_to_compact(int64_t when, char text[CLOCK_ISO_SIZE])
{
    struct tm tm;
    if (!split_time(when, &tm) || strftime(text, CLOCK_ISO_SIZE, "%Y%m%dT%H%M%SZ", &tm) == 0)
        text[0] = '\0';
    return text;
}

// Takes exactly `width` digits off *text.
static bool take_digits(const char **text, int width, int *ret_value)
{
    int value = 0;
    for (int i = 0; i < width; i++) {
        char c = (*text)[i];
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *text += width;
    *ret_value = value;
    return true;
}

static bool take_char(const char **text, char c)
{
    if (**text != c)
        return false;
    (*text)++;
    return true;
}

// Takes one or more digits whose value is at most `max`.
static bool take_number(const char **text, int64_t max, int64_t *ret_value)
{
    int64_t value = 0;
    const char *p = *text;
    for (; *p >= '0' && *p <= '9'; p++) {
        int digit = *p - '0';
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (p == *text)
        return false;
    *text = p;
    *ret_value = value;
    return true;
}

// "HH:MM[:SS]" after the date.
static bool take_time(const char **text, struct tm *tm)
{
    if (!take_digits(text, 2, &tm->tm_hour) || !take_char(text, ':') ||
        !take_digits(text, 2, &tm->tm_min))
        return false;
    if (take_char(text, ':') && !take_digits(text, 2, &tm->tm_sec))
        return false;
    return tm->tm_hour <= 23 && tm->tm_min <= 59 && tm->tm_sec <= 59;
}

static int parse_date(const char *text, int64_t *ret_when)
{
    struct tm tm = {0};
    int year;
    int month;
    if (!take_digits(&text, 4, &year) || !take_char(&text, '-') || !take_digits(&text, 2, &month) ||
        !take_char(&text, '-') || !take_digits(&text, 2, &tm.tm_mday))
        return -EINVAL;
    if (take_char(&text, 'T') || take_char(&text, ' ')) {
        if (!take_time(&text, &tm))
            return -EINVAL;
        take_char(&text, 'Z');
    }
    if (*text != '\0' || year < 1970)
        return -EINVAL;

    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    struct tm given = tm;
    time_t seconds = timegm(&tm);
    // timegm() turns the 31st of February into a day of March; a date that moved never was one.
    if (tm.tm_mon != given.tm_mon || tm.tm_mday != given.tm_mday || tm.tm_year != given.tm_year)
        return -EINVAL;
    if (seconds > SECONDS_MAX)
        return -EINVAL;
    *ret_when = (int64_t)seconds * CLOCK_SECOND;
    return 0;
}

static int64_t unit_seconds(char unit)
{
    switch (unit) {
    case 's':
        return 1;
    case 'm':
        return 60;
    case 'h':
        return 3600;
    case 'd':
        return 86400;
    case 'w':
        return 7 * 86400;
    default:
        return 0;
    }
}

static int parse_age(const char *text, int64_t now, int64_t *ret_when)
{
    int64_t count;
    if (!take_number(&text, SECONDS_MAX, &count))
        return -EINVAL;
    int64_t seconds = unit_seconds(*text);
    if (seconds == 0 || text[1] != '\0' || count > SECONDS_MAX / seconds)
        return -EINVAL;
    int64_t age = count * seconds * CLOCK_SECOND;
    // Before 1970 nothing was backed up; 1 is the oldest time that is not "not yet".
    *ret_when = age < now ? now - age : 1;
    return 0;
}

static int parse_seconds(const char *text, int64_t *ret_when)
{
    int64_t seconds;
    if (!take_number(&text, SECONDS_MAX, &seconds) || *text != '\0')
        return -EINVAL;
    *ret_when = seconds * CLOCK_SECOND;
    return 0;
}

int clock_parse(const char *text, int64_t now, int64_t *ret_when)
{
    int64_t when = 0;
    int rc;
    if (*text == '@')
        rc = parse_seconds(text + 1, &when);
    else
        rc = strchr(text, '-') ? parse_date(text, &when) : parse_age(text, now, &when);
    // The first moment of 1970 was given: a caller must not take it for "no time given".
    if (rc == 0)
        *ret_when = when ? when : 1;
    return rc;
}
