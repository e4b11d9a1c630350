// SPDX-License-Identifier: MIT
//
// Time: int64_t nanoseconds since 1970-01-01T00:00:00Z everywhere, 0 = "not yet"; text is ISO 8601
// UTC.
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_SECOND INT64_C(1000000000)
#define CLOCK_ISO_SIZE 32

int64_t clock_now(void);       // CLOCK_REALTIME
int64_t clock_monotonic(void); // CLOCK_MONOTONIC, for rates and time-outs only

// "2026-11-21T06:55:00Z"; whole seconds. Returns `text`. 0 gives "".
char *clock_to_iso(int64_t when, char text[CLOCK_ISO_SIZE]);

// "20261121T065500Z", as in snapshot names. Returns `text`.
char *clock_to_compact(int64_t when, char text[CLOCK_ISO_SIZE]);

// Parses what a user may give for --since/--until: "YYYY-MM-DD", "YYYY-MM-DDTHH:MM[:SS][Z]" (UTC,
// 'T' may be a blank), "@UNIXSECONDS", or an age: "90s" "30m" "12h" "7d" "2w" before now. Never 0
// ("not yet"): 1 stands for the first moment of 1970. Returns 0 or -EINVAL.
int clock_parse(const char *text, int64_t now, int64_t *ret_when);

#endif
