// SPDX-License-Identifier: MIT
#include "base/utf8.h"

size_t utf8_length(const unsigned char *p)
{
    static const struct {
        unsigned char mask, lead;
        unsigned char second_min, second_max; // where overlong and surrogate forms are shut out
        size_t length;
    } forms[] = {
        {0x80, 0x00, 0x00, 0xff, 1}, {0xff, 0xe0, 0xa0, 0xbf, 3}, {0xff, 0xed, 0x80, 0x9f, 3},
        {0xff, 0xf0, 0x90, 0xbf, 4}, {0xff, 0xf4, 0x80, 0x8f, 4}, {0xe0, 0xc0, 0x80, 0xbf, 2},
        {0xf0, 0xe0, 0x80, 0xbf, 3}, {0xf8, 0xf0, 0x80, 0xbf, 4},
    };
    // 0xc0 and 0xc1 only begin overlong forms, what is above 0xf4 is past U+10FFFF.
    if (p[0] == 0xc0 || p[0] == 0xc1 || p[0] > 0xf4)
        return 0;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if ((p[0] & forms[i].mask) != forms[i].lead)
            continue;
        size_t length = forms[i].length;
        if (length > 1 && (p[1] < forms[i].second_min || p[1] > forms[i].second_max))
            return 0;
        for (size_t n = 2; n < length; n++) {
            if ((p[n] & 0xc0) != 0x80)
                return 0;
        }
        return length;
    }
    return 0;
}
