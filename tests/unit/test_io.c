// SPDX-License-Identifier: MIT
//
// Full I/O: every byte or an error with its reason; the atomic replacement leaves the old file or
// the new one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"

#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

static int make(void **state)
{
    struct scratch *scratch = calloc(1, sizeof(*scratch));
    *state = scratch;
    return scratch ? scratch_make(scratch) : -1;
}

static int clean(void **state)
{
    int rc = scratch_remove(*state);
    free(*state);
    return rc;
}

static void test_read_and_write(void **state)
{
    const char *path = scratch_path(*state, "f");
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    char back[10] = "";
    assert_true(fd >= 0);
    assert_int_equal(io_write_at(fd, "0123456789", 10, 5, path, NULL), 0);
    assert_int_equal(io_read_at(fd, back, 10, 5, path, NULL), 0);
    assert_memory_equal(back, "0123456789", 10);
    assert_int_equal(io_read_up_to(fd, back, 10, 10, path, NULL), 5);
    assert_memory_equal(back, "56789", 5);
    assert_int_equal(io_read_up_to(fd, back, 10, 15, path, NULL), 0);
    assert_int_equal(io_read_at(fd, back, 0, 1000, path, NULL), 0);
    assert_int_equal(io_fsync(fd, path, NULL), 0);
    assert_int_equal(io_fdatasync(fd, path, NULL), 0);
    close(fd);
}

static void test_short_read_names_the_end(void **state)
{
    const char *path = scratch_path(*state, "f");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    char back[10];
    struct error err = ERROR_INIT;
    char sentence[PATH_MAX + 200];
    assert_int_equal(ftruncate(fd, 7), 0);
    assert_int_equal(io_read_at(fd, back, 10, 3, path, &err), -EIO);
    snprintf(sentence, sizeof(sentence),
             "short read of %s: 4 of 10 bytes at offset 3, it ends at byte 7", path);
    assert_string_equal(error_message(&err), sentence);
    close(fd);
}

static void test_errors_keep_their_errno(void **state)
{
    (void)state;
    char byte = 0;
    struct error err = ERROR_INIT;
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    assert_int_equal(io_write_at(full, "x", 1, 4096, "/dev/full", &err), -ENOSPC);
    assert_string_equal(error_message(&err),
                        "cannot write /dev/full at offset 4096: No space left on device");
    close(full);
    assert_int_equal(io_read_at(-1, &byte, 1, 0, "x", NULL), -EBADF);
    assert_int_equal(io_write_at(-1, &byte, 1, 0, "x", NULL), -EBADF);
    assert_int_equal(io_read_at(0, &byte, 1, UINT64_MAX, "x", NULL), -EINVAL);
    assert_int_equal(io_write_at(0, &byte, 1, INT64_MAX, "x", NULL), -EINVAL);
    assert_int_equal(io_fsync(-1, "x", NULL), -EBADF);
    assert_int_equal(io_fsync_dir("/nowhere/at/all", NULL), -ENOENT);
}

// A limit on the file's size makes the kernel write a part and then refuse the rest.
static void test_partial_write_goes_on_and_fails(void **state)
{
    const char *path = scratch_path(*state, "limited");
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit small = {1000, old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    char data[4096] = "";
    struct error err = ERROR_INIT;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = io_write_at(fd, data, sizeof(data), 0, "limited", &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(rc, -EFBIG);
    assert_string_equal(error_message(&err), "cannot write limited at offset 1000: File too large");
    close(fd);
}

static void test_read_file(void **state)
{
    const char *path = scratch_path(*state, "small");
    char *data = NULL;
    size_t len = 99;
    struct error err = ERROR_INIT;
    assert_int_equal(io_read_file(path, 10, &data, &len, &err), -ENOENT);
    assert_int_equal(io_replace_file(path, "hello", 5, 0600, NULL), 0);
    assert_int_equal(io_read_file(path, 4, &data, &len, NULL), -EFBIG);
    assert_null(data);
    assert_int_equal(len, 99);
    assert_int_equal(io_read_file(path, 5, &data, &len, NULL), 0);
    assert_int_equal(len, 5);
    assert_string_equal(data, "hello");
    free(data);
    assert_int_equal(io_read_file("/", 10, &data, &len, NULL), -EINVAL);
}

static void test_replace_file(void **state)
{
    struct scratch *scratch = *state;
    char temp[PATH_MAX];
    strcpy(temp, scratch_path(scratch, "config.tmp"));
    const char *path = scratch_path(scratch, "config");
    char *data = NULL;
    size_t len;
    mode_t mask = umask(077);
    // A left-over of a crash, longer and unreadable, must not show through.
    int fd = open(temp, O_WRONLY | O_CREAT, 0000);
    assert_int_equal(write(fd, "old rubbish", 11), 11);
    close(fd);
    assert_int_equal(io_replace_file(path, "one", 3, 0644, NULL), 0);
    umask(mask);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(io_replace_file(path, "two!", 4, 0600, NULL), 0);
    assert_int_equal(io_read_file(path, 100, &data, &len, NULL), 0);
    assert_string_equal(data, "two!");
    free(data);
    assert_int_equal(access(temp, F_OK), -1);
    assert_int_equal(io_replace_file(path, "", 0, 0600, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 0);
}

static void test_failed_replacement_leaves_the_old_file(void **state)
{
    struct scratch *scratch = *state;
    char temp[PATH_MAX];
    strcpy(temp, scratch_path(scratch, "keep.tmp"));
    const char *path = scratch_path(scratch, "keep");
    struct error err = ERROR_INIT;
    // A folder in the way lets everything succeed up to the rename.
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(io_replace_file(path, "new", 3, 0600, &err), -EISDIR);
    assert_non_null(strstr(error_message(&err), "cannot rename "));
    assert_int_equal(access(temp, F_OK), -1);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(io_replace_file("/nowhere/at/all", "x", 1, 0600, NULL), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_and_write),
        cmocka_unit_test(test_short_read_names_the_end),
        cmocka_unit_test(test_errors_keep_their_errno),
        cmocka_unit_test(test_partial_write_goes_on_and_fails),
        cmocka_unit_test(test_read_file),
        cmocka_unit_test(test_replace_file),
        cmocka_unit_test(test_failed_replacement_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
