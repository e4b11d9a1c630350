// SPDX-License-Identifier: MIT
//
// Names of VMs and disks, and tags, against their grammar written out a second time:
// [A-Za-z0-9][A-Za-z0-9._-]{0,63}, a tag also ':'. A first part is a name, and text and parts are
// the same characters.
#include "base/name.h"
#include "tests/fuzz/fuzz.h"

static bool has_form(const char *text, const char *also)
{
    size_t len = strlen(text);

    if (len < 1 || len > 64 || !fuzz_is_alnum(text[0]))
        return false;
    for (size_t i = 1; i < len; i++) {
        if (!fuzz_is_alnum(text[i]) && !strchr(also, text[i]))
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    struct error err = ERROR_INIT, tag_err = ERROR_INIT, split_err = ERROR_INIT;
    char first[NAME_SIZE];
    const char *rest = text;

    if (!text)
        return 0;
    int r = name_check("VM", text, &err);
    if (r < 0)
        fuzz_check_refusal(r, &err);
    MUST(r < 0 || has_form(text, "._-"));
    // Of the right form and refused: only a word that is kept.
    MUST(r == 0 || !has_form(text, "._-") || strstr(error_message(&err), "the tree uses"));
    MUST(strncmp(text, "chain-", 6) != 0 || text[6] == '\0' ||
         text[6 + strspn(text + 6, "0123456789")] != '\0' || r < 0);

    int tag = name_check_tag(text, &tag_err);
    if (tag < 0)
        fuzz_check_refusal(tag, &tag_err);
    MUST((tag == 0) == has_form(text, "._:-"));

    memset(first, 0x5a, sizeof(first));
    int split = name_split_first("VM", text, first, &rest, &split_err);
    if (split < 0) {
        fuzz_check_refusal(split, &split_err);
        MUST(fuzz_all(first, sizeof(first), 0x5a) && rest == text);
    } else {
        size_t len = strlen(first);
        MUST(name_check("VM", first, NULL) == 0 && memcmp(first, text, len) == 0);
        MUST(rest ? text[len] == '/' && rest == text + len + 1 : text[len] == '\0');
    }
    free(text);
    return 0;
}
