// SPDX-License-Identifier: MIT
//
// Fault points: names, counting, every action. Actions that end or stop a process run in a child.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fault.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int arm(const char *value, struct error *err)
{
    setenv("BACKTREE_FAULT", value, 1);
    int rc = fault_init(err);
    unsetenv("BACKTREE_FAULT");
    return rc;
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < FAULT_POINT_COUNT; i++) {
        const char *name = fault_name((enum fault_point)i);
        assert_non_null(name);
        assert_true(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(name, fault_name((enum fault_point)j));
    }
    assert_string_equal(fault_name(FAULT_PACK_SYNC), "2-pack-sync");
    assert_null(fault_name(FAULT_POINT_COUNT));
}

static void test_unarmed(void **state)
{
    (void)state;
    assert_int_equal(fault_init(NULL), 0);
    assert_int_equal(fault_armed, 0);
    assert_int_equal(fault_hit(FAULT_PACK_SYNC, NULL), 0);
    assert_int_equal(arm("", NULL), 0);
    assert_int_equal(fault_armed, 0);
}

static void test_nth_hit_fails_once(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    assert_int_equal(arm("2-pack-sync:3=ENOSPC,source-read=EIO", NULL), 0);
    assert_int_equal(fault_hit(FAULT_PACK_SYNC, &err), 0);
    assert_int_equal(fault_hit(FAULT_PACK_INDEX, &err), 0);
    assert_int_equal(fault_hit(FAULT_PACK_SYNC, &err), 0);
    assert_int_equal(err.code, 0);
    assert_int_equal(fault_hit(FAULT_PACK_SYNC, &err), -ENOSPC);
    assert_string_equal(error_message(&err),
                        "injected fault at 2-pack-sync: No space left on device");
    assert_int_equal(fault_hit(FAULT_PACK_SYNC, NULL), 0);
    assert_int_equal(fault_hit(FAULT_SOURCE_READ, NULL), -EIO);
    assert_int_equal(fault_hit(FAULT_SOURCE_READ, NULL), 0);
}

static void test_one_point_armed_twice(void **state)
{
    (void)state;
    assert_int_equal(arm("pack-read:1=EIO,pack-read:3=ENOMEM", NULL), 0);
    assert_int_equal(fault_hit(FAULT_PACK_READ, NULL), -EIO);
    assert_int_equal(fault_hit(FAULT_PACK_READ, NULL), 0);
    assert_int_equal(fault_hit(FAULT_PACK_READ, NULL), -ENOMEM);
}

static void test_errno_names(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
    } table[] = {
        {"pack-read=EIO", -EIO},       {"pack-read=ENOSPC", -ENOSPC}, {"pack-read=EINTR", -EINTR},
        {"pack-read=ENOMEM", -ENOMEM}, {"pack-read=EROFS", -EROFS},   {"pack-read=EACCES", -EACCES},
        {"pack-read=EBUSY", -EBUSY},   {"pack-read=ENODEV", -ENODEV},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(arm(table[i].text, NULL), 0);
        assert_int_equal(fault_hit(FAULT_PACK_READ, NULL), table[i].code);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *part;
    } table[] = {
        {"no-such-point=EIO", "no fault point is called 'no-such-point'"},
        {"pack-read", "'pack-read' has no '='"},
        {"pack-read=", "'' is no action or errno name"},
        {"pack-read=EWHAT", "'EWHAT' is no action or errno name"},
        {"pack-read=hold", "'hold' is no action"}, // nowhere to hold it
        {"pack-read=sleep-", "'sleep-' is no action"},
        {"pack-read=sleep-1x", "'sleep-1x' is no action"},
        {"pack-read:0=EIO", "'0' is not a count of hits"},
        {"pack-read:=EIO", "'' is not a count of hits"},
        {"pack-read:-1=EIO", "'-1' is not a count of hits"},
        {"pack-read:99999999999999999999=EIO", "is not a count of hits"},
        {"pack-read=EIO,", "'' has no '='"},
        {"=EIO", "no fault point is called ''"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(arm(table[i].text, &err), -EINVAL);
        assert_non_null(strstr(error_message(&err), table[i].part));
        assert_int_equal(fault_armed, 0);
    }
}

static void test_sleep_repeats(void **state)
{
    (void)state;
    assert_int_equal(arm("pack-read:2=sleep-30", NULL), 0);
    int64_t start = clock_monotonic();
    assert_int_equal(fault_hit(FAULT_PACK_READ, NULL), 0);
    int64_t first = clock_monotonic();
    assert_int_equal(fault_hit(FAULT_PACK_READ, NULL), 0);
    assert_int_equal(fault_hit(FAULT_PACK_READ, NULL), 0);
    int64_t end = clock_monotonic();
    assert_true(first - start < end - first);
    assert_true(end - first >= 60 * 1000000);
}

static pid_t child_hits(const char *value, int exit_status)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (arm(value, NULL) != 0)
            _exit(99);
        fault_hit(FAULT_JOB_STARTED, NULL);
        _exit(exit_status);
    }
    assert_true(pid > 0);
    return pid;
}

static void test_kill(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = child_hits("job-started=kill", 5);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void test_pause(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = child_hits("job-started=pause", 5);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(WSTOPSIG(status), SIGSTOP);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 5);
}

#define THREADS 4
#define HITS 2000
static atomic_int failures;

static void *hit_often(void *arg)
{
    (void)arg;
    for (int i = 0; i < HITS; i++) {
        if (fault_hit(FAULT_PACK_READ, NULL) == -EIO)
            atomic_fetch_add(&failures, 1);
    }
    return NULL;
}

static void test_exactly_one_thread_gets_it(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    assert_int_equal(arm("pack-read:5000=EIO", NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hit_often, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&failures), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_unarmed),
        cmocka_unit_test(test_nth_hit_fails_once),
        cmocka_unit_test(test_one_point_armed_twice),
        cmocka_unit_test(test_errno_names),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sleep_repeats),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_exactly_one_thread_gets_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
