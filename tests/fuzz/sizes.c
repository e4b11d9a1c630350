// SPDX-License-Identifier: MIT
//
// Sizes and numbers of command lines, against arithmetic that cannot overflow: digits, then nothing
// or one of KMGTP and perhaps "iB". What is refused leaves the result alone.
#include "tests/fuzz/fuzz.h"
#include "tools/human.h"

#include <ctype.h>

// The value, -1 for none, -2 for one that is too large.
static __int128 size_of(const char *text)
{
    static const char units[] = "KMGTP";
    __int128 value = 0, limit = (__int128)1 << 64;
    const char *p = text;

    for (; *p >= '0' && *p <= '9'; p++)
        value = value < limit ? value * 10 + (*p - '0') : value;
    if (p == text)
        return -1;
    if (*p) {
        const char *unit = strchr(units, toupper((unsigned char)*p));
        if (!unit || (p[1] && strcmp(p + 1, "iB") != 0))
            return -1;
        value = value < limit ? value << (10 * (unit - units + 1)) : value;
    }
    return value < limit ? value : -2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    struct error err = ERROR_INIT, number_err = ERROR_INIT;
    uint64_t bytes = 0xa5a5;
    int64_t number = 0xa5a5;
    char human[HUMAN_SIZE];

    if (!text)
        return 0;
    __int128 wanted = size_of(text);
    int r = human_parse_size("size", text, &bytes, &err);
    MUST(wanted >= 0 ? r == 0 && bytes == (uint64_t)wanted
                     : r == (wanted == -1 ? -EINVAL : -ERANGE));
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(bytes == 0xa5a5);
    }
    MUST(strlen(human_size(bytes, human)) < HUMAN_SIZE - 1);
    r = human_parse_number("number", text, -5, 1000, &number, &number_err);
    if (r < 0)
        fuzz_check_refusal(r, &number_err);
    MUST(r < 0 ? number == 0xa5a5
               : number >= -5 && number <= 1000 && strtoll(text, NULL, 10) == number);
    MUST(strlen(human_duration((int64_t)bytes, human)) < HUMAN_SIZE - 1);
    free(text);
    return 0;
}
