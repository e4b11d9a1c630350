// SPDX-License-Identifier: MIT
//
// Records as JSON: the keys and their order are a promise to scripts, so they are spelled out here.
#include "tests/unit/catalog_fixture.h"

#include "catalog/record_json.h"

// "a b c": the keys in the order they are printed.
static void assert_keys(json_t *json, const char *keys)
{
    char text[1024] = "";
    const char *key;
    json_t *value;
    assert_non_null(json);
    json_object_foreach(json, key, value)
    {
        if (text[0])
            strcat(text, " ");
        strcat(text, key);
    }
    assert_string_equal(text, keys);
}

static void assert_text(const json_t *json, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(json, key));
    assert_non_null(value);
    assert_string_equal(value, text);
}

static void assert_number(const json_t *json, const char *key, json_int_t number)
{
    assert_true(json_is_integer(json_object_get(json, key)));
    assert_int_equal(json_integer_value(json_object_get(json, key)), number);
}

static void assert_null_value(const json_t *json, const char *key)
{
    assert_true(json_is_null(json_object_get(json, key)));
}

static const struct snapshot_row snapshot = {
    .uuid = "8c5a1f0e-7c5d-4d3a-9a43-0d5f3f1f7b11",
    .job_id = 17,
    .context_name = "web1",
    .disk_name = "vda",
    .state = JOB_COMPLETED,
    .trigger = TRIGGER_SCHEDULED,
    .tags = "nightly,kept",
    .started_at = INT64_C(1795244099) * CLOCK_SECOND,
    .finished_at = INT64_C(1795244160) * CLOCK_SECOND,
    .chain_id = 5,
    .chain_number = 2,
    .parent_id = 6,
    .parent_name = "0002-incr-20261120T065500Z",
    .number = 3,
    .kind = SNAPSHOT_INCREMENTAL,
    .taken_at = INT64_C(1795244100) * CLOCK_SECOND,
    .capacity = UINT64_C(4) << 40,
    .chunk_size = 65536,
    .digest = {{0xde, 0xad}},
    .change_id = "bitmap-3",
    .data_bytes = 4,
    .read_bytes = 3,
    .changed_bytes = 2,
    .new_bytes = 1,
    .protected = true,
};

static const char snapshot_keys[] =
    "name path uuid vm disk chain number kind state reason parent job trigger tags taken_at "
    "started_at finished_at capacity chunk_size digest change_id data_bytes read_bytes "
    "changed_bytes new_bytes protected forgotten_at damaged verified_at";

static void test_snapshot(void **state)
{
    (void)state;
    json_t *json = snapshot_to_json(&snapshot);
    assert_keys(json, snapshot_keys);
    assert_text(json, "name", "0003-incr-20261121T065500Z");
    assert_text(json, "path", "web1/vda/chain-0002/0003-incr-20261121T065500Z");
    assert_text(json, "chain", "chain-0002");
    assert_text(json, "kind", "incremental");
    assert_text(json, "state", "completed");
    assert_text(json, "parent", "0002-incr-20261120T065500Z");
    assert_text(json, "trigger", "scheduled");
    assert_text(json, "taken_at", "2026-11-21T06:55:00Z");
    assert_text(json, "finished_at", "2026-11-21T06:56:00Z");
    assert_text(json, "digest", "dead000000000000000000000000000000000000000000000000000000000000");
    assert_number(json, "job", 17);
    assert_number(json, "number", 3);
    assert_number(json, "capacity", INT64_C(4) << 40);
    assert_number(json, "new_bytes", 1);
    assert_null_value(json, "reason");
    assert_null_value(json, "forgotten_at");
    assert_true(json_is_true(json_object_get(json, "protected")));
    json_t *tags = json_object_get(json, "tags");
    assert_int_equal(json_array_size(tags), 2);
    assert_string_equal(json_string_value(json_array_get(tags, 1)), "kept");
    json_decref(json);
}

