// SPDX-License-Identifier: MIT
//
// Times as text and back, always UTC.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// 2026-11-21T06:55:00Z
#define WHEN (INT64_C(1795244100) * CLOCK_SECOND)

static void test_formats(void **state)
{
    (void)state;
    char text[CLOCK_ISO_SIZE];
    assert_ptr_equal(clock_to_iso(WHEN, text), text);
    assert_string_equal(text, "2026-11-21T06:55:00Z");
    assert_string_equal(clock_to_compact(WHEN + 999999999, text), "20261121T065500Z");
    assert_string_equal(clock_to_iso(0, text), "");
    assert_string_equal(clock_to_compact(0, text), "");
    assert_string_equal(clock_to_iso(-1, text), "1969-12-31T23:59:59Z");
    assert_string_equal(clock_to_iso(INT64_MAX, text), "2262-04-11T23:47:16Z");
}

static void test_local_zone_does_not_matter(void **state)
{
    (void)state;
    char text[CLOCK_ISO_SIZE];
    int64_t when = 0;
    setenv("TZ", "XXX-5:30", 1);
    tzset();
    assert_string_equal(clock_to_iso(WHEN, text), "2026-11-21T06:55:00Z");
    assert_int_equal(clock_parse("2026-11-21T06:55", WHEN, &when), 0);
    assert_true(when == WHEN);
    unsetenv("TZ");
    tzset();
}

static void test_parse_accepts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } table[] = {
        {"2026-11-21", 1795219200},
        {"2026-11-21T06:55", 1795244100},
        {"2026-11-21 06:55", 1795244100},
        {"2026-11-21T06:55Z", 1795244100},
        {"2026-11-21T06:55:00", 1795244100},
        {"2026-11-21T06:55:59Z", 1795244159},
        {"2024-02-29", 1709164800},
        {"@1795244100", 1795244100},
        {"0s", 1795244100},
        {"90s", 1795244100 - 90},
        {"30m", 1795244100 - 1800},
        {"12h", 1795244100 - 43200},
        {"7d", 1795244100 - 604800},
        {"2w", 1795244100 - 1209600},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int64_t when = -1;
        if (clock_parse(table[i].text, WHEN, &when) != 0 || when != table[i].seconds * CLOCK_SECOND)
            fail_msg("%s gave %lld", table[i].text, (long long)when);
    }
}

// 0 would mean "no time was given": --until=1970-01-01 listed everything.
static void test_parse_first_moment(void **state)
{
    (void)state;
    static const char *const table[] = {"1970-01-01", "1970-01-01T00:00Z", "@0"};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int64_t when = -1;
        assert_int_equal(clock_parse(table[i], WHEN, &when), 0);
        assert_int_equal(when, 1);
    }
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const table[] = {
        "",
        " ",
        "7",
        "d",
        "7x",
        "7d ",
        "7dd",
        "-7d",
        "+7d",
        " 7d",
        "1.5h",
        "@",
        "@-1",
        "@1x",
        "2026",
        "2026-11",
        "2026-13-01",
        "2026-00-10",
        "2026-02-29",
        "2026-11-31",
        "2026-11-00",
        "2026-1-1",
        "26-11-21",
        "2026-11-21x",
        "2026/11/21",
        "2026-11-21T",
        "2026-11-21T06",
        "2026-11-21T24:00",
        "2026-11-21T06:60",
        "2026-11-21T06:55:60",
        "2026-11-21T06:55:",
        "2026-11-21T06:55+01:00",
        "2026-11-21T06:55ZZ",
        "1969-12-31",
        "9999-01-01",
        "99999999999999999999s",
        "9223372036854775807w",
        "@9223372037",
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int64_t when = -7;
        if (clock_parse(table[i], WHEN, &when) != -EINVAL || when != -7)
            fail_msg("'%s' was accepted as %lld", table[i], (long long)when);
    }
}

static void test_parse_age_never_reaches_not_yet(void **state)
{
    (void)state;
    int64_t when = 0;
    assert_int_equal(clock_parse("9000w", WHEN, &when), 0);
    assert_true(when == 1);
}

static void test_clocks_run(void **state)
{
    (void)state;
    int64_t a = clock_monotonic();
    int64_t b = clock_monotonic();
    assert_true(a > 0 && b >= a);
    assert_true(clock_now() > INT64_C(1700000000) * CLOCK_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_local_zone_does_not_matter),
        cmocka_unit_test(test_parse_accepts),
        cmocka_unit_test(test_parse_first_moment),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_parse_age_never_reaches_not_yet),
        cmocka_unit_test(test_clocks_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
