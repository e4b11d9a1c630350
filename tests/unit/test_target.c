// SPDX-License-Identifier: MIT
//
// Restore targets: what is refused as in use, new files that appear whole or not at all, and
// writing in place. Block devices have a test of their own. A file system that knows little is made
// by standing in for four system calls.
#include "tests/unit/target_testing.h"

#include <sys/syscall.h>

// While set: no O_TMPFILE, no O_DIRECT, no holes, no rename that keeps what is there.
static bool poor_file_system;

int openat(int folder, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (poor_file_system && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (poor_file_system && (flags & O_DIRECT)) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (poor_file_system) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    if (poor_file_system && flags) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

static int make(void **state)
{
    (void)state;
    return scratch_make(&scratch);
}

static int clean(void **state)
{
    (void)state;
    poor_file_system = false;
    return scratch_remove(&scratch);
}

static int count_names(const char *folder)
{
    char command[PATH_MAX + 64];
    int count = -1;
    snprintf(command, sizeof(command), "ls -A '%s' | wc -l", folder);
    FILE *out = popen(command, "re");
    assert_non_null(out);
    assert_int_equal(fscanf(out, "%d", &count), 1);
    pclose(out);
    return count;
}

static void test_new_file(void **state)
{
    (void)state;
    char folder[PATH_MAX];
    char path[PATH_MAX];
    char buf[8];
    struct stat st;
    path_to("new", folder);
    path_to("new/disk.raw", path);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(target_check(path, 5 * MIB + 3, NULL), 0);
    assert_int_equal(count_names(folder), 0);

    AUTO(target_close) struct target *target = open_good(path, 5 * MIB + 3);
    assert_true(target_is_new(target));
    assert_int_equal(target_capacity(target), 5 * MIB + 3);
    assert_false(target_is_source(target, path));
    assert_int_equal(target_write(target, "data", 4, 5 * MIB - 1, NULL), 0);
    assert_int_equal(target_write(target, "data", 4, 5 * MIB, NULL), -EINVAL);
    assert_int_equal(target_read(target, buf, 8, 5 * MIB - 5, NULL), 0);
    assert_memory_equal(buf, "\0\0\0\0data", 8);
    assert_int_equal(target_flush(target, NULL), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(target_publish(target, NULL), 0);
    assert_int_equal(target_publish(target, NULL), 0);
    target = target_close(target);

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5 * MIB + 3);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(st.st_blocks * 512 < MIB);
    assert_int_equal(count_names(folder), 1);
}

static void test_new_file_that_is_not_published(void **state)
{
    (void)state;
    char folder[PATH_MAX];
    char path[PATH_MAX];
    path_to("dropped", folder);
    path_to("dropped/disk.raw", path);
    assert_int_equal(mkdir(folder, 0700), 0);
    struct target *target = open_good(path, MIB);
    assert_int_equal(target_write(target, "data", 4, 0, NULL), 0);
    assert_null(target_close(target));
    assert_int_equal(count_names(folder), 0);
    assert_null(target_close(NULL));
}

static void test_name_taken_meanwhile(void **state)
{
    (void)state;
    char folder[PATH_MAX];
    char path[PATH_MAX];
    struct stat st;
    path_to("taken", folder);
    path_to("taken/disk.raw", path);
    assert_int_equal(mkdir(folder, 0700), 0);
    struct error err = ERROR_INIT;
    AUTO(target_close) struct target *target = open_good(path, MIB);
    make_file(path, 10, 'x');
    assert_int_equal(target_publish(target, &err), -EEXIST);
    assert_non_null(strstr(error_message(&err), "created by somebody else"));
    target = target_close(target);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 10);
    assert_int_equal(count_names(folder), 1);
}

static void test_new_file_refusals(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char name[300];
    assert_target_refused("", MIB, -EINVAL, "target is empty");
    assert_target_refused("disk.raw", MIB, -EINVAL, "target 'disk.raw' is not an absolute path");
    assert_target_refused("/tmp/a\nb", MIB, -EINVAL, "control character");
    path_to("nowhere/disk.raw", path);
    assert_target_refused(path, MIB, -ENOENT, "nowhere/: No such file or directory");
    path_to("slash/", path);
    assert_target_refused(path, MIB, -EINVAL, "names no file");
    path_to("dangling", path);
    assert_int_equal(symlink("nothing", path), 0);
    assert_target_refused(path, MIB, -EINVAL, "is a symbolic link to nothing");
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    path_to(name, path);
    assert_target_refused(path, MIB, -ENAMETOOLONG, "File name too long");
}

static void test_refused_kinds(void **state)
{
    (void)state;
    char path[PATH_MAX];
    assert_target_refused(scratch.folder, MIB, -EINVAL,
                          " is a directory, not a file or block device");
    assert_target_refused("/dev/null", MIB, -EINVAL, "/dev/null is a character device, not");
    path_to("fifo", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_target_refused(path, MIB, -EINVAL, " is a fifo, not a file or block device");
}

static void test_forbidden_folder(void **state)
{
    (void)state;
    char folder[PATH_MAX];
    char path[PATH_MAX];
    path_to("repo", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(source_forbid(folder, "it is in the repository itself", NULL), 0);
    path_to("repo/new.raw", path);
    assert_target_refused(path, MIB, -EINVAL, "it is in the repository itself");
    make_file(path, MIB, 0);
    assert_target_refused(path, MIB, -EINVAL, "it is in the repository itself");
    path_to("shortcut", path);
    assert_int_equal(symlink(folder, path), 0);
    path_to("shortcut/other.raw", path);
    assert_target_refused(path, MIB, -EINVAL, "it is in the repository itself");
    assert_int_equal(count_names(folder), 1);
}

static void test_size(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char sentence[PATH_MAX + 100];
    char byte;
    path_to("size", path);
    make_file(path, 1000, 'x');
    snprintf(sentence, sizeof(sentence), "%s holds 1000 bytes, the disk needs 1001", path);
    assert_target_refused(path, 1001, -ENOSPC, sentence);
    assert_int_equal(target_check(path, 1000, NULL), 0);
    AUTO(target_close) struct target *target = open_good(path, 500);
    assert_false(target_is_new(target));
    assert_int_equal(target_capacity(target), 1000);
    assert_int_equal(target_read(target, &byte, 1, 999, NULL), 0);
    assert_int_equal(target_read(target, &byte, 1, 1000, NULL), -EINVAL);
    assert_int_equal(target_write(target, "ab", 2, 999, NULL), -EINVAL);
    assert_int_equal(target_write_zeros(target, 2, 999, NULL), -EINVAL);
    assert_int_equal(target_publish(target, NULL), 0);
}

static void test_is_source(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char other[PATH_MAX];
    path_to("is-source", path);
    path_to("is-source-link", other);
    make_file(path, 1000, 0);
    assert_int_equal(link(path, other), 0);
    AUTO(target_close) struct target *target = open_good(path, 1000);
    assert_true(target_is_source(target, path));
    assert_true(target_is_source(target, other));
    path_to("is-another", other);
    make_file(other, 1000, 0);
    assert_false(target_is_source(target, other));
    assert_false(target_is_source(target, "/nowhere/at/all"));
    assert_false(target_is_source(target, "is-source"));
    assert_false(target_is_source(target, "/"));
}

static void test_zeros_make_holes(void **state)
{
    (void)state;
    char path[PATH_MAX];
    AUTO_FREE char *buf = malloc(MIB);
    struct stat st;
    uint64_t start;
    uint64_t end;
    path_to("zeros", path);
    make_file(path, MIB, 'x');
    AUTO(target_close) struct target *target = open_good(path, MIB);
    assert_int_equal(target_write_zeros(target, 0, 0, NULL), 0);
    assert_int_equal(target_write_zeros(target, MIB / 2, 0, NULL), 0);
    assert_int_equal(target_write_zeros(target, 100, MIB - 100, NULL), 0);
    assert_int_equal(target_read(target, buf, MIB, 0, NULL), 0);
    for (unsigned i = 0; i < MIB; i++)
        assert_int_equal(buf[i], i < MIB / 2 || i >= MIB - 100 ? 0 : 'x');
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, MIB);
    assert_int_equal(target_next_data(target, 0, &start, &end, NULL), 1);
    assert_int_equal(start, MIB / 2);
    assert_int_equal(end, MIB);
}

static void check_direct_read(const char *path, size_t size)
{
    AUTO(target_close) struct target *target = open_good(path, size);
    char *buf = aligned_alloc(PAGE, 32 * PAGE);
    assert_non_null(buf);
    assert_int_equal(target_write(target, "first", 5, 0, NULL), 0);
    assert_int_equal(target_write(target, "last", 4, size - 4, NULL), 0);
    assert_int_equal(target_flush(target, NULL), 0);
    assert_int_equal(target_read_direct(target, buf, 5, 0, NULL), 0);
    assert_memory_equal(buf, "first", 5);
    size_t tail = size % (2 * PAGE) + 2 * PAGE;
    assert_int_equal(target_read_direct(target, buf, tail, size - tail, NULL), 0);
    assert_memory_equal(buf + tail - 4, "last", 4);
    assert_int_equal(target_read_direct(target, buf, tail + 1, size - tail, NULL), -EINVAL);
    free(buf);
}

static void test_direct_read(void **state)
{
    (void)state;
    char path[PATH_MAX];
    path_to("direct", path);
    make_file(path, 64 * PAGE, 'x');
    check_direct_read(path, 64 * PAGE);
    // An end that is no multiple of anything.
    make_file(path, 64 * PAGE + 777, 'x');
    check_direct_read(path, 64 * PAGE + 777);
}

static void test_direct_read_of_a_file_cut_short(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char sentence[PATH_MAX + 64];
    path_to("cut", path);
    make_file(path, 8 * PAGE, 'x');
    AUTO(target_close) struct target *target = open_good(path, 8 * PAGE);
    char *buf = aligned_alloc(PAGE, 8 * PAGE);
    struct error err = ERROR_INIT;
    assert_int_equal(truncate(path, 5 * PAGE), 0);
    assert_int_equal(target_read_direct(target, buf, 8 * PAGE, 0, &err), -EIO);
    snprintf(sentence, sizeof(sentence), "%s ended at byte %u of %u", path, 5 * PAGE, 8 * PAGE);
    assert_string_equal(error_message(&err), sentence);
    free(buf);
}

static void test_held_by_another_process(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char sentence[64];
    path_to("held", path);
    make_file(path, MIB, 'x');
    struct holder holder = hold(path, take_flock, O_RDONLY);
    assert_target_refused(path, MIB, -EBUSY, "another process holds a lock on it");
    release(holder);
    holder = hold(path, take_ofd, O_RDONLY);
    assert_target_refused(path, MIB, -EBUSY, "another process holds a lock on it");
    release(holder);
    holder = hold(path, take_posix, O_RDONLY);
    snprintf(sentence, sizeof(sentence), "process %d holds a lock on it", (int)holder.pid);
    assert_target_refused(path, MIB, -EBUSY, sentence);
    release(holder);
    holder = hold(path, take_nothing, O_WRONLY);
    snprintf(sentence, sizeof(sentence), "is open for writing by process %d (", (int)holder.pid);
    assert_target_refused(path, MIB, -EBUSY, sentence);
    release(holder);
    // Somebody who reads is no reason.
    holder = hold(path, take_nothing, O_RDONLY);
    assert_int_equal(target_check(path, MIB, NULL), 0);
    release(holder);
    target_close(open_good(path, MIB));
}

static void test_a_target_is_held(void **state)
{
    (void)state;
    char path[PATH_MAX];
    path_to("own", path);
    make_file(path, MIB, 'x');
    struct target *target = open_good(path, MIB);
    assert_target_refused(path, MIB, -EBUSY, "holds a lock on it");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(take_ofd(fd), -1);
    target_close(target);
    assert_int_equal(take_ofd(fd), 0);
}

static void test_file_system_that_knows_little(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char folder[PATH_MAX];
    char buf[4] = "";
    struct stat st;
    path_to("poor", folder);
    path_to("poor/disk.raw", path);
    assert_int_equal(mkdir(folder, 0700), 0);
    poor_file_system = true;
    struct target *target = open_good(path, MIB);
    assert_int_equal(count_names(folder), 1);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(target_write(target, "data", 4, 8192, NULL), 0);
    assert_int_equal(target_write_zeros(target, 2, 8193, NULL), 0);
    assert_int_equal(target_write_zeros(target, 300000, 8196, NULL), 0);
    assert_int_equal(target_read(target, buf, 4, 8192, NULL), 0);
    assert_memory_equal(buf, "d\0\0a", 4);
    assert_int_equal(target_publish(target, NULL), 0);
    target_close(target);
    assert_int_equal(count_names(folder), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, MIB);
    assert_int_equal(st.st_mode & 07777, 0600);
    check_direct_read(path, MIB);

    // Dropped, and with the name taken meanwhile.
    path_to("poor/other.raw", path);
    target_close(open_good(path, MIB));
    assert_int_equal(count_names(folder), 1);
    target = open_good(path, MIB);
    make_file(path, 10, 'x');
    assert_int_equal(target_publish(target, NULL), -EEXIST);
    target_close(target);
    assert_int_equal(count_names(folder), 2);
    poor_file_system = false;
}

// The longest name a folder can hold leaves no room for a suffix.
static void test_longest_name(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char name[NAME_MAX + 1];
    memset(name, 'l', NAME_MAX);
    name[NAME_MAX] = '\0';
    path_to(name, path);
    poor_file_system = true;
    struct target *target = open_good(path, MIB);
    poor_file_system = false;
    assert_int_equal(target_publish(target, NULL), 0);
    target_close(target);
    assert_int_equal(access(path, F_OK), 0);
}

static void test_no_permission(void **state)
{
    (void)state;
    char path[PATH_MAX];
    struct error err = ERROR_INIT;
    struct error new_err = ERROR_INIT;
    assert_int_equal(chmod(scratch.folder, 0711), 0);
    path_to("read-only", path);
    make_file(path, MIB, 'x');
    assert_int_equal(chmod(path, 0444), 0);
    bool root = geteuid() == 0;
    if (root)
        assert_int_equal(seteuid(65534), 0);
    int rc = target_check(path, MIB, &err);
    path_to("no-such-file", path);
    int new_rc = target_check(path, MIB, &new_err);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(rc, -EACCES);
    assert_non_null(strstr(error_message(&err), ": Permission denied"));
    if (root) // the folder is closed to others, not to its owner
        assert_int_equal(new_rc, -EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_file),
        cmocka_unit_test(test_new_file_that_is_not_published),
        cmocka_unit_test(test_name_taken_meanwhile),
        cmocka_unit_test(test_new_file_refusals),
        cmocka_unit_test(test_refused_kinds),
        cmocka_unit_test(test_forbidden_folder),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_is_source),
        cmocka_unit_test(test_zeros_make_holes),
        cmocka_unit_test(test_direct_read),
        cmocka_unit_test(test_direct_read_of_a_file_cut_short),
        cmocka_unit_test(test_held_by_another_process),
        cmocka_unit_test(test_a_target_is_held),
        cmocka_unit_test(test_file_system_that_knows_little),
        cmocka_unit_test(test_longest_name),
        cmocka_unit_test(test_no_permission),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
