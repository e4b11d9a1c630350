// SPDX-License-Identifier: MIT
//
// uthash set up for keys that begin with a digest: part of it is as good a hash as any, and running
// out of memory is an error of the caller (hh.tbl is NULL after HASH_ADD), not the end of the
// process. Include this instead of <uthash.h>.
#ifndef FS_STORE_DIGEST_HASH_H
#define FS_STORE_DIGEST_HASH_H

#include "base/bytes.h"

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, len, hash) ((hash) = bytes_get_le32(key))
#include <uthash.h>

#endif
