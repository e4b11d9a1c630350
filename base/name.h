// SPDX-License-Identifier: MIT
//
// The names users give: VMs and disks, and tags.
#ifndef BASE_NAME_H
#define BASE_NAME_H

#include "base/error.h"

#define NAME_SIZE 65 // 64 characters and the NUL

// A VM's or disk's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}, and none of the words the tree uses for
// itself beside it. `what` ("VM", "disk") begins the sentence. Returns 0, -EINVAL, or
// -ENAMETOOLONG.
int name_check(const char *what, const char *name, struct error *err);

// A tag: [A-Za-z0-9][A-Za-z0-9._:-]{0,63}. Returns 0 or -EINVAL.
int name_check_tag(const char *tag, struct error *err);

// "web1" or "web1/vda" or "web1/vda/CHAIN/SNAPSHOT": splits at the first slash. Copies are bounded;
// ret_rest borrows from `text` (NULL when there is no slash). Returns 0 or the error of
// name_check().
int name_split_first(const char *what, const char *text, char ret_first[NAME_SIZE],
                     const char **ret_rest, struct error *err);

#endif
