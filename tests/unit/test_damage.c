// SPDX-License-Identifier: MIT
//
// Marks on copies and what they make of an id, extents of snapshots, times of proofs.
#include "tests/unit/catalog_fixture.h"

#include "catalog/damage.h"
#include "catalog/snapshot.h"
#include "catalog/stats.h"

static const char uuid_a[] = "aaaaaaaa-0000-4000-8000-000000000000";
static const char uuid_b[] = "bbbbbbbb-0000-4000-8000-000000000000";

static struct chunk_row record(unsigned char id)
{
    struct chunk_row row = {.kind = 1,
                            .codec = 1,
                            .offset = 64u + id * 2000u,
                            .stored_length = 1000u + id,
                            .raw_length = FIXTURE_CHUNK_SIZE};
    memset(row.id.bytes, id, DIGEST_SIZE);
    return row;
}

// A pack of the records 1 … count.
static int64_t insert(struct catalog_conn *conn, const char *uuid, int64_t job, unsigned char count)
{
    struct pack_row pack = {
        .job_id = job, .file_bytes = 5000, .raw_bytes = 9000, .sealed_at = clock_now()};
    struct chunk_row records[8];
    int64_t id = 0;

    for (unsigned char i = 0; i < count; i++)
        records[i] = record((unsigned char)(i + 1));
    strcpy(pack.uuid, uuid);
    assert_ok(pack_insert(conn, &pack, records, count, &id, err));
    return id;
}

static int append_id(const struct digest *id, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%d ", id->bytes[0]);
    return 0;
}

static const char *lost(struct catalog_conn *conn)
{
    static char text[256];
    text[0] = '\0';
    assert_ok(damage_each_lost(conn, append_id, text, err));
    return text;
}

static int append_copy(const struct chunk_location *copy, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%d:%.1s%s ", copy->record.id.bytes[0], copy->pack_uuid,
            copy->damaged ? "!" : "");
    return 0;
}

static const char *marked(struct catalog_conn *conn)
{
    static char text[256];
    text[0] = '\0';
    assert_ok(damage_each_copy(conn, append_copy, text, err));
    return text;
}

static void marks_and_lost_ids(void **state)
{
    struct catalog_conn *conn = ((struct fixture *)*state)->conn;
    int64_t a = insert(conn, uuid_a, 0, 3), copies = 7;
    struct chunk_row two = record(2), nine = record(9);
    struct chunk_location best;
    bool cleared = true;

    assert_string_equal(lost(conn), "");
    assert_ok(damage_mark(conn, a, &two.id, &copies, err));
    assert_int_equal(copies, 1);
    assert_string_equal(lost(conn), "2 ");
    assert_string_equal(marked(conn), "2:a! ");
    assert_ok(damage_mark(conn, a, &two.id, &copies, err));
    assert_int_equal(copies, 1); // there, though marked before
    assert_ok(damage_mark(conn, a, &nine.id, &copies, err));
    assert_int_equal(copies, 0); // moved, or dropped
    assert_ok(damage_mark(conn, a + 1, &two.id, &copies, err));
    assert_int_equal(copies, 0);

    // Stored again: the new copy is the best one, and nothing is lost.
    int64_t b = insert(conn, uuid_b, 0, 2);
    assert_string_equal(lost(conn), "");
    assert_int_equal(chunk_lookup(conn, &two.id, 0, &best, NULL), 1);
    assert_int_equal(best.pack_id, b);
    assert_false(best.damaged);
    assert_ok(damage_mark_pack(conn, b, &copies, err));
    assert_int_equal(copies, 2);
    assert_string_equal(lost(conn), "2 ");
    assert_string_equal(marked(conn), "1:b! 2:a! 2:b! ");

    assert_ok(damage_clear(conn, a, &two.id, &cleared, err));
    assert_true(cleared);
    assert_ok(damage_clear(conn, a, &two.id, &cleared, err));
    assert_false(cleared);
    assert_string_equal(lost(conn), "");
}