static void test_a_disk_that_failed(void **state)
{
    (void)state;
    struct snapshot_row row = {.context_name = "web1",
                               .disk_name = "vda",
                               .state = JOB_FAILED,
                               .trigger = TRIGGER_MANUAL,
                               .reason = "short read"};
    json_t *json = snapshot_to_json(&row);
    assert_keys(json, snapshot_keys);
    static const char *const nulls[] = {"name", "path",   "uuid",     "chain",  "number",
                                        "kind", "parent", "taken_at", "digest", "change_id"};
    for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++)
        assert_null_value(json, nulls[i]);
    assert_text(json, "reason", "short read");
    assert_int_equal(json_array_size(json_object_get(json, "tags")), 0);
    assert_true(json_is_array(json_object_get(json, "tags")));
    json_decref(json);
}

static void test_context(void **state)
{
    (void)state;
    struct context_row row = {.uuid = "u",
                              .name = "web1",
                              .created_at = CLOCK_SECOND,
                              .runs = 4,
                              .successes = 2,
                              .failures = 1,
                              .cancellations = 1,
                              .last_run_at = 2 * CLOCK_SECOND,
                              .retention = "keep-last=3"};
    json_t *json = context_to_json(&row);
    assert_keys(json, "vm uuid created_at runs successes failures cancellations last_success_at "
                      "last_run_at retention retention_default");
    assert_text(json, "vm", "web1");
    assert_text(json, "retention", "keep-last=3");
    assert_true(json_is_true(json_object_get(json, "retention_default")));
    assert_number(json, "runs", 4);
    assert_text(json, "last_run_at", "1970-01-01T00:00:02Z");
    assert_null_value(json, "last_success_at");
    json_decref(json);
}

static void test_disk(void **state)
{
    (void)state;
    struct disk_row row = {.context_name = "web1", .name = "vda", .chunk_size = 65536};
    json_t *json = disk_to_json(&row);
    assert_keys(json, "vm disk uuid source capacity chunk_size change_id created_at snapshots");
    assert_null_value(json, "source");
    assert_null_value(json, "change_id");
    json_decref(json);
}

static void test_chain(void **state)
{
    (void)state;
    struct chain_row row = {
        .number = 2, .source = "/dev/x", .foreign = true, .snapshots = 3, .new_bytes = 900};
    json_t *json = chain_to_json(&row);
    assert_keys(json, "chain uuid number source capacity chunk_size safety created_at changed_at "
                      "snapshots new_bytes");
    assert_text(json, "chain", "chain-0002");
    assert_true(json_is_true(json_object_get(json, "safety")));
    assert_number(json, "new_bytes", 900);
    json_decref(json);
}

static const char job_keys[] = "job uuid kind state trigger mode vm disk tags created_at "
                               "started_at finished_at done_bytes total_bytes reason damage";

static void test_job(void **state)
{
    (void)state;
    struct job_row row = {.id = 17,
                          .kind = JOB_BACKUP,
                          .state = JOB_PENDING,
                          .trigger = TRIGGER_MANUAL,
                          .mode = BACKUP_AUTO,
                          .context_name = "web1"};
    json_t *json = job_to_json(&row);
    char keys[512];
    snprintf(keys, sizeof(keys), "%s verify_after", job_keys);
    assert_keys(json, keys);
    assert_number(json, "job", 17);
    assert_text(json, "mode", "auto");
    assert_null_value(json, "disk");
    assert_null_value(json, "started_at");
    assert_null_value(json, "reason");
    json_decref(json);
}

static void test_restore(void **state)
{
    (void)state;
    struct job_row row = {.id = 18,
                          .kind = JOB_RESTORE,
                          .state = JOB_FAILED,
                          .trigger = TRIGGER_MANUAL,
                          .context_name = "web1",
                          .disk_name = "vda",
                          .reason = "rolled back",
                          .restore_snapshot = "web1/vda/chain-0001/0001-full",
                          .restore_target = "/dev/vg0/web1",
                          .restore_safety = true,
                          .restore_safety_job = 19,
                          .restore_written = 5};
    json_t *json = job_to_json(&row);
    char keys[512];
    snprintf(keys, sizeof(keys), "%s restore", job_keys);
    assert_keys(json, keys);
    assert_null_value(json, "mode");
    json_t *restore = json_object_get(json, "restore");
    assert_keys(restore, "snapshot target safety safety_job compared_bytes written_bytes "
                         "verified_bytes");
    assert_text(restore, "target", "/dev/vg0/web1");
    assert_number(restore, "safety_job", 19);
    assert_number(restore, "written_bytes", 5);
    json_decref(json);
}

