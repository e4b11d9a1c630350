// SPDX-License-Identifier: MIT
//
// Pieces of an HTML page, printed to a stream. Whatever came from outside (paths, reasons, tags,
// and names too, though they are checked elsewhere) goes through html_text(), which is safe between
// tags and inside quoted attributes, of HTML and of inline SVG alike.
//
// Threads: no state. Errors of the stream are the caller's to look at, with fclose().
#ifndef FS_JOB_HTML_H
#define FS_JOB_HTML_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// & < > " ' as entities; in the place of bytes that are no UTF-8, of control characters and of
// those that turn the direction of text round stands U+FFFD. A newline or tab becomes a blank.
void html_text(FILE *out, const char *text);

// At most `max` characters of it, and then an ellipsis.
void html_text_short(FILE *out, const char *text, size_t max);

// "2026-11-21 06:55" (UTC) as a <time> element; "never" for 0.
void html_time(FILE *out, int64_t when);

// The same as bare text, for where there can be no element.
void html_time_text(FILE *out, int64_t when);

// "12.3 MiB".
void html_size(FILE *out, uint64_t bytes);

#endif
