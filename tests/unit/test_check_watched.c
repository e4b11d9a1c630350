// SPDX-License-Identifier: MIT
//
// catalog/check_watched.h: a check that is watched finds what one that is not finds, and ends when
// it is told to.
#include "tests/unit/catalog_fixture.h"

#include "catalog/check_watched.h"

struct ticks {
    int count, last; // `last`: the tick that says to end; 0: none
};

static int tick(void *arg, struct error *err)
{
    struct ticks *ticks = arg;
    return ++ticks->count == ticks->last ? error_set(err, -ECANCELED, "told to end") : 0;
}

static void test_finds_what_there_is(void **state)
{
    struct fixture *fixture = *state;
    struct ticks ticks = {0};
    struct catalog_conn *conn = NULL;

    assert_ok(catalog_read_begin(fixture->catalog, &conn, err));
    assert_ok(catalog_check_watched(conn, false, tick, &ticks, err));
    assert_true(ticks.count >= 1);
    catalog_read_end(conn);

    assert_ok(catalog_write_begin(fixture->catalog, &conn, err));
    assert_ok(connection_exec(conn, "test",
                              "COMMIT; PRAGMA foreign_keys=OFF; BEGIN IMMEDIATE; "
                              "INSERT INTO job_log (job_id, at, line) VALUES (77, 1, 'x')",
                              err));
    assert_refused(catalog_check_watched(conn, true, tick, &ticks, err), -ERROR_CORRUPT, "job_log");
    catalog_write_rollback(conn);
}

static void test_ends_before_it_begins(void **state)
{
    struct ticks ticks = {.last = 1};
    assert_refused(
        catalog_check_watched(((struct fixture *)*state)->conn, false, tick, &ticks, err),
        -ECANCELED, "told to end");
    assert_int_equal(ticks.count, 1);
}

// However fast the machine is, some number of rows takes longer than two ticks.
static void test_ends_in_the_middle(void **state)
{
    struct catalog_conn *conn = ((struct fixture *)*state)->conn;
    struct ticks ticks = {0};
    struct error why = ERROR_INIT;
    int64_t rows = 1 << 14;
    int r = 0;

    assert_ok(connection_exec(
        conn, "test",
        "INSERT INTO repository SELECT 'k' || value, 'v' FROM "
        "(WITH RECURSIVE n(value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM n LIMIT 16384) "
        " SELECT value FROM n)",
        err));
    for (; r == 0 && rows < 1 << 26; rows *= 2) {
        assert_ok(connection_exec(
            conn, "test",
            "INSERT INTO repository SELECT hex(randomblob(12)), value FROM repository", err));
        ticks = (struct ticks){.last = 2};
        r = catalog_check_watched(conn, true, tick, &ticks, &why);
    }
    assert_int_equal(r, -ECANCELED);
    assert_string_equal(error_message(&why), "told to end");
    assert_int_equal(ticks.count, 2);
    // The connection is as good as before.
    assert_true(fixture_count(conn, "SELECT count(*) FROM repository") > rows / 2);
}

#define PLAIN(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define WRITING(test) cmocka_unit_test_setup_teardown(test, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAIN(test_finds_what_there_is),
        WRITING(test_ends_before_it_begins),
        WRITING(test_ends_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
