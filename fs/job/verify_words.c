// SPDX-License-Identifier: MIT
//
// Words of a verification, and the choice of packs.
#include "fs/job/verify_words.h"

#include "base/clock.h"
#include "catalog/types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTS_MAX 10000

// Digits up to `end`; 0 for anything else.
static unsigned parse_number(const char *text, const char *end, unsigned max)
{
    unsigned number = 0;

    for (const char *p = text; p < end; p++) {
        if (*p < '0' || *p > '9' || number > max)
            return 0;
        number = number * 10 + (unsigned)(*p - '0');
    }
    return number <= max ? number : 0;
}

static bool is_part(const char *word)
{
    size_t digits = strspn(word, "0123456789");

    return digits > 0 && word[digits] == '/' &&
           word[digits + 1 + strspn(word + digits + 1, "0123456789")] == '\0';
}

static int take_percent(const char *word, struct verify_words *words, struct error *err)
{
    unsigned percent = parse_number(word, word + strlen(word) - 1, 100);

    if (percent == 0)
        return error_set(err, -EINVAL, "the share '%.60s' is none: use 1%% to 100%%", word);
    if (words->percent || words->parts)
        return error_set(err, -EINVAL, "more than one share");
    words->percent = percent;
    return 1;
}

static int take_part(const char *word, struct verify_words *words, struct error *err)
{
    const char *slash = strchr(word, '/');
    unsigned part = parse_number(word, slash, PARTS_MAX);
    unsigned parts = parse_number(slash + 1, word + strlen(word), PARTS_MAX);

    if (part == 0 || part > parts)
        return error_set(err, -EINVAL,
                         "the share '%.60s' is none: use n/t with n from 1 to t, and t up to %d",
                         word, PARTS_MAX);
    if (words->percent || words->parts)
        return error_set(err, -EINVAL, "more than one share");
    words->part = part;
    words->parts = parts;
    return 1;
}

static int take_unverified(const char *value, int64_t now, struct verify_words *words,
                           struct error *err)
{
    if (words->proved_before)
        return error_set(err, -EINVAL, "unverified= is given twice");
    if (clock_parse(value, now, &words->proved_before) < 0)
        return error_set(err, -EINVAL, "unverified=%.60s: use an age like 7d, or a date", value);
    return 1;
}

static int take_job(const char *value, struct verify_words *words, struct error *err)
{
    char *end;

    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (errno || *end || number <= 0 || words->job_id)
        return error_set(err, -EINVAL, "job=%.60s: use the number of one job", value);
    words->job_id = number;
    return 1;
}

int verify_word(const char *word, int64_t now, struct verify_words *words, struct error *err)
{
    size_t len = strlen(word);

    if (len > 0 && word[len - 1] == '%')
        return take_percent(word, words, err);
    if (is_part(word))
        return take_part(word, words, err);
    if (strncmp(word, "unverified=", 11) == 0)
        return take_unverified(word + 11, now, words, err);
    if (strncmp(word, "job=", 4) == 0)
        return take_job(word + 4, words, err);
    return 0;
}

static int check(const struct verify_words *words, bool named, struct error *err)
{
    bool share = words->percent || words->parts;

    if (share && (named || words->job_id))
        return error_set(err, -EINVAL,
                         "a share is one of everything: give a name or a share, not both");
    if (words->job_id && (named || words->proved_before))
        return error_set(err, -EINVAL, "job= goes with no name and no other word");
    return 0;
}

int verify_words_parse(const char *text, bool named, int64_t now, struct verify_words *ret_words,
                       struct error *err)
{
    struct verify_words words = {0};
    char word[UPKEEP_WORDS_SIZE];
    int r = 0;

    while (r >= 0 && *(text += strspn(text, " "))) {
        size_t len = strcspn(text, " ");
        if (len >= sizeof(word))
            return error_set(err, -EINVAL, "a word of %zu characters is longer than any", len);
        memcpy(word, text, len);
        word[len] = '\0';
        r = verify_word(word, now, &words, err);
        if (r == 0)
            r = error_set(err, -EINVAL, "unknown word '%s': use %s", word, VERIFY_WORDS);
        text += len;
    }
    if (r >= 0)
        r = check(&words, named, err);
    if (r < 0)
        return r;
    *ret_words = words;
    return 0;
}

// --- the choice

// Uuids are random, so their first digits are as good a hash as any, and the same in every run.
static bool is_of_part(const struct verify_words *words, const struct pack_row *pack)
{
    char digits[9];

    memcpy(digits, pack->uuid, 8);
    digits[8] = '\0';
    return strtoul(digits, NULL, 16) % words->parts == words->part - 1;
}

static int oldest_proof_first(const void *a, const void *b)
{
    const struct pack_row *x = a, *y = b;

    if (x->verified_at != y->verified_at)
        return x->verified_at < y->verified_at ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

// How many packs from the front make the share of `total`.
static size_t take_share(unsigned percent, uint64_t total, const struct pack_row *packs,
                         size_t count)
{
    uint64_t wanted = total / 100 * percent + total % 100 * percent / 100, taken = 0;
    size_t n = 0;

    while (n < count && (n == 0 || taken < wanted))
        taken += packs[n++].file_bytes;
    return n;
}

size_t verify_select(const struct verify_words *words, struct pack_row *packs, size_t count)
{
    uint64_t total = 0;
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        total += packs[i].file_bytes;
        if (words->proved_before && packs[i].verified_at >= words->proved_before)
            continue;
        if (words->parts && !is_of_part(words, &packs[i]))
            continue;
        packs[kept++] = packs[i];
    }
    if (kept > 0)
        qsort(packs, kept, sizeof(*packs), oldest_proof_first);
    return words->percent ? take_share(words->percent, total, packs, kept) : kept;
}
