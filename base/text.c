// SPDX-License-Identifier: MIT
//
// A text that grows.
#include "base/text.h"

FILE *text_begin(struct text *text)
{
    *text = (struct text){0};
    text->out = open_memstream(&text->data, &text->len);
    return text->out;
}

bool text_end(struct text *text)
{
    FILE *out = TAKE(text->out, NULL);
    bool kept = !ferror(out);

    if (fclose(out) == 0 && kept && text->data)
        return true;
    text_discard(text);
    return false;
}

void text_discard(struct text *text)
{
    if (text->out)
        fclose(text->out);
    free(text->data);
    *text = (struct text){0};
}
