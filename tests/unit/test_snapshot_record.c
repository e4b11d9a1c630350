// SPDX-License-Identifier: MIT
//
// Snapshot records: everything that goes in comes out, and what is not exactly a record is refused
// by the name of its key.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/snapshot_record.h"

#include "tests/unit/store_fixture.h"

#include <jansson.h>

static const struct snapshot_record sample = {
    .uuid = "00000000-0000-4000-8000-000000000001",
    .parent_uuid = "00000000-0000-4000-8000-000000000002",
    .context_uuid = "00000000-0000-4000-8000-000000000003",
    .context_name = "web1",
    .disk_uuid = "00000000-0000-4000-8000-000000000004",
    .disk_name = "vda",
    .chain_uuid = "00000000-0000-4000-8000-000000000005",
    .job_uuid = "00000000-0000-4000-8000-000000000006",
    .job_number = 17,
    .chain_number = 2,
    .number = 3,
    .foreign = true,
    .source = "/dev/vg0/web1 \"quoted\"",
    .kind = SNAPSHOT_INCREMENTAL,
    .trigger = TRIGGER_SCHEDULED,
    .tags = "nightly,pre-upgrade",
    .change_id = "bt-0123",
    .digest = {{1, 2, 3}},
    .capacity = UINT64_C(5) << 40,
    .chunk_size = 65536,
    .data_bytes = 1,
    .read_bytes = 2,
    .changed_bytes = 3,
    .taken_at = INT64_C(1795244100123456789),
    .started_at = INT64_C(1795244100123456780),
    .finished_at = INT64_C(1795244100123456790),
    .added_bytes = 4,
    .context_created_at = 5,
    .disk_created_at = 6,
    .job_created_at = 7,
    .job_started_at = 8,
    .job_mode = BACKUP_AUTO,
    .job_one_disk = true,
};

static void put_and_get(struct store_fixture *fixture, const struct snapshot_record *record,
                        char **ret_text, size_t *ret_len)
{
    struct store_writer *writer;
    struct error err = ERROR_INIT;
    struct digest id;
    void *data;

    assert_int_equal(store_writer_open(fixture->store, fixture->job_id, &writer, NULL), 0);
    if (snapshot_record_put(writer, record, &id, &err) < 0)
        fail_msg("%s", error_message(&err));
    assert_int_equal(store_writer_seal(writer, NULL), 0);
    store_writer_close(writer);
    assert_int_equal(
        store_get(fixture->store, NULL, RECORD_SNAPSHOT, &id, true, &data, ret_len, NULL), 0);
    *ret_text = data;
}

static void assert_same(const struct snapshot_record *a, const struct snapshot_record *b)
{
    struct snapshot_record x = *a, y = *b;

    assert_string_equal(a->source, b->source);
    assert_true(x.foreign == y.foreign);
    assert_memory_equal(&x, &y, sizeof(x));
}

static void test_round_trip(void **state)
{
    struct snapshot_record back, record;
    char *text;
    size_t len;

    // A copy that has the same padding as a parsed one.
    memset(&record, 0, sizeof(record));
    put_and_get(*state, &sample, &text, &len);
    assert_int_equal(snapshot_record_parse(text, len, &back, NULL), 0);
    assert_string_equal(back.source, sample.source);
    assert_string_equal(back.context_name, "web1");
    assert_string_equal(back.tags, sample.tags);
    assert_int_equal(back.job_number, 17);
    assert_true(back.foreign);
    assert_int_equal(back.kind, SNAPSHOT_INCREMENTAL);
    assert_int_equal(back.trigger, TRIGGER_SCHEDULED);
    assert_true(digest_equal(&back.digest, &sample.digest));
    assert_true(back.capacity == sample.capacity && back.taken_at == sample.taken_at &&
                back.started_at == sample.started_at && back.changed_bytes == 3);
    // Compact and sorted, so equal records are equal bytes.
    assert_memory_equal(text, "{\"added_bytes\":", 15);
    assert_null(memchr(text, '\n', len));
    record = back;
    free(text);
    put_and_get(*state, &record, &text, &len);
    assert_int_equal(snapshot_record_parse(text, len, &back, NULL), 0);
    assert_same(&back, &record);
    free(text);
}

static void test_odd_values(void **state)
{
    struct snapshot_record record = sample, back;
    char *text;
    size_t len;

    strcpy(record.source, "/mnt/\xff\xfe not UTF-8");
    strcpy(record.parent_uuid, "");
    strcpy(record.tags, "");
    strcpy(record.change_id, "");
    record.capacity = 0;
    record.kind = SNAPSHOT_FULL;
    put_and_get(*state, &record, &text, &len);
    assert_non_null(memmem(text, len, "source_hex", 10));
    assert_int_equal(snapshot_record_parse(text, len, &back, NULL), 0);
    assert_string_equal(back.source, record.source);
    assert_string_equal(back.parent_uuid, "");
    free(text);
}

