// SPDX-License-Identifier: MIT
//
// uthash set up for this program: running out of memory is an error of the caller (hh.tbl is NULL
// after HASH_ADD, and the entry is not in the table), not the end of the process, which is uthash's
// default. Include this instead of <uthash.h>.
#ifndef BASE_HASH_H
#define BASE_HASH_H

#define HASH_NONFATAL_OOM 1
// The default falls through the labels of a switch, which warns with clang.
#define HASH_FUNCTION(key, len, hash) HASH_OAT(key, len, hash)
#include <uthash.h>

#endif
