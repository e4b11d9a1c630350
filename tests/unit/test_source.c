// SPDX-License-Identifier: MIT
//
// Sources: exact reads and holes, changes while reading, and everything that is refused. Block
// devices have a test of their own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/source/source.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#define MIB (1u << 20)

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

// A file of `size` bytes with "data" at `at`.
static int make_file(const char *path, off_t size, off_t at)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    if (at >= 0)
        assert_int_equal(pwrite(fd, "data", 4, at), 4);
    return fd;
}

static struct source *open_good(const char *path)
{
    struct source *source = NULL;
    struct error err = ERROR_INIT;
    if (source_open(path, &source, &err) != 0)
        fail_msg("%s", error_message(&err));
    return source;
}

static void assert_refused(const char *path, int code, const char *part)
{
    struct source *source = NULL;
    struct error err = ERROR_INIT;
    int rc = source_open(path, &source, &err);
    if (rc != code || !strstr(error_message(&err), part))
        fail_msg("%s: %d, %s", path, rc, error_message(&err));
    assert_null(source);
}

static void test_check_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *part;
    } table[] = {
        {"", "source is empty"},
        {"disk.img", "source 'disk.img' is not an absolute path"},
        {"./disk.img", "source './disk.img' is not an absolute path"},
        {"-x", "source '-x' is not an absolute path"},
        {"qcow2:/x.qcow2", "source format 'qcow2' is not known"},
        {"nbd+unix:///disk?socket=/run/x", "source format 'nbd+unix' is not known"},
        {"/a\nb", "control character \\x0a"},
        {"/a\x7f", "control character \\x7f"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(source_check(table[i].text, &err), -EINVAL);
        assert_non_null(strstr(error_message(&err), table[i].part));
        assert_refused(table[i].text, -EINVAL, table[i].part);
    }
    char longer[PATH_MAX + 1];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[0] = '/';
    longer[PATH_MAX] = '\0';
    assert_int_equal(source_check(longer, NULL), -EINVAL);
    longer[PATH_MAX - 1] = '\0';
    assert_int_equal(source_check(longer, NULL), 0);
    assert_int_equal(source_check("/dev/vg0/web1:a b", NULL), 0);
}

static void test_reads(void **state)
{
    const char *path = scratch_path(*state, "disk");
    close(make_file(path, 1000003, 1000003 - 4));
    AUTO(source_close) struct source *source = open_good(path);
    char buf[8];
    struct error err = ERROR_INIT;
    assert_int_equal(source_capacity(source), 1000003);
    assert_int_equal(source_read(source, buf, 8, 1000003 - 8, NULL), 0);
    assert_memory_equal(buf, "\0\0\0\0data", 8);
    assert_int_equal(source_read(source, buf, 0, 1000003, NULL), 0);
    assert_int_equal(source_read(source, buf, 1, 1000003, &err), -EINVAL);
    assert_non_null(strstr(error_message(&err), "outside its 1000003 bytes"));
    assert_int_equal(source_read(source, buf, 8, UINT64_MAX - 3, NULL), -EINVAL);
    assert_int_equal(source_check_unchanged(source, NULL), 0);
}

static void test_empty_file_is_an_empty_disk(void **state)
{
    const char *path = scratch_path(*state, "empty");
    close(make_file(path, 0, -1));
    AUTO(source_close) struct source *source = open_good(path);
    uint64_t start;
    uint64_t end;
    assert_int_equal(source_capacity(source), 0);
    assert_int_equal(source_next_data(source, 0, &start, &end, NULL), 0);
    assert_int_equal(source_check_unchanged(source, NULL), 0);
}

static void test_holes(void **state)
{
    const char *path = scratch_path(*state, "holes");
    int fd = make_file(path, 64 * MIB + 5, 8 * MIB);
    assert_int_equal(pwrite(fd, "data", 4, 32 * MIB), 4);
    close(fd);
    AUTO(source_close) struct source *source = open_good(path);
    uint64_t start = 7;
    uint64_t end = 7;
    assert_int_equal(source_next_data(source, 0, &start, &end, NULL), 1);
    assert_true(start <= 8 * MIB && start > 7 * MIB);
    assert_true(end >= 8 * MIB + 4 && end < 9 * MIB);
    assert_int_equal(source_next_data(source, 8 * MIB + 2, &start, &end, NULL), 1);
    assert_int_equal(start, 8 * MIB + 2);
    assert_int_equal(source_next_data(source, end, &start, &end, NULL), 1);
    assert_true(start <= 32 * MIB && start > 31 * MIB);
    uint64_t last = end;
    start = end = 7;
    assert_int_equal(source_next_data(source, last, &start, &end, NULL), 0);
    assert_int_equal(start, 7);
    assert_int_equal(end, 7);
    assert_int_equal(source_next_data(source, 64 * MIB + 5, &start, &end, NULL), 0);
    assert_int_equal(source_next_data(source, UINT64_MAX, &start, &end, NULL), 0);
}