static void test_stats(void **state)
{
    (void)state;
    struct catalog_stats stats = {.jobs_by_state = {0, 1, 2, 3, 4, 5}};
    json_t *json = stats_to_json(&stats);
    assert_keys(json, "contexts disks chains snapshots protected_snapshots jobs failing_jobs "
                      "logical_bytes data_bytes unique_bytes stored_bytes packs records deltas "
                      "damaged_snapshots lost_records unverified_snapshots unverified_bytes "
                      "last_verified_at oldest_verified_at last_success_at last_verify_at "
                      "last_gc_at last_check_at");
    json_t *jobs = json_object_get(json, "jobs");
    assert_keys(jobs, "pending running completed failed cancelled");
    assert_number(jobs, "cancelled", 5);
    json_decref(json);
}

static void test_bytes_that_are_no_text(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"/plain", "/plain"},
        {"/b\xc3\xbc"
         "cher\xe2\x82\xac\xf0\x9f\x92\xbe",
         "/b\xc3\xbc"
         "cher\xe2\x82\xac\xf0\x9f\x92\xbe"},
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\xc3\xbc\xfe", "\xc3\xbc\xef\xbf\xbd"},
        {"a\xc3", "a\xef\xbf\xbd"},                                               // cut short
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},                                 // cut short
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                 // overlong '/'
        {"\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 // overlong '/'
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 // a surrogate
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, // U+110000
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct disk_row row = {.name = "vda"};
        strcpy(row.source, cases[i].in);
        json_t *json = disk_to_json(&row);
        assert_non_null(json);
        assert_text(json, "source", cases[i].out);
        json_decref(json);
    }
}

static void test_every_byte_pair(void **state)
{
    (void)state;
    for (unsigned first = 1; first < 256; first++) {
        for (unsigned second = 1; second < 256; second++) {
            struct disk_row row = {.name = "vda"};
            row.source[0] = (char)first;
            row.source[1] = (char)second;
            json_t *json = disk_to_json(&row);
            assert_non_null(json);
            json_decref(json);
        }
    }
}

static void test_text(void **state)
{
    (void)state;
    json_t *json = json_pack("{s:i, s:[s]}", "b", 1, "a", "x");
    char *text = record_json_text(json);
    assert_string_equal(text, "{\n  \"b\": 1,\n  \"a\": [\n    \"x\"\n  ]\n}\n");
    free(text);
    json_decref(json);
}

static void test_job_record(void **state)
{
    struct fixture *fixture = *state;
    struct catalog_conn *conn = fixture->conn;
    int64_t vm = fixture_vm(conn, "web1"), vda = fixture_disk(conn, vm, "vda");
    fixture_disk(conn, vm, "vdb");
    int64_t job = fixture_backup(conn, vm, 0), id;
    assert_ok(job_start(conn, job, err));
    assert_ok(snapshot_start(conn, job, vda, err));
    struct chain_row chain = {.number = 1};
    struct snapshot_completion completion = fixture_completion(job, vda, 0, &chain, 1);
    assert_ok(snapshot_complete(conn, &completion, &id, err));
    assert_ok(job_end(conn, job, JOB_FAILED, "vdb: gone", 1, 2, err));

    json_t *json = NULL;
    assert_ok(job_record_json(conn, job, &json, err));
    assert_text(json, "reason", "vdb: gone");
    json_t *disks = json_object_get(json, "disks");
    assert_int_equal(json_array_size(disks), 2);
    assert_text(json_array_get(disks, 0), "state", "completed");
    assert_text(json_array_get(disks, 1), "disk", "vdb");
    assert_text(json_array_get(disks, 1), "reason", "vdb: gone");
    json_decref(json);
    assert_refused(job_record_json(conn, 99, &json, err), -ENOENT, "no job with the number 99");
}

#define WRITING(test) cmocka_unit_test_setup_teardown(test, fixture_setup_writing, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_a_disk_that_failed),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_disk),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_job),
        cmocka_unit_test(test_restore),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_every_byte_pair),
        cmocka_unit_test(test_text),
        WRITING(test_job_record),
    };
    return cmocka_run_group_tests_name("record_json", tests, NULL, NULL);
}
