// SPDX-License-Identifier: MIT
//
// The worker pool and its serial twin: every task runs once, results are visible after the wait,
// and a task's memory may go at once.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct sum {
    struct pool_task task;
    unsigned from;
    unsigned worker;
    uint64_t result; // plain: the wait must make it visible
};

static void run_sum(struct pool_task *task, unsigned worker)
{
    struct sum *sum = (struct sum *)task;
    sum->worker = worker;
    for (unsigned i = 0; i < 1000; i++)
        sum->result += sum->from + i;
}

static void sum_many(struct pool *pool, int count)
{
    struct sum **sums = calloc((size_t)count, sizeof(*sums));
    assert_non_null(sums);
    for (int i = 0; i < count; i++) {
        sums[i] = calloc(1, sizeof(**sums));
        assert_non_null(sums[i]);
        sums[i]->task.run = run_sum;
        sums[i]->from = (unsigned)i;
        pool_submit(pool, &sums[i]->task);
    }
    for (int i = 0; i < count; i++) {
        pool_wait(pool, &sums[i]->task);
        assert_int_equal(sums[i]->result, 499500 + 1000ull * (unsigned)i);
        assert_true(sums[i]->worker < pool_size(pool));
        // The worker may still be between "done" and its next task.
        memset(sums[i], 0xee, sizeof(**sums));
        free(sums[i]);
    }
    free(sums);
}

static void test_serial(void **state)
{
    (void)state;
    AUTO(pool_free) struct pool *pool = NULL;
    assert_int_equal(pool_new(0, &pool, NULL), 0);
    assert_int_equal(pool_size(pool), 1);
    struct sum sum = {.task = {.run = run_sum}, .from = 1};
    pool_submit(pool, &sum.task);
    assert_int_equal(sum.result, 500500); // before any wait
    pool_wait(pool, &sum.task);
    sum_many(pool, 100);
}

static void test_threads(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        AUTO(pool_free) struct pool *pool = NULL;
        assert_int_equal(pool_new(threads, &pool, NULL), 0);
        assert_int_equal(pool_size(pool), threads);
        sum_many(pool, 2000);
    }
}

static void *owner(void *arg)
{
    sum_many(arg, 1000);
    return NULL;
}

static void several_owners(unsigned threads)
{
    AUTO(pool_free) struct pool *pool = NULL;
    pthread_t owners[4];
    assert_int_equal(pool_new(threads, &pool, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&owners[i], NULL, owner, pool), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(owners[i], NULL);
}

static void test_several_owners(void **state)
{
    (void)state;
    several_owners(2);
    several_owners(0);
}

// A ring of tasks is used over and over: "done" must not be left from the time before.
static void reuse(unsigned threads)
{
    AUTO(pool_free) struct pool *pool = NULL;
    struct sum ring[3] = {
        {.task = {.run = run_sum}}, {.task = {.run = run_sum}}, {.task = {.run = run_sum}}};
    assert_int_equal(pool_new(threads, &pool, NULL), 0);
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 3; i++) {
            ring[i].result = 0;
            pool_submit(pool, &ring[i].task);
        }
        for (int i = 0; i < 3; i++) {
            pool_wait(pool, &ring[i].task);
            assert_int_equal(ring[i].result, 499500);
        }
    }
}

static void test_tasks_can_be_used_again(void **state)
{
    (void)state;
    reuse(0);
    reuse(2);
}

struct look {
    struct pool_task task;
    char name[16];
    sigset_t mask;
};

static void run_look(struct pool_task *task, unsigned worker)
{
    (void)worker;
    struct look *look = (struct look *)task;
    pthread_getname_np(pthread_self(), look->name, sizeof(look->name));
    pthread_sigmask(SIG_SETMASK, NULL, &look->mask);
}

static void test_workers_are_named_and_take_no_signals(void **state)
{
    (void)state;
    AUTO(pool_free) struct pool *pool = NULL;
    sigset_t before;
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(pool_new(1, &pool, NULL), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    struct look look = {.task = {.run = run_look}};
    pool_submit(pool, &look.task);
    pool_wait(pool, &look.task);
    assert_string_equal(look.name, "bt-worker-0");
    assert_true(sigismember(&look.mask, SIGTERM));
    assert_true(sigismember(&look.mask, SIGINT));
    assert_int_equal(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
}

static void test_free_accepts_null(void **state)
{
    (void)state;
    assert_null(pool_free(NULL));
    struct pool *pool = NULL;
    assert_int_equal(pool_new(3, &pool, NULL), 0);
    assert_null(pool_free(pool));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serial),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_several_owners),
        cmocka_unit_test(test_tasks_can_be_used_again),
        cmocka_unit_test(test_workers_are_named_and_take_no_signals),
        cmocka_unit_test(test_free_accepts_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
