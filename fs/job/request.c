// SPDX-License-Identifier: MIT
//
// Parsers for the words written to triggers. They take (pointer, length), accept nothing they do
// not know, and never look at the catalog: whether a request makes sense is the engine's business.
#include "fs/job/request.h"

#include "fs/job/retention.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX PRUNE_NAME_SIZE // VM/DISK is the longest there is

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Takes the next blank-separated word. Returns 1, 0 at the end, or -EINVAL.
static int next_word(const char **at, const char *end, char ret_word[WORD_MAX], struct error *err)
{
    while (*at < end && is_blank(**at))
        (*at)++;
    if (*at == end)
        return 0;

    const char *start = *at;
    while (*at < end && !is_blank(**at))
        (*at)++;
    size_t len = (size_t)(*at - start);
    if (len >= WORD_MAX)
        return error_set(err, -EINVAL, "a word of %zu characters is longer than any option", len);
    if (memchr(start, '\0', len))
        return error_set(err, -EINVAL, "the command holds a NUL character");
    memcpy(ret_word, start, len);
    ret_word[len] = '\0';
    return 1;
}

static bool tags_contain(const char *tags, const char *tag)
{
    size_t len = strlen(tag);

    for (const char *at = tags; at && *at; at = strchr(at, ','), at = at ? at + 1 : NULL)
        if (strncmp(at, tag, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    return false;
}

int tags_add(char tags[TAGS_TEXT_SIZE], const char *tag, struct error *err)
{
    int r = name_check_tag(tag, err);
    if (r < 0)
        return r;
    if (tags_contain(tags, tag))
        return 0;

    size_t used = strlen(tags);
    int n = snprintf(tags + used, TAGS_TEXT_SIZE - used, "%s%s", used ? "," : "", tag);
    if (n < 0 || (size_t)n >= TAGS_TEXT_SIZE - used) {
        tags[used] = '\0';
        return error_set(err, -EINVAL, "too many tags: together they may take %d characters",
                         TAGS_TEXT_SIZE - 1);
    }
    return 0;
}

int tags_join(char tags[TAGS_TEXT_SIZE], const char *more, struct error *err)
{
    char tag[TAGS_TEXT_SIZE];

    while (*more) {
        size_t len = strcspn(more, ",");
        if (len >= sizeof(tag))
            return error_set(err, -EINVAL, "a tag of %zu characters is too long", len);
        memcpy(tag, more, len);
        tag[len] = '\0';
        int r = tags_add(tags, tag, err);
        if (r < 0)
            return r;
        more += len;
        if (*more == ',')
            more++;
    }
    return 0;
}

static int set_mode(struct backup_request *request, enum backup_mode mode, struct error *err)
{
    if (request->mode != BACKUP_MODE_UNKNOWN)
        return error_set(err, -EINVAL, "more than one of auto, full and incremental");
    request->mode = mode;
    return 0;
}

int request_set_trigger(enum job_trigger *trigger, const char *word, struct error *err)
{
    enum job_trigger named = job_trigger_from_word(word);

    // A safety backup is made by a restore; nobody asks for one.
    if (named != TRIGGER_MANUAL && named != TRIGGER_SCHEDULED)
        return error_set(err, -EINVAL, "unknown trigger '%s': use manual or scheduled", word);
    if (*trigger != JOB_TRIGGER_UNKNOWN)
        return error_set(err, -EINVAL, "trigger= is given twice");
    *trigger = named;
    return 0;
}

static int set_verify_after(struct backup_request *request, const char *value, struct error *err)
{
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
        return error_set(err, -EINVAL, "verify_after=%s: use 1, or 0 to go without", value);
    request->verify_after = *value == '1';
    return 0;
}

static int backup_word(struct backup_request *request, const char *word, struct error *err)
{
    enum backup_mode mode = backup_mode_from_word(word);

    if (mode != BACKUP_MODE_UNKNOWN)
        return set_mode(request, mode, err);
    if (strncmp(word, "tag=", 4) == 0)
        return tags_add(request->tags, word + 4, err);
    if (strncmp(word, "trigger=", 8) == 0)
        return request_set_trigger(&request->trigger, word + 8, err);
    if (strncmp(word, "verify_after=", 13) == 0)
        return set_verify_after(request, word + 13, err);
    return error_set(err, -EINVAL,
                     "unknown word '%s': use auto, full, incremental, tag=X, trigger=scheduled or "
                     "verify_after=1",
                     word);
}

int backup_request_parse(const char *words, size_t len, struct backup_request *request,
                         struct error *err)
{
    struct backup_request parsed = {.context_id = request->context_id, .disk_id = request->disk_id};
    const char *at = words, *end = words + len;
    char word[WORD_MAX];
    int r;

    while ((r = next_word(&at, end, word, err)) > 0) {
        r = backup_word(&parsed, word, err);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    if (parsed.mode == BACKUP_MODE_UNKNOWN)
        parsed.mode = BACKUP_AUTO;
    if (parsed.trigger == JOB_TRIGGER_UNKNOWN)
        parsed.trigger = TRIGGER_MANUAL;
    *request = parsed;
    return 0;
}

// One of "VM" and "VM/DISK"; that they are names is seen when they are looked up.
static int prune_name(char name[PRUNE_NAME_SIZE], const char *word, struct error *err)
{
    if (name[0])
        return error_set(err, -EINVAL, "more than one name: '%.60s' and '%.60s'", name, word);
    if (strchr(word, '=') || strlen(word) >= PRUNE_NAME_SIZE)
        return error_set(err, -EINVAL,
                         "unknown word '%.60s': use VM, VM/DISK, keep-RULE=N or trigger=scheduled",
                         word);
    strcpy(name, word);
    return 0;
}

static int prune_keep(char words[RETENTION_TEXT_SIZE], const char *word, struct error *err)
{
    size_t used = strlen(words);
    int n = snprintf(words + used, RETENTION_TEXT_SIZE - used, "%s%s", used ? " " : "", word);

    if (n < 0 || (size_t)n >= RETENTION_TEXT_SIZE - used)
        return error_set(err, -EINVAL, "the policy is too long");
    return 0;
}

int prune_request_parse(const char *words, size_t len, char ret_name[PRUNE_NAME_SIZE],
                        struct prune_request *request, struct error *err)
{
    struct prune_request parsed = {.context_id = request->context_id, .disk_id = request->disk_id};
    const char *at = words, *end = words + len;
    char word[WORD_MAX], name[PRUNE_NAME_SIZE] = "", keep[RETENTION_TEXT_SIZE] = "";
    struct retention_policy policy = {0};
    int r;

    while ((r = next_word(&at, end, word, err)) > 0) {
        if (strncmp(word, "trigger=", 8) == 0)
            r = request_set_trigger(&parsed.trigger, word + 8, err);
        else if (strncmp(word, "keep-", 5) == 0)
            r = prune_keep(keep, word, err);
        else
            r = prune_name(name, word, err);
        if (r < 0)
            return r;
    }
    if (r == 0 && keep[0])
        r = retention_parse(keep, strlen(keep), &policy, err);
    if (r < 0)
        return r;
    if (keep[0])
        retention_format(&policy, parsed.policy);
    if (parsed.trigger == JOB_TRIGGER_UNKNOWN)
        parsed.trigger = TRIGGER_MANUAL;
    memcpy(ret_name, name, sizeof(name));
    *request = parsed;
    return 0;
}

// Recognises "safety=on" and "safety=off" and nothing else.
static bool is_safety_word(const char *word, size_t len, bool *ret_safety)
{
    if (len == 9 && memcmp(word, "safety=on", 9) == 0)
        *ret_safety = true;
    else if (len == 10 && memcmp(word, "safety=off", 10) == 0)
        *ret_safety = false;
    else
        return false;
    return true;
}

static void trim(const char **start, const char **end)
{
    while (*start < *end && is_blank(**start))
        (*start)++;
    while (*end > *start && is_blank((*end)[-1]))
        (*end)--;
}

int restore_request_parse(const char *line, size_t len, struct restore_request *request,
                          struct error *err)
{
    const char *start = line, *end = line + len;
    bool safety = true;

    trim(&start, &end);
    const char *first_end = start;
    while (first_end < end && !is_blank(*first_end))
        first_end++;
    if (is_safety_word(start, (size_t)(first_end - start), &safety)) {
        start = first_end;
    } else {
        const char *last = end;
        while (last > start && !is_blank(last[-1]))
            last--;
        if (is_safety_word(last, (size_t)(end - last), &safety))
            end = last;
    }
    trim(&start, &end);

    size_t path_len = (size_t)(end - start);
    if (path_len == 0)
        return error_set(err, -EINVAL, "no target: write the absolute path to restore to");
    if (*start != '/')
        return error_set(err, -EINVAL, "the target '%.*s' is not an absolute path",
                         (int)(path_len > 200 ? 200 : path_len), start);
    if (path_len >= sizeof(request->target))
        return error_set(err, -ENAMETOOLONG, "the target's path of %zu bytes is too long",
                         path_len);
    for (size_t i = 0; i < path_len; i++)
        if ((unsigned char)start[i] < 0x20 || start[i] == 0x7f)
            return error_set(err, -EINVAL, "the target's path holds a control character");
    memcpy(request->target, start, path_len);
    request->target[path_len] = '\0';
    request->safety = safety;
    return 0;
}
