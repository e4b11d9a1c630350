// SPDX-License-Identifier: MIT
//
// Retention: the words, the rules by tables of small histories, and random histories against a slow
// reference that works with texts of dates instead of numbers of periods.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fs/job/retention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX 64

// --- words

static int parse(const char *words, struct retention_policy *policy)
{
    struct error err = ERROR_INIT;
    int r = retention_parse(words, strlen(words), policy, &err);
    assert_true(r == 0 || err.message[0] != '\0');
    return r;
}

static void words_and_their_canonical_form(void **state)
{
    static const struct {
        const char *words, *canonical;
    } cases[] = {
        {"", "none"},
        {" \n", "none"},
        {"none", "none"},
        {"keep-last=3", "keep-last=3"},
        {"  keep-daily=7\tkeep-last=03\n", "keep-last=3 keep-daily=7"},
        {"keep-yearly=1 keep-monthly=2 keep-weekly=3 keep-daily=4 keep-hourly=5 keep-last=99999 "
         "keep-within=99999w",
         "keep-within=99999w keep-last=99999 keep-hourly=5 keep-daily=4 keep-weekly=3 "
         "keep-monthly=2 keep-yearly=1"},
        {"keep-within=30m", "keep-within=30m"},
        {RETENTION_DEFAULT, RETENTION_DEFAULT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct retention_policy policy, again;
        char text[RETENTION_TEXT_SIZE];
        assert_int_equal(parse(cases[i].words, &policy), 0);
        assert_string_equal(retention_format(&policy, text), cases[i].canonical);
        assert_int_equal(parse(text, &again), 0);
        assert_memory_equal(&policy, &again, sizeof(policy));
        assert_int_equal(retention_keeps_everything(&policy), strcmp(text, "none") == 0);
    }
}

static void words_that_are_refused(void **state)
{
    static const struct {
        const char *words, *says;
    } cases[] = {
        {"keep", "unknown word 'keep'"},
        {"keep-last", "needs a value, as in keep-last=7"},
        {"keep-last=", "from 1 to 99999"},
        {"keep-last=0", "from 1 to 99999"},
        {"keep-last=-1", "from 1 to 99999"},
        {"keep-last=1x", "from 1 to 99999"},
        {"keep-last=100000", "from 1 to 99999"},
        {"keep-last=99999999999999999999", "from 1 to 99999"},
        {"keep-last=1 keep-daily=1 keep-last=2", "keep-last is given twice"},
        {"keep-fortnightly=2", "unknown word 'keep-fortnightly=2'"},
        {"keep-within=7", "no time"},
        {"keep-within=d", "from 1 to 99999"},
        {"keep-within=", "no time"},
        {"keep-within=0d", "from 1 to 99999"},
        {"keep-within=7y", "no time"},
        {"none keep-last=1", "no other word"},
        {"none none", "no other word"},
        {"KEEP-LAST=1", "unknown word"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct retention_policy policy = {.within_unit = '!'};
        struct error err = ERROR_INIT;
        assert_int_equal(retention_parse(cases[i].words, strlen(cases[i].words), &policy, &err),
                         -EINVAL);
        if (!strstr(err.message, cases[i].says))
            fail_msg("%s: %s", cases[i].words, err.message);
        assert_int_equal(policy.within_unit, '!');
    }
}

// The length counts, whatever stands behind it.
static void words_end_where_they_end(void **state)
{
    struct retention_policy policy;
    char text[RETENTION_TEXT_SIZE];

    (void)state;
    assert_int_equal(retention_parse("keep-last=123", 12, &policy, NULL), 0);
    assert_string_equal(retention_format(&policy, text), "keep-last=12");
    assert_int_equal(retention_parse("keep-last=1\0002", 13, &policy, NULL), -EINVAL);
    assert_int_equal(retention_parse(NULL, 0, &policy, NULL), 0);
}

// --- tables

static int64_t at(const char *when)
{
    int64_t time = 0;
    if (clock_parse(when, 0, &time) < 0)
        fail_msg("%s is no time", when);
    return time;
}

struct entry {
    const char *when; // and behind it P protected, S safety, N newest
    const char *why;  // NULL: forgotten
};

static void judge(const char *words, const char *now, const struct entry *entries, size_t count)
{
    struct retention_snapshot snapshots[MAX];
    struct retention_verdict verdicts[MAX];
    struct retention_policy policy;

    assert_int_equal(parse(words, &policy), 0);
    for (size_t i = 0; i < count; i++) {
        char when[32] = "";
        size_t len = strcspn(entries[i].when, " ");
        const char *flags = entries[i].when + len;
        memcpy(when, entries[i].when, len);
        snapshots[i] = (struct retention_snapshot){.id = (int64_t)i + 1,
                                                   .taken_at = at(when),
                                                   .protected = strchr(flags, 'P') != NULL,
                                                   .safety = strchr(flags, 'S') != NULL,
                                                   .newest = strchr(flags, 'N') != NULL};
    }
    assert_int_equal(retention_apply(&policy, at(now), snapshots, count, verdicts, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        const char *why = entries[i].why ? entries[i].why : "";
        assert_int_equal(verdicts[i].keep, entries[i].why != NULL);
        if (strcmp(verdicts[i].why, why) != 0)
            fail_msg("%s: %s: '%s', expected '%s'", words, entries[i].when, verdicts[i].why, why);
    }
}

#define JUDGE(words, now, ...)                                                                     \
    do {                                                                                           \
        static const struct entry judge_entries[] = {__VA_ARGS__};                                 \
        judge(words, now, judge_entries, sizeof(judge_entries) / sizeof(judge_entries[0]));        \
    } while (0)

static void no_rules_keep_everything(void **state)
{
    (void)state;
    JUDGE("none", "2026-11-21", {"1999-01-01", "everything"}, {"2026-11-20 SN", "everything"});
}

static void last_counts_from_the_newest(void **state)
{
    (void)state;
    JUDGE("keep-last=2", "2026-11-21T12:00", {"2026-11-18", NULL}, {"2026-11-20", "last 1"},
          {"2026-11-19", "last 2"}, {"2026-11-17", NULL});
}

static void a_period_keeps_its_newest(void **state)
{
    (void)state;
    JUDGE("keep-daily=2", "2026-11-21T12:00", {"2026-11-16T10:00", NULL},
          {"2026-11-18T10:00", NULL}, {"2026-11-18T23:59:59", "daily 2026-11-18"},
          {"2026-11-20T00:00", NULL}, {"2026-11-20T22:00", "daily 2026-11-20"});
    JUDGE("keep-hourly=2", "2026-11-21T12:00", {"2026-11-20T23:59", "hourly 2026-11-20T23"},
          {"2026-11-21T00:00", NULL}, {"2026-11-21T00:10", "hourly 2026-11-21T00"});
    JUDGE("keep-yearly=3", "2026-11-21T12:00", {"2020-06-01", NULL}, {"2021-06-01", "yearly 2021"},
          {"2024-12-31T23:59:59", "yearly 2024"}, {"2025-01-01", "yearly 2025"});
}

static void weeks_are_those_of_iso_8601(void **state)
{
    (void)state;
    // 2027-01-03 is a Sunday: the last day of week 53 of 2026.
    JUDGE("keep-weekly=3", "2027-01-20", {"2026-12-27T23:59:59", "weekly 2026-W52"},
          {"2026-12-28", NULL}, {"2027-01-03T23:59:59", "weekly 2026-W53"},
          {"2027-01-04T00:00", "weekly 2027-W01"});
}

static void later_rules_see_what_is_not_covered(void **state)
{
    (void)state;
    JUDGE("keep-last=1 keep-daily=2 keep-weekly=2 keep-monthly=2", "2026-11-21T12:00",
          {"2026-11-21T08:00", NULL}, {"2026-11-21T09:00", "last 1"},
          {"2026-11-20T09:00", "daily 2026-11-20"}, {"2026-11-18T07:00", NULL},
          {"2026-11-18T09:00", "daily 2026-11-18"}, {"2026-11-17T09:00", NULL},
          {"2026-11-15T09:00", "weekly 2026-W46"}, {"2026-11-02T09:00", "weekly 2026-W45"},
          {"2026-10-26T09:00", "monthly 2026-10"}, {"2026-10-25T09:00", NULL},
          {"2026-08-01T09:00", "monthly 2026-08"}, {"2026-07-01T09:00", NULL});
}

static void within_keeps_all_of_it(void **state)
{
    (void)state;
    JUDGE("keep-within=2d keep-last=1", "2026-11-21T12:00", {"2026-11-21T11:00", "within 2d"},
          {"2026-11-21T10:00", "within 2d"}, {"2026-11-19T12:00:00", "within 2d"},
          {"2026-11-19T11:59:59", "last 1"}, {"2026-11-18", NULL});
    JUDGE("keep-within=99999w", "2026-11-21T12:00", {"1971-01-01", "within 99999w"});
}

static void some_are_kept_whatever_the_rules_say(void **state)
{
    (void)state;
    // They take no place, and their day is not covered by them.
    JUDGE("keep-daily=1", "2026-11-21T12:00", {"2026-11-21T13:00", "future"},
          {"2026-11-20T13:00 P", "protected"}, {"2026-11-20T12:00", "daily 2026-11-20"},
          {"2026-11-19T12:00", NULL}, {"2020-01-01 P", "protected"});
    JUDGE("keep-last=1", "2026-11-21T12:00", {"2026-11-21T10:00 S", "safety"},
          {"2026-11-14T12:00 S", "safety"}, {"2026-11-14T11:59:59 S", NULL},
          {"2026-11-01", "last 1"});
    JUDGE("keep-within=8d", "2026-11-21T12:00", {"2026-11-13T12:00 S", "safety"},
          {"2026-11-13T11:00 S", NULL});
}

static void the_newest_is_never_forgotten(void **state)
{
    (void)state;
    JUDGE("keep-within=1h", "2026-11-21T12:00", {"2026-11-19", NULL}, {"2026-11-20 N", "newest"});
    JUDGE("keep-last=1", "2026-11-21T12:00", {"2026-11-01 SN", "newest"}, {"2026-10-01", "last 1"});
    // The clock was set back: what was made last is not what was taken last.
    JUDGE("keep-last=1", "2026-11-21T12:00", {"2026-11-19", "last 1"}, {"2026-11-10 N", "newest"});
    JUDGE("keep-last=1", "2026-11-21T12:00", {"2026-11-19 N", "last 1"});
}

static void equal_times_are_settled_by_id(void **state)
{
    (void)state;
    JUDGE("keep-last=1", "2026-11-21T12:00", {"2026-11-19", NULL}, {"2026-11-19", "last 1"});
}

static void nothing_to_judge(void **state)
{
    struct retention_policy policy = {.keep = {[RETENTION_LAST] = 1}};
    (void)state;
    assert_int_equal(retention_apply(&policy, 1, NULL, 0, NULL, NULL), 0);
}

// --- the reference

static const char *const formats[RETENTION_RULE_COUNT] = {
    [RETENTION_HOURLY] = "%Y-%m-%d %H", [RETENTION_DAILY] = "%Y-%m-%d",
    [RETENTION_WEEKLY] = "%G/%V",       [RETENTION_MONTHLY] = "%Y-%m",
    [RETENTION_YEARLY] = "%Y",
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void period_text(int rule, const struct retention_snapshot *snapshot, char text[32])
{
    time_t seconds = (time_t)(snapshot->taken_at / CLOCK_SECOND);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    assert_true(strftime(text, 32, formats[rule], &tm) > 0);
}
#pragma GCC diagnostic pop

static bool same_period(int rule, const struct retention_snapshot *a,
                        const struct retention_snapshot *b)
{
    char x[32], y[32];
    if (!formats[rule])
        return a == b;
    period_text(rule, a, x);
    period_text(rule, b, y);
    return strcmp(x, y) == 0;
}

// The newest that the rule may keep now; -1 when there is none.
static int reference_pick(int rule, const struct retention_snapshot *s, size_t count,
                          const bool *visible, const bool *kept)
{
    int best = -1;
    for (size_t i = 0; i < count; i++) {
        bool covered = !visible[i] || kept[i];
        for (size_t j = 0; j < count && !covered; j++)
            covered = visible[j] && kept[j] && same_period(rule, &s[i], &s[j]);
        if (!covered && (best < 0 || s[i].taken_at > s[best].taken_at ||
                         (s[i].taken_at == s[best].taken_at && s[i].id > s[best].id)))
            best = (int)i;
    }
    return best;
}

static void reference(const struct retention_policy *policy, int64_t now,
                      const struct retention_snapshot *s, size_t count, bool *kept)
{
    int64_t unit = policy->within_unit == 'h' ? 3600 : 86400, week = 7 * 86400;
    int64_t within = policy->keep[RETENTION_WITHIN] * unit * CLOCK_SECOND;
    int64_t safety = within > week * CLOCK_SECOND ? within : week * CLOCK_SECOND;
    bool visible[MAX];

    for (size_t i = 0; i < count; i++) {
        bool future = s[i].taken_at > now;
        visible[i] = !s[i].protected && !future && !s[i].safety;
        kept[i] = s[i].protected || future || (s[i].safety && now - s[i].taken_at <= safety) ||
                  (visible[i] && policy->keep[RETENTION_WITHIN] && now - s[i].taken_at <= within);
    }
    for (int rule = RETENTION_LAST; rule < RETENTION_RULE_COUNT; rule++) {
        for (uint32_t place = 0; place < policy->keep[rule]; place++) {
            int pick = reference_pick(rule, s, count, visible, kept);
            if (pick < 0)
                break;
            kept[pick] = true;
        }
    }
    for (size_t i = 0; i < count; i++)
        kept[i] = kept[i] || s[i].newest || retention_keeps_everything(policy);
}

static unsigned roll(unsigned *seed, unsigned sides)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % sides;
}

static void make_history(unsigned *seed, int64_t now, struct retention_snapshot *s, size_t count)
{
    // From some hours to some years, so that every rule has something to do.
    static const int64_t spans[] = {86400, 30 * 86400, 400 * 86400, 4 * 365 * 86400};
    int64_t span = spans[roll(seed, 4)];

    for (size_t i = 0; i < count; i++) {
        int64_t back = (int64_t)roll(seed, 32768) * span / 32768 - (roll(seed, 20) == 0 ? span : 0);
        s[i] = (struct retention_snapshot){.id = (int64_t)i + 1,
                                           .taken_at = now - back * CLOCK_SECOND,
                                           .protected = roll(seed, 10) == 0,
                                           .safety = roll(seed, 10) == 0};
    }
    if (count > 0)
        s[roll(seed, (unsigned)count)].newest = true;
}

static void make_policy(unsigned *seed, struct retention_policy *policy)
{
    *policy = (struct retention_policy){0};
    for (int rule = RETENTION_WITHIN; rule < RETENTION_RULE_COUNT; rule++)
        policy->keep[rule] = roll(seed, 3) ? 0 : 1 + roll(seed, 6);
    if (policy->keep[RETENTION_WITHIN])
        policy->within_unit = roll(seed, 2) ? 'h' : 'd';
}

static void random_histories_agree_with_the_reference(void **state)
{
    unsigned seed = 20261121;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        struct retention_snapshot snapshots[MAX];
        struct retention_verdict verdicts[MAX];
        struct retention_policy policy;
        bool kept[MAX];
        unsigned begun_with = seed;
        int64_t now = at("2026-11-21T12:34") + (int64_t)roll(&seed, 1000) * 86400 * CLOCK_SECOND;
        size_t count = roll(&seed, MAX);
        make_policy(&seed, &policy);
        make_history(&seed, now, snapshots, count);
        assert_int_equal(retention_apply(&policy, now, snapshots, count, verdicts, NULL), 0);
        reference(&policy, now, snapshots, count, kept);
        for (size_t i = 0; i < count; i++) {
            if (verdicts[i].keep != kept[i])
                fail_msg("seed %u: snapshot %zu: %s", begun_with, i, verdicts[i].why);
            assert_int_equal(verdicts[i].keep, verdicts[i].why[0] != '\0');
        }
    }
}

// A year of a backup every six hours, pruned after each: the places fill up and stay so.
static void day_by_day_the_places_fill(void **state)
{
    static struct retention_snapshot there[MAX + 1];
    static struct retention_verdict verdicts[MAX + 1];
    struct retention_policy policy;
    size_t count = 0;

    (void)state;
    assert_int_equal(parse("keep-last=3 keep-daily=7 keep-weekly=4 keep-monthly=6", &policy), 0);
    for (int64_t n = 1; n <= 365 * 4; n++) {
        int64_t now = at("2026-01-01T03:00") + n * 6 * 3600 * CLOCK_SECOND;
        for (size_t i = 0; i < count; i++)
            there[i].newest = false;
        there[count++] = (struct retention_snapshot){.id = n, .taken_at = now, .newest = true};
        assert_true(count <= MAX);
        assert_int_equal(retention_apply(&policy, now, there, count, verdicts, NULL), 0);
        size_t left = 0;
        for (size_t i = 0; i < count; i++)
            if (verdicts[i].keep)
                there[left++] = there[i];
        count = left;
    }
    assert_int_equal(count, 3 + 7 + 4 + 6);
    assert_true(at("2027-01-01") - there[0].taken_at > INT64_C(180) * 86400 * CLOCK_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_their_canonical_form),
        cmocka_unit_test(words_that_are_refused),
        cmocka_unit_test(words_end_where_they_end),
        cmocka_unit_test(no_rules_keep_everything),
        cmocka_unit_test(last_counts_from_the_newest),
        cmocka_unit_test(a_period_keeps_its_newest),
        cmocka_unit_test(weeks_are_those_of_iso_8601),
        cmocka_unit_test(later_rules_see_what_is_not_covered),
        cmocka_unit_test(within_keeps_all_of_it),
        cmocka_unit_test(some_are_kept_whatever_the_rules_say),
        cmocka_unit_test(the_newest_is_never_forgotten),
        cmocka_unit_test(equal_times_are_settled_by_id),
        cmocka_unit_test(nothing_to_judge),
        cmocka_unit_test(random_histories_agree_with_the_reference),
        cmocka_unit_test(day_by_day_the_places_fill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
