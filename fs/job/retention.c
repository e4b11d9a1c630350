// SPDX-License-Identifier: MIT
//
// Retention policies; the words and the rules stand in retention.h.
#include "fs/job/retention.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_SECONDS (INT64_C(24) * 60 * 60)

static const char *const words_of_rules[RETENTION_RULE_COUNT] = {
    [RETENTION_WITHIN] = "keep-within", [RETENTION_LAST] = "keep-last",
    [RETENTION_HOURLY] = "keep-hourly", [RETENTION_DAILY] = "keep-daily",
    [RETENTION_WEEKLY] = "keep-weekly", [RETENTION_MONTHLY] = "keep-monthly",
    [RETENTION_YEARLY] = "keep-yearly",
};

#define ALL_RULES                                                                                  \
    "keep-last, keep-hourly, keep-daily, keep-weekly, keep-monthly, keep-yearly or keep-within"

// --- words

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// How much of a word a sentence shows.
static int shown(size_t len)
{
    return len > 60 ? 60 : (int)len;
}

static int64_t unit_seconds(char unit)
{
    return unit == 's'   ? 1
           : unit == 'm' ? 60
           : unit == 'h' ? 60 * 60
           : unit == 'd' ? DAY_SECONDS
           : unit == 'w' ? 7 * DAY_SECONDS
                         : 0;
}

static enum retention_rule find_rule(const char *word, size_t len)
{
    for (int rule = RETENTION_WITHIN; rule < RETENTION_RULE_COUNT; rule++)
        if (strlen(words_of_rules[rule]) == len && memcmp(words_of_rules[rule], word, len) == 0)
            return (enum retention_rule)rule;
    return RETENTION_RULE_UNKNOWN;
}

// A whole number from 1 to RETENTION_COUNT_MAX; 0 when it is none.
static uint32_t parse_count(const char *text, size_t len)
{
    uint32_t count = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        count = count * 10 + (uint32_t)(text[i] - '0');
        if (count > RETENTION_COUNT_MAX)
            return 0;
    }
    return count;
}

static int parse_value(struct retention_policy *policy, enum retention_rule rule, const char *value,
                       size_t len, struct error *err)
{
    char unit = '\0';
    size_t digits = len;

    if (rule == RETENTION_WITHIN) {
        unit = len > 0 ? value[len - 1] : '\0';
        if (unit_seconds(unit) == 0)
            return error_set(err, -EINVAL,
                             "keep-within=%.*s is no time: a number and s, m, h, d or w, as in 7d",
                             shown(len), value);
        digits--;
    }
    uint32_t count = parse_count(value, digits);
    if (count == 0)
        return error_set(err, -EINVAL, "%s=%.*s: the number is not one from 1 to %d",
                         words_of_rules[rule], shown(len), value, RETENTION_COUNT_MAX);
    policy->keep[rule] = count;
    if (rule == RETENTION_WITHIN)
        policy->within_unit = unit;
    return 0;
}

static int parse_word(struct retention_policy *policy, const char *word, size_t len,
                      struct error *err)
{
    const char *equals = memchr(word, '=', len);
    size_t name_len = equals ? (size_t)(equals - word) : len;
    enum retention_rule rule = find_rule(word, name_len);

    if (rule == RETENTION_RULE_UNKNOWN)
        return error_set(err, -EINVAL, "unknown word '%.*s': use " ALL_RULES ", or none",
                         shown(len), word);
    if (!equals)
        return error_set(err, -EINVAL, "%s needs a value, as in %s=%s", words_of_rules[rule],
                         words_of_rules[rule], rule == RETENTION_WITHIN ? "7d" : "7");
    if (policy->keep[rule] != 0)
        return error_set(err, -EINVAL, "%s is given twice", words_of_rules[rule]);
    return parse_value(policy, rule, equals + 1, len - name_len - 1, err);
}

int retention_parse(const char *words, size_t len, struct retention_policy *ret_policy,
                    struct error *err)
{
    struct retention_policy policy = {0};
    const char *at = words, *end = words + len;
    int count = 0;
    bool none = false;

