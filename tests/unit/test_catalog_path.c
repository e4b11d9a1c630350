// SPDX-License-Identifier: MIT
//
// Names as users write them, good and bad.
#include "tests/unit/catalog_fixture.h"

static void resolves(struct catalog_conn *conn, const char *text, enum path_depth depth)
{
    struct catalog_path path;
    assert_ok(catalog_path_resolve(conn, text, &path, err));
    assert_int_equal(path.depth, depth);
    assert_string_equal(path.context.name, "web1");
    if (depth >= PATH_DISK)
        assert_string_equal(path.disk.name, "vda");
    if (depth >= PATH_CHAIN)
        assert_int_equal(path.chain.disk_id, path.disk.id);
    if (depth >= PATH_SNAPSHOT)
        assert_int_equal(path.snapshot.chain_id, path.chain.id);
}

static void test_every_depth(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web1"), disk = fixture_disk(conn, vm, "vda");
    int64_t one = fixture_snapshot(conn, vm, disk, 0, 1, 1, 0);
    int64_t two = fixture_snapshot(conn, vm, disk, 0, 2, 1, 0);
    struct snapshot_row row = fixture_get(conn, one);
    char name[SNAPSHOT_NAME_SIZE], text[256];
    resolves(conn, "web1", PATH_CONTEXT);
    resolves(conn, "web1/", PATH_CONTEXT);
    resolves(conn, "vms/web1", PATH_CONTEXT);
    resolves(conn, "vms/web1/vda/", PATH_DISK);
    resolves(conn, "web1/vda", PATH_DISK);
    resolves(conn, "web1/vda/chain-0001", PATH_CHAIN);
    resolves(conn, "web1/vda/latest/", PATH_SNAPSHOT);
    snprintf(text, sizeof(text), "vms/web1/vda/chain-0001/%s/", snapshot_name(&row, name));
    resolves(conn, text, PATH_SNAPSHOT);
    struct catalog_path path;
    assert_ok(catalog_path_resolve(conn, text, &path, err));
    assert_int_equal(path.snapshot.id, one);
    assert_ok(catalog_path_resolve(conn, "web1/vda/latest", &path, err));
    assert_int_equal(path.snapshot.id, two);
    assert_int_equal(path.chain.number, 2);
}

static void test_refusals(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web1"), disk = fixture_disk(conn, vm, "vda");
    fixture_disk(conn, vm, "vdb");
    fixture_snapshot(conn, vm, disk, 0, 1, 1, 0);
    static char long_name[100], long_path[600];
    memset(long_name, 'a', 65);
    memset(long_path, 'a', sizeof(long_path) - 1);
    const struct {
        const char *text;
        int code;
        const char *part;
    } cases[] = {
        {"", -EINVAL, "not of the form"},
        {"/", -EINVAL, "not of the form"},
        {"vms/", -EINVAL, "not of the form"},
        {long_path, -EINVAL, "not of the form"},
        {long_name, -ENAMETOOLONG, "longer than 64"},
        {"/web1", -EINVAL, "VM name is empty"},
        {"web1//", -EINVAL, "disk name is empty"},
        {"web1//vda", -EINVAL, "disk name is empty"},
        {"..", -EINVAL, "VM name"},
        {"web1/..", -EINVAL, "disk name"},
        {"-web1", -EINVAL, "VM name"},
        {"we\nb1", -EINVAL, "VM name"},
        {"web1/vda/chain-0001/x/y", -EINVAL, "not of the form"},
        {"web1/vda/chain-0001/a b", -EINVAL, "snapshot name"},
        {"web1/vda/latest/x", -EINVAL, "behind 'latest'"},
        {"web2", -ENOENT, "no VM named web2"},
        {"web1/vdz", -ENOENT, "no disk named vdz in VM web1"},
        {"web1/vda/chain-0002", -ENOENT, "no chain named chain-0002 in web1/vda"},
        {"web1/vda/chain-1", -ENOENT, "no chain named chain-1 in web1/vda"},
        {"web1/vda/other", -ENOENT, "no chain named other in web1/vda"},
        {"web1/vda/chain-0001/0001-full-20000101T000000Z", -ENOENT, "no snapshot named 0001-full"},
        {"web1/vdb/latest", -ENOENT, "web1/vdb has no snapshot"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct catalog_path path = {.depth = PATH_SNAPSHOT, .context.id = -1};
        assert_refused(catalog_path_resolve(conn, cases[i].text, &path, err), cases[i].code,
                       cases[i].part);
        assert_int_equal(path.context.id, -1);
    }
}

static void test_chain_numbers(void **state)
{
    (void)state;
    assert_int_equal(chain_number_from_name("chain-0001"), 1);
    assert_int_equal(chain_number_from_name("chain-9999"), 9999);
    assert_int_equal(chain_number_from_name("chain-12345"), 12345);
    static const char *const wrong[] = {"chain-0000",
                                        "chain-1",
                                        "chain-00001",
                                        "chain-",
                                        "chain--001",
                                        "chain-+001",
                                        "chain- 001",
                                        "chain-0001x",
                                        "Chain-0001",
                                        "",
                                        "chain-99999999999999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(chain_number_from_name(wrong[i]), 0);
}

#define WRITING(test) cmocka_unit_test_setup_teardown(test, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITING(test_every_depth),
        WRITING(test_refusals),
        cmocka_unit_test(test_chain_numbers),
    };
    return cmocka_run_group_tests_name("catalog_path", tests, NULL, NULL);
}
