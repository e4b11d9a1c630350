// SPDX-License-Identifier: MIT
//
// What commands print for people: sizes, durations, the progress bar, tables, the tree of `list`,
// records as text.
#include "tools/human.h"
#include "tools/job_follow.h"
#include "tools/progress_bar.h"
#include "tools/record_text.h"
#include "tools/snapshot_tree.h"
#include "tools/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void sizes_are_parsed(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"65536", 65536},
                {"64K", 65536},
                {"64k", 65536},
                {"64KiB", 65536},
                {"1M", 1 << 20},
                {"2G", UINT64_C(2) << 30},
                {"3T", UINT64_C(3) << 40},
                {"16383P", UINT64_C(16383) << 50},
                {"18446744073709551615", UINT64_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t bytes = 1234567;
        assert_int_equal(human_parse_size("x", good[i].text, &bytes, NULL), 0);
        assert_true(bytes == good[i].bytes);
    }
}

static void bad_sizes_are_refused(void **state)
{
    static const char *const bad[] = {"",    "K",    "-1",   "+1",  " 1",   "1 K",   "64KB",
                                      "64B", "1.5M", "0x10", "64X", "64KK", "1KiB ", "KiB"};
    static const char *const large[] = {"16384P", "18446744073709551616", "99999999999999999999K"};
    uint64_t bytes = 42;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(human_parse_size("--size", bad[i], &bytes, &err), -EINVAL);
        assert_non_null(strstr(error_message(&err), "--size"));
    }
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
        assert_int_equal(human_parse_size("x", large[i], &bytes, NULL), -ERANGE);
    assert_int_equal(bytes, 42);
}

static void numbers_are_bounded(void **state)
{
    static const char *const bad[] = {"", "0", "20", "1x", " 1", "1 ", "99999999999999999999"};
    int64_t number = 0;
    (void)state;
    assert_int_equal(human_parse_number("x", "19", 1, 19, &number, NULL), 0);
    assert_int_equal(number, 19);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(human_parse_number("x", bad[i], 1, 19, &number, NULL), -EINVAL);
    assert_int_equal(number, 19);
}

static void sizes_are_printed(void **state)
{
    char text[HUMAN_SIZE];
    (void)state;
    assert_string_equal(human_size(0, text), "0 B");
    assert_string_equal(human_size(1023, text), "1023 B");
    assert_string_equal(human_size(1024, text), "1.0 KiB");
    assert_string_equal(human_size(12897484, text), "12.3 MiB");
    assert_string_equal(human_size(UINT64_C(4) << 30, text), "4.0 GiB");
    // Never "1024.0": that is one of the next unit.
    assert_string_equal(human_size((1 << 20) - 1, text), "1.0 MiB");
    assert_string_equal(human_size(UINT64_MAX, text), "16384.0 PiB");
}

static void durations_are_printed(void **state)
{
    char text[HUMAN_SIZE];
    (void)state;
    assert_string_equal(human_duration(-1, text), "-:--");
    assert_string_equal(human_duration(0, text), "0:00");
    assert_string_equal(human_duration(67, text), "1:07");
    assert_string_equal(human_duration(3723, text), "1:02:03");
    assert_string_equal(human_duration(2 * 86400 + 3 * 3600 + 4 * 60 + 5, text), "2d 3:04:05");
}

static void progress_fits_the_terminal(void **state)
{
    struct progress_view view = {.label = "web1/vda",
                                 .state = "running",
                                 .done_bytes = UINT64_C(1) << 30,
                                 .total_bytes = UINT64_C(4) << 30,
                                 .bytes_per_second = 512 << 20,
                                 .eta_seconds = 6};
    char line[512];
    (void)state;
    for (size_t width = 1; width < 200; width++) {
        progress_bar_format(&view, width, line, sizeof(line));
        assert_true(strlen(line) <= width);
    }
    progress_bar_format(&view, 90, line, sizeof(line));
    assert_non_null(strstr(line, " 25%  1.0 GiB / 4.0 GiB  512.0 MiB/s  ETA 0:06"));
    const char *full = strchr(line, '#'), *empty = strchr(line, '-');
    assert_non_null(full);
    assert_non_null(empty);
    size_t hashes = strspn(full, "#"), dashes = strspn(empty, "-");
    assert_int_equal(hashes, (hashes + dashes) / 4);
}

static void progress_knows_its_ends(void **state)
{
    struct progress_view view = {.label = "web1", .state = "pending", .eta_seconds = -1};
    char line[512];
    (void)state;
    assert_string_equal(progress_bar_format(&view, 80, line, sizeof(line)), "web1  pending");
    view.total_bytes = 1000;
    view.done_bytes = 2000; // a total that was an estimate
    progress_bar_format(&view, 80, line, sizeof(line));
    assert_non_null(strstr(line, "100%"));
    assert_null(strstr(line, "200%"));
}

// What `print` writes, as one string.
static char *printed(void (*print)(FILE *out, void *arg), void *arg)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    print(out, arg);
    fclose(out);
    return text;
}