    for (;;) {
        while (at < end && is_blank(*at))
            at++;
        if (at == end)
            break;
        const char *word = at;
        while (at < end && !is_blank(*at))
            at++;
        size_t word_len = (size_t)(at - word);
        count++;
        if (word_len == strlen(RETENTION_NONE) && memcmp(word, RETENTION_NONE, word_len) == 0)
            none = true;
        else if (parse_word(&policy, word, word_len, err) < 0)
            return -EINVAL;
    }
    if (none && count > 1)
        return error_set(err, -EINVAL, "none keeps everything: no other word goes with it");
    *ret_policy = policy;
    return 0;
}

char *retention_format(const struct retention_policy *policy, char text[RETENTION_TEXT_SIZE])
{
    size_t used = 0;

    for (int rule = RETENTION_WITHIN; rule < RETENTION_RULE_COUNT; rule++) {
        if (policy->keep[rule] == 0)
            continue;
        char unit[2] = {rule == RETENTION_WITHIN ? policy->within_unit : '\0', '\0'};
        used += (size_t)snprintf(text + used, RETENTION_TEXT_SIZE - used, "%s%s=%" PRIu32 "%s",
                                 used ? " " : "", words_of_rules[rule], policy->keep[rule], unit);
    }
    if (used == 0)
        snprintf(text, RETENTION_TEXT_SIZE, RETENTION_NONE);
    return text;
}

bool retention_keeps_everything(const struct retention_policy *policy)
{
    for (int rule = RETENTION_WITHIN; rule < RETENTION_RULE_COUNT; rule++)
        if (policy->keep[rule] != 0)
            return false;
    return true;
}

// --- time

static int64_t floor_divide(int64_t value, int64_t by)
{
    return value / by - (value % by < 0 ? 1 : 0);
}

// The number of the period a time is in; it grows with time.
static int64_t period_of(enum retention_rule rule, int64_t taken_at)
{
    time_t seconds = (time_t)floor_divide(taken_at, CLOCK_SECOND);
    int64_t day = floor_divide(seconds, DAY_SECONDS);
    struct tm tm = {0};

    switch (rule) {
    case RETENTION_HOURLY:
        return floor_divide(seconds, 60 * 60);
    case RETENTION_DAILY:
        return day;
    case RETENTION_WEEKLY: // day 0 was a Thursday, and weeks begin on Monday
        return floor_divide(day + 3, 7);
    default:
        gmtime_r(&seconds, &tm);
        return rule == RETENTION_MONTHLY ? (int64_t)tm.tm_year * 12 + tm.tm_mon : tm.tm_year;
    }
}

// "daily 2026-11-20".
static void say_period(enum retention_rule rule, int64_t taken_at, char why[RETENTION_WHY_SIZE])
{
    time_t seconds = (time_t)floor_divide(taken_at, CLOCK_SECOND);
    struct tm tm = {0};

    gmtime_r(&seconds, &tm);
    if (rule == RETENTION_HOURLY)
        strftime(why, RETENTION_WHY_SIZE, "hourly %Y-%m-%dT%H", &tm);
    else if (rule == RETENTION_DAILY)
        strftime(why, RETENTION_WHY_SIZE, "daily %Y-%m-%d", &tm);
    else if (rule == RETENTION_WEEKLY)
        strftime(why, RETENTION_WHY_SIZE, "weekly %G-W%V", &tm);
    else if (rule == RETENTION_MONTHLY)
        strftime(why, RETENTION_WHY_SIZE, "monthly %Y-%m", &tm);
    else
        strftime(why, RETENTION_WHY_SIZE, "yearly %Y", &tm);
}

static int64_t within_seconds(const struct retention_policy *policy)
{
    return policy->keep[RETENTION_WITHIN] * unit_seconds(policy->within_unit);
}

// Whether it is no older than `seconds`; for a time that is not after `now`.
static bool is_younger(int64_t taken_at, int64_t now, int64_t seconds)
{
    return seconds > now / CLOCK_SECOND || taken_at >= now - seconds * CLOCK_SECOND;
}

// --- judging

struct candidate {
    const struct retention_snapshot *snapshot;
    struct retention_verdict *verdict;
};

