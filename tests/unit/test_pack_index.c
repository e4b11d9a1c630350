// SPDX-License-Identifier: MIT
//
// Packs and the chunk index: provisional and durable copies of an id, deletion, bad input.
#include "tests/unit/catalog_fixture.h"

#include "catalog/pack_index.h"
#include "catalog/stats.h"

static const char uuid_a[] = "aaaaaaaa-0000-4000-8000-000000000000";
static const char uuid_b[] = "bbbbbbbb-0000-4000-8000-000000000000";

static struct chunk_row record(unsigned char id)
{
    struct chunk_row row = {.kind = 1,
                            .codec = 1,
                            .offset = 64u + id,
                            .stored_length = 1000u + id,
                            .raw_length = FIXTURE_CHUNK_SIZE};
    memset(row.id.bytes, id, DIGEST_SIZE);
    return row;
}

static int64_t insert(struct catalog_conn *conn, const char *uuid, int64_t job,
                      const struct chunk_row *records, size_t count)
{
    struct pack_row pack = {
        .job_id = job, .file_bytes = 5000, .raw_bytes = 9000, .sealed_at = clock_now()};
    strcpy(pack.uuid, uuid);
    int64_t id = 0;
    assert_ok(pack_insert(conn, &pack, records, count, &id, err));
    return id;
}

// The pack an id is found in; 0 = not found.
static int64_t lookup(struct catalog_conn *conn, unsigned char id, int64_t job)
{
    struct chunk_row wanted = record(id);
    struct chunk_location location = {0};
    int rc = chunk_lookup(conn, &wanted.id, job, &location, NULL);
    assert_in_range(rc, 0, 1);
    return rc ? location.pack_id : 0;
}

static int64_t make_job(struct catalog_conn *conn)
{
    struct context_row row;
    int64_t vm, disk;
    if (context_find(conn, "web", &row, NULL) == 0)
        return fixture_backup(conn, row.id, 0);
    vm = fixture_vm(conn, "web");
    disk = fixture_disk(conn, vm, "vda");
    return fixture_backup(conn, vm, disk);
}

static int append_pack(const struct pack_row *row, void *arg, struct error *err)
{
    (void)err;
    sprintf((char *)arg + strlen(arg), "%.1s:%lld:%d ", row->uuid, (long long)row->job_id,
            (int)row->record_count);
    return 0;
}

static const char *list(struct catalog_conn *conn, int64_t provisional_of)
{
    static char text[256];
    text[0] = '\0';
    assert_ok(pack_each(conn, provisional_of, append_pack, text, err));
    return text;
}

static void test_location(void **state)
{
    struct fixture *fixture = *state;
    struct chunk_row records[3] = {record(1), record(2), record(3)};
    records[1].kind = 3;
    records[1].codec = 0;
    int64_t pack = insert(fixture->conn, uuid_a, 0, records, 3);
    struct chunk_location location;
    assert_int_equal(chunk_lookup(fixture->conn, &records[1].id, 0, &location, NULL), 1);
    assert_int_equal(location.pack_id, pack);
    assert_string_equal(location.pack_uuid, uuid_a);
    assert_int_equal(location.record.kind, 3);
    assert_int_equal(location.record.codec, 0);
    assert_int_equal(location.record.offset, 66);
    assert_int_equal(location.record.stored_length, 1002);
    assert_int_equal(location.record.raw_length, FIXTURE_CHUNK_SIZE);
    assert_true(digest_equal(&location.record.id, &records[1].id));
    assert_int_equal(lookup(fixture->conn, 9, 0), 0);
    assert_int_equal(lookup(fixture->conn, 9, -1), 0);
}

static void test_provisional_packs(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t mine = make_job(conn), other = make_job(conn);
    struct chunk_row records[2] = {record(1), record(2)};
    int64_t pack = insert(conn, uuid_a, mine, records, 2);
    assert_int_equal(lookup(conn, 1, 0), 0);
    assert_int_equal(lookup(conn, 1, other), 0);
    assert_int_equal(lookup(conn, 1, mine), pack);
    assert_int_equal(lookup(conn, 1, -1), pack);

    // The same id from the other job; each sees its own until one is durable.
    int64_t second = insert(conn, uuid_b, other, records, 1);
    assert_int_equal(lookup(conn, 1, other), second);
    assert_int_equal(lookup(conn, 2, other), 0);
    assert_string_equal(list(conn, 0), "a:1:2 b:2:1 ");
    assert_string_equal(list(conn, other), "b:2:1 ");
    assert_ok(pack_make_durable(conn, mine, err));
    assert_string_equal(list(conn, 0), "a:0:2 b:2:1 ");
    assert_int_equal(lookup(conn, 1, 0), pack);
    assert_int_equal(lookup(conn, 2, other), pack);
    assert_ok(pack_delete(conn, second, err));
    assert_int_equal(lookup(conn, 1, other), pack);
}

