// SPDX-License-Identifier: MIT
//
// Scope-bound release of locals, by the compiler's cleanup attribute. DEFINE_CLEANUP(type, close)
// makes a function that AUTO(close) names; the release function must accept NULL.
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define AUTO(release) __attribute__((cleanup(release##_at)))

#define DEFINE_CLEANUP(type, release)                                                              \
    static inline __attribute__((unused)) void release##_at(type *local)                           \
    {                                                                                              \
        if (*local)                                                                                \
            release(*local);                                                                       \
    }

static inline void cleanup_free(void *local)
{
    free(*(void **)local);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define AUTO_FREE __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))

// Hands a local's value to the caller and leaves `empty` behind, so that its cleanup does nothing.
#define TAKE(local, empty)                                                                         \
    __extension__({                                                                                \
        __typeof__(local) _taken = (local);                                                        \
        (local) = (empty);                                                                         \
        _taken;                                                                                    \
    })

#endif
