// SPDX-License-Identifier: MIT
//
// Records of snapshots made anew from the catalog: letter for letter what the pack holds, whatever
// became of the chain since, and nothing at all from a row that was changed.
#include "tests/unit/engine_fixture.h"

#include "fs/store/snapshot_record.h"

static int setup(void **state)
{
    struct repository_choices choices = {.retention = "none"};
    struct engine_options options = {.command = "test"};

    *state = fixture_make(&choices, &options, MIB);
    return 0;
}

static struct snapshot_row back_up_with(struct fixture *f, struct backup_request request)
{
    change_disk(f, (f->seed % 7) * 100 * KIB, 70 * KIB);
    assert_int_equal(end_of(f, request_backup(f, request)), JOB_COMPLETED);
    return latest(f);
}

static int64_t disk_of(struct fixture *f)
{
    struct catalog_conn *conn;
    struct disk_row disk;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    assert_int_equal(disk_find(conn, f->context_id, "vda", &disk, NULL), 0);
    catalog_read_end(conn);
    return disk.id;
}

static int remake(struct fixture *f, const struct snapshot_row *row, char **ret_text)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;

    assert_int_equal(catalog_read_begin(engine_catalog(f->engine), &conn, NULL), 0);
    return snapshot_record_remake(conn, row, ret_text, NULL);
}

static void assert_remade(struct fixture *f, int64_t id)
{
    struct snapshot_row row = snapshot_of(f, id);
    AUTO_FREE char *text = NULL;
    AUTO_FREE void *stored = NULL;
    size_t len;

    assert_int_equal(store_get(engine_store(f->engine), NULL, RECORD_SNAPSHOT, &row.record, true,
                               &stored, &len, NULL),
                     0);
    assert_int_equal(remake(f, &row, &text), 1);
    assert_int_equal(strlen(text), len);
    assert_memory_equal(text, stored, len);
}

static void assert_all_remade(struct fixture *f, int count)
{
    assert_int_equal(list_snapshots(f), count);
    for (int i = 0; i < count; i++)
        assert_remade(f, f->snapshots[i]);
}

static void make_many(struct fixture *f)
{
    back_up_with(f, (struct backup_request){0});
    back_up_with(f, (struct backup_request){.tags = "one,two"});
    back_up_with(f, (struct backup_request){.trigger = TRIGGER_SCHEDULED});
    back_up_with(f, (struct backup_request){.disk_id = disk_of(f), .mode = BACKUP_INCREMENTAL});
    back_up_with(f, (struct backup_request){.mode = BACKUP_FULL, .verify_after = true});
    back_up_with(f, (struct backup_request){0});
}

static void what_every_kind_of_backup_writes(void **state)
{
    struct fixture *f = *state;

    make_many(f);
    assert_all_remade(f, 6);
}

static void what_a_restore_wrote_over(void **state)
{
    struct fixture *f = *state;
    struct restore_request request = {.safety = true};
    int64_t job_id;

    request.snapshot_id = back_up_with(f, (struct backup_request){0}).id;
    strcpy(request.target, f->target);
    write_noise(f->target, 0, MIB, 99);
    assert_int_equal(engine_request_restore(f->engine, &request, &job_id, NULL), 0);
    assert_int_equal(end_of(f, job_id), JOB_COMPLETED);
    assert_all_remade(f, 2);
}

// Parents go, one after another, the nearest first and the nearest last.
static void when_parents_are_forgotten(void **state)
{
    static const int orders[][4] = {{2, 1, 0}, {0, 1, 2}};
    struct fixture *f = *state;

    for (size_t n = 0; n < 2; n++) {
        int64_t ids[4];

        ids[0] = back_up_with(f, (struct backup_request){.mode = BACKUP_FULL}).id;
        for (int i = 1; i < 4; i++)
            ids[i] = back_up_with(f, (struct backup_request){0}).id;
        for (int i = 0; i < 3; i++) {
            assert_int_equal(engine_forget_snapshot(f->engine, ids[orders[n][i]], NULL), 0);
            assert_remade(f, ids[3]);
        }
    }
    assert_all_remade(f, 2);
}

static void refused(struct fixture *f, const struct snapshot_row *row)
{
    char *text = NULL;

    assert_int_equal(remake(f, row, &text), 0);
    assert_null(text);
}

#define CHANGED(change)                                                                            \
    do {                                                                                           \
        struct snapshot_row row = whole;                                                           \
        change;                                                                                    \
        refused(f, &row);                                                                          \
    } while (0)

// Whatever a byte of the catalog may have become.
static void not_from_another_row(void **state)
{
    struct fixture *f = *state;

    make_many(f);
    struct snapshot_row whole = latest(f);
    assert_remade(f, whole.id);
    CHANGED(row.capacity++);
    CHANGED(row.chunk_size *= 2);
    CHANGED(row.digest.bytes[31] ^= 1);
    CHANGED(row.record.bytes[0] ^= 1);
    CHANGED(row.number++);
    CHANGED(row.chain_number++);
    CHANGED(row.taken_at++);
    CHANGED(row.started_at--);
    CHANGED(row.finished_at++);
    CHANGED(row.data_bytes++);
    CHANGED(row.read_bytes++);
    CHANGED(row.changed_bytes++);
    CHANGED(row.new_bytes++);
    CHANGED(row.new_bytes = 1);
    CHANGED(row.kind = SNAPSHOT_FULL);
    CHANGED(row.trigger = TRIGGER_SCHEDULED);
    CHANGED(row.uuid[0] = row.uuid[0] == 'a' ? 'b' : 'a');
    CHANGED(row.disk_uuid[0] = row.disk_uuid[0] == 'a' ? 'b' : 'a');
    CHANGED(row.change_id[0] ^= 1);
    CHANGED(strcpy(row.tags, "x"));
    CHANGED(strcpy(row.context_name, "web2"));
    CHANGED(row.job_id--);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
        TEST(what_every_kind_of_backup_writes),
        TEST(what_a_restore_wrote_over),
        TEST(when_parents_are_forgotten),
        TEST(not_from_another_row),
    };

    return cmocka_run_group_tests_name("snapshot_remake", tests, NULL, NULL);
}
