// SPDX-License-Identifier: MIT
//
// The words of `mount -o`. Words are independent: a list is accepted exactly when each of its words
// alone is, and `fsname` points into the text that was given.
#include "tools/mount_options.h"
#include "tests/fuzz/fuzz.h"

static bool each_is_accepted(const char *list)
{
    bool all = true;
    char *copy = strdup(list), *rest = copy, *word;

    while ((word = strsep(&rest, ",")) != NULL) {
        struct tree_mount_options options = {0};
        char *alone = strdup(word);
        all = all && mount_options_parse(alone, &options, NULL) == 0;
        free(alone);
    }
    free(copy);
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    struct tree_mount_options options = {0};
    struct error err = ERROR_INIT;

    if (!text)
        return 0;
    bool accepted = each_is_accepted(text);
    int r = mount_options_parse(text, &options, &err);
    if (r < 0)
        fuzz_check_refusal(r, &err);
    MUST((r == 0) == accepted);
    MUST(!options.fsname || (options.fsname >= text && options.fsname <= text + size));
    free(text);
    return 0;
}