// What a job has stored and not completed heals nothing yet.
static void provisional_copies_do_not_count(void **state)
{
    struct catalog_conn *conn = ((struct fixture *)*state)->conn;
    int64_t vm = fixture_vm(conn, "web"), disk = fixture_disk(conn, vm, "vda");
    int64_t job = fixture_backup(conn, vm, disk), a = insert(conn, uuid_a, 0, 1);
    struct chunk_row one = record(1);

    assert_ok(damage_mark(conn, a, &one.id, NULL, err));
    insert(conn, uuid_b, job, 1);
    assert_string_equal(lost(conn), "1 ");
    assert_ok(pack_make_durable(conn, job, err));
    assert_string_equal(lost(conn), "");
}

// A base takes the deltas against it along, when no plain copy of it is left.
static void deltas_go_with_their_base(void **state)
{
    struct catalog_conn *conn = ((struct fixture *)*state)->conn;
    struct pack_row pack = {.file_bytes = 5000, .raw_bytes = 9000, .sealed_at = clock_now()};
    int64_t a = insert(conn, uuid_a, 0, 3), b = insert(conn, uuid_b, 0, 2), c = 0, copies = 0;
    struct chunk_row one = record(1), deltas[3] = {record(7), record(8), record(2)};

    deltas[0].base = one.id;
    deltas[1].base = record(3).id;
    deltas[2].base = record(3).id; // stands plain in a and b too
    for (int i = 0; i < 3; i++)
        deltas[i].codec = 2;
    strcpy(pack.uuid, "cccccccc-0000-4000-8000-000000000000");
    assert_ok(pack_insert(conn, &pack, deltas, 3, &c, err));

    assert_ok(damage_mark(conn, a, &one.id, &copies, err));
    assert_int_equal(copies, 1);
    assert_string_equal(marked(conn), "1:a! ");
    assert_ok(damage_mark(conn, b, &one.id, &copies, err));
    assert_int_equal(copies, 1);
    assert_string_equal(lost(conn), "1 7 ");
    assert_ok(damage_mark_pack(conn, a, &copies, err));
    assert_int_equal(copies, 3);
    assert_string_equal(marked(conn), "1:a! 1:b! 2:a! 2:c! 3:a! 7:c! 8:c! ");
    assert_string_equal(lost(conn), "1 3 7 8 "); // 2 is whole in b
}

static void copies_of_a_pack(void **state)
{
    struct catalog_conn *conn = ((struct fixture *)*state)->conn;
    struct pack_row pack = {.id = insert(conn, uuid_a, 0, 3)};
    struct chunk_row three = record(3);
    char text[256] = "";

    insert(conn, uuid_b, 0, 2);
    strcpy(pack.uuid, uuid_a);
    assert_ok(damage_mark(conn, pack.id, &three.id, NULL, err));
    assert_ok(chunk_each_of_pack(conn, pack.id, append_copy, text, err));
    assert_string_equal(text, "1:a 2:a 3:a! ");
}

static int append_extent(const struct damage_extent *extent, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%d+%d=%s ", (int)extent->offset, (int)extent->length,
            extent->why);
    return 0;
}

static const char *extents(struct catalog_conn *conn, int64_t snapshot_id)
{
    static char text[256];
    text[0] = '\0';
    assert_ok(damage_each(conn, snapshot_id, append_extent, text, err));
    return text;
}

static int count_one(int64_t snapshot_id, void *arg, struct error *err)
{
    (void)snapshot_id;
    (void)err;
    ++*(int *)arg;
    return 0;
}

static int damaged_snapshots(struct catalog_conn *conn)
{
    int count = 0;
    assert_ok(damage_each_snapshot(conn, count_one, &count, err));
    return count;
}

