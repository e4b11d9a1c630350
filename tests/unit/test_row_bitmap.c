// SPDX-License-Identifier: MIT
//
// Sets of rows: against a plain table, sparse where nothing is, and refusing numbers no table has.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/row_bitmap.h"

#define ROWS 200000

static void test_against_a_table(void **state)
{
    static bool table[ROWS];
    struct row_bitmap map = {0};
    uint64_t x = 1;
    (void)state;

    for (int i = 0; i < 5000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        table[x % ROWS] = true;
        assert_int_equal(row_bitmap_set(&map, (int64_t)(x % ROWS), NULL), 0);
    }
    for (int64_t row = 0; row < ROWS; row++)
        assert_int_equal(row_bitmap_has(&map, row), table[row]);
    assert_false(row_bitmap_has(&map, ROWS * 100));
    for (int64_t row = 0; row < ROWS; row += 3)
        row_bitmap_remove(&map, row);
    row_bitmap_remove(&map, ROWS * 100);
    row_bitmap_remove(&map, -1);
    for (int64_t row = 0; row < ROWS; row++)
        assert_int_equal(row_bitmap_has(&map, row), row % 3 != 0 && table[row]);
    row_bitmap_deinit(&map);
    assert_false(row_bitmap_has(&map, (int64_t)(x % ROWS)));
    assert_int_equal(row_bitmap_set(&map, 7, NULL), 0); // usable again
    assert_true(row_bitmap_has(&map, 7));
    row_bitmap_deinit(&map);
}

static void test_sparse(void **state)
{
    struct row_bitmap map = {0};
    (void)state;

    for (int64_t row = 1; row < INT64_C(1) << 32; row *= 8)
        assert_int_equal(row_bitmap_set(&map, row, NULL), 0);
    assert_true(map.page_count <= 8);
    assert_true(row_bitmap_has(&map, INT64_C(1) << 30));
    assert_false(row_bitmap_has(&map, (INT64_C(1) << 30) + 1));
    row_bitmap_deinit(&map);
}

static void test_no_such_row(void **state)
{
    struct row_bitmap map = {0};
    (void)state;

    assert_int_equal(row_bitmap_set(&map, -1, NULL), -ERROR_CORRUPT);
    assert_int_equal(row_bitmap_set(&map, INT64_MAX, NULL), -ERROR_CORRUPT);
    assert_false(row_bitmap_has(&map, -1));
    assert_false(row_bitmap_has(&map, INT64_MAX));
    assert_false(row_bitmap_has(&map, INT64_MIN));
    assert_int_equal(map.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_table),
        cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_no_such_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
