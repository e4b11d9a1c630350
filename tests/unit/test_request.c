// SPDX-License-Identifier: MIT
//
// The words of triggers: what is understood, what is refused, and that a refusal changes nothing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/job/request.h"

#include <stdio.h>
#include <string.h>

static int parse(const char *words, struct backup_request *request)
{
    struct error err = ERROR_INIT;
    return backup_request_parse(words, strlen(words), request, &err);
}

static void backup_words(void **state)
{
    static const struct {
        const char *words;
        enum backup_mode mode;
        enum job_trigger trigger;
        const char *tags;
    } cases[] = {
        {"", BACKUP_AUTO, TRIGGER_MANUAL, ""},
        {"\n", BACKUP_AUTO, TRIGGER_MANUAL, ""},
        {"auto\n", BACKUP_AUTO, TRIGGER_MANUAL, ""},
        {"full", BACKUP_FULL, TRIGGER_MANUAL, ""},
        {" \tincremental \n", BACKUP_INCREMENTAL, TRIGGER_MANUAL, ""},
        {"full tag=a tag=b-1 tag=a", BACKUP_FULL, TRIGGER_MANUAL, "a,b-1"},
        {"trigger=scheduled", BACKUP_AUTO, TRIGGER_SCHEDULED, ""},
        {"tag=x full trigger=manual\r\n", BACKUP_FULL, TRIGGER_MANUAL, "x"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct backup_request request = {.context_id = 7, .disk_id = 9};
        assert_int_equal(parse(cases[i].words, &request), 0);
        assert_int_equal(request.mode, cases[i].mode);
        assert_int_equal(request.trigger, cases[i].trigger);
        assert_string_equal(request.tags, cases[i].tags);
        assert_int_equal(request.context_id, 7);
        assert_int_equal(request.disk_id, 9);
    }
}

static void backup_refusals(void **state)
{
    static const char *const cases[] = {
        "ful",
        "full full",
        "full incremental",
        "tag=",
        "tag=-x",
        "tag=a,b",
        "tag=a/b",
        "trigger=",
        "trigger=pre_restore_safety",
        "trigger=cron",
        "trigger=manual trigger=manual",
        "full;",
        "--full",
        "FULL",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct backup_request request = {.context_id = 7, .mode = BACKUP_INCREMENTAL};
        assert_int_equal(parse(cases[i], &request), -EINVAL);
        assert_int_equal(request.mode, BACKUP_INCREMENTAL);
    }
    struct backup_request request = {0};
    assert_int_equal(backup_request_parse("fu\0ll", 5, &request, NULL), -EINVAL);
    char longer[400];
    memset(longer, 'a', sizeof(longer));
    assert_int_equal(backup_request_parse(longer, sizeof(longer), &request, NULL), -EINVAL);
}

static void tags_have_a_limit(void **state)
{
    char tags[TAGS_TEXT_SIZE] = "", tag[32], before[TAGS_TEXT_SIZE];
    int r = 0;

    (void)state;
    for (int i = 0; r == 0; i++) {
        memcpy(before, tags, sizeof(tags));
        snprintf(tag, sizeof(tag), "tag-number-%d", i);
        r = tags_add(tags, tag, NULL);
        assert_true(i < 100);
    }
    assert_int_equal(r, -EINVAL);
    assert_string_equal(tags, before);
}

static void tags_join_once(void **state)
{
    char tags[TAGS_TEXT_SIZE] = "a,bc";

    (void)state;
    assert_int_equal(tags_join(tags, "b,a,bc,d", NULL), 0);
    assert_string_equal(tags, "a,bc,b,d");
    assert_int_equal(tags_join(tags, "", NULL), 0);
    assert_string_equal(tags, "a,bc,b,d");
}

static void restore_lines(void **state)
{
    static const struct {
        const char *line, *target;
        bool safety;
    } cases[] = {
        {"/dev/vg0/web1\n", "/dev/vg0/web1", true},
        {"safety=off /a b/c.raw", "/a b/c.raw", false},
        {"/a b/c.raw safety=off\n", "/a b/c.raw", false},
        {"  safety=on\t/x ", "/x", true},
        {"/x safety=maybe", "/x safety=maybe", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct restore_request request = {.snapshot_id = 3};
        assert_int_equal(
            restore_request_parse(cases[i].line, strlen(cases[i].line), &request, NULL), 0);
        assert_string_equal(request.target, cases[i].target);
        assert_int_equal(request.safety, cases[i].safety);
        assert_int_equal(request.snapshot_id, 3);
    }
}

static void restore_refusals(void **state)
{
    static const char *const cases[] = {"",       "\n",    "relative/path", "safety=off",
                                        "off /x", "/a\nb", "/a\x01"};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct restore_request request = {.target = "kept"};
        assert_int_equal(restore_request_parse(cases[i], strlen(cases[i]), &request, NULL),
                         -EINVAL);
        assert_string_equal(request.target, "kept");
    }
}

#define LONGEST "abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789"

static void prune_words(void **state)
{
    static const struct {
        const char *words, *name, *policy;
        enum job_trigger trigger;
    } cases[] = {
        {"", "", "", TRIGGER_MANUAL},
        {"web1\n", "web1", "", TRIGGER_MANUAL},
        {"keep-daily=3 web1/vda keep-last=1 trigger=scheduled", "web1/vda",
         "keep-last=1 keep-daily=3", TRIGGER_SCHEDULED},
        {"trigger=manual keep-within=7d", "", "keep-within=7d", TRIGGER_MANUAL},
        {"none", "none", "", TRIGGER_MANUAL}, // a VM may be called so
        {LONGEST "/" LONGEST, LONGEST "/" LONGEST, "", TRIGGER_MANUAL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct prune_request request = {.context_id = 7, .disk_id = 9};
        char name[PRUNE_NAME_SIZE];
        assert_int_equal(
            prune_request_parse(cases[i].words, strlen(cases[i].words), name, &request, NULL), 0);
        assert_string_equal(name, cases[i].name);
        assert_string_equal(request.policy, cases[i].policy);
        assert_int_equal(request.trigger, cases[i].trigger);
        assert_int_equal(request.context_id, 7);
        assert_int_equal(request.disk_id, 9);
    }
}

static void prune_refusals(void **state)
{
    static const char *const cases[] = {"web1 web2",
                                        "keep-last=0",
                                        "keep-last=1 keep-last=1",
                                        "keep-",
                                        "dry=run",
                                        "trigger=pre_restore_safety",
                                        "trigger=manual trigger=manual"};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct prune_request request = {.policy = "kept"};
        char name[PRUNE_NAME_SIZE] = "kept";
        assert_int_equal(prune_request_parse(cases[i], strlen(cases[i]), name, &request, NULL),
                         -EINVAL);
        assert_string_equal(request.policy, "kept");
        assert_string_equal(name, "kept");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backup_words),      cmocka_unit_test(backup_refusals),
        cmocka_unit_test(tags_have_a_limit), cmocka_unit_test(tags_join_once),
        cmocka_unit_test(restore_lines),     cmocka_unit_test(restore_refusals),
        cmocka_unit_test(prune_words),       cmocka_unit_test(prune_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
