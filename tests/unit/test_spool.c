// SPDX-License-Identifier: MIT
//
// Texts of any size: small ones in memory, large ones in a file without a name, the same to read.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/tree/spool.h"

#include "tests/unit/scratch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sample {
    char *text; // what was added, all of it
    size_t len;
};

static struct spool *fill(const char *dir, size_t lines, struct sample *sample)
{
    struct spool *spool;

    assert_int_equal(spool_new(dir, NULL, &spool, NULL), 0);
    sample->text = malloc(lines * 24 + 1);
    assert_non_null(sample->text);
    sample->len = 0;
    for (size_t i = 0; i < lines; i++) {
        char *line = sample->text + sample->len;
        int len = snprintf(line, 24, "%zu %zu\n", i * 12345, i % 97);

        assert_int_equal(spool_add(spool, line, (size_t)len, NULL), 0);
        sample->len += (size_t)len;
    }
    assert_int_equal(spool_finish(spool, NULL), 0);
    assert_int_equal(spool_length(spool), sample->len);
    return spool;
}

static void check_read(const struct spool *spool, const struct sample *sample, uint64_t offset,
                       size_t len)
{
    char buf[5000];
    size_t left = offset < sample->len ? sample->len - (size_t)offset : 0;
    size_t expected = left < len ? left : len;

    assert_true(len <= sizeof(buf));
    assert_int_equal(spool_read(spool, buf, len, offset, NULL), expected);
    if (expected)
        assert_memory_equal(buf, sample->text + offset, expected);
}

static size_t names_in(const char *dir)
{
    DIR *folder = opendir(dir);
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void test_sizes(void **state)
{
    struct scratch *scratch = *state;
    // Nothing, a line, just below and above what stays in memory, several times that.
    static const size_t lines[] = {0, 1, 70000, 100000, 400000};

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct sample sample;
        struct spool *spool = fill(scratch->folder, lines[i], &sample);

        for (uint64_t offset = 0; offset < sample.len + 5000; offset += 4999)
            check_read(spool, &sample, offset, 5000);
        check_read(spool, &sample, (1 << 20) - 10, 20);
        check_read(spool, &sample, sample.len, 1);
        check_read(spool, &sample, UINT64_MAX / 2, 1);
        assert_int_equal(names_in(scratch->folder), 2); // "." and ".."
        spool_free(spool);
        free(sample.text);
    }
    assert_null(spool_free(NULL));
}

// cache/ may be deleted at any time.
static void test_a_folder_that_went_away(void **state)
{
    struct scratch *scratch = *state;
    char dir[PATH_MAX];
    struct sample sample;
    struct spool *spool;

    snprintf(dir, sizeof(dir), "%s/cache", scratch->folder);
    spool = fill(dir, 100000, &sample);
    check_read(spool, &sample, 1500000, 5000);
    spool_free(spool);
    free(sample.text);
    assert_int_equal(rmdir(dir), 0);
}

static void test_no_place_for_it(void **state)
{
    struct error err = ERROR_INIT;
    struct spool *spool;
    char line[4096];
    int r = 0;
    (void)state;

    memset(line, 'x', sizeof(line));
    assert_int_equal(spool_new("/dev/null/nothing", NULL, &spool, NULL), 0);
    for (int i = 0; r == 0 && i < 1000; i++)
        r = spool_add(spool, line, sizeof(line), &err);
    assert_int_equal(r, -ENOTDIR);
    assert_non_null(strstr(error_message(&err), "cannot make a temporary file in /dev/null"));
    spool_free(spool);
}

static int make(void **state)
{
    struct scratch *scratch = calloc(1, sizeof(*scratch));

    *state = scratch;
    return scratch ? scratch_make(scratch) : -1;
}

static int clean(void **state)
{
    int r = scratch_remove(*state);

    free(*state);
    return r;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sizes, make, clean),
        cmocka_unit_test_setup_teardown(test_a_folder_that_went_away, make, clean),
        cmocka_unit_test(test_no_place_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
