// SPDX-License-Identifier: MIT
//
// Escaping is by an allow list: a character is printed as it is only when it is well-formed UTF-8
// and none of those that steer (C0 and C1 controls, directional overrides, U+FFFE and U+FFFF).
#include "fs/job/html.h"

#include "base/clock.h"
#include "base/human.h"
#include "base/utf8.h"

#include <string.h>

static uint32_t code_point(const unsigned char *p, size_t length)
{
    static const unsigned char lead_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = p[0] & lead_bits[length];

    for (size_t i = 1; i < length; i++)
        code = code << 6 | (p[i] & 0x3fu);
    return code;
}

static int is_steering(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0xfeff ||
           (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2060 && code <= 0x206f) || (code >= 0xfdd0 && code <= 0xfdef) ||
           (code & 0xfffe) == 0xfffe;
}

static const char *entity(unsigned char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '\n':
    case '\t':
        return " ";
    default:
        return NULL;
    }
}

void html_text_short(FILE *out, const char *text, size_t max)
{
    const unsigned char *p = (const unsigned char *)text;

    for (size_t count = 0; *p; count++) {
        if (count == max) {
            fputs("\xe2\x80\xa6", out);
            return;
        }
        size_t length = utf8_length(p);
        const char *instead = entity(*p);
        if (instead)
            fputs(instead, out);
        else if (length == 0 || is_steering(code_point(p, length)))
            fputs(UTF8_REPLACEMENT, out);
        else
            fwrite(p, 1, length, out);
        p += length ? length : 1;
    }
}

void html_text(FILE *out, const char *text)
{
    html_text_short(out, text, SIZE_MAX);
}

void html_time_text(FILE *out, int64_t when)
{
    char iso[CLOCK_ISO_SIZE];

    if (when == 0)
        fputs("never", out);
    else
        fprintf(out, "%.10s %.5s", clock_to_iso(when, iso), iso + 11);
}

void html_time(FILE *out, int64_t when)
{
    char iso[CLOCK_ISO_SIZE];

    if (when == 0) {
        fputs("never", out);
        return;
    }
    fprintf(out, "<time datetime=\"%s\">", clock_to_iso(when, iso));
    html_time_text(out, when);
    fputs("</time>", out);
}

void html_size(FILE *out, uint64_t bytes)
{
    char text[HUMAN_SIZE];

    fputs(human_size(bytes, text), out);
}