static void print_table(FILE *out, void *arg)
{
    table_print(arg, false, out);
}

static void tables_align(void **state)
{
    static const struct table_column columns[] = {{"NAME"}, {"SIZE", true}, {"NOTE"}};
    struct table *table = NULL;
    (void)state;
    assert_int_equal(table_new(columns, 3, &table, NULL), 0);
    assert_int_equal(table_add(table, (const char *[]){"web1", "4.0 GiB", "x"}, NULL), 0);
    assert_int_equal(table_add(table, (const char *[]){"\xc3\xa9t\xc3\xa9", "5 B", NULL}, NULL), 0);
    assert_int_equal(table_add(table, (const char *[]){"a\033[31m\n", NULL, "y"}, NULL), 0);
    assert_int_equal(table_rows(table), 3);
    char *text = printed(print_table, table);
    assert_string_equal(text, "NAME        SIZE  NOTE\n"
                              "web1     4.0 GiB  x\n"
                              "\xc3\xa9t\xc3\xa9          5 B\n"
                              "a?[31m?           y\n");
    free(text);
    table_free(table);
}

struct look_at {
    const struct table *table;
    struct table_look look;
};

static void print_within(FILE *out, void *arg)
{
    struct look_at *at = arg;
    assert_int_equal(table_print_within(at->table, &at->look, out, NULL), 0);
}

static void assert_shown(const struct table *table, struct table_look look, const char *expected)
{
    struct look_at at = {table, look};
    char *text = printed(print_within, &at);
    assert_string_equal(text, expected);
    free(text);
}

static void tables_fit(void **state)
{
    static const struct table_column columns[] = {{"NAME"},
                                                  {"KIND", .drop = 1},
                                                  {"NONE", .drop = 9},
                                                  {"SIZE", true, .drop = 2},
                                                  {"NOTE", .cut = true}};
    struct table *table = NULL;
    (void)state;
    assert_int_equal(table_new(columns, 5, &table, NULL), 0);
    assert_int_equal(
        table_add(table,
                  (const char *[]){"web1", "full", NULL, "5 B", "abcdefghijklmnopqrstuvwxyz"},
                  NULL),
        0);
    table_style(table, 4, TABLE_RED);
    assert_int_equal(table_add(table, (const char *[]){"web2", "incr", NULL, "6 B", "short"}, NULL),
                     0);
    const char *all = "NAME  KIND  NONE  SIZE  NOTE\n"
                      "web1  full         5 B  abcdefghijklmnopqrstuvwxyz\n"
                      "web2  incr         6 B  short\n";
    assert_shown(table, (struct table_look){0}, all);
    assert_shown(table, (struct table_look){.width = 50}, all);
    // One character less: the empty column goes first, and then nothing need be cut.
    assert_shown(table, (struct table_look){.width = 49},
                 "NAME  KIND  SIZE  NOTE\n"
                 "web1  full   5 B  abcdefghijklmnopqrstuvwxyz\n"
                 "web2  incr   6 B  short\n");
    assert_shown(table, (struct table_look){.width = 40, .utf8 = true},
                 "NAME  KIND  SIZE  NOTE\n"
                 "web1  full   5 B  abcdefghijklmnopqrstu\xe2\x80\xa6\n"
                 "web2  incr   6 B  short\n");
    assert_shown(table, (struct table_look){.width = 30},
                 "NAME  SIZE  NOTE\n"
                 "web1   5 B  abcdefghijklmno...\n"
                 "web2   6 B  short\n");
    assert_shown(table, (struct table_look){.width = 24},
                 "NAME  NOTE\n"
                 "web1  abcdefghijklmno...\n"
                 "web2  short\n");
    assert_shown(table, (struct table_look){.width = 12, .colour = true},
                 "\033[1mNAME  NOTE\n\033[0m"
                 "web1  \033[1;31mabc...\033[0m\n"
                 "web2  short\n");
    // However narrow, it ends.
    assert_shown(table, (struct table_look){.width = 1},
                 "NAME  ...\n"
                 "web1  ...\n"
                 "web2  ...\n");
    table_free(table);
}

static void print_tree(FILE *out, void *arg)
{
    struct table_look look = {0};
    assert_int_equal(snapshot_tree_print(arg, &look, NULL, out, NULL), 0);
}

static void print_usual(FILE *out, void *arg)
{
    struct table_look look = {.utf8 = true, .colour = true};
    assert_int_equal(snapshot_tree_print(arg, &look, "completed", out, NULL), 0);
}

static void print_plain(FILE *out, void *arg)
{
    assert_int_equal(snapshot_tree_print_plain(arg, out, NULL), 0);
}

static void print_paths(FILE *out, void *arg)
{
    snapshot_tree_print_paths(arg, out);
}

