// SPDX-License-Identifier: MIT
//
// Notes: each event comes back as it went in and with its own keys only; what is not exactly a note
// is refused; a pack of notes is known only with the transaction it belongs to, and start-up
// carries out what a crash left undone.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/note.h"

#include "tests/unit/store_testing.h"

#include <jansson.h>

static struct note sample(enum note_what what)
{
    return (struct note){
        .what = what,
        .at = INT64_C(1795244100123456789),
        .snapshot_uuid = "00000000-0000-4000-8000-000000000001",
        .context_uuid = "00000000-0000-4000-8000-000000000002",
        .context_name = "web1",
        .context_created_at = 5,
        .disk_uuid = "00000000-0000-4000-8000-000000000003",
        .disk_name = "vda",
        .disk_created_at = 6,
        .source = "/dev/vg0/\xff web1",
        .capacity = UINT64_C(5) << 40,
        .chunk_size = 65536,
    };
}

static void test_round_trip(void **state)
{
    static const size_t keys[] = {
        [NOTE_FORGOTTEN] = 4,  [NOTE_PROTECTED] = 4, [NOTE_UNPROTECTED] = 4,  [NOTE_VM] = 6,
        [NOTE_VM_REMOVED] = 4, [NOTE_DISK] = 12,     [NOTE_DISK_REMOVED] = 5,
    };
    (void)state;

    for (int what = NOTE_FORGOTTEN; what <= NOTE_DISK_REMOVED; what++) {
        struct note note = sample((enum note_what)what), back;
        char *text;

        assert_int_equal(note_format(&note, &text, NULL), 0);
        json_t *json = json_loads(text, 0, NULL);
        assert_int_equal(json_object_size(json), keys[what]);
        assert_int_equal(note_parse(text, strlen(text), &back, NULL), 0);
        assert_int_equal(back.what, what);
        assert_true(back.at == note.at);
        bool snapshot = what <= NOTE_UNPROTECTED;
        assert_string_equal(back.snapshot_uuid, snapshot ? note.snapshot_uuid : "");
        assert_string_equal(back.context_uuid, snapshot ? "" : note.context_uuid);
        if (what == NOTE_DISK) {
            assert_string_equal(back.source, note.source);
            assert_true(back.capacity == note.capacity && back.chunk_size == 65536);
            assert_string_equal(back.disk_name, "vda");
            assert_true(back.disk_created_at == 6 && back.context_created_at == 5);
        }
        json_decref(json);
        free(text);
    }
}

static void test_what_cannot_be_written(void **state)
{
    struct note note = sample(NOTE_UNKNOWN);
    char *text;
    (void)state;

    assert_int_equal(note_format(&note, &text, NULL), -EINVAL);
    note = sample(NOTE_DISK);
    note.chunk_size = 1000;
    assert_int_equal(note_format(&note, &text, NULL), -EINVAL);
    note = sample(NOTE_FORGOTTEN);
    strcpy(note.snapshot_uuid, "x");
    assert_int_equal(note_format(&note, &text, NULL), -EINVAL);
}

static void test_hostile(void **state)
{
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {"", -ERROR_CORRUPT},
        {"[]", -ERROR_CORRUPT},
        {"{}", -ERROR_CORRUPT},
        {"{\"version\":1,\"what\":\"forgotten\",\"at\":1}", -ERROR_CORRUPT},
        {"{\"version\":1,\"what\":5,\"at\":1}", -ERROR_CORRUPT},
        {"{\"version\":1,\"what\":\"exploded\",\"at\":1}", -EPROTONOSUPPORT},
        {"{\"version\":2,\"what\":\"forgotten\",\"at\":1}", -EPROTONOSUPPORT},
        {"{\"version\":1,\"what\":\"forgotten\",\"at\":-1,"
         "\"snapshot_uuid\":\"00000000-0000-4000-8000-000000000001\"}",
         -ERROR_CORRUPT},
        {"{\"version\":1,\"what\":\"forgotten\",\"at\":1,\"snapshot_uuid\":\"../etc\"}",
         -ERROR_CORRUPT},
        {"{\"at\":1,\"at\":2,\"version\":1,\"what\":\"forgotten\"}", -ERROR_CORRUPT},
    };
    struct note note;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(note_parse(cases[i].text, strlen(cases[i].text), &note, NULL),
                         cases[i].code);
}

static void insert(struct store_fixture *fixture, const struct note_pack *pack)
{
    struct catalog_conn *conn;

    assert_int_equal(catalog_write_begin(fixture->catalog, &conn, NULL), 0);
    assert_int_equal(note_pack_insert(conn, pack, NULL), 0);
    assert_int_equal(catalog_write_commit(conn, NULL), 0);
}

static void test_pack(void **state)
{
    struct store_fixture *fixture = *state;
    struct note notes[3] = {sample(NOTE_VM), sample(NOTE_DISK), sample(NOTE_VM)}, back;
    struct note_pack pack;
    void *text;
    size_t len;

    assert_int_equal(note_pack_write(fixture->store, notes, 3, &pack, NULL), 0);
    assert_int_equal(pack.count, 2); // equal notes are one
    assert_int_equal(files_of(fixture).sealed, 1);
    assert_int_equal(files_of(fixture).bytes, pack.bytes);
    assert_int_equal(packs_of(fixture).packs, 0);
    insert(fixture, &pack);
    assert_int_equal(packs_of(fixture).records, 2);
    assert_int_equal(packs_of(fixture).provisional, 0);
    assert_int_equal(
        store_get(fixture->store, NULL, RECORD_NOTE, &pack.records[1].id, true, &text, &len, NULL),
        0);
    assert_int_equal(note_parse(text, len, &back, NULL), 0);
    assert_int_equal(back.what, NOTE_DISK);
    free(text);
    note_pack_deinit(&pack);
    insert(fixture, &pack); // an empty one is nothing
    assert_int_equal(packs_of(fixture).packs, 1);
}

static void test_discard(void **state)
{
    struct store_fixture *fixture = *state;
    struct note note = sample(NOTE_FORGOTTEN);
    struct note_pack pack;

    assert_int_equal(note_pack_write(fixture->store, &note, 1, &pack, NULL), 0);
    note_pack_discard(fixture->store, &pack);
    note_pack_deinit(&pack);
    assert_int_equal(files_of(fixture).sealed, 0);
}

static void test_failure_leaves_nothing(void **state)
{
    struct store_fixture *fixture = *state;
    struct note note = sample(NOTE_FORGOTTEN);
    struct note_pack pack;

    arm("2-pack-index=ENOSPC");
    assert_int_equal(note_pack_write(fixture->store, &note, 1, &pack, NULL), -ENOSPC);
    arm(NULL);
    assert_int_equal(files_of(fixture).sealed + files_of(fixture).open, 0);
}

// A note about a snapshot nobody knows is taken over at start-up and is nothing to do.
static void test_adopted(void **state)
{
    struct store_fixture *fixture = *state;
    struct note note = sample(NOTE_FORGOTTEN);
    struct note_pack pack;

    assert_int_equal(note_pack_write(fixture->store, &note, 1, &pack, NULL), 0);
    note_pack_deinit(&pack);
    assert_int_equal(store_reconcile(fixture->store, NULL, NULL, NULL), 0);
    assert_int_equal(packs_of(fixture).packs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_what_cannot_be_written),
        cmocka_unit_test(test_hostile),    STORE_TEST(test_pack),
        STORE_TEST(test_discard),          STORE_TEST(test_failure_leaves_nothing),
        STORE_TEST(test_adopted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
