// SPDX-License-Identifier: MIT
//
// Chains and snapshots: a disk's part of a job up to its completion, what a completion changes, how
// snapshots are found and listed, and how they are forgotten.
#include "tests/unit/catalog_fixture.h"

struct disk_under_test {
    struct catalog_conn *conn;
    int64_t vm, disk;
};

static struct disk_under_test make_disk(void **state)
{
    struct fixture *fixture = *state;
    int64_t vm = fixture_vm(fixture->conn, "web");
    return (struct disk_under_test){fixture->conn, vm, fixture_disk(fixture->conn, vm, "vda")};
}

static int64_t start_backup(const struct disk_under_test *t)
{
    int64_t job = fixture_backup(t->conn, t->vm, t->disk);
    assert_ok(job_start(t->conn, job, err));
    assert_ok(snapshot_start(t->conn, job, t->disk, err));
    return job;
}

static int64_t add(const struct disk_under_test *t, int64_t chain, int64_t number, int64_t parent)
{
    return fixture_snapshot(t->conn, t->vm, t->disk, chain, 1, number, parent);
}

static struct chain_row get_chain(struct catalog_conn *conn, int64_t id)
{
    struct chain_row row = {0};
    assert_ok(chain_get(conn, id, &row, err));
    return row;
}

static int append_number(const struct snapshot_row *row, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%s/%s/%lld/%lld ", row->context_name, row->disk_name,
            (long long)row->chain_number, (long long)row->number);
    return 0;
}

static const char *list(struct catalog_conn *conn, const struct snapshot_filter *filter)
{
    static char text[512];
    text[0] = '\0';
    assert_ok(snapshot_each(conn, filter, append_number, text, err));
    return text;
}

static void test_names(void **state)
{
    (void)state;
    char name[SNAPSHOT_NAME_SIZE];
    struct snapshot_row row = {
        .number = 3, .kind = SNAPSHOT_INCREMENTAL, .taken_at = INT64_C(1795244100) * CLOCK_SECOND};
    assert_string_equal(snapshot_name(&row, name), "0003-incr-20261121T065500Z");
    row.kind = SNAPSHOT_FULL;
    row.number = 12345;
    assert_string_equal(snapshot_name(&row, name), "12345-full-20261121T065500Z");
    assert_string_equal(chain_name(2, name), "chain-0002");
    assert_string_equal(chain_name(12345, name), "chain-12345");
}

static void test_completion(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t job = start_backup(&t), id = 0;
    struct chain_row chain = {.number = 1};
    struct snapshot_completion completion = fixture_completion(job, t.disk, 0, &chain, 1);
    completion.tags = "nightly";
    completion.change_id = "bitmap-7";
    memset(completion.digest.bytes, 0xab, DIGEST_SIZE);
    assert_ok(snapshot_complete(t.conn, &completion, &id, err));
    struct snapshot_row row = fixture_get(t.conn, id);
    assert_int_equal(row.state, JOB_COMPLETED);
    assert_string_equal(row.uuid, completion.uuid);
    assert_int_equal(row.job_id, job);
    assert_int_equal(row.disk_id, t.disk);
    assert_int_equal(row.context_id, t.vm);
    assert_string_equal(row.context_name, "web");
    assert_string_equal(row.disk_name, "vda");
    assert_int_equal(row.trigger, TRIGGER_MANUAL);
    assert_string_equal(row.tags, "nightly");
    assert_int_equal(row.chain_number, 1);
    assert_int_equal(row.number, 1);
    assert_int_equal(row.kind, SNAPSHOT_FULL);
    assert_int_equal(row.parent_id, 0);
    assert_string_equal(row.parent_name, "");
    assert_int_equal(row.taken_at, completion.taken_at);
    assert_int_equal(row.capacity, 1 << 20);
    assert_int_equal(row.chunk_size, FIXTURE_CHUNK_SIZE);
    assert_true(digest_equal(&row.digest, &completion.digest));
    assert_string_equal(row.change_id, "bitmap-7");
    assert_int_equal(row.data_bytes, 400);
    assert_int_equal(row.read_bytes, 300);
    assert_int_equal(row.changed_bytes, 200);
    assert_int_equal(row.new_bytes, 100);
    assert_true(row.started_at > 0 && row.finished_at >= row.started_at);
    assert_false(row.protected);

    struct disk_row disk;
    assert_ok(disk_get(t.conn, t.disk, &disk, err));
    assert_string_equal(disk.change_id, "bitmap-7");
    assert_int_equal(disk.snapshots, 1);
    assert_true(disk.changed_at > disk.created_at);
    chain = get_chain(t.conn, row.chain_id);
    assert_int_equal(chain.created_at, completion.taken_at);
    assert_int_equal(chain.changed_at, completion.taken_at);
    assert_string_equal(chain.source, "/dev/vg0/disk");
    assert_false(chain.foreign);
}

