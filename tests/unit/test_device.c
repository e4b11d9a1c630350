// SPDX-License-Identifier: MIT
//
// Sources and targets on real block devices, and files that loop devices, mounts and swap are
// using. Skipped as a whole where loop devices cannot be set up (no root, a container).
#include "tests/unit/loop_device.h"
#include "tests/unit/target_testing.h"

#include <sys/mount.h>
#include <sys/swap.h>

static int clean(void **state)
{
    (void)state;
    loop_detach_all();
    return scratch_remove(&scratch);
}

static void assert_source_refused(const char *path, int code, const char *part)
{
    struct source *source = NULL;
    struct error err = ERROR_INIT;
    int rc = source_open(path, &source, &err);
    if (rc != code || !strstr(error_message(&err), part))
        fail_msg("%s: %d, %s", path, rc, error_message(&err));
    assert_null(source);
}

static void test_device_as_source(void **state)
{
    (void)state;
    char file[PATH_MAX];
    char device[LOOP_DEVICE_SIZE];
    path_to("backing", file);
    make_file(file, 3 * MIB, 'x');
    assert_true(loop_attach("-f --show", file, device));
    struct source *source = NULL;
    assert_int_equal(source_open(device, &source, NULL), 0);
    char buf[4];
    uint64_t start;
    uint64_t end;
    assert_int_equal(source_capacity(source), 3 * MIB);
    assert_int_equal(source_read(source, buf, 4, 2 * MIB, NULL), 0);
    assert_memory_equal(buf, "xxxx", 4);
    assert_int_equal(source_next_data(source, 5, &start, &end, NULL), 1);
    assert_int_equal(start, 5);
    assert_int_equal(end, 3 * MIB);
    assert_int_equal(truncate(file, 2 * MIB), 0);
    assert_true(loop_refresh(device));
    assert_int_equal(source_check_unchanged(source, NULL), -EIO);
    source_close(source);
    assert_true(loop_detach(device));
    assert_source_refused(device, -ENOMEDIUM, ": No medium found");
}

static void test_loop_device_into_a_forbidden_folder(void **state)
{
    (void)state;
    char file[PATH_MAX];
    char device[LOOP_DEVICE_SIZE];
    path_to("mount", file);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_int_equal(source_forbid(file, "it is on the mount", NULL), 0);
    path_to("mount/disk.raw", file);
    make_file(file, MIB, 'x');
    assert_true(loop_attach("-f --show", file, device));
    assert_source_refused(device, -EINVAL, "it is on the mount");
    assert_true(loop_detach(device));
}

static void test_file_of_a_loop_device(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char moved[PATH_MAX];
    char device[LOOP_DEVICE_SIZE];
    char sentence[128];
    path_to("looped", path);
    path_to("looped-moved", moved);
    make_file(path, MIB, 0);
    assert_true(loop_attach("-r -f --show", path, device));
    snprintf(sentence, sizeof(sentence), "is attached to %s", device);
    assert_target_refused(path, MIB, -EBUSY, sentence);
    // The kernel knows the first name, now with " (deleted)" behind it.
    assert_int_equal(link(path, moved), 0);
    assert_int_equal(unlink(path), 0);
    assert_target_refused(moved, MIB, -EBUSY, sentence);
    assert_true(loop_detach(device));
    assert_int_equal(target_check(moved, MIB, NULL), 0);
}

static void test_device_as_target(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char device[LOOP_DEVICE_SIZE];
    char buf[512];
    path_to("device", path);
    make_file(path, 2 * MIB, 'x');
    assert_true(loop_attach("-f --show", path, device));
    assert_target_refused(device, 2 * MIB + 1, -ENOSPC,
                          "holds 2097152 bytes, the disk needs 2097153");
    AUTO(target_close) struct target *target = open_good(device, MIB);
    assert_int_equal(target_capacity(target), 2 * MIB);
    assert_true(target_is_source(target, device));
    assert_false(target_is_source(target, path));
    assert_int_equal(target_write_zeros(target, 65536, 4096, NULL), 0);
    assert_int_equal(target_write_zeros(target, 100, 65536 + 4096, NULL), 0);
    assert_int_equal(target_read(target, buf, 512, 65536 + 4096, NULL), 0);
    assert_int_equal(buf[0] | buf[99], 0);
    assert_int_equal(buf[100], 'x');
    assert_int_equal(target_flush(target, NULL), 0);
    char *page = aligned_alloc(PAGE, PAGE);
    assert_non_null(page);
    assert_int_equal(target_read_direct(target, page, PAGE, 65536 + 4096, NULL), 0);
    assert_int_equal(page[99], 0);
    assert_int_equal(page[100], 'x');
    free(page);
    assert_target_refused(device, MIB, -EBUSY, "something holds it exclusively");
    target = target_close(target);
    struct holder holder = hold(device, take_ofd, O_RDONLY);
    assert_target_refused(device, MIB, -EBUSY, "another process holds a lock on it");
    release(holder);
    holder = hold(device, take_nothing, O_RDWR);
    assert_target_refused(device, MIB, -EBUSY, "is open for writing by process");
    release(holder);
    assert_true(loop_detach(device));
}

