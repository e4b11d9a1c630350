// SPDX-License-Identifier: MIT
//
// Times as users write them. Input: i64 now, then the text. What is accepted is a time, never "not
// yet", and from 1970 on; written as ISO text it is the same whole second again; what is refused
// leaves the result alone.
#include "base/clock.h"
#include "base/bytes.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t when = -99, again;
    char iso[CLOCK_ISO_SIZE];

    if (size < 8)
        return 0;
    int64_t now = (int64_t)(bytes_get_le64(data) >> 1);
    char *text = fuzz_text(data + 8, size - 8);
    if (!text)
        return 0;
    int r = clock_parse(text, now, &when);
    if (r < 0) {
        MUST(r == -EINVAL && when == -99);
    } else {
        MUST(when > 0);
        clock_to_iso(when, iso);
        MUST(clock_parse(iso, now, &again) == 0);
        MUST(again == when / CLOCK_SECOND * CLOCK_SECOND || when < CLOCK_SECOND);
    }
    free(text);
    return 0;
}
