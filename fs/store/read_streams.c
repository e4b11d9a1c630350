// SPDX-License-Identifier: MIT
//
// The table of streams: sixteen positions, the one used longest ago gives way to a new one.
#include "fs/store/read_streams.h"

#include <stdbool.h>
#include <stddef.h>

#define LARGE (128u * 1024)        // a read that no database makes at a random place
#define SLACK (4u * 1024 * 1024)   // how far large reads overtake one another
#define WINDOW_FIRST (512u * 1024) // of what is decoded ahead
#define RUN_LARGE 2
#define RUN_SMALL 4

static bool continues(const struct read_stream *stream, uint64_t offset, uint64_t len)
{
    if (stream->used == 0)
        return false;
    if (offset == stream->next)
        return true;
    return len >= LARGE && offset < stream->next + SLACK && offset + SLACK >= stream->next;
}

static struct read_stream *find(struct read_streams *streams, uint64_t offset, uint64_t len)
{
    struct read_stream *best = NULL;

    for (unsigned i = 0; i < READ_STREAMS; i++) {
        struct read_stream *stream = &streams->streams[i];

        if (stream->used > 0 && stream->next == offset)
            return stream;
        if (!best && continues(stream, offset, len))
            best = stream;
    }
    return best;
}

static struct read_stream *oldest(struct read_streams *streams)
{
    struct read_stream *found = &streams->streams[0];

    for (unsigned i = 1; i < READ_STREAMS; i++) {
        if (streams->streams[i].used < found->used)
            found = &streams->streams[i];
    }
    return found;
}

static uint64_t grow(uint64_t window, uint64_t window_max)
{
    window = window == 0 ? WINDOW_FIRST : 2 * window;
    return window < window_max ? window : window_max;
}

struct read_ahead read_streams_note(struct read_streams *streams, uint64_t offset, uint64_t len,
                                    uint64_t window_max)
{
    struct read_ahead nothing = {0};
    struct read_stream *stream = find(streams, offset, len);
    uint64_t end = offset + len;

    streams->clock++;
    if (!stream) {
        stream = oldest(streams);
        *stream = (struct read_stream){.next = end, .ahead = end, .used = streams->clock, .run = 1};
        return nothing;
    }
    stream->used = streams->clock;
    stream->run++;
    if (end > stream->next)
        stream->next = end;
    if (stream->run < (len >= LARGE ? RUN_LARGE : RUN_SMALL))
        return nothing;
    stream->window = grow(stream->window, window_max);
    if (stream->ahead < stream->next)
        stream->ahead = stream->next;
    // Half a window at a time, so that a task is never a few bytes.
    if (stream->next + stream->window - stream->ahead < (stream->window + 1) / 2)
        return nothing;

    struct read_ahead range = {.from = stream->ahead,
                               .to = stream->next + stream->window,
                               .stream = (unsigned)(stream - streams->streams)};
    stream->ahead = range.to;
    return range;
}

int read_streams_passed(const struct read_streams *streams, unsigned stream, uint64_t offset)
{
    return offset < streams->streams[stream].next;
}
