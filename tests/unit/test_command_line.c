// SPDX-License-Identifier: MIT
//
// What commands are given: options and operands, mount options, paths.
#include "tools/given_path.h"
#include "tools/mount_options.h"
#include "tools/options.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int parse_mount(const char *words, struct tree_mount_options *options, char text[256],
                       struct error *err)
{
    strcpy(text, words);
    *options = (struct tree_mount_options){0};
    return mount_options_parse(text, options, err);
}

static void mount_words_are_taken(void **state)
{
    struct tree_mount_options options;
    char text[256];
    (void)state;
    assert_int_equal(parse_mount("rw,allow_other,cache=256M,,fsname=a b,nofail,_netdev,noauto,"
                                 "defaults,x-systemd.automount",
                                 &options, text, NULL),
                     0);
    assert_true(options.allow_other);
    assert_int_equal(options.cache_bytes, 256 << 20);
    assert_string_equal(options.fsname, "a b");
    assert_false(options.foreground);
    assert_int_equal(parse_mount("", &options, text, NULL), 0);
    assert_false(options.allow_other);
}

static void mount_words_are_refused(void **state)
{
    static const char *const bad[] = {
        "ro",      "rw,ro",      "bogus",         "cache=", "cache=1X",
        "fsname=", "allow_othe", "allow_other=1", "suid",   "X-a"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tree_mount_options options;
        struct error err = ERROR_INIT;
        char text[256];
        assert_int_equal(parse_mount(bad[i], &options, text, &err), -EINVAL);
        assert_int_equal(err.code, -EINVAL);
    }
}

static void options_are_told(void **state)
{
    static const struct option longs[] = {
        {"tag", required_argument, NULL, 't'}, {"full", no_argument, NULL, 'F'}, OPTIONS_END};
    static const struct {
        const char *word;
        const char *sentence;
    } bad[] = {{"--bogus", "unknown option '--bogus'"},
               {"-z", "unknown option '-z'"},
               {"--tag", "option '--tag' needs a value"},
               {"--full=1", "option '--full=1' takes no value"}};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *argv[] = {(char *)"backup", (char *)bad[i].word, NULL};
        struct error err = ERROR_INIT;
        optind = 0;
        assert_int_equal(options_next(2, argv, "h", longs, &err), '?');
        assert_string_equal(error_message(&err), bad[i].sentence);
    }
}

static void operands_are_counted(void **state)
{
    char *argv[] = {(char *)"add", (char *)"repo", (char *)"--", (char *)"-vm", NULL};
    static const struct option longs[] = {OPTIONS_END};
    char **operands = NULL;
    int count = 0;
    struct error err = ERROR_INIT;
    (void)state;
    optind = 0;
    assert_int_equal(options_next(4, argv, "h", longs, NULL), -1);
    assert_int_equal(options_operands(4, argv, 3, 3, "A B C", &operands, &count, &err), -EINVAL);
    assert_string_equal(error_message(&err), "missing operand: add A B C");
    error_clear(&err);
    assert_int_equal(options_operands(4, argv, 1, 1, "A", &operands, &count, &err), -EINVAL);
    assert_string_equal(error_message(&err), "unexpected operand '-vm': add A");
    assert_null(operands);
    assert_int_equal(options_operands(4, argv, 1, -1, "A...", &operands, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_string_equal(operands[0], "repo");
    assert_string_equal(operands[1], "-vm");
}

// Runs in a folder of its own, /…/test_XXXXXX.
static int enter_folder(void **state)
{
    char folder[PATH_MAX];
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/backtree-test_XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder) || chdir(folder) < 0)
        return -1;
    *state = realpath(folder, NULL);
    return *state ? 0 : -1;
}

static int leave_folder(void **state)
{
    int r = chdir("/");
    r |= rmdir(*state);
    free(*state);
    return r;
}

static void expect_path(int (*resolve)(const char *, char **, struct error *), const char *given,
                        const char *folder, const char *last)
{
    char expected[2 * PATH_MAX];
    char *path = NULL;
    snprintf(expected, sizeof(expected), "%s%s", folder, last);
    assert_int_equal(resolve(given, &path, NULL), 0);
    assert_string_equal(path, expected);
    free(path);
}

static void paths_become_absolute(void **state)
{
    expect_path(given_path_absolute, "/dev/vg0/web1", "", "/dev/vg0/web1");
    expect_path(given_path_absolute, "new.img", *state, "/new.img");
    expect_path(given_path_absolute, "./a:b", *state, "/a:b");
    expect_path(given_path_absolute, "./././x", *state, "/x");
    expect_path(given_path_source, "disk.img", *state, "/disk.img");
    expect_path(given_path_source, "./a:b", *state, "/a:b");
    expect_path(given_path_source, "qcow2:disk", "", "qcow2:disk");
    expect_path(given_path_source, "nbd+unix:///d?socket=/x", "", "nbd+unix:///d?socket=/x");
}

static void paths_are_refused(void **state)
{
    static const char *const bad[] = {"", ".", "..", "x/", "./", "a/.."};
    char *path = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(given_path_absolute(bad[i], &path, NULL), -EINVAL);
    assert_int_equal(given_path_absolute("no/such/file", &path, NULL), -ENOENT);
    assert_null(path);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(mount_words_are_taken),
        cmocka_unit_test(mount_words_are_refused),
        cmocka_unit_test(options_are_told),
        cmocka_unit_test(operands_are_counted),
        cmocka_unit_test_setup_teardown(paths_become_absolute, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(paths_are_refused, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
