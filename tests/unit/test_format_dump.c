// SPDX-License-Identifier: MIT
//
// The annotated dump in docs/FORMAT.md is that of a real pack: it is made here, with fixed inputs,
// by the encoders, and compared. After a change of the format, BACKTREE_UPDATE_DUMP=1 in the
// environment makes this test write the new dump into the page.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "fs/store/map.h"
#include "fs/store/snapshot_record.h"

#include <ctype.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>

#define CHUNK 16384
#define BEGIN_MARK "<!-- dump: begin -->\n```\n"
#define END_MARK "```\n<!-- dump: end -->\n"

struct pack {
    uint8_t bytes[4096];
    size_t len;
    struct pack_index_entry entries[8];
    size_t count;
    FILE *out; // the annotated dump
};

// Appends bytes and their dump under a heading.
static void emit(struct pack *pack, const char *heading, const void *data, size_t len)
{
    const uint8_t *p = data;

    assert_true(pack->len + len <= sizeof(pack->bytes));
    fprintf(pack->out, "%s\n", heading);
    for (size_t i = 0; i < len; i += 16) {
        fprintf(pack->out, "  %06zx ", pack->len + i);
        for (size_t k = i; k < i + 16; k++)
            k < len ? fprintf(pack->out, " %02x", p[k]) : fprintf(pack->out, "   ");
        fprintf(pack->out, "  ");
        for (size_t k = i; k < i + 16 && k < len; k++)
            fputc(isgraph(p[k]) || p[k] == ' ' ? p[k] : '.', pack->out);
        fputc('\n', pack->out);
    }
    memcpy(pack->bytes + pack->len, data, len);
    pack->len += len;
}

static struct digest add(struct pack *pack, enum record_kind kind, const char *what,
                         const void *content, size_t len, enum record_codec codec,
                         const void *payload, size_t payload_len)
{
    struct chunk_coder *coder;
    uint8_t bytes[PACK_RECORD_HEADER_SIZE], *back = malloc(len);
    struct record_header header = {
        .kind = kind,
        .codec = codec,
        .raw_length = (uint32_t)len,
        .stored_length = (uint32_t)payload_len,
        .payload_checksum = pack_checksum(payload, payload_len),
    };
    char heading[200];

    assert_int_equal(chunk_coder_new(1, &coder, NULL), 0);
    assert_int_equal(chunk_coder_id(coder, kind, content, len, &header.id, NULL), 0);
    assert_int_equal(chunk_coder_decode(coder, codec, payload, payload_len, back, len, NULL), 0);
    assert_memory_equal(back, content, len);
    chunk_coder_free(coder);
    free(back);
    pack->entries[pack->count++] = (struct pack_index_entry){
        .id = header.id,
        .offset = pack->len,
        .raw_length = header.raw_length,
        .stored_length = header.stored_length,
        .kind = kind,
        .codec = codec,
    };
    record_header_encode(&header, bytes);
    snprintf(heading, sizeof(heading), "record header: %s, %zu bytes of content, %zu stored", what,
             len, payload_len);
    emit(pack, heading, bytes, sizeof(bytes));
    snprintf(heading, sizeof(heading), "payload: %s",
             codec == CODEC_ZSTD ? "a zstd frame (one run-length block)" : "the content itself");
    emit(pack, heading, payload, payload_len);
    return header.id;
}

static void add_snapshot(struct pack *pack, const struct digest *root)
{
    static const char format[] =
        "{\"added_bytes\":443,\"capacity\":16384,\"chain_number\":1,"
        "\"chain_uuid\":\"c4a10000-0000-4000-8000-000000000001\","
        "\"change_id\":\"\",\"changed_bytes\":16384,\"chunk_size\":16384,"
        "\"context_created_at\":1795244000000000000,\"context_name\":\"web1\","
        "\"context_uuid\":\"c0e70000-0000-4000-8000-000000000001\","
        "\"data_bytes\":16384,\"digest\":\"%s\","
        "\"disk_created_at\":1795244000000000000,\"disk_name\":\"vda\","
        "\"disk_uuid\":\"d15c0000-0000-4000-8000-000000000001\","
        "\"finished_at\":1795244101000000000,\"foreign\":false,"
        "\"job_created_at\":1795244099000000000,\"job_mode\":\"auto\",\"job_number\":1,"
        "\"job_one_disk\":false,\"job_started_at\":1795244100000000000,"
        "\"job_uuid\":\"00b00000-0000-4000-8000-000000000001\","
        "\"kind\":\"full\",\"number\":1,\"parent_uuid\":\"\",\"read_bytes\":16384,"
        "\"source\":\"/dev/vg0/web1\",\"started_at\":1795244100000000000,\"tags\":\"\","
        "\"taken_at\":1795244100000000000,\"trigger\":\"manual\","
        "\"uuid\":\"54a90000-0000-4000-8000-000000000001\",\"version\":1}";
    struct snapshot_record record;
    char text[2048], hex[DIGEST_HEX_SIZE];

    snprintf(text, sizeof(text), format, digest_to_hex(root, hex));
    assert_int_equal(snapshot_record_parse(text, strlen(text), &record, NULL), 0);
    assert_true(digest_equal(&record.digest, root));
    add(pack, RECORD_SNAPSHOT, "snapshot", text, strlen(text), CODEC_RAW, text, strlen(text));
}