static void test_completion_of_a_foreign_chain(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t own = add(&t, 0, 1, 0), id = 0;
    struct disk_row before, after;
    assert_ok(disk_get(t.conn, t.disk, &before, err));
    int64_t job = start_backup(&t);
    struct chain_row chain = {.number = 2, .foreign = true};
    struct snapshot_completion completion = fixture_completion(job, t.disk, 0, &chain, 1);
    completion.change_id = "of another device";
    completion.capacity = chain.capacity = 5 << 20;
    assert_ok(snapshot_complete(t.conn, &completion, &id, err));
    assert_ok(disk_get(t.conn, t.disk, &after, err));
    assert_string_equal(after.change_id, before.change_id);
    assert_int_equal(after.capacity, before.capacity);
    assert_int_equal(after.snapshots, 2);
    assert_true(get_chain(t.conn, fixture_get(t.conn, id).chain_id).foreign);
    struct snapshot_row latest;
    assert_ok(snapshot_find_latest(t.conn, t.disk, &latest, err));
    assert_int_equal(latest.id, own);
}

static void test_completion_follows_the_disk(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t job = start_backup(&t), id = 0;
    struct chain_row chain = {.number = 1};
    struct snapshot_completion completion = fixture_completion(job, t.disk, 0, &chain, 1);
    completion.capacity = chain.capacity = 3 << 20;
    assert_ok(snapshot_complete(t.conn, &completion, &id, err));
    struct disk_row disk;
    assert_ok(disk_get(t.conn, t.disk, &disk, err));
    assert_int_equal(disk.capacity, 3 << 20);
}

static void test_completion_refusals(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t first = add(&t, 0, 1, 0), id = 0;
    int64_t chain_id = fixture_get(t.conn, first).chain_id;
    int64_t pending = fixture_backup(t.conn, t.vm, t.disk);
    struct chain_row chain = {.number = 2};
    struct snapshot_completion good = fixture_completion(pending, t.disk, 0, &chain, 1);
    struct snapshot_completion completion = good;
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -EPROTO,
                   "is pending, not running");
    completion.job_id = 99;
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -ENOENT, "job 99 has no disk");

    good = fixture_completion(start_backup(&t), t.disk, chain_id, NULL, 2);
    completion = good;
    completion.chain_id = 0;
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -EINVAL, "needs a chain");
    completion = good;
    completion.chain_id = 99;
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -ENOENT, "no chain");
    completion = good;
    completion.capacity++;
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -EINVAL, "does not fit");
    completion = good;
    completion.number = 1;
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -EEXIST, "UNIQUE");
    completion = good;
    completion.kind = SNAPSHOT_KIND_UNKNOWN;
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -EINVAL, "CHECK");
    completion = good;
    completion.parent_id = 99;
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -ENOENT, "no snapshot");
    completion = good;
    completion.uuid = "short";
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -EINVAL, "CHECK");
    assert_int_equal(id, 0);
    assert_ok(snapshot_complete(t.conn, &good, &id, err));
    assert_refused(snapshot_complete(t.conn, &good, &id, err), -EPROTO, "is completed");
}

