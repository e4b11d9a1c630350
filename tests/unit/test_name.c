// SPDX-License-Identifier: MIT
//
// Names of VMs and disks, and tags: what is accepted, what is refused with which sentence.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/name.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FORM " may hold only letters, digits, '.', '_' and '-', and begins with a letter or digit"

static void test_accepted(void **state)
{
    (void)state;
    char longest[NAME_SIZE];
    memset(longest, 'n', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    const char *const names[] = {"a",     "0",      "web1",     "disk-2000", "A.b_c-D",
                                 "chain", "chain-", "chain-1x", "readme",    "Backup",
                                 "vda",   "a..b",   "chain--1", longest};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct error err = ERROR_INIT;
        if (name_check("VM", names[i], &err) != 0)
            fail_msg("%s: %s", names[i], error_message(&err));
    }
}

static void test_refused_form(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *sentence;
    } table[] = {
        {"", "VM name is empty"},
        {"x/y", "VM name 'x/y'" FORM},
        {".", "VM name '.'" FORM},
        {"..", "VM name '..'" FORM},
        {".hidden", "VM name '.hidden'" FORM},
        {"-rf", "VM name '-rf'" FORM},
        {"_a", "VM name '_a'" FORM},
        {"a b", "VM name 'a b'" FORM},
        {"a\nb", "VM name 'a\\x0ab'" FORM},
        {"a\x7f", "VM name 'a\\x7f'" FORM},
        {"a\x1b[1m", "VM name 'a\\x1b[1m'" FORM},
        {"a\\x0a", "VM name 'a\\x5cx0a'" FORM},
        {"caf\xc3\xa9", "VM name 'caf\xc3\xa9'" FORM},
        {"a:b", "VM name 'a:b'" FORM},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(name_check("VM", table[i].name, &err), -EINVAL);
        assert_string_equal(error_message(&err), table[i].sentence);
    }
}

static void test_reserved_words(void **state)
{
    (void)state;
    static const char *const words[] = {
        "backup", "info.json",  "retention",   "source",     "latest",     "README",
        "status", "metrics",    "report.html", "last_error", "control",    "jobs",
        "vms",    "files",      "changes",     "protected",  "restore",    "verify",
        "active", "chain-0001", "chain-7",     "disk.raw",   "disk.qcow2",
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct error err = ERROR_INIT;
        char sentence[256];
        snprintf(sentence, sizeof(sentence), "disk name '%s' is a word the tree uses for itself",
                 words[i]);
        assert_int_equal(name_check("disk", words[i], &err), -EINVAL);
        assert_string_equal(error_message(&err), sentence);
    }
}

static void test_too_long(void **state)
{
    (void)state;
    char name[5000];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct error err = ERROR_INIT;
    assert_int_equal(name_check("VM", name, &err), -ENAMETOOLONG);
    assert_non_null(strstr(error_message(&err), "is longer than 64 characters"));
    memset(name, 1, sizeof(name) - 1);
    error_clear(&err);
    assert_int_equal(name_check("VM", name, &err), -ENAMETOOLONG);
    assert_non_null(strstr(error_message(&err), "is longer than 64 characters"));
    memset(name, 'n', sizeof(name) - 1);
    name[65] = '\0';
    assert_int_equal(name_check("VM", name, NULL), -ENAMETOOLONG);
    name[64] = '\0';
    assert_int_equal(name_check("VM", name, NULL), 0);
}

static void test_tags(void **state)
{
    (void)state;
    char longer[NAME_SIZE + 1];
    memset(longer, 't', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    struct error err = ERROR_INIT;
    assert_int_equal(name_check_tag("before-upgrade:12.1", &err), 0);
    assert_int_equal(name_check_tag("backup", &err), 0);
    assert_int_equal(name_check_tag("", &err), -EINVAL);
    assert_string_equal(error_message(&err), "tag is empty");
    assert_int_equal(name_check_tag(":a", NULL), -EINVAL);
    assert_int_equal(name_check_tag("a b", NULL), -EINVAL);
    assert_int_equal(name_check_tag("a\tb", NULL), -EINVAL);
    assert_int_equal(name_check_tag(longer, NULL), -EINVAL);
    longer[64] = '\0';
    assert_int_equal(name_check_tag(longer, NULL), 0);
}

static void test_split(void **state)
{
    (void)state;
    char first[NAME_SIZE] = "untouched";
    const char *rest = "untouched";
    assert_int_equal(name_split_first("VM", "web1", first, &rest, NULL), 0);
    assert_string_equal(first, "web1");
    assert_null(rest);
    assert_int_equal(name_split_first("VM", "web1/vda/chain-0001/x", first, &rest, NULL), 0);
    assert_string_equal(first, "web1");
    assert_string_equal(rest, "vda/chain-0001/x");
    assert_int_equal(name_split_first("VM", "web1/", first, &rest, NULL), 0);
    assert_string_equal(rest, "");

    struct error err = ERROR_INIT;
    strcpy(first, "kept");
    rest = "kept";
    assert_int_equal(name_split_first("VM", "/web1", first, &rest, &err), -EINVAL);
    assert_string_equal(error_message(&err), "VM name is empty");
    assert_int_equal(name_split_first("VM", "../x", first, &rest, NULL), -EINVAL);
    char longer[100];
    memset(longer, 'n', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    error_clear(&err);
    assert_int_equal(name_split_first("VM", longer, first, &rest, &err), -ENAMETOOLONG);
    assert_non_null(strstr(error_message(&err), "is longer than 64 characters"));
    assert_string_equal(first, "kept");
    assert_string_equal(rest, "kept");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),       cmocka_unit_test(test_refused_form),
        cmocka_unit_test(test_reserved_words), cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_tags),           cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