static void test_extents_end_at_the_capacity(void **state)
{
    const char *path = scratch_path(*state, "tail");
    int fd = make_file(path, 4 * MIB, 4 * MIB - 4);
    AUTO(source_close) struct source *source = open_good(path);
    uint64_t start;
    uint64_t end;
    // What is written behind the end while the backup runs is no part of this backup.
    assert_int_equal(pwrite(fd, "data", 4, 4 * MIB), 4);
    assert_int_equal(pwrite(fd, "data", 4, 9 * MIB), 4);
    close(fd);
    assert_int_equal(source_next_data(source, 3 * MIB, &start, &end, NULL), 1);
    assert_int_equal(end, 4 * MIB);
    assert_int_equal(source_next_data(source, 4 * MIB, &start, &end, NULL), 0);
}

static void test_shrunk_file(void **state)
{
    struct scratch *scratch = *state;
    const char *path = scratch_path(scratch, "shrunk");
    close(make_file(path, MIB, MIB - 4));
    AUTO(source_close) struct source *source = open_good(path);
    char buf[4096];
    char sentence[PATH_MAX + 100];
    struct error err = ERROR_INIT;
    assert_int_equal(truncate(path, 5000), 0);
    assert_int_equal(source_read(source, buf, sizeof(buf), 4096, &err), -EIO);
    snprintf(sentence, sizeof(sentence), "%s ended at byte 5000 of 1048576", path);
    assert_string_equal(error_message(&err), sentence);
    error_clear(&err);
    assert_int_equal(source_check_unchanged(source, &err), -EIO);
    snprintf(sentence, sizeof(sentence),
             "%s changed its size from 1048576 to 5000 bytes while it was read", path);
    assert_string_equal(error_message(&err), sentence);
}

static void test_grown_and_removed_file(void **state)
{
    const char *path = scratch_path(*state, "grown");
    close(make_file(path, MIB, 0));
    AUTO(source_close) struct source *source = open_good(path);
    char buf[4];
    assert_int_equal(truncate(path, MIB + 1), 0);
    assert_int_equal(source_read(source, buf, 4, MIB - 4, NULL), 0);
    assert_int_equal(source_check_unchanged(source, NULL), -EIO);
    assert_int_equal(truncate(path, MIB), 0);
    assert_int_equal(unlink(path), 0);
    // An open file outlives its name; the next backup does not find it.
    assert_int_equal(source_read(source, buf, 4, 0, NULL), 0);
    assert_memory_equal(buf, "data", 4);
    assert_refused(path, -ENOENT, ": No such file or directory");
}