static void test_a_chain_belongs_to_its_disk(void **state)
{
    struct disk_under_test t = make_disk(state);
    struct disk_under_test other = t;
    other.disk = fixture_disk(t.conn, t.vm, "vdb");
    int64_t first = add(&t, 0, 1, 0), id = 0;
    struct snapshot_row row = fixture_get(t.conn, first);
    int64_t job = start_backup(&other);
    struct snapshot_completion completion =
        fixture_completion(job, other.disk, row.chain_id, NULL, 2);
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -EINVAL, "does not fit");
    struct chain_row chain = {.number = 1};
    completion = fixture_completion(job, other.disk, 0, &chain, 1);
    completion.parent_id = first;
    assert_refused(snapshot_complete(t.conn, &completion, &id, err), -EINVAL, "not in the chain");
}

static void test_disk_transitions(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t job = fixture_backup(t.conn, t.vm, t.disk);
    assert_refused(snapshot_start(t.conn, job, t.disk, err), -EPROTO, "in a running job");
    assert_ok(job_start(t.conn, job, err));
    assert_refused(snapshot_fail(t.conn, job, t.disk, JOB_FAILED, "x", err), -EPROTO,
                   "is pending, not running");
    assert_ok(snapshot_start(t.conn, job, t.disk, err));
    assert_refused(snapshot_start(t.conn, job, t.disk, err), -EPROTO, "is running");
    assert_refused(snapshot_fail(t.conn, job, t.disk, JOB_COMPLETED, "", err), -EINVAL, "fail as");
    assert_ok(snapshot_fail(t.conn, job, t.disk, JOB_FAILED, "read error", err));
    assert_refused(snapshot_fail(t.conn, job, t.disk, JOB_FAILED, "again", err), -EPROTO, "failed");
    assert_refused(snapshot_start(t.conn, job, 99, err), -ENOENT, "has no disk");
    struct snapshot_filter filter = {.job_id = job, .every_row = true};
    assert_string_equal(list(t.conn, &filter), "web/vda/0/0 ");
    filter.every_row = false;
    assert_string_equal(list(t.conn, &filter), "");
}

// --- chains

static void test_chain_counts(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t number = -1;
    assert_ok(chain_highest_number(t.conn, t.disk, &number, err));
    assert_int_equal(number, 0);
    int64_t one = add(&t, 0, 1, 0), chain_id = fixture_get(t.conn, one).chain_id;
    int64_t two = add(&t, chain_id, 2, one), three = add(&t, chain_id, 3, two);
    struct chain_row chain = get_chain(t.conn, chain_id);
    assert_int_equal(chain.snapshots, 3);
    assert_int_equal(chain.new_bytes, 300);
    assert_int_equal(chain.changed_at, fixture_get(t.conn, three).taken_at);
    assert_int_equal(chain.created_at, fixture_get(t.conn, one).taken_at);

    assert_ok(snapshot_forget(t.conn, three, err));
    chain = get_chain(t.conn, chain_id);
    assert_int_equal(chain.snapshots, 2);
    assert_int_equal(chain.new_bytes, 200);
    assert_int_equal(chain.changed_at, fixture_get(t.conn, two).taken_at);
    assert_ok(chain_highest_snapshot(t.conn, chain_id, &number, err));
    assert_int_equal(number, 3);
    assert_ok(chain_highest_number(t.conn, t.disk, &number, err));
    assert_int_equal(number, 1);
}

static int append_chain(const struct chain_row *row, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%lld:%lld ", (long long)row->number,
            (long long)row->snapshots);
    return 0;
}

