// SPDX-License-Identifier: MIT
//
// The one place that includes xxHash. On x86-64 the library's run-time dispatch is used where it is
// there (the build probes for it): a generic build otherwise stays at SSE2 and runs at half the
// speed. The results are the same either way.
#ifndef FS_STORE_XXH_H
#define FS_STORE_XXH_H

#include <xxhash.h>
#ifdef HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h>
#endif

#endif
