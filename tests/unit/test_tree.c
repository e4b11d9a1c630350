// SPDX-License-Identifier: MIT
//
// The parts of the tree that need no mount: inode numbers, the table of nodes, errno, and what may
// become a mountpoint.
#include "base/error.h"
#include "fs/tree/command.h"
#include "fs/tree/kernel_cache.h"
#include "fs/tree/mount_point.h"
#include "fs/tree/node.h"
#include "fs/tree/refusal.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_ino_round_trip(void **state)
{
    (void)state;
    for (int kind = NODE_ROOT; kind < NODE_KIND_COUNT; kind++) {
        bool owned = node_info((enum node_kind)kind)->owner != NODE_OF_NOTHING;
        struct node node = {(enum node_kind)kind, owned ? INT64_C(0xfedcba987654) : 0};
        struct node again = node_from_ino(node_to_ino(node));
        assert_int_equal(again.kind, node.kind);
        assert_int_equal(again.id, node.id);
    }
    assert_int_equal(node_to_ino((struct node){NODE_ROOT, 0}), 1);
}

static void test_ino_never_given_out(void **state)
{
    static const uint64_t inos[] = {
        0,
        2,
        (uint64_t)NODE_ROOT << 48,
        (uint64_t)NODE_KIND_COUNT << 48 | 1,
        UINT64_MAX,
        (uint64_t)NODE_README << 48 | 7, // belongs to nothing, has an id
        (uint64_t)NODE_DISK << 48,       // belongs to a row, has none
    };
    (void)state;
    for (size_t i = 0; i < sizeof(inos) / sizeof(inos[0]); i++)
        assert_int_equal(node_from_ino(inos[i]).kind, NODE_UNKNOWN);
}

// Every kind is in a folder, has a role and a mode, and nobody but its owner may write.
static void test_table_is_whole(void **state)
{
    (void)state;
    for (int i = NODE_ROOT; i < NODE_KIND_COUNT; i++) {
        const struct node_info *info = node_info((enum node_kind)i);
        assert_true(info->role != NODE_ROLE_UNKNOWN);
        assert_true(info->mode != 0);
        if (i != NODE_ROOT)
            assert_int_equal(node_info(info->parent)->role, NODE_FOLDER);
        if (info->role != NODE_LINK)
            assert_int_equal(info->others_mode & 0022, 0);
        if (info->role == NODE_TRIGGER)
            assert_int_equal(info->others_mode, 0600);
        if (info->role != NODE_FOLDER && info->role != NODE_IMAGE)
            assert_true(kernel_cache_attr_timeout((struct node){(enum node_kind)i, 1}) == 0);
    }
}

static void test_fixed_names_differ(void **state)
{
    (void)state;
    for (int folder = NODE_ROOT; folder < NODE_KIND_COUNT; folder++) {
        enum node_kind a = NODE_UNKNOWN;
        while ((a = node_next_fixed((enum node_kind)folder, a)) != NODE_UNKNOWN) {
            enum node_kind b = a;
            while ((b = node_next_fixed((enum node_kind)folder, b)) != NODE_UNKNOWN)
                assert_string_not_equal(node_info(a)->name, node_info(b)->name);
        }
    }
}

static void test_errno(void **state)
{
    (void)state;
    assert_int_equal(refusal_errno(-ERROR_CORRUPT), EIO);
    assert_int_equal(refusal_errno(-EPROTO), EIO);
    assert_int_equal(refusal_errno(-EALREADY), EINVAL);
    assert_int_equal(refusal_errno(-ENOSYS), EOPNOTSUPP);
    assert_int_equal(refusal_errno(-ENOSPC), ENOSPC);
    assert_int_equal(refusal_errno(-EBUSY), EBUSY);
    assert_int_equal(refusal_errno(-ENXIO), ENXIO);
    assert_int_equal(refusal_errno(0), EIO);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_true(command_has_default(NODE_VM_BACKUP));
    assert_true(command_has_default(NODE_DISK_BACKUP));
    assert_true(command_has_default(NODE_JOB_CANCEL));
    assert_false(command_has_default(NODE_SNAPSHOT_RESTORE));
    assert_false(command_has_default(NODE_DISK_SOURCE));
    assert_false(command_has_default(NODE_SNAPSHOT_PROTECTED));
}