static void test_chain_list(void **state)
{
    struct disk_under_test t = make_disk(state);
    struct chain_row chain;
    int64_t one = add(&t, 0, 1, 0), number;
    fixture_snapshot(t.conn, t.vm, t.disk, 0, 2, 1, 0);
    fixture_snapshot(t.conn, t.vm, t.disk, 0, 3, 1, 0);
    add(&t, fixture_get(t.conn, one).chain_id, 2, one);
    assert_ok(chain_find(t.conn, t.disk, 2, &chain, err));
    assert_int_equal(chain.number, 2);
    assert_refused(chain_find(t.conn, t.disk, 9, &chain, err), -ENOENT,
                   "no chain named chain-0009 in web/vda");
    assert_refused(chain_get(t.conn, 99, &chain, err), -ENOENT, "no chain with the number 99");
    struct snapshot_row row;
    assert_ok(snapshot_find_latest(t.conn, t.disk, &row, err));
    assert_int_equal(row.chain_number, 3);
    assert_ok(snapshot_forget(t.conn, row.id, err));
    char text[64] = "";
    assert_ok(chain_each(t.conn, t.disk, append_chain, text, err));
    assert_string_equal(text, "1:2 2:1 ");
    // The empty chain's number stays taken.
    assert_ok(chain_highest_number(t.conn, t.disk, &number, err));
    assert_int_equal(number, 3);
}

// --- finding

static void test_find_by_name(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t one = add(&t, 0, 1, 0);
    struct snapshot_row row = fixture_get(t.conn, one), found = {0};
    char name[SNAPSHOT_NAME_SIZE], wrong[SNAPSHOT_NAME_SIZE + 4];
    snapshot_name(&row, name);
    assert_ok(snapshot_find(t.conn, row.chain_id, name, &found, err));
    assert_int_equal(found.id, one);
    snprintf(wrong, sizeof(wrong), "0%s", name);
    assert_refused(snapshot_find(t.conn, row.chain_id, wrong, &found, err), -ENOENT,
                   "in web/vda/chain-0001");
    snprintf(wrong, sizeof(wrong), "%sx", name);
    assert_refused(snapshot_find(t.conn, row.chain_id, wrong, &found, err), -ENOENT,
                   "no snapshot named 0001-full-");
    assert_refused(snapshot_find(t.conn, row.chain_id, "", &found, err), -ENOENT, "no snapshot");
    assert_refused(snapshot_find(t.conn, row.chain_id, "99999999999999999999", &found, err),
                   -ENOENT, "no snapshot named 99999999999999999999");
    assert_ok(snapshot_forget(t.conn, one, err));
    assert_refused(snapshot_find(t.conn, row.chain_id, name, &found, err), -ENOENT, "no snapshot");
    assert_refused(snapshot_find_latest(t.conn, t.disk, &found, err), -ENOENT,
                   "web/vda has no snapshot");
}

static void test_latest_goes_by_number(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t one = add(&t, 0, 1, 0), id = 0;
    struct snapshot_row row = fixture_get(t.conn, one);
    int64_t job = start_backup(&t);
    struct snapshot_completion completion = fixture_completion(job, t.disk, row.chain_id, NULL, 2);
    completion.parent_id = one;
    completion.taken_at = row.taken_at - 3600 * CLOCK_SECOND; // the clock was set back
    assert_ok(snapshot_complete(t.conn, &completion, &id, err));
    assert_ok(snapshot_find_latest(t.conn, t.disk, &row, err));
    assert_int_equal(row.id, id);
}

