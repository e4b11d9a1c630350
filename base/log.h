// SPDX-License-Identifier: MIT
//
// The process's own log: one line a message on stderr ("backtree: warning: ..."), or in syslog once
// the daemon has detached. Job logs are records in the catalog and not this module's business.
// Thread-safe. Never fails, never allocates.
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR = 1, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

// Messages above `level` are dropped. The default is LOG_LEVEL_WARNING. Call before threads start.
void log_set_level(enum log_level level);

// Sends messages to syslog(3) under the name "backtree" instead of stderr.
void log_use_syslog(bool on);

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

void log_message(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