static void extents_of_snapshots(void **state)
{
    struct catalog_conn *conn = ((struct fixture *)*state)->conn;
    int64_t vm = fixture_vm(conn, "web"), disk = fixture_disk(conn, vm, "vda");
    int64_t first = fixture_snapshot(conn, vm, disk, 0, 1, 1, 0);
    int64_t chain = fixture_get(conn, first).chain_id;
    int64_t second = fixture_snapshot(conn, vm, disk, chain, 1, 2, first);
    struct damage_extent some[] = {{4096, 10, "x"}, {65536, 20, "y"}};

    assert_false(fixture_get(conn, first).damaged);
    assert_ok(damage_record(conn, first, some, 2, err));
    assert_ok(damage_record(conn, second, some, 1, err));
    assert_string_equal(extents(conn, first), "4096+10=x 65536+20=y ");
    assert_true(fixture_get(conn, first).damaged);
    assert_int_equal(damaged_snapshots(conn), 2);

    assert_ok(damage_record(conn, first, some + 1, 1, err)); // replaced, not joined
    assert_string_equal(extents(conn, first), "65536+20=y ");
    assert_ok(damage_record(conn, first, NULL, 0, err));
    assert_false(fixture_get(conn, first).damaged);
    assert_int_equal(damaged_snapshots(conn), 1);

    // Forgetting takes it along, and nothing is recorded of what is gone.
    assert_ok(snapshot_forget(conn, second, err));
    assert_int_equal(damaged_snapshots(conn), 0);
    assert_ok(damage_record(conn, second, some, 2, err));
    assert_int_equal(damaged_snapshots(conn), 0);
    assert_ok(damage_record(conn, 999, some, 2, err));
    assert_int_equal(damaged_snapshots(conn), 0);
}

static struct catalog_stats stats(struct catalog_conn *conn)
{
    struct catalog_stats stats;
    assert_ok(catalog_stats_get(conn, &stats, err));
    return stats;
}

static void times_and_totals(void **state)
{
    struct catalog_conn *conn = ((struct fixture *)*state)->conn;
    int64_t vm = fixture_vm(conn, "web"), disk = fixture_disk(conn, vm, "vda");
    int64_t snapshot = fixture_snapshot(conn, vm, disk, 0, 1, 1, 0);
    struct chunk_row one = record(1);
    struct damage_extent extent = {0, 10, "x"};

    assert_int_equal(stats(conn).last_verified_at, 0);
    int64_t a = insert(conn, uuid_a, 0, 2), b = insert(conn, uuid_b, 0, 1);
    assert_int_equal(stats(conn).unverified_bytes, 10000);
    assert_int_equal(stats(conn).unverified_snapshots, 1);
    assert_ok(pack_set_verified(conn, a, err));
    assert_int_equal(stats(conn).unverified_bytes, 5000);
    assert_int_equal(stats(conn).oldest_verified_at, 0); // one never was
    assert_true(stats(conn).last_verified_at > 0);
    assert_ok(pack_set_verified(conn, b, err));
    assert_ok(snapshot_set_verified(conn, snapshot, err));
    assert_true(fixture_get(conn, snapshot).verified_at > 0);
    assert_int_equal(stats(conn).unverified_snapshots, 0);
    assert_true(stats(conn).oldest_verified_at > 0);
    assert_true(stats(conn).oldest_verified_at <= stats(conn).last_verified_at);

    assert_ok(damage_mark(conn, a, &one.id, NULL, err));
    assert_int_equal(stats(conn).lost_records, 0); // whole in b
    assert_ok(damage_mark_pack(conn, b, NULL, err));
    assert_int_equal(stats(conn).lost_records, 1);
    assert_ok(damage_record(conn, snapshot, &extent, 1, err));
    assert_int_equal(stats(conn).damaged_snapshots, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(marks_and_lost_ids),   TEST(provisional_copies_do_not_count),
        TEST(copies_of_a_pack),     TEST(deltas_go_with_their_base),
        TEST(extents_of_snapshots), TEST(times_and_totals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