static void test_list_filters(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t vdb = fixture_disk(t.conn, t.vm, "vdb"), db = fixture_vm(t.conn, "db");
    int64_t other = fixture_disk(t.conn, db, "vda");
    int64_t one = add(&t, 0, 1, 0), chain = fixture_get(t.conn, one).chain_id;
    int64_t two = add(&t, chain, 2, one);
    fixture_snapshot(t.conn, t.vm, vdb, 0, 1, 1, 0);
    fixture_snapshot(t.conn, t.vm, t.disk, 0, 2, 1, 0);
    fixture_snapshot(t.conn, db, other, 0, 1, 1, 0);
    int64_t job = start_backup(&t), id = 0; // one with a tag, by the schedule
    struct snapshot_completion completion = fixture_completion(job, t.disk, chain, NULL, 3);
    completion.parent_id = two;
    completion.tags = "weekly,kept";
    assert_ok(snapshot_complete(t.conn, &completion, &id, err));
    fixture_backup(t.conn, t.vm, t.disk); // pending: no snapshot

#define LIST(...) list(t.conn, &(struct snapshot_filter){__VA_ARGS__})
    assert_string_equal(LIST(0), "db/vda/1/1 web/vda/1/1 web/vda/1/2 web/vda/1/3 web/vda/2/1 "
                                 "web/vdb/1/1 ");
    assert_string_equal(LIST(.context_id = db), "db/vda/1/1 ");
    assert_string_equal(LIST(.disk_id = vdb), "web/vdb/1/1 ");
    assert_string_equal(LIST(.chain_id = chain), "web/vda/1/1 web/vda/1/2 web/vda/1/3 ");
    assert_string_equal(LIST(.job_id = job), "web/vda/1/3 ");
    assert_string_equal(LIST(.kind = SNAPSHOT_INCREMENTAL), "web/vda/1/2 web/vda/1/3 ");
    assert_string_equal(LIST(.trigger = TRIGGER_SCHEDULED), "");
    assert_string_equal(LIST(.tag = "kept"), "web/vda/1/3 ");
    assert_string_equal(LIST(.tag = "week"), "");
    int64_t taken = fixture_get(t.conn, two).taken_at;
    assert_string_equal(LIST(.chain_id = chain, .since = taken), "web/vda/1/2 web/vda/1/3 ");
    assert_string_equal(LIST(.chain_id = chain, .until = taken), "web/vda/1/1 ");
    assert_string_equal(LIST(.disk_id = t.disk, .every_row = true),
                        "web/vda/1/1 web/vda/1/2 web/vda/1/3 web/vda/2/1 web/vda/0/0 ");
#undef LIST
}

// --- forgetting

static void test_forget_links_children_to_the_parent(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t one = add(&t, 0, 1, 0), chain = fixture_get(t.conn, one).chain_id;
    int64_t two = add(&t, chain, 2, one), three = add(&t, chain, 3, two);
    char name[SNAPSHOT_NAME_SIZE];
    struct snapshot_row row = fixture_get(t.conn, two);
    assert_string_equal(fixture_get(t.conn, three).parent_name, snapshot_name(&row, name));

    assert_ok(snapshot_forget(t.conn, two, err));
    assert_int_equal(fixture_get(t.conn, three).parent_id, one);
    row = fixture_get(t.conn, one);
    assert_string_equal(fixture_get(t.conn, three).parent_name, snapshot_name(&row, name));
    assert_true(fixture_get(t.conn, two).forgotten_at > 0);
    assert_ok(snapshot_forget(t.conn, one, err));
    row = fixture_get(t.conn, three);
    assert_int_equal(row.parent_id, 0);
    assert_string_equal(row.parent_name, "");
    assert_int_equal(row.number, 3);
    assert_int_equal(row.kind, SNAPSHOT_INCREMENTAL);
    assert_refused(snapshot_forget(t.conn, one, err), -ENOENT, "no snapshot with the number");
}

static int64_t newest_time(struct catalog_conn *conn, int64_t vm, int64_t disk)
{
    struct context_row context;
    struct disk_row row;
    if (vm) {
        assert_ok(context_get(conn, vm, &context, err));
        return context.newest_at;
    }
    assert_ok(disk_get(conn, disk, &row, err));
    return row.newest_at;
}

