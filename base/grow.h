// SPDX-License-Identifier: MIT
//
// Arrays that grow by doubling.
#ifndef BASE_GROW_H
#define BASE_GROW_H

#include "base/error.h"

#include <stddef.h>
#include <stdlib.h>

#define GROW_FIRST 16

// `array`, which has room for *room elements of `size` bytes, with room for twice as many; NULL:
// out of memory, and nothing has changed.
static inline void *grow_double(void *array, size_t *room, size_t size)
{
    size_t more = *room ? 2 * *room : GROW_FIRST;
    void *grown = reallocarray(array, more, size);

    if (grown)
        *room = more;
    return grown;
}

// Makes room for one more than `count` elements in the malloc'ed `array` (a pointer, NULL at first)
// that has room for `room` (a size_t). 0, or -ENOMEM and "out of memory for WHAT".
#define GROW(array, count, room, what, err)                                                        \
    __extension__({                                                                                \
        void *_grown = (array);                                                                    \
        if ((count) == (room))                                                                     \
            _grown = grow_double((array), &(room), sizeof(*(array)));                              \
        if (_grown)                                                                                \
            (array) = _grown;                                                                      \
        _grown ? 0 : error_set((err), -ENOMEM, "out of memory for %s", (what));                    \
    })

#endif
