// SPDX-License-Identifier: MIT
//
// The reserve on a small file system that fills up: what backups may take, when the file is given
// up, and that it can be given up however it came to be.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/reserve.h"

#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define MIB (UINT64_C(1024) * 1024)
#define SIZE "size=96m"

struct fixture {
    struct scratch scratch;
    struct reserve *reserve;
    bool mounted;
};

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    if (!f || scratch_make(&f->scratch) < 0)
        return -1;
    f->mounted = mount("tmpfs", f->scratch.folder, "tmpfs", 0, SIZE) == 0;
    if (!f->mounted)
        return 0;
    if (mkdir(scratch_path(&f->scratch, "cache"), 0700) < 0)
        return -1;
    return reserve_open(f->scratch.folder, &f->reserve, NULL);
}

static int clean(void **state)
{
    struct fixture *f = *state;
    int r;

    reserve_close(f->reserve);
    r = f->mounted ? umount(f->scratch.folder) : 0;
    if (r == 0)
        r = scratch_remove(&f->scratch);
    free(f);
    return r;
}

static uint64_t left(struct fixture *f)
{
    struct statvfs fs;

    assert_int_equal(statvfs(f->scratch.folder, &fs), 0);
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

// Others write until only so much is left.
static void leave(struct fixture *f, uint64_t bytes)
{
    int fd = open(scratch_path(&f->scratch, "filler"), O_RDWR | O_CREAT, 0600);
    struct stat st;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(left(f) > bytes);
    assert_int_equal(fallocate(fd, 0, st.st_size, (off_t)(left(f) - bytes)), 0);
    close(fd);
    assert_int_equal(left(f), bytes);
}

static bool is_there(struct fixture *f)
{
    struct stat st;

    return stat(scratch_path(&f->scratch, "cache/reserve"), &st) == 0 && st.st_blocks > 0;
}

static void test_backups_leave_it_alone(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    if (!f->mounted)
        skip();
    reserve_refill(f->reserve, 0);
    assert_true(is_there(f));
    assert_int_equal(reserve_floor(f->reserve), 2 * MIB);
    leave(f, 4 * MIB);
    assert_int_equal(reserve_check(f->reserve, 2 * MIB, NULL), 0);
    assert_int_equal(reserve_check(f->reserve, 2 * MIB + 1, &err), -ENOSPC);
    assert_false(reserve_make_room(f->reserve));

    // Something else takes the rest. What is given up then is for forgetting, not for backups.
    leave(f, MIB);
    assert_int_equal(reserve_check(f->reserve, 1, NULL), -ENOSPC);
    assert_true(reserve_make_room(f->reserve));
    assert_false(is_there(f));
    assert_int_equal(left(f), 5 * MIB);
    assert_int_equal(reserve_check(f->reserve, 1, NULL), -ENOSPC);
    assert_false(reserve_make_room(f->reserve)); // once
}

// The repository grew, and the disk became too full for a larger one.
static void test_one_that_cannot_grow_is_still_given_up(void **state)
{
    struct fixture *f = *state;

    if (!f->mounted)
        skip();
    reserve_refill(f->reserve, 0);
    leave(f, 8 * MIB);
    reserve_refill(f->reserve, 80 * MIB);
    assert_true(is_there(f));
    assert_true(reserve_floor(f->reserve) > 2 * MIB);
    leave(f, MIB);
    assert_true(reserve_make_room(f->reserve));
    assert_false(is_there(f));
    assert_int_equal(left(f), 5 * MIB);
}

// It comes back when there is room for it twice over, as large as it is to be by then.
static void test_it_comes_back(void **state)
{
    struct fixture *f = *state;

    if (!f->mounted)
        skip();
    reserve_refill(f->reserve, 0);
    leave(f, MIB);
    assert_true(reserve_make_room(f->reserve));
    reserve_refill(f->reserve, 80 * MIB);
    assert_false(is_there(f));
    assert_int_equal(unlink(scratch_path(&f->scratch, "filler")), 0);
    reserve_refill(f->reserve, 80 * MIB);
    assert_true(is_there(f));
    assert_int_equal(left(f), 91 * MIB);
    assert_int_equal(reserve_check(f->reserve, MIB, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_backups_leave_it_alone, make, clean),
        cmocka_unit_test_setup_teardown(test_one_that_cannot_grow_is_still_given_up, make, clean),
        cmocka_unit_test_setup_teardown(test_it_comes_back, make, clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
