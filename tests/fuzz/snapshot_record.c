// SPDX-License-Identifier: MIT
//
// A snapshot's record. What is accepted can be written again and reads the same; names and tags
// satisfy their grammar; what is refused leaves the result alone. The writer of the store is
// replaced by one that keeps the text.
#include "fs/store/snapshot_record.h"
#include "tests/fuzz/fuzz.h"

static char written[512 * 1024];
static size_t written_len;

// The store's own is in another object of its library, which is then not linked.
int store_writer_put(struct store_writer *writer, enum record_kind kind, const void *content,
                     size_t len, struct digest *ret_id, struct error *err)
{
    (void)writer;
    (void)err;
    MUST(kind == RECORD_SNAPSHOT && len <= sizeof(written));
    memcpy(written, content, len);
    written_len = len;
    memset(ret_id, 1, sizeof(*ret_id));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct snapshot_record record, again;
    struct error err = ERROR_INIT;
    struct digest id;

    memset(&record, 0xa5, sizeof(record));
    int r = snapshot_record_parse(data, size, &record, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(fuzz_all(&record, sizeof(record), 0xa5));
        return 0;
    }
    MUST(name_check("VM", record.context_name, NULL) == 0);
    MUST(name_check("disk", record.disk_name, NULL) == 0);
    MUST(strlen(record.uuid) == UUID_TEXT_SIZE - 1 && strlen(record.source) < SOURCE_TEXT_SIZE);
    MUST(record.number > 0 && record.chain_number > 0 && record.job_number > 0);
    MUST((record.chunk_size & (record.chunk_size - 1)) == 0);
    MUST(snapshot_record_put(NULL, &record, &id, &err) == 0);
    MUST(snapshot_record_parse(written, written_len, &again, &err) == 0);
    MUST(memcmp(&record, &again, sizeof(record)) == 0);
    return 0;
}