static void test_refused_kinds(void **state)
{
    struct scratch *scratch = *state;
    const char *path = scratch_path(scratch, "missing");
    char sentence[PATH_MAX + 100];
    snprintf(sentence, sizeof(sentence), "cannot open %s: No such file or directory", path);
    assert_refused(path, -ENOENT, sentence);
    assert_refused(scratch->folder, -EINVAL, " is a directory, not a file or block device");
    assert_refused("/dev/null", -EINVAL, "/dev/null is a character device, not");
    path = scratch_path(scratch, "fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(path, -EINVAL, " is a fifo, not a file or block device");
    path = scratch_path(scratch, "disk-not-a-folder");
    close(make_file(path, 1, -1));
    assert_refused(scratch_path(scratch, "disk-not-a-folder/x"), -ENOTDIR, ": Not a directory");
    assert_int_equal(symlink("loop", scratch_path(scratch, "loop")), 0);
    assert_refused(scratch_path(scratch, "loop"), -ELOOP, "cannot open ");
}

static void test_refused_socket(void **state)
{
    struct scratch *scratch = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_CLOSE int folder = open(scratch->folder, O_PATH | O_CLOEXEC);
    // A socket's address has room for a short path only.
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", folder);
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_refused(scratch_path(scratch, "socket"), -EINVAL,
                   " is a socket, not a file or block device");
}

static void test_no_permission(void **state)
{
    struct scratch *scratch = *state;
    assert_int_equal(chmod(scratch->folder, 0711), 0);
    const char *path = scratch_path(scratch, "secret");
    close(make_file(path, 1, -1));
    assert_int_equal(chmod(path, 0), 0);
    bool root = geteuid() == 0;
    if (root)
        assert_int_equal(seteuid(65534), 0);
    struct source *source = NULL;
    struct error err = ERROR_INIT;
    int rc = source_open(path, &source, &err);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(rc, -EACCES);
    assert_non_null(strstr(error_message(&err), ": Permission denied"));
}

static void test_symbolic_links_are_followed(void **state)
{
    struct scratch *scratch = *state;
    close(make_file(scratch_path(scratch, "real"), 1234, -1));
    assert_int_equal(symlink("real", scratch_path(scratch, "link")), 0);
    AUTO(source_close) struct source *source = open_good(scratch_path(scratch, "link"));
    assert_int_equal(source_capacity(source), 1234);
}

static void test_forbidden_folder(void **state)
{
    struct scratch *scratch = *state;
    static const char why[] = "it is in the repository itself";
    char repo[PATH_MAX];
    char file[PATH_MAX + 16];
    char text[PATH_MAX + 64];
    strcpy(repo, scratch_path(scratch, "repo"));
    snprintf(file, sizeof(file), "%s/pack", repo);
    assert_int_equal(mkdir(repo, 0700), 0);
    close(make_file(file, 1, -1));
    close(make_file(scratch_path(scratch, "repo2"), 1, -1));
    // Forbidden through a link, as a user may name it.
    assert_int_equal(symlink("repo", scratch_path(scratch, "alias")), 0);
    assert_int_equal(source_forbid(scratch_path(scratch, "nowhere"), why, NULL), -ENOENT);
    assert_int_equal(source_forbid(scratch_path(scratch, "alias"), why, NULL), 0);
    assert_int_equal(source_forbid(scratch_path(scratch, "alias"), why, NULL), 0);

    snprintf(text, sizeof(text), "cannot use %s: %s", file, why);
    assert_refused(file, -EINVAL, text);
    assert_refused(repo, -EINVAL, why);
    assert_refused(scratch_path(scratch, "alias/pack"), -EINVAL, why);
    assert_refused(scratch_path(scratch, "./repo//pack"), -EINVAL, why);
    assert_refused(scratch_path(scratch, "gone/../repo/pack"), -EINVAL, why);
    assert_refused(scratch_path(scratch, "repo/missing"), -EINVAL, why);
    assert_int_equal(symlink(file, scratch_path(scratch, "into")), 0);
    assert_refused(scratch_path(scratch, "into"), -EINVAL, why);
    snprintf(text, sizeof(text), "/proc/self/root/%s", file);
    assert_refused(text, -EINVAL, why);

    struct source *source = open_good(scratch_path(scratch, "repo2"));
    source_close(source);
    source = open_good(scratch_path(scratch, "repo/../repo2"));
    source_close(source);
}

static void test_forbidden_device(void **state)
{
    struct scratch *scratch = *state;
    static const char why[] = "it is on backtree's own mount";
    struct stat st;
    close(make_file(scratch_path(scratch, "plain"), 1, -1));
    assert_int_equal(stat(scratch_path(scratch, "plain"), &st), 0);
    source_forbid_device(st.st_dev, why);
    assert_refused(scratch_path(scratch, "plain"), -EINVAL, why);
    source_forbid_device(0, why);
    source_close(open_good(scratch_path(scratch, "plain")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_form),
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_empty_file_is_an_empty_disk),
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_extents_end_at_the_capacity),
        cmocka_unit_test(test_shrunk_file),
        cmocka_unit_test(test_grown_and_removed_file),
        cmocka_unit_test(test_refused_kinds),
        cmocka_unit_test(test_refused_socket),
        cmocka_unit_test(test_no_permission),
        cmocka_unit_test(test_symbolic_links_are_followed),
        cmocka_unit_test(test_forbidden_folder),
        cmocka_unit_test(test_forbidden_device),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
