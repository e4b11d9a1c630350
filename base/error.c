// SPDX-License-Identifier: MIT
//
// Writes struct error: formats sentences, keeps the first cause, extends the trace. Owns nothing
// and promises that `message` is always terminated, one line, and valid to print. It does not log.
#include "base/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

// "../base/io.c" tells a reader no more than "io.c" does, and the trace is short.
static const char *file_name(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

static void trace_add(struct error *err, const char *file, int line)
{
    size_t used = strnlen(err->trace, sizeof(err->trace) - 1);
    snprintf(err->trace + used, sizeof(err->trace) - used, "%s%s:%d", used ? " < " : "",
             file_name(file), line);
}

// A sentence may quote a name that a guest or a user chose; a newline in it would forge a second
// line in a log.
static void make_one_line(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
    }
}

// Returns false when an earlier cause is kept.
static bool begin(struct error *err, int code, const char *file, int line)
{
    bool first = err->code == 0;
    if (first) {
        err->code = code;
        err->trace[0] = '\0';
    }
    trace_add(err, file, line);
    return first;
}

int error_set_at(struct error *err, int code, const char *file, int line, const char *fmt, ...)
{
    if (!err)
        return code;
    if (!begin(err, code, file, line))
        return err->code;

    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    make_one_line(err->message);
    return code;
}

int error_set_errno_at(struct error *err, int code, const char *file, int line, const char *fmt,
                       ...)
{
    if (!err)
        return code;
    if (!begin(err, code, file, line))
        return err->code;

    // The reason is what a reader needs most, so a long path gives way to it.
    char buf[128];
    const char *reason = strerror_r(-code, buf, sizeof(buf));
    size_t room = sizeof(err->message) - strlen(reason) - strlen(": ");
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, room, fmt, args);
    va_end(args);
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof(err->message) - used, ": %s", reason);
    make_one_line(err->message);
    return code;
}

int error_prefix_at(struct error *err, const char *file, int line, const char *fmt, ...)
{
    if (!err || err->code == 0)
        return -EIO;
    trace_add(err, file, line);

    char prefix[ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(prefix, sizeof(prefix), fmt, args);
    va_end(args);
    make_one_line(prefix);

    // A prefix that does not fit beside the cause is worth less than the cause.
    size_t room = sizeof(err->message) - 1 - strlen(err->message);
    size_t len = strlen(prefix);
    if (len + 2 > room)
        return err->code;
    memmove(err->message + len + 2, err->message, strlen(err->message) + 1);
    memcpy(err->message, prefix, len);
    memcpy(err->message + len, ": ", 2);
    return err->code;
}

void error_clear(struct error *err)
{
    if (!err)
        return;
    err->code = 0;
    err->message[0] = '\0';
    err->trace[0] = '\0';
}

const char *error_message(const struct error *err)
{
    return err && err->message[0] ? err->message : "unknown error";
}