static void test_a_pack_outlives_its_job(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t job = make_job(conn);
    struct chunk_row one = record(1);
    insert(conn, uuid_a, job, &one, 1);
    assert_ok(context_delete(conn, 1, err));
    assert_string_equal(list(conn, 0), "a:0:1 ");
}

static void test_delete(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    struct chunk_row records[2] = {record(1), record(2)};
    int64_t pack = insert(conn, uuid_a, 0, records, 2), other = insert(conn, uuid_b, 0, records, 1);
    assert_ok(pack_delete(conn, pack, err));
    assert_int_equal(lookup(conn, 1, 0), other);
    assert_int_equal(lookup(conn, 2, 0), 0);
    assert_int_equal(fixture_count(conn, "SELECT count(*) FROM chunks"), 1);
    assert_refused(pack_delete(conn, pack, err), -ENOENT, "no pack with the number");
    assert_true(insert(conn, uuid_a, 0, records, 0) > other);
}

static void test_insert_refusals(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    struct chunk_row records[2] = {record(1), record(1)};
    insert(conn, uuid_a, 0, records, 1);
    struct pack_row pack = {.sealed_at = 1};
    int64_t id = 0;
    strcpy(pack.uuid, uuid_a);
    assert_refused(pack_insert(conn, &pack, records, 1, &id, err), -EEXIST, "known already");
    strcpy(pack.uuid, uuid_b);
    assert_refused(pack_insert(conn, &pack, records, 2, &id, err), -EEXIST, "UNIQUE");
    pack.uuid[0] = '\0';
    assert_refused(pack_insert(conn, &pack, records, 1, &id, err), -EINVAL, "CHECK");
    strcpy(pack.uuid, "cccccccc-0000-4000-8000-000000000000");
    pack.job_id = 99;
    assert_refused(pack_insert(conn, &pack, records, 1, &id, err), -EINVAL, "FOREIGN KEY");
    pack.job_id = 0;
    pack.file_bytes = UINT64_MAX;
    assert_refused(pack_insert(conn, &pack, records, 1, &id, err), -EINVAL, "out of range");
    assert_int_equal(id, 0);
}

static void test_totals(void **state)
{
    struct fixture *fixture = *state;
    struct chunk_row records[2] = {record(1), record(2)};
    insert(fixture->conn, uuid_a, 0, records, 2);
    insert(fixture->conn, uuid_b, 0, records, 1);
    struct catalog_stats stats;
    assert_ok(catalog_stats_get(fixture->conn, &stats, err));
    assert_int_equal(stats.packs, 2);
    assert_int_equal(stats.records, 3);
    assert_int_equal(stats.stored_bytes, 10000);
    assert_int_equal(stats.unique_bytes, 18000);
}

static int append_plan(struct catalog_conn *conn, const char *sql, char *plan)
{
    const struct query query = {"plan", sql};
    AUTO(statement_end) struct statement *st = NULL;
    st = statement_begin_once(conn, &query);
    while (statement_step(st, NULL) == 1) {
        for (int i = 0; i < 3; i++)
            statement_int(st);
        strcat(plan, statement_word(st));
        strcat(plan, "; ");
    }
    return 0;
}

// What the store asks for tens of thousands of times a second must not scan.
static void test_lookup_is_indexed(void **state)
{
    struct fixture *fixture = *state;
    char plan[1024] = "";
    append_plan(fixture->conn,
                "EXPLAIN QUERY PLAN SELECT 1 FROM chunks c CROSS JOIN packs p ON p.id = c.pack_id "
                "WHERE c.id = ?1 AND (p.job_id IS NULL OR p.job_id = ?2 OR ?2 = -1) LIMIT 1",
                plan);
    assert_non_null(strstr(plan, "SEARCH c USING"));
    assert_non_null(strstr(plan, "SEARCH p USING INTEGER PRIMARY KEY"));
    assert_null(strstr(plan, "SCAN"));
}

#define WRITING(test) cmocka_unit_test_setup_teardown(test, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITING(test_location),
        WRITING(test_provisional_packs),
        WRITING(test_a_pack_outlives_its_job),
        WRITING(test_delete),
        WRITING(test_insert_refusals),
        WRITING(test_totals),
        WRITING(test_lookup_is_indexed),
    };
    return cmocka_run_group_tests_name("pack_index", tests, NULL, NULL);
}
