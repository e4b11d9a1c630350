// SPDX-License-Identifier: MIT
//
// The text of a source. Nothing but an absolute path of printable bytes and bounded length is
// accepted; every such path is.
#include "fs/source/source.h"
#include "tests/fuzz/fuzz.h"

#include <limits.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    struct error err = ERROR_INIT;
    bool printable = true;

    if (!text)
        return 0;
    for (const char *p = text; *p; p++)
        printable = printable && (unsigned char)*p >= ' ' && *p != 0x7f;
    int r = source_check(text, &err);
    if (r < 0)
        fuzz_check_refusal(r, &err);
    MUST((r == 0) == (text[0] == '/' && printable && strlen(text) < PATH_MAX));
    free(text);
    return 0;
}