struct places {
    struct scratch scratch;
    char empty[PATH_MAX], full[PATH_MAX], file[PATH_MAX], repo[PATH_MAX], in_repo[PATH_MAX];
};

static int set_up_places(void **state)
{
    struct places *places = calloc(1, sizeof(*places));

    *state = places;
    if (!places || scratch_make(&places->scratch) < 0)
        return -1;
    strcpy(places->empty, scratch_path(&places->scratch, "empty"));
    strcpy(places->full, scratch_path(&places->scratch, "full"));
    strcpy(places->repo, scratch_path(&places->scratch, "repo"));
    strcpy(places->in_repo, scratch_path(&places->scratch, "repo/in"));
    strcpy(places->file, scratch_path(&places->scratch, "full/file"));
    if (mkdir(places->empty, 0700) || mkdir(places->full, 0700) || mkdir(places->repo, 0700) ||
        mkdir(places->in_repo, 0700))
        return -1;
    FILE *file = fopen(places->file, "w");
    return !file || fclose(file) != 0 ? -1 : 0;
}

static int tear_down_places(void **state)
{
    struct places *places = *state;
    scratch_remove(&places->scratch);
    free(places);
    return 0;
}

static void test_mountpoint_check(void **state)
{
    struct places *places = *state;
    struct error err = ERROR_INIT;

    assert_int_equal(mount_point_check(places->empty, places->repo, &err), 0);
    assert_int_equal(mount_point_check(places->file, places->repo, &err), -ENOTDIR);
    assert_non_null(strstr(err.message, "is not a folder"));
    assert_int_equal(mount_point_check(places->full, places->repo, NULL), -ENOTEMPTY);
    assert_int_equal(mount_point_check(places->in_repo, places->repo, NULL), -EINVAL);
    assert_int_equal(mount_point_check(places->repo, places->repo, NULL), -EINVAL);
    assert_int_equal(mount_point_check(places->scratch.folder, places->repo, NULL), -EINVAL);
    assert_int_equal(mount_point_check("/nonexistent/folder", places->repo, NULL), -ENOENT);
}

static void test_mount_table(void **state)
{
    struct places *places = *state;
    struct mount_point *mount = malloc(sizeof(*mount));
    struct stat st;

    assert_int_equal(mount_point_find("/proc", mount, NULL), 0);
    assert_string_equal(mount->type, "proc");
    assert_int_equal(stat("/proc", &st), 0);
    assert_int_equal(mount->dev, st.st_dev);
    assert_true(mount_point_has_device(mount->dev));
    assert_false(mount_point_has_device((dev_t)0xfffffff));
    assert_int_equal(mount_point_find(places->empty, mount, NULL), -ENOENT);
    free(mount);
}

static void test_mountpoint_resolve(void **state)
{
    struct places *places = *state;
    char path[PATH_MAX], odd[PATH_MAX + 16];

    snprintf(odd, sizeof(odd), "%s/../full//", places->empty);
    assert_int_equal(mount_point_resolve(odd, path, NULL), 0);
    char *slash = strrchr(path, '/');
    assert_string_equal(slash, "/full");
    assert_int_equal(mount_point_resolve("/nonexistent/folder", path, NULL), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ino_round_trip),
        cmocka_unit_test(test_ino_never_given_out),
        cmocka_unit_test(test_table_is_whole),
        cmocka_unit_test(test_fixed_names_differ),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test_setup_teardown(test_mountpoint_check, set_up_places, tear_down_places),
        cmocka_unit_test_setup_teardown(test_mount_table, set_up_places, tear_down_places),
        cmocka_unit_test_setup_teardown(test_mountpoint_resolve, set_up_places, tear_down_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
