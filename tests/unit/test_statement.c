// SPDX-License-Identifier: MIT
//
// Statements: their cache, their parameters, and walks inside walks.
#include "tests/unit/catalog_fixture.h"

static int count_row(const struct context_row *row, void *arg, struct error *err)
{
    (void)row;
    (void)err;
    ++*(int *)arg;
    return 0;
}

static void test_statements_are_reused(void **state)
{
    struct fixture *fixture = *state;
    static const struct query query = {"test", "SELECT ?1, ?2"};
    struct statement *first = statement_begin(fixture->conn, &query);
    struct statement *second = statement_begin(fixture->conn, &query);
    assert_ptr_not_equal(first, second);
    statement_bind_int(first, 1, 5);
    statement_bind_text(second, 1, "hello", 6);
    assert_int_equal(statement_step(first, NULL), 1);
    assert_int_equal(statement_step(second, NULL), 1);
    assert_int_equal(statement_int(first), 5);
    assert_string_equal(statement_word(second), "hello");
    statement_end(first);
    statement_end(second);
    struct statement *third = statement_begin(fixture->conn, &query);
    assert_ptr_equal(first, third);
    // Nothing is left of what the last user bound.
    assert_int_equal(statement_step(third, NULL), 1);
    assert_string_equal(statement_word(third), "");
    assert_int_equal(statement_step(third, NULL), 0);
    statement_end(third);
}

static void test_parameters_are_checked(void **state)
{
    struct fixture *fixture = *state;
    static const struct query query = {"test", "SELECT ?1"};
    AUTO(statement_end) struct statement *st = statement_begin(fixture->conn, &query);
    statement_bind_text(st, 1, "12345", 5);
    assert_refused(statement_step(st, err), -ENAMETOOLONG, "5 bytes is too long");
    statement_end(st);
    st = statement_begin(fixture->conn, &query);
    statement_bind_size(st, 1, UINT64_MAX);
    assert_refused(statement_step(st, err), -EINVAL, "out of range");
    statement_end(st);
    st = statement_begin(fixture->conn, &query);
    statement_bind_int(st, 2, 1);
    assert_refused(statement_step(st, err), -EIO, "catalog: test");
}

// Whatever is done with it, the first step says why.
static void test_what_cannot_be_prepared(void **state)
{
    struct fixture *fixture = *state;
    static const struct query wrong = {"test", "SELECT x FROM nowhere WHERE x = ?1"};
    static const struct query right = {"test", "SELECT ?1"};
    struct statement *st = statement_begin(fixture->conn, &wrong);
    statement_bind_int(st, 1, 1);
    statement_bind_text(st, 2, "too long", 2);
    assert_refused(statement_step(st, err), -EIO, "no such table: nowhere");
    statement_end(st);
    st = statement_begin(fixture->conn, &right);
    statement_bind_int(st, 1, 7);
    assert_int_equal(statement_step(st, NULL), 1);
    assert_int_equal(statement_int(st), 7);
    statement_end(st);
}

static int walk_again(const struct context_row *row, void *arg, struct error *err)
{
    struct fixture *fixture = arg;
    int inner = 0;
    int rc = context_each(fixture->conn, count_row, &inner, err);
    struct context_row again;
    if (rc == 0)
        rc = context_get(fixture->conn, row->id, &again, err);
    if (rc == 0 && (inner != 3 || strcmp(again.name, row->name) != 0))
        rc = -EPROTO;
    return rc;
}

static int stop_at_second(const struct context_row *row, void *arg, struct error *err)
{
    (void)err;
    strcat(arg, row->name);
    return strcmp(row->name, "b") == 0 ? 42 : 0;
}

static void test_walks_nest_and_stop(void **state)
{
    struct fixture *fixture = *state;
    fixture_vm(fixture->conn, "c");
    fixture_vm(fixture->conn, "a");
    fixture_vm(fixture->conn, "b");
    assert_ok(context_each(fixture->conn, walk_again, fixture, err));
    char seen[8] = "";
    assert_int_equal(context_each(fixture->conn, stop_at_second, seen, NULL), 42);
    assert_string_equal(seen, "ab");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_writing, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_statements_are_reused),
        TEST(test_what_cannot_be_prepared),
        TEST(test_parameters_are_checked),
        TEST(test_walks_nest_and_stop),
    };
    return cmocka_run_group_tests_name("statement", tests, NULL, NULL);
}
