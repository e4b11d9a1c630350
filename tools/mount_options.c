// SPDX-License-Identifier: MIT
//
// The words of `backtree mount -o` and of an fstab line.
#include "tools/mount_options.h"

#include "tools/human.h"

#include <string.h>

static const char *const GENERIC_WORDS[] = {
    "rw",     "auto",    "noauto", "defaults", "_netdev",    "nofail",   "user",  "nouser", "users",
    "nosuid", "noowner", "nodev",  "noatime",  "nodiratime", "relatime", "async", "silent",
};

static bool mount_option_is_generic(const char *word)
{
    if (*word == '\0' || strncmp(word, "x-", 2) == 0 || strncmp(word, "comment=", 8) == 0)
        return true;
    for (size_t i = 0; i < sizeof(GENERIC_WORDS) / sizeof(GENERIC_WORDS[0]); i++)
        if (strcmp(word, GENERIC_WORDS[i]) == 0)
            return true;
    return false;
}

static int mount_option_apply(const char *word, struct tree_mount_options *options,
                              struct error *err)
{
    if (strcmp(word, "allow_other") == 0) {
        options->allow_other = true;
        return 0;
    }
    if (strncmp(word, "cache=", 6) == 0)
        return human_parse_size("cache", word + 6, &options->cache_bytes, err);
    if (strncmp(word, "fsname=", 7) == 0 && word[7] != '\0') {
        options->fsname = word + 7;
        return 0;
    }
    if (strcmp(word, "ro") == 0)
        return error_set(err, -EINVAL,
                         "mount option 'ro' is refused: triggers and jobs/ must be writable "
                         "(snapshots are read-only in any case)");
    if (mount_option_is_generic(word))
        return 0;
    return error_set(err, -EINVAL, "unknown mount option '%s'", word);
}

int mount_options_parse(char *text, struct tree_mount_options *options, struct error *err)
{
    char *word;
    while ((word = strsep(&text, ","))) {
        int r = mount_option_apply(word, options, err);
        if (r < 0)
            return r;
    }
    return 0;
}