static bool make_ext4(const char *path)
{
    char command[PATH_MAX + 64];
    snprintf(command, sizeof(command), "mkfs.ext4 -q -F '%s' >/dev/null 2>&1", path);
    return system(command) == 0;
}

static void test_mounted_device(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char folder[PATH_MAX];
    char device[LOOP_DEVICE_SIZE];
    char sentence[PATH_MAX + 128];
    path_to("mounted", path);
    path_to("mount point", folder); // a blank is written as \040 in the kernel's table
    assert_int_equal(mkdir(folder, 0700), 0);
    make_file(path, 8 * MIB, 0);
    assert_true(make_ext4(path));
    assert_true(loop_attach("-f --show", path, device));
    assert_int_equal(mount(device, folder, "ext4", 0, ""), 0);
    struct error err = ERROR_INIT;
    int rc = target_check(device, MIB, &err);
    int file_rc = target_check(path, MIB, NULL);
    assert_int_equal(umount(folder), 0);
    assert_int_equal(rc, -EBUSY);
    snprintf(sentence, sizeof(sentence), "%s is in use: it is mounted on %s", device, folder);
    assert_string_equal(error_message(&err), sentence);
    assert_int_equal(file_rc, -EBUSY);
    target_close(open_good(device, MIB));
    assert_true(loop_detach(device));
    target_close(open_good(path, MIB));
}

static void test_mounted_partition(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char folder[PATH_MAX];
    char device[LOOP_DEVICE_SIZE];
    char partition[LOOP_DEVICE_SIZE + 2];
    char command[LOOP_DEVICE_SIZE + 64];
    path_to("parted", path);
    path_to("part-mount", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    make_file(path, 8 * MIB, 0);
    assert_true(loop_attach("-f --show", path, device));
    // By hand, as not every kernel reads partition tables.
    snprintf(command, sizeof(command), "addpart %s 1 2048 12288 2>/dev/null", device);
    snprintf(partition, sizeof(partition), "%sp1", device);
    assert_int_equal(system(command), 0);
    assert_true(make_ext4(partition));
    assert_int_equal(mount(partition, folder, "ext4", 0, ""), 0);
    struct error err = ERROR_INIT;
    int mounted = target_check(device, MIB, &err);
    int unmounted = umount(folder);
    int whole = target_check(device, MIB, NULL);
    int alone = target_check(partition, MIB, NULL);
    // Before any assertion: a partition left behind would be in the way of every later run.
    snprintf(command, sizeof(command), "delpart %s 1", device);
    int removed = system(command);
    assert_int_equal(unmounted | removed, 0);
    assert_true(loop_detach(device));
    assert_int_equal(mounted, -EBUSY);
    assert_non_null(strstr(error_message(&err), "p1 is mounted on "));
    assert_int_equal(whole, 0);
    assert_int_equal(alone, 0);
}

static void test_swap_file(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char command[PATH_MAX + 64];
    path_to("swap", path);
    make_file(path, 4 * MIB, 'x');
    snprintf(command, sizeof(command), "mkswap '%s' >/dev/null 2>&1", path);
    if (system(command) != 0 || swapon(path, 0) < 0) {
        print_message("# this file system holds no swap file: not tested\n");
        return;
    }
    struct error err = ERROR_INIT;
    int rc = target_check(path, MIB, &err);
    assert_int_equal(swapoff(path), 0);
    assert_int_equal(rc, -EBUSY);
    assert_non_null(strstr(error_message(&err), "is used as swap"));
}

static bool can_set_up_loop_devices(void)
{
    char path[PATH_MAX];
    char device[LOOP_DEVICE_SIZE];
    path_to("probe", path);
    make_file(path, MIB, 0);
    return loop_attach("-f --show", path, device) && loop_detach(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device_as_source),
        cmocka_unit_test(test_loop_device_into_a_forbidden_folder),
        cmocka_unit_test(test_file_of_a_loop_device),
        cmocka_unit_test(test_device_as_target),
        cmocka_unit_test(test_mounted_device),
        cmocka_unit_test(test_mounted_partition),
        cmocka_unit_test(test_swap_file),
    };
    if (scratch_make(&scratch) < 0)
        return 1;
    if (!can_set_up_loop_devices()) {
        clean(NULL);
        printf("1..0 # SKIP loop devices cannot be set up here\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, clean);
}