static void tree_draws_branches(void **state)
{
    static const struct snapshot_tree_line lines[] = {
        {.depth = 0, .path = "w"},
        {.depth = 1, .path = "w/a"},
        {.depth = 2, .path = "w/a/c1"},
        {.depth = 3,
         .path = "w/a/c1/s1",
         .kind = "full",
         .state = "completed, protected",
         .sized = true,
         .capacity = 4096,
         .counted = true,
         .added = 1024,
         .data = 2560,
         .mark = MARK_PROTECTED},
        {.depth = 3, .path = "w/a/c1/s2", .kind = "incr", .parent = "s1", .state = "completed"},
        {.depth = 2, .path = "w/a/-", .name = "job 7", .state = "failed", .mark = MARK_BAD},
        {.depth = 1, .path = "w/b"},
        {.depth = 0, .path = "x"},
    };
    struct snapshot_tree *tree = NULL;
    (void)state;
    assert_int_equal(snapshot_tree_new(&tree, NULL), 0);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_int_equal(snapshot_tree_add(tree, &lines[i], NULL), 0);
    char *text = printed(print_tree, tree);
    assert_string_equal(text,
                        "NAME         KIND  TAKEN     SIZE      NEW  RATIO  PARENT  STATE\n"
                        "w\n"
                        "|- a\n"
                        "|  |- c1\n"
                        "|  |  |- s1  full         4.0 KiB  1.0 KiB   2.5x          "
                        "completed, protected\n"
                        "|  |  `- s2  incr                                  s1      completed\n"
                        "|  `- job 7                                                failed\n"
                        "`- b\n"
                        "x\n");
    free(text);
    text = printed(print_usual, tree);
    assert_non_null(strstr(text, "\033[1mw\033[0m\n\033[1m\xe2\x94\x9c\xe2\x94\x80 a\033[0m\n"));
    assert_non_null(strstr(text, "  \033[33mprotected\033[0m\n"));
    assert_non_null(strstr(text, "  \033[1;31mfailed\033[0m\n"));
    assert_null(strstr(text, "completed"));
    free(text);
    text = printed(print_plain, tree);
    assert_string_equal(text,
                        "NAME       KIND  TAKEN  SIZE   NEW  RATIO  PARENT  STATE\n"
                        "w          -     -         -     -      -  -       -\n"
                        "w/a        -     -         -     -      -  -       -\n"
                        "w/a/c1     -     -         -     -      -  -       -\n"
                        "w/a/c1/s1  full  -      4096  1024   2.5x  -       completed, protected\n"
                        "w/a/c1/s2  incr  -         -     -      -  s1      completed\n"
                        "w/a/job-7  -     -         -     -      -  -       failed\n"
                        "w/b        -     -         -     -      -  -       -\n"
                        "x          -     -         -     -      -  -       -\n");
    free(text);
    text = printed(print_paths, tree);
    assert_string_equal(text, "w\nw/a\nw/a/c1\nw/a/c1/s1\nw/a/c1/s2\nw/b\nx\n");
    free(text);
    snapshot_tree_free(tree);
}

static void reasons_name_a_disk_once(void **state)
{
    (void)state;
    assert_string_equal(job_follow_reason("web1/vda: short read", "web1/vda"), "short read");
    assert_string_equal(job_follow_reason("web1/vda: short read", "web1"), "web1/vda: short read");
    assert_string_equal(job_follow_reason("web1/vda2: x", "web1/vda"), "web1/vda2: x");
    assert_string_equal(job_follow_reason("", "web1"), "");
}

static void print_record(FILE *out, void *arg)
{
    record_text_print(arg, out);
}

static void records_are_text(void **state)
{
    json_t *record = json_pack("{s:s, s:I, s:n, s:s, s:b, s:[], s:{s:i}, s:[s,s], s:[{s:s, s:i}]}",
                               "name", "w\033eb", "new_bytes", (json_int_t)(3 << 20), "ended",
                               "tags", "", "protected", 1, "none", "totals", "runs", 2, "log",
                               "one", "two", "disks", "disk", "vda", "count", 2048);
    (void)state;
    assert_non_null(record);
    char *text = printed(print_record, record);
    assert_string_equal(text, "name: w?eb\n"
                              "new_bytes: 3145728 (3.0 MiB)\n"
                              "ended: -\n"
                              "tags: -\n"
                              "protected: yes\n"
                              "none: -\n"
                              "totals:\n"
                              "  runs: 2\n"
                              "log:\n"
                              "  - one\n"
                              "  - two\n"
                              "disks:\n"
                              "  - disk: vda\n"
                              "    count: 2048\n");
    free(text);
    json_decref(record);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_parsed),        cmocka_unit_test(bad_sizes_are_refused),
        cmocka_unit_test(numbers_are_bounded),     cmocka_unit_test(sizes_are_printed),
        cmocka_unit_test(durations_are_printed),   cmocka_unit_test(progress_fits_the_terminal),
        cmocka_unit_test(progress_knows_its_ends), cmocka_unit_test(tables_align),
        cmocka_unit_test(tree_draws_branches),     cmocka_unit_test(tables_fit),
        cmocka_unit_test(records_are_text),        cmocka_unit_test(reasons_name_a_disk_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
