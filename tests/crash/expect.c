// SPDX-License-Identifier: MIT
//
// See expect.h.
#include "tests/crash/expect.h"

#include "base/error.h"
#include "base/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 1024
#define WORDS_MAX 6
#define FILE_SIZE_MAX ((size_t)1 << 26)

struct line {
    uint64_t position;
    char *words[WORDS_MAX]; // the verb first
    struct expect_bytes bytes[2];
};

struct expect_script {
    struct line lines[LINES_MAX];
    size_t count;
};

static void give_up(const char *what)
{
    printf("expect: %s\n", what);
    exit(4);
}

static struct expect_bytes load(const char *path)
{
    struct expect_bytes bytes = {0};
    struct error err = ERROR_INIT;
    char *text;

    if (strcmp(path, "-") == 0)
        return bytes;
    if (io_read_file(path, FILE_SIZE_MAX, &text, &bytes.len, &err) < 0)
        give_up(error_message(&err));
    bytes.data = (uint8_t *)text;
    return bytes;
}

// Not from some point on: always.
static bool is_fact(const struct line *line)
{
    return strcmp(line->words[0], "known") == 0 || strcmp(line->words[0], "content") == 0;
}

static void take_line(struct line *line, char *text)
{
    char *rest = text, *position = strsep(&rest, "\t");

    line->position = strtoull(position, NULL, 10);
    for (size_t i = 0; i < WORDS_MAX && rest; i++)
        line->words[i] = strsep(&rest, "\t");
    if (!line->words[0])
        give_up("a line without a verb");
    if (is_fact(line) && line->words[2])
        line->bytes[0] = load(line->words[2]);
    if (strcmp(line->words[0], "restoring") == 0 && line->words[4]) {
        line->bytes[0] = load(line->words[2]);
        line->bytes[1] = load(line->words[3]);
    }
}

struct expect_script *expect_load(const char *path)
{
    struct expect_script *script = calloc(1, sizeof(*script));
    struct error err = ERROR_INIT;
    char *text, *line;
    size_t len;

    if (!script)
        give_up("out of memory");
    if (io_read_file(path, FILE_SIZE_MAX, &text, &len, &err) < 0)
        give_up(error_message(&err));
    while ((line = strsep(&text, "\n")) != NULL) {
        if (*line == '\0')
            continue;
        if (script->count == LINES_MAX)
            give_up("too many lines");
        take_line(&script->lines[script->count++], line);
    }
    return script;
}

static struct expect_snapshot *find_snapshot(struct expect *expect, const char *path)
{
    for (size_t i = 0; i < expect->snapshot_count; i++) {
        if (strcmp(expect->snapshots[i].path, path) == 0)
            return &expect->snapshots[i];
    }
    give_up("a snapshot that is not known");
    return NULL;
}

// The last that was begun.
static struct expect_target *find_target(struct expect *expect, const char *file)
{
    for (size_t i = expect->target_count; i-- > 0;) {
        if (strcmp(expect->targets[i].file, file) == 0)
            return &expect->targets[i];
    }
    give_up("a target that is not known");
    return NULL;
}

// A target that is restored to again is looked at as the last restore has it.
static void begin_restore(struct expect *expect, const struct line *line)
{
    struct expect_target *target = NULL;

    for (size_t i = 0; i < expect->target_count; i++) {
        if (strcmp(expect->targets[i].file, line->words[1]) == 0)
            target = &expect->targets[i];
    }
    if (!target && expect->target_count == EXPECT_TARGETS_MAX)
        give_up("too many targets");
    if (!target)
        target = &expect->targets[expect->target_count++];
    *target = (struct expect_target){
        .file = line->words[1],
        .is_new = line->bytes[0].data == NULL,
        .before = line->bytes[0],
        .after = line->bytes[1],
        .safety = strcmp(line->words[4], "-") == 0 ? NULL : line->words[4],
        .state = EXPECT_RESTORING,
    };
}

static void apply(struct expect *expect, const struct line *line)
{
    const char *verb = line->words[0], *word = line->words[1];

    if (strcmp(verb, "open") == 0)
        expect->must_open = true;
    else if (strcmp(verb, "rebuilding") == 0)
        expect->rebuilding = true;
    else if (strcmp(verb, "rebuilt") == 0)
        expect->rebuilding = false;
    else if (!word)
        give_up("a verb without its word");
    else if (strcmp(verb, "must") == 0)
        find_snapshot(expect, word)->presence = EXPECT_MUST;
    else if (strcmp(verb, "may") == 0)
        find_snapshot(expect, word)->presence = EXPECT_MAY;
    else if (strcmp(verb, "gone") == 0)
        find_snapshot(expect, word)->presence = EXPECT_GONE;
    else if (strcmp(verb, "protected") == 0)
        find_snapshot(expect, word)->protected = true;
    else if (strcmp(verb, "restoring") == 0)
        begin_restore(expect, line);
    else if (strcmp(verb, "restored") == 0)
        find_target(expect, word)->state = EXPECT_RESTORED;
    else if (strcmp(verb, "rolledback") == 0)
        find_target(expect, word)->state = EXPECT_ROLLED_BACK;
    else
        give_up(verb);
}

static void take_fact(struct expect *expect, const struct line *line)
{
    if (expect->snapshot_count == EXPECT_SNAPSHOTS_MAX ||
        expect->content_count == EXPECT_CONTENTS_MAX)
        give_up("too many snapshots");
    if (strcmp(line->words[0], "known") == 0)
        expect->snapshots[expect->snapshot_count++] =
            (struct expect_snapshot){.path = line->words[1], .bytes = line->bytes[0]};
    else
        expect->contents[expect->content_count++] =
            (struct expect_content){line->words[1], line->bytes[0]};
}

void expect_at(const struct expect_script *script, const struct trace *trace, uint32_t point,
               struct expect *ret_expect)
{
    uint64_t reached = point < trace->op_count ? trace->ops[point].log_end : UINT64_MAX;

    memset(ret_expect, 0, sizeof(*ret_expect));
    for (size_t i = 0; i < script->count; i++) {
        const struct line *line = &script->lines[i];

        if (is_fact(line)) {
            take_fact(ret_expect, line);
        } else if (line->position < reached) {
            apply(ret_expect, line);
            ret_expect->epoch++;
        }
    }
}