static void test_what_could_not_be_read_is_not_written(void **state)
{
    struct store_fixture *fixture = *state;
    struct snapshot_record records[4] = {sample, sample, sample, sample};
    struct store_writer *writer;
    struct digest id;

    strcpy(records[0].uuid, "none");
    records[1].capacity = UINT64_MAX;
    records[2].kind = SNAPSHOT_KIND_UNKNOWN;
    strcpy(records[3].context_name, "../x");
    assert_int_equal(store_writer_open(fixture->store, fixture->job_id, &writer, NULL), 0);
    for (int i = 0; i < 4; i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(snapshot_record_put(writer, &records[i], &id, &err), -EINVAL);
        assert_int_equal(err.code, -EINVAL);
    }
    assert_int_equal(store_writer_bytes(writer), 0);
    store_writer_close(writer);
}

// Parses `json` and expects it to be refused for `key`.
static void assert_refused(const json_t *json, const char *key)
{
    char *text = json_dumps(json, 0);
    struct error err = ERROR_INIT;
    struct snapshot_record back;
    char sentence[100];

    snprintf(sentence, sizeof(sentence), "snapshot record: %s is missing or wrong", key);
    assert_int_equal(snapshot_record_parse(text, strlen(text), &back, &err), -ERROR_CORRUPT);
    assert_string_equal(error_message(&err), sentence);
    free(text);
}

static void test_every_key_is_needed(void **state)
{
    char *text;
    const char *key;
    size_t len;
    json_t *json, *value;

    put_and_get(*state, &sample, &text, &len);
    json = json_loadb(text, len, 0, NULL);
    assert_int_equal(json_object_size(json), 34);
    json_object_foreach(json, key, value)
    {
        json_t *less = json_deep_copy(json), *wrong = json_deep_copy(json);
        json_t *none = json_deep_copy(json);

        json_object_del(less, key);
        assert_refused(less, key);
        json_object_set_new(wrong, key, json_array());
        assert_refused(wrong, key);
        json_object_set_new(none, key, json_null());
        assert_refused(none, key);
        json_decref(less);
        json_decref(wrong);
        json_decref(none);
    }
    json_decref(json);
    free(text);
}

static void test_hostile_values(void **state)
{
    static const struct {
        const char *key, *value;
    } cases[] = {
        {"version", "0"},
        {"version", "-1"},
        {"version", "1.0"},
        {"uuid", "\"\""},
        {"uuid", "\"00000000-0000-4000-8000-00000000000A\""},
        {"uuid", "\"00000000-0000-4000-8000-0000000000010\""},
        {"parent_uuid", "\"x\""},
        {"context_name", "\"..\""},
        {"context_name", "\"a/b\""},
        {"disk_name", "\"\""},
        {"disk_name", "\"-x\""},
        {"disk_name", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""},
        {"job_number", "0"},
        {"number", "-1"},
        {"number", "true"},
        {"chain_number", "1e3"},
        {"tags", "\"a,,b\""},
        {"tags", "\",\""},
        {"tags", "\"a b\""},
        {"change_id", "\"a\\nb\""},
        {"source", "\"a\\u0001b\""},
        {"capacity", "-1"},
        {"data_bytes", "\"1\""},
        {"taken_at", "-5"},
        {"foreign", "1"},
        {"kind", "\"unknown\""},
        {"kind", "\"Full\""},
        {"trigger", "\"\""},
        {"digest", "\"12\""},
        {"chunk_size", "0"},
        {"chunk_size", "65537"},
        {"chunk_size", "8388608"},
    };
    char *text;
    size_t len;

    put_and_get(*state, &sample, &text, &len);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *json = json_loadb(text, len, 0, NULL);
        json_t *value = json_loads(cases[i].value, JSON_DECODE_ANY, NULL);

        assert_non_null(value);
        json_object_set_new(json, cases[i].key, value);
        assert_refused(json, cases[i].key);
        json_decref(json);
    }
    free(text);
}

static void test_structure(void **state)
{
    struct snapshot_record back;
    json_t *json;
    char *text, *newer;
    size_t len;

    put_and_get(*state, &sample, &text, &len);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(snapshot_record_parse(text, cut, &back, NULL), -ERROR_CORRUPT);
    assert_int_equal(snapshot_record_parse("[]", 2, &back, NULL), -ERROR_CORRUPT);
    assert_int_equal(snapshot_record_parse("{\"version\":1,\"version\":1}", 25, &back, NULL),
                     -ERROR_CORRUPT);
    json = json_loadb(text, len, 0, NULL);
    json_object_set_new(json, "added_later", json_true());
    newer = json_dumps(json, 0);
    assert_int_equal(snapshot_record_parse(newer, strlen(newer), &back, NULL), 0);
    free(newer);
    json_object_set_new(json, "version", json_integer(2));
    newer = json_dumps(json, 0);
    assert_int_equal(snapshot_record_parse(newer, strlen(newer), &back, NULL), -EPROTONOSUPPORT);
    free(newer);
    // One of two ways to name the source, not both.
    json_object_set_new(json, "version", json_integer(1));
    json_object_set_new(json, "source_hex", json_string("2f61"));
    assert_refused(json, "source");
    json_object_del(json, "source");
    json_object_set_new(json, "source_hex", json_string("2f6"));
    assert_refused(json, "source");
    json_object_set_new(json, "source_hex", json_string("2f00"));
    assert_refused(json, "source");
    json_decref(json);
    free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_fixture_make, store_fixture_clean)
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),          TEST(test_odd_values),
        TEST(test_every_key_is_needed), TEST(test_what_could_not_be_read_is_not_written),
        TEST(test_hostile_values),      TEST(test_structure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
