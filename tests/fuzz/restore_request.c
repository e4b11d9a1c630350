// SPDX-License-Identifier: MIT
//
// The line written to a `restore` trigger. An accepted target is an absolute path of printable
// bytes, and writing it again means the same; what is refused leaves the request alone.
#include "fs/job/request.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct restore_request request, again;
    struct error err = ERROR_INIT;
    char line[SOURCE_TEXT_SIZE + 32];

    memset(&request, 0xa5, sizeof(request));
    int r = restore_request_parse((const char *)data, size, &request, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST((r == -EINVAL || r == -ENAMETOOLONG) && fuzz_all(&request, sizeof(request), 0xa5));
        return 0;
    }
    MUST(request.target[0] == '/' && strlen(request.target) < SOURCE_TEXT_SIZE);
    for (const char *p = request.target; *p; p++)
        MUST((unsigned char)*p >= ' ' && *p != 0x7f);
    int len = snprintf(line, sizeof(line), "safety=%s %s\n", request.safety ? "on" : "off",
                       request.target);
    MUST(restore_request_parse(line, (size_t)len, &again, NULL) == 0);
    MUST(again.safety == request.safety && strcmp(again.target, request.target) == 0);
    return 0;
}
