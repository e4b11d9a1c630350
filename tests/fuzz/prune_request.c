// SPDX-License-Identifier: MIT
//
// The words written to `control/prune`. What is accepted can be written as words in one order that
// mean the same; VM and VM/DISK, whatever their names, are accepted; what is refused leaves the
// results alone.
#include "base/name.h"
#include "fs/job/request.h"
#include "fs/job/retention.h"
#include "tests/fuzz/fuzz.h"

static bool is_name(const char *text)
{
    char first[NAME_SIZE];
    const char *rest;

    return name_split_first("VM", text, first, &rest, NULL) == 0 &&
           (!rest || name_check("disk", rest, NULL) == 0);
}

static void check_policy(const char *words)
{
    struct retention_policy policy;
    char text[RETENTION_TEXT_SIZE];

    MUST(words[0] == '\0' || (retention_parse(words, strlen(words), &policy, NULL) == 0 &&
                              strcmp(retention_format(&policy, text), words) == 0 &&
                              !retention_keeps_everything(&policy)));
}

static void check_again(const struct prune_request *request, const char *name)
{
    struct prune_request again = {.context_id = 7, .disk_id = 9};
    char words[RETENTION_TEXT_SIZE + PRUNE_NAME_SIZE + 32], name_again[PRUNE_NAME_SIZE];
    int len = snprintf(words, sizeof(words), "trigger=%s %s\t%s\n",
                       job_trigger_to_word(request->trigger), request->policy, name);

    MUST(prune_request_parse(words, (size_t)len, name_again, &again, NULL) == 0);
    MUST(strcmp(name_again, name) == 0 && strcmp(again.policy, request->policy) == 0);
    MUST(again.trigger == request->trigger && again.context_id == 7 && again.disk_id == 9);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prune_request request;
    struct error err = ERROR_INIT;
    char name[PRUNE_NAME_SIZE], *text = fuzz_text(data, size);

    memset(&request, 0xa5, sizeof(request));
    memset(name, 0xa5, sizeof(name));
    int r = prune_request_parse((const char *)data, size, name, &request, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(r == -EINVAL && fuzz_all(&request, sizeof(request), 0xa5));
        MUST(fuzz_all(name, sizeof(name), 0xa5));
        MUST(!text || !is_name(text) || strncmp(text, "keep-", 5) == 0);
    } else {
        MUST(request.trigger == TRIGGER_MANUAL || request.trigger == TRIGGER_SCHEDULED);
        MUST(memchr(name, '\0', sizeof(name)) && !strpbrk(name, "= \t\r\n"));
        MUST(!text || !is_name(text) || strcmp(name, text) == 0);
        check_policy(request.policy);
        check_again(&request, name);
    }
    free(text);
    return 0;
}
