// SPDX-License-Identifier: MIT
//
// Text in a page: what is escaped, what is replaced, where it is cut.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "fs/job/html.h"

#include <stdlib.h>
#include <string.h>

#define GONE UTF8_REPLACEMENT

static char *escaped(const char *in, size_t max)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    html_text_short(out, in, max);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(strlen(text), len);
    return text;
}

static void text_is_escaped(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"web1", "web1"},
        {"<b>&\"'", "&lt;b&gt;&amp;&quot;&#39;"},
        {"&amp;", "&amp;amp;"},
        {"b\xc3\xbc"
         "cher \xe2\x82\xac \xf0\x9f\x92\xbe",
         "b\xc3\xbc"
         "cher \xe2\x82\xac \xf0\x9f\x92\xbe"},
        {"a\nb\tc", "a b c"},
        {"a\x01\x1b[31m\x7f", "a" GONE GONE "[31m" GONE},
        {"\xc2\x80\xc2\x9f\xc2\xa0", GONE GONE "\xc2\xa0"},           // C1 controls
        {"\xff\xc0\xaf\xed\xa0\x80", GONE GONE GONE GONE GONE GONE},  // no UTF-8
        {"\xe2\x80", GONE GONE},                                      // cut short
        {"\xe2\x80\xae\xe2\x81\xa6\xef\xbb\xbf", GONE GONE GONE},     // turn the direction
        {"\xef\xbf\xbe\xf4\x8f\xbf\xbf\xef\xb7\x90", GONE GONE GONE}, // are no characters
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = escaped(cases[i].in, SIZE_MAX);
        assert_string_equal(text, cases[i].out);
        free(text);
    }
}

// Whatever bytes come in: nothing that ends a text or a quoted attribute comes out, and it is
// UTF-8.
static void every_pair_of_bytes_is_safe(void **state)
{
    (void)state;
    for (unsigned first = 1; first < 256; first++) {
        for (unsigned second = 1; second < 256; second++) {
            const char in[3] = {(char)first, (char)second, '\0'};
            char *text = escaped(in, SIZE_MAX);
            assert_null(strpbrk(text, "<>\"'"));
            for (const unsigned char *p = (const unsigned char *)text; *p;) {
                size_t length = utf8_length(p);
                assert_true(length > 0 && *p >= 0x20 && *p != 0x7f);
                assert_true(*p != '&' || strchr((const char *)p, ';'));
                p += length;
            }
            free(text);
        }
    }
}

static void text_is_cut_between_characters(void **state)
{
    static const struct {
        const char *in;
        size_t max;
        const char *out;
    } cases[] = {
        {"abc", 3, "abc"},
        {"abcd", 3, "abc\xe2\x80\xa6"},
        {"\xe2\x82\xac\xe2\x82\xac", 1, "\xe2\x82\xac\xe2\x80\xa6"},
        {"<<<", 2, "&lt;&lt;\xe2\x80\xa6"},
        {"a", 0, "\xe2\x80\xa6"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = escaped(cases[i].in, cases[i].max);
        assert_string_equal(text, cases[i].out);
        free(text);
    }
}

static void times_and_sizes(void **state)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    assert_non_null(out);
    html_time(out, 0);
    fputc(' ', out);
    html_time(out, INT64_C(1795244100) * CLOCK_SECOND);
    fputc(' ', out);
    html_time_text(out, INT64_C(1795244100) * CLOCK_SECOND);
    fputc(' ', out);
    html_size(out, 12897485);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text,
                        "never <time datetime=\"2026-11-21T06:55:00Z\">2026-11-21 06:55</time> "
                        "2026-11-21 06:55 12.3 MiB");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(every_pair_of_bytes_is_safe),
        cmocka_unit_test(text_is_cut_between_characters),
        cmocka_unit_test(times_and_sizes),
    };
    return cmocka_run_group_tests_name("html", tests, NULL, NULL);
}