static int newest_first(const void *a, const void *b)
{
    const struct retention_snapshot *x = ((const struct candidate *)a)->snapshot;
    const struct retention_snapshot *y = ((const struct candidate *)b)->snapshot;

    if (x->taken_at != y->taken_at)
        return x->taken_at < y->taken_at ? 1 : -1;
    return x->id < y->id ? 1 : x->id > y->id ? -1 : 0;
}

__attribute__((format(printf, 2, 3))) static void keep(struct retention_verdict *verdict,
                                                       const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(verdict->why, sizeof(verdict->why), fmt, args);
    va_end(args);
    verdict->keep = true;
}

// What the rules do not see: judged here and now. False for what they do see.
static bool judge_beside_rules(const struct retention_policy *policy, int64_t now,
                               const struct retention_snapshot *snapshot,
                               struct retention_verdict *verdict)
{
    int64_t within = within_seconds(policy);
    int64_t safety = within > RETENTION_SAFETY_SECONDS ? within : RETENTION_SAFETY_SECONDS;

    if (snapshot->protected)
        keep(verdict, "protected");
    else if (snapshot->taken_at > now)
        keep(verdict, "future");
    else if (snapshot->safety && is_younger(snapshot->taken_at, now, safety))
        keep(verdict, "safety");
    return snapshot->protected || snapshot->taken_at > now || snapshot->safety;
}

static void apply_within(const struct retention_policy *policy, int64_t now,
                         struct candidate *candidates, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_younger(candidates[i].snapshot->taken_at, now, within_seconds(policy)))
            keep(candidates[i].verdict, "within %" PRIu32 "%c", policy->keep[RETENTION_WITHIN],
                 policy->within_unit);
}

static void apply_last(uint32_t places, struct candidate *candidates, size_t count)
{
    uint32_t taken = 0;

    for (size_t i = 0; i < count && taken < places; i++)
        if (!candidates[i].verdict->keep)
            keep(candidates[i].verdict, "last %" PRIu32, ++taken);
}

// Snapshots of one period stand beside each other, for the candidates are in order of time.
static void apply_period(enum retention_rule rule, uint32_t places, struct candidate *candidates,
                         size_t count)
{
    for (size_t begin = 0, end; begin < count && places > 0; begin = end) {
        int64_t period = period_of(rule, candidates[begin].snapshot->taken_at);
        bool covered = false;
        for (end = begin;
             end < count && period_of(rule, candidates[end].snapshot->taken_at) == period; end++)
            covered = covered || candidates[end].verdict->keep;
        if (covered)
            continue;
        say_period(rule, candidates[begin].snapshot->taken_at, candidates[begin].verdict->why);
        candidates[begin].verdict->keep = true;
        places--;
    }
}

static void apply_rules(const struct retention_policy *policy, int64_t now,
                        struct candidate *candidates, size_t count)
{
    if (policy->keep[RETENTION_WITHIN] != 0)
        apply_within(policy, now, candidates, count);
    apply_last(policy->keep[RETENTION_LAST], candidates, count);
    for (int rule = RETENTION_HOURLY; rule < RETENTION_RULE_COUNT; rule++)
        apply_period((enum retention_rule)rule, policy->keep[rule], candidates, count);
}

int retention_apply(const struct retention_policy *policy, int64_t now,
                    const struct retention_snapshot *snapshots, size_t count,
                    struct retention_verdict *ret_verdicts, struct error *err)
{
    AUTO_FREE struct candidate *candidates = calloc(count + 1, sizeof(*candidates));
    size_t seen = 0;

    if (!candidates)
        return error_set(err, -ENOMEM, "out of memory");
    memset(ret_verdicts, 0, count * sizeof(*ret_verdicts));
    for (size_t i = 0; i < count; i++) {
        if (retention_keeps_everything(policy))
            keep(&ret_verdicts[i], "everything");
        else if (!judge_beside_rules(policy, now, &snapshots[i], &ret_verdicts[i]))
            candidates[seen++] = (struct candidate){&snapshots[i], &ret_verdicts[i]};
    }
    qsort(candidates, seen, sizeof(*candidates), newest_first);
    apply_rules(policy, now, candidates, seen);
    for (size_t i = 0; i < count; i++)
        if (snapshots[i].newest && !ret_verdicts[i].keep)
            keep(&ret_verdicts[i], "newest");
    return 0;
}
