// SPDX-License-Identifier: MIT
//
// The process's own log. Owns the level and the choice of stderr or syslog, nothing else. A message
// is formatted into one buffer on the stack and leaves in one write(2), so that lines of different
// threads never mix; what does not fit is cut and marked. A message that cannot be written is lost:
// there is nobody left to tell.
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static enum log_level log_level = LOG_LEVEL_WARNING;
static bool log_to_syslog;

void log_set_level(enum log_level level)
{
    log_level = level;
}

void log_use_syslog(bool on)
{
    if (on && !log_to_syslog)
        openlog("backtree", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    else if (!on && log_to_syslog)
        closelog();
    log_to_syslog = on;
}

static const char *level_text(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error: ";
    case LOG_LEVEL_WARNING:
        return "warning: ";
    case LOG_LEVEL_INFO:
        return "info: ";
    case LOG_LEVEL_DEBUG:
        return "debug: ";
    }
    return "";
}

static int syslog_priority(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return LOG_ERR;
    case LOG_LEVEL_WARNING:
        return LOG_WARNING;
    case LOG_LEVEL_INFO:
        return LOG_INFO;
    case LOG_LEVEL_DEBUG:
        return LOG_DEBUG;
    }
    return LOG_NOTICE;
}

// A newline inside a message would let a quoted name pass for a message of its own.
static void make_one_line(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            text[i] = '?';
    }
}

// Fills `line` with the message and one final newline; returns its length.
__attribute__((format(printf, 3, 0))) static size_t
format_line(char line[LINE_MAX_BYTES], enum log_level level, const char *fmt, va_list args)
{
    static const char cut[] = " ...";
    const size_t room = LINE_MAX_BYTES - 1; // the newline's byte is kept
    size_t head = (size_t)snprintf(line, room, "backtree: %s", level_text(level));
    int body = vsnprintf(line + head, room - head, fmt, args);
    if (body < 0)
        body = 0;
    size_t len = head + (size_t)body;
    if (len >= room) {
        len = room - 1;
        memcpy(line + len - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
    }
    make_one_line(line, len);
    line[len] = '\n';
    return len + 1;
}

void log_message(enum log_level level, const char *fmt, ...)
{
    if (level > log_level)
        return;
    int saved_errno = errno;
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    size_t len = format_line(line, level, fmt, args);
    va_end(args);

    if (log_to_syslog) {
        // syslog names the program by itself.
        const size_t name = strlen("backtree: ");
        syslog(syslog_priority(level), "%.*s", (int)(len - 1 - name), line + name);
    } else {
        ssize_t n;
        do {
            n = write(STDERR_FILENO, line, len);
        } while (n < 0 && errno == EINTR);
    }
    errno = saved_errno;
}
