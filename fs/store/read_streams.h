// SPDX-License-Identifier: MIT
//
// Which readers of a disk go through it in order, and how far it is worth decoding ahead of them:
// a small table of positions, as the kernel's readahead has one for each open file. Knows neither
// files nor threads: a read is told to it, and it answers with the range to be prefetched.
//
// A stream is believed after reads that followed one another without a gap: RUN_LARGE of them when
// they are large (a copy, the kernel's readahead), RUN_SMALL when they are small. The window
// doubles with each read up to the bound, and a stream that is not continued grows none. Requests
// of the kernel's readahead arrive by many threads, so large reads may overtake one another a
// little; small ones must follow exactly, for small reads at random places are near one another by
// chance.
#ifndef FS_STORE_READ_STREAMS_H
#define FS_STORE_READ_STREAMS_H

#include <stdint.h>

#define READ_STREAMS 16 // per disk

struct read_stream {
    uint64_t next;   // where its next read is expected
    uint64_t ahead;  // prefetched up to here
    uint64_t used;   // by the table's clock, 0 = free
    uint64_t window; // bytes beyond `next`, 0 = not believed yet
    unsigned run;    // reads that followed one another
};

struct read_streams {
    uint64_t clock;
    struct read_stream streams[READ_STREAMS];
};

struct read_ahead {
    uint64_t from, to; // bytes; equal: nothing
    unsigned stream;   // whose it is
};

// Notes a read of `len` > 0 bytes at `offset`; at most `window_max` bytes beyond it are asked for,
// in pieces that are worth a task, nothing twice. The answer may lie past the disk's end.
struct read_ahead read_streams_note(struct read_streams *streams, uint64_t offset, uint64_t len,
                                    uint64_t window_max);

// Whether the stream has asked for the byte at `offset` by now (or is another one by now): then it
// is too late to prefetch it.
int read_streams_passed(const struct read_streams *streams, unsigned stream, uint64_t offset);

#endif