static void add_records(struct pack *pack)
{
    // 16 KiB of 'A' as a frame written by hand, so that it does not depend on zstd's version:
    // magic, single segment with a size of two bytes (16384 - 256), last block, run-length, 16384 ×
    // 'A'.
    static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00,
                                    0x3f, 0x03, 0x00, 0x02, 'A'};
    uint8_t *content = malloc(CHUNK), node_bytes[MAP_NODE_MAX];
    struct map_node node = {.level = 0, .chunk_shift = 14}, back;
    struct digest root;
    size_t len;

    memset(content, 'A', CHUNK);
    node.ids[0] =
        add(pack, RECORD_CHUNK, "chunk", content, CHUNK, CODEC_ZSTD, frame, sizeof(frame));
    len = map_node_encode(&node, node_bytes);
    assert_int_equal(map_node_decode(node_bytes, len, &back, NULL), 0);
    root = add(pack, RECORD_MAP, "map node", node_bytes, len, CODEC_RAW, node_bytes, len);
    add_snapshot(pack, &root);
    free(content);
}

static void add_index(struct pack *pack)
{
    uint8_t index[8 * PACK_INDEX_ENTRY_SIZE], bytes[PACK_TRAILER_SIZE];
    size_t len = pack->count * PACK_INDEX_ENTRY_SIZE;
    struct pack_trailer trailer = {.index_offset = pack->len, .entry_count = pack->count}, back;
    char heading[100];

    for (size_t i = 0; i < pack->count; i++)
        pack_index_entry_encode(&pack->entries[i], index + i * PACK_INDEX_ENTRY_SIZE);
    trailer.index_checksum = pack_checksum(index, len);
    for (size_t i = 0; i < pack->count; i++) {
        snprintf(heading, sizeof(heading), "index entry %zu: the record at %06llx", i,
                 (unsigned long long)pack->entries[i].offset);
        emit(pack, heading, index + i * PACK_INDEX_ENTRY_SIZE, PACK_INDEX_ENTRY_SIZE);
    }
    pack_trailer_encode(&trailer, bytes);
    emit(pack, "trailer", bytes, sizeof(bytes));
    assert_int_equal(pack_trailer_decode(bytes, sizeof(bytes), pack->len, &back, NULL), 0);
}

static char *make_dump(void)
{
    static const struct pack_header header = {
        .uuid = {0x1f, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1},
        .repository_uuid = {0xee, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1},
        .created_at = INT64_C(1795244100000000000),
    };
    struct pack *pack = calloc(1, sizeof(*pack));
    uint8_t bytes[PACK_HEADER_SIZE];
    char *dump;
    size_t len;

    pack->out = open_memstream(&dump, &len);
    pack_header_encode(&header, bytes);
    emit(pack, "pack header", bytes, sizeof(bytes));
    add_records(pack);
    add_index(pack);
    fclose(pack->out);
    free(pack);
    return dump;
}

static void page_path(char path[PATH_MAX])
{
    char here[PATH_MAX];

    snprintf(here, sizeof(here), "%s", __FILE__);
    snprintf(path, PATH_MAX, "%.3000s/../../docs/FORMAT.md", dirname(here));
}

static void test_dump(void **state)
{
    char path[PATH_MAX], *page, *begin, *end, *dump = make_dump();
    size_t len, size;
    (void)state;

    page_path(path);
    assert_int_equal(io_read_file(path, 1 << 20, &page, &len, NULL), 0);
    begin = strstr(page, BEGIN_MARK);
    end = strstr(page, END_MARK);
    assert_true(begin && end && begin < end);
    begin += strlen(BEGIN_MARK);
    if (getenv("BACKTREE_UPDATE_DUMP")) {
        char *text;
        FILE *out = open_memstream(&text, &size);

        fprintf(out, "%.*s%s%s", (int)(begin - page), page, dump, end);
        fclose(out);
        assert_int_equal(io_replace_file(path, text, size, 0644, NULL), 0);
        free(text);
    } else {
        *end = '\0';
        assert_string_equal(begin, dump);
    }
    free(page);
    free(dump);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dump)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