// Of a disk and of a VM with two disks, over chains, and when the newest is forgotten.
static void test_newest_time(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t other = fixture_disk(t.conn, t.vm, "vdb");
    int64_t empty = fixture_vm(t.conn, "empty");
    assert_int_equal(newest_time(t.conn, t.vm, 0), 0);
    assert_int_equal(newest_time(t.conn, 0, t.disk), 0);
    int64_t first = add(&t, 0, 1, 0);
    int64_t second = fixture_snapshot(t.conn, t.vm, t.disk, 0, 2, 1, 0); // another chain
    int64_t third = fixture_snapshot(t.conn, t.vm, other, 0, 1, 1, 0);
    int64_t times[] = {fixture_get(t.conn, first).taken_at, fixture_get(t.conn, second).taken_at,
                       fixture_get(t.conn, third).taken_at};
    assert_true(times[0] < times[1] && times[1] < times[2]);
    assert_int_equal(newest_time(t.conn, 0, t.disk), times[1]);
    assert_int_equal(newest_time(t.conn, 0, other), times[2]);
    assert_int_equal(newest_time(t.conn, t.vm, 0), times[2]);
    assert_int_equal(newest_time(t.conn, empty, 0), 0);
    assert_ok(snapshot_forget(t.conn, third, err));
    assert_int_equal(newest_time(t.conn, 0, other), 0);
    assert_int_equal(newest_time(t.conn, t.vm, 0), times[1]);
    assert_ok(snapshot_forget(t.conn, second, err));
    assert_int_equal(newest_time(t.conn, t.vm, 0), times[0]);
}

static void test_a_parent_forgotten_under_way(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t one = add(&t, 0, 1, 0), chain = fixture_get(t.conn, one).chain_id, id = 0;
    int64_t two = add(&t, chain, 2, one);
    struct snapshot_completion completion =
        fixture_completion(start_backup(&t), t.disk, chain, NULL, 3);
    completion.parent_id = two;
    assert_ok(snapshot_forget(t.conn, two, err));
    assert_ok(snapshot_complete(t.conn, &completion, &id, err));
    assert_int_equal(fixture_get(t.conn, id).parent_id, one);
}

static void test_protected(void **state)
{
    struct disk_under_test t = make_disk(state);
    int64_t one = add(&t, 0, 1, 0);
    assert_ok(snapshot_set_protected(t.conn, one, true, err));
    assert_true(fixture_get(t.conn, one).protected);
    assert_refused(snapshot_forget(t.conn, one, err), -EPERM, "of web/vda is protected");
    assert_int_equal(fixture_get(t.conn, one).forgotten_at, 0);
    assert_ok(snapshot_set_protected(t.conn, one, false, err));
    assert_ok(snapshot_forget(t.conn, one, err));
    assert_refused(snapshot_set_protected(t.conn, one, true, err), -ENOENT, "no snapshot");
    int64_t job = start_backup(&t);
    int64_t row = fixture_count(t.conn, "SELECT max(id) FROM backup_disks");
    assert_refused(snapshot_set_protected(t.conn, row, true, err), -ENOENT, "no snapshot");
    assert_refused(snapshot_forget(t.conn, row, err), -ENOENT, "no snapshot");
    assert_true(job > 0);
}

#define WRITING(test) cmocka_unit_test_setup_teardown(test, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        WRITING(test_completion),
        WRITING(test_completion_of_a_foreign_chain),
        WRITING(test_completion_follows_the_disk),
        WRITING(test_completion_refusals),
        WRITING(test_a_chain_belongs_to_its_disk),
        WRITING(test_disk_transitions),
        WRITING(test_chain_counts),
        WRITING(test_chain_list),
        WRITING(test_find_by_name),
        WRITING(test_latest_goes_by_number),
        WRITING(test_list_filters),
        WRITING(test_forget_links_children_to_the_parent),
        WRITING(test_newest_time),
        WRITING(test_a_parent_forgotten_under_way),
        WRITING(test_protected),
    };
    return cmocka_run_group_tests_name("snapshots_catalog", tests, NULL, NULL);
}
