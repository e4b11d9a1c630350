// SPDX-License-Identifier: MIT
//
// What a verification is asked for: its words, and that shares go round and cover everything.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fs/job/verify_words.h"

#include <stdio.h>
#include <string.h>

#define NOW (INT64_C(1795244100) * CLOCK_SECOND)
#define PACKS 40

static struct verify_words parse(const char *text)
{
    struct verify_words words;
    struct error err = ERROR_INIT;

    if (verify_words_parse(text, false, NOW, &words, &err) != 0)
        fail_msg("%s: %s", text, error_message(&err));
    return words;
}

static void words_that_are_some(void **state)
{
    (void)state;
    struct verify_words words = parse("");
    assert_true(words.percent == 0 && words.parts == 0 && words.proved_before == 0);
    assert_int_equal(parse("5%").percent, 5);
    assert_int_equal(parse(" 100% ").percent, 100);
    words = parse("3/7");
    assert_int_equal(words.part, 3);
    assert_int_equal(words.parts, 7);
    assert_int_equal(parse("unverified=7d").proved_before, NOW - 7 * 86400 * CLOCK_SECOND);
    words = parse("unverified=12h 10%");
    assert_int_equal(words.percent, 10);
    assert_int_equal(words.proved_before, NOW - 12 * 3600 * CLOCK_SECOND);
    assert_int_equal(parse("job=17").job_id, 17);
}

static void words_that_are_none(void **state)
{
    static const char *const none[] = {
        "0%",
        "101%",
        "5.5%",
        "-1%",
        "%",
        "x%",
        "0/3",
        "4/3",
        "3/0",
        "1/99999",
        "4294967297/4294967298",
        "5% 5%",
        "5% 1/2",
        "unverified=",
        "unverified=soon",
        "unverified=1d unverified=2d",
        "job=0",
        "job=x",
        "job=",
        "job=1 job=2",
        "job=1 5%",
        "job=1 unverified=1d",
        "web1",
        "full",
        "1/2/3",
        "1/",
        "/2",
    };
    struct verify_words words;
    (void)state;

    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct error err = ERROR_INIT;
        if (verify_words_parse(none[i], false, NOW, &words, &err) != -EINVAL)
            fail_msg("'%s' was taken", none[i]);
        assert_true(strlen(error_message(&err)) > 10);
    }
    assert_int_equal(verify_words_parse("5%", true, NOW, &words, NULL), -EINVAL);
    assert_int_equal(verify_words_parse("1/2", true, NOW, &words, NULL), -EINVAL);
    assert_int_equal(verify_words_parse("job=1", true, NOW, &words, NULL), -EINVAL);
    assert_int_equal(verify_words_parse("unverified=7d", true, NOW, &words, NULL), 0);
}

static void names_are_no_words(void **state)
{
    static const char *const names[] = {"web1", "web1/vda", "a/1", "1", "web1/vda/chain-0001/0001"};
    (void)state;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct verify_words words = {0};
        assert_int_equal(verify_word(names[i], NOW, &words, NULL), 0);
    }
}

// Packs of random names and of 1 to 40 bytes.
static uint64_t make_packs(struct pack_row packs[PACKS])
{
    uint64_t total = 0;
    unsigned seed = 1;

    memset(packs, 0, PACKS * sizeof(packs[0]));
    for (size_t i = 0; i < PACKS; i++) {
        seed = seed * 1103515245u + 12345u;
        packs[i].id = (int64_t)i + 1;
        packs[i].file_bytes = i + 1;
        snprintf(packs[i].uuid, sizeof(packs[i].uuid), "%08x-0000-4000-8000-000000000000", seed);
        total += packs[i].file_bytes;
    }
    return total;
}

static struct pack_row *find(struct pack_row *packs, int64_t id)
{
    for (size_t i = 0; i < PACKS; i++) {
        if (packs[i].id == id)
            return &packs[i];
    }
    return NULL;
}

static void parts_cover_everything_once(void **state)
{
    struct pack_row packs[PACKS], chosen[PACKS];
    unsigned seen[PACKS + 1] = {0}, runs_with_some = 0;
    (void)state;

    make_packs(packs);
    for (unsigned part = 1; part <= 7; part++) {
        struct verify_words words = {.part = part, .parts = 7};
        memcpy(chosen, packs, sizeof(packs));
        size_t n = verify_select(&words, chosen, PACKS);
        runs_with_some += n > 0;
        for (size_t i = 0; i < n; i++)
            seen[chosen[i].id]++;
    }
    for (size_t i = 1; i <= PACKS; i++)
        assert_int_equal(seen[i], 1);
    assert_true(runs_with_some > 3);
}

// Twenty nights of 5 % reach every pack; the twenty-first begins with the oldest proofs.
static void a_share_goes_round(void **state)
{
    struct pack_row packs[PACKS], chosen[PACKS];
    struct verify_words words = {.percent = 5};
    uint64_t total = make_packs(packs), oldest;
    int64_t now = NOW;
    int runs = 0, left = PACKS;
    (void)state;

    while (left > 0) {
        uint64_t bytes = 0;
        memcpy(chosen, packs, sizeof(packs));
        size_t n = verify_select(&words, chosen, PACKS);
        for (size_t i = 0; i < n; i++) {
            struct pack_row *pack = find(packs, chosen[i].id);
            left -= pack->verified_at == 0;
            pack->verified_at = ++now;
            bytes += pack->file_bytes;
        }
        assert_true(n > 0 && bytes >= total * 5 / 100);
        assert_true(bytes < total * 5 / 100 + PACKS);
        assert_true(++runs <= 20);
    }
    assert_true(runs > 10);
    memcpy(chosen, packs, sizeof(packs));
    assert_true(verify_select(&words, chosen, PACKS) > 0);
    oldest = (uint64_t)chosen[0].verified_at;
    for (size_t i = 0; i < PACKS; i++)
        assert_true((uint64_t)packs[i].verified_at >= oldest);
}

static void what_was_not_proved(void **state)
{
    struct pack_row packs[PACKS];
    struct verify_words words = {.proved_before = NOW};
    (void)state;

    make_packs(packs);
    for (size_t i = 0; i < PACKS; i++)
        packs[i].verified_at = i < 10 ? 0 : i < 20 ? NOW - 1 - (int64_t)i : NOW + (int64_t)i;
    size_t n = verify_select(&words, packs, PACKS);
    assert_int_equal(n, 20);
    for (size_t i = 0; i < n; i++) {
        assert_true(packs[i].verified_at < NOW);
        assert_true(i == 0 || packs[i - 1].verified_at <= packs[i].verified_at);
    }
    words.percent = 1; // of all bytes, from these: at least one
    assert_int_equal(verify_select(&words, packs, PACKS), 4);
    words.proved_before = 1;
    assert_int_equal(verify_select(&words, packs, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_that_are_some), cmocka_unit_test(words_that_are_none),
        cmocka_unit_test(names_are_no_words),  cmocka_unit_test(parts_cover_everything_once),
        cmocka_unit_test(a_share_goes_round),  cmocka_unit_test(what_was_not_proved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
