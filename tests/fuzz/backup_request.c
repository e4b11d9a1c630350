// SPDX-License-Identifier: MIT
//
// The words written to a `backup` trigger. What is accepted can be written as words in one order
// and means the same; every tag is one and stands once; what is refused leaves the request alone.
#include "base/name.h"
#include "fs/job/request.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct backup_request request, again = {.context_id = 7, .disk_id = 9};
    struct error err = ERROR_INIT;
    char words[TAGS_TEXT_SIZE * 8], tags[TAGS_TEXT_SIZE];

    memset(&request, 0xa5, sizeof(request));
    int r = backup_request_parse((const char *)data, size, &request, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(r == -EINVAL && fuzz_all(&request, sizeof(request), 0xa5));
        return 0;
    }
    MUST(request.mode == BACKUP_AUTO || request.mode == BACKUP_FULL ||
         request.mode == BACKUP_INCREMENTAL);
    MUST(request.trigger == TRIGGER_MANUAL || request.trigger == TRIGGER_SCHEDULED);
    int used = snprintf(words, sizeof(words), "%s trigger=%s", backup_mode_to_word(request.mode),
                        job_trigger_to_word(request.trigger));
    strcpy(tags, request.tags);
    char *rest = tags, *tag;
    while (tags[0] && (tag = strsep(&rest, ",")) != NULL) {
        MUST(name_check_tag(tag, NULL) == 0);
        used += sprintf(words + used, "\ttag=%s", tag);
    }
    MUST(backup_request_parse(words, (size_t)used, &again, NULL) == 0);
    MUST(again.mode == request.mode && again.trigger == request.trigger);
    MUST(strcmp(again.tags, request.tags) == 0 && again.context_id == 7 && again.disk_id == 9);
    return 0;
}
