// SPDX-License-Identifier: MIT
//
// The repository's config: what is written is read back, and anything else is refused with its
// reason.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "fs/store/pack_format.h"
#include "fs/store/repo_config.h"

#include "tests/unit/scratch.h"

#include <inttypes.h>
#include <string.h>

static char *sample(struct repo_config *config)
{
    char *text;

    assert_int_equal(repo_config_init(config, 65536, 3, NULL), 0);
    text = repo_config_format(config);
    assert_non_null(text);
    return text;
}

// Makes the last line right for what stands before it.
static void fix_checksum(char *text)
{
    char *last = strstr(text, "checksum ");

    assert_non_null(last);
    sprintf(last, "checksum %016" PRIx64 "\n", pack_checksum(text, (size_t)(last - text)));
}

static void test_round_trip(void **state)
{
    struct repo_config config, back, other;
    char *text = sample(&config);
    (void)state;

    assert_int_equal(config.version, 1);
    assert_int_equal(strlen(config.uuid), 36);
    assert_int_equal(repo_config_parse(text, strlen(text), &back, NULL), 0);
    assert_memory_equal(&back, &config, sizeof(back));
    free(text);
    text = sample(&other);
    assert_string_not_equal(other.uuid, config.uuid);
    assert_memory_not_equal(other.fingerprint_secret, config.fingerprint_secret,
                            FINGERPRINT_SECRET_SIZE);
    free(text);
}

static void test_init_refuses(void **state)
{
    static const uint32_t sizes[] = {0, 1, 8192, 16385, 65535, 8 * 1024 * 1024, UINT32_MAX};
    struct repo_config config = {.version = 99};
    struct error err = ERROR_INIT;
    (void)state;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        assert_int_equal(repo_config_init(&config, sizes[i], 1, NULL), -EINVAL);
    assert_int_equal(repo_config_init(&config, 65536, 0, NULL), -EINVAL);
    assert_int_equal(repo_config_init(&config, 65536, 20, &err), -EINVAL);
    assert_string_equal(error_message(&err), "compression level 20 is not from 1 to 19");
    assert_int_equal(config.version, 99);
}

static void test_every_byte_counts(void **state)
{
    struct repo_config config, back;
    char *text = sample(&config);
    size_t len = strlen(text);
    (void)state;

    for (size_t i = 0; i < len; i++) {
        char old = text[i];

        for (int bit = 0; bit < 8; bit++) {
            text[i] = (char)(old ^ 1 << bit);
            assert_true(repo_config_parse(text, len, &back, NULL) < 0);
        }
        text[i] = old;
        assert_true(repo_config_parse(text, i, &back, NULL) == -ERROR_CORRUPT);
    }
    assert_int_equal(repo_config_parse(text, len, &back, NULL), 0);
    free(text);
}

// The text with its n-th line left out, or given twice.
static char *without_line(const char *text, int n, int times)
{
    char *out = calloc(1, 2 * strlen(text) + 1);

    for (int i = 0; *text; i++) {
        size_t len = (size_t)(strchr(text, '\n') - text) + 1;

        for (int k = 0; k < (i == n ? times : 1); k++)
            strncat(out, text, len);
        text += len;
    }
    return out;
}

static void test_missing_and_repeated_keys(void **state)
{
    struct repo_config config, back;
    char *text = sample(&config);
    (void)state;

    for (int line = 0; line < 8; line++) {
        char *less = without_line(text, line, 0), *more = without_line(text, line, 2);

        fix_checksum(less);
        fix_checksum(more);
        assert_int_equal(repo_config_parse(less, strlen(less), &back, NULL), -ERROR_CORRUPT);
        assert_int_equal(repo_config_parse(more, strlen(more), &back, NULL), -ERROR_CORRUPT);
        free(less);
        free(more);
    }
    free(text);
}

// Each case replaces a value in a right config and makes the checksum right.
static void test_hostile_values(void **state)
{
    static const struct {
        const char *from, *to;
        int code;
        const char *sentence;
    } cases[] = {
        {"format 1\n", "format 2\n", -EPROTONOSUPPORT, "format 2 is newer"},
        {"format 1\n", "format 0\n", -ERROR_CORRUPT, "first line"},
        {"format 1\n", "format 01\n", -ERROR_CORRUPT, "not as this program writes it"},
        {"format 1\n", "format -1\n", -ERROR_CORRUPT, "first line"},
        {"format 1\n", "format 99999999999999999999\n", -ERROR_CORRUPT, "first line"},
        {"chunk_size 65536", "chunk_size 65537", -ERROR_CORRUPT, "chunk_size is"},
        {"chunk_size 65536", "chunk_size 8192", -ERROR_CORRUPT, "chunk_size is"},
        {"chunk_size 65536", "chunk_size  65536", -ERROR_CORRUPT, "chunk_size is"},
        {"chunk_size 65536", "chunk_size 65536 ", -ERROR_CORRUPT, "chunk_size is"},
        {"compression_level 3", "compression_level 0", -ERROR_CORRUPT, "compression_level is"},
        {"compression_level 3", "compression_level 20", -ERROR_CORRUPT, "compression_level is"},
        {"compression_level 3", "compression_level 03", -ERROR_CORRUPT, "not as this program"},
        {"features delta", "features encryption", -EPROTONOSUPPORT, "unknown here: encryption"},
        {"features delta", "features delta,more", -EPROTONOSUPPORT, "unknown here: delta,more"},
        {"features delta", "features -delta", -EPROTONOSUPPORT, "unknown here: -delta"},
        {"features delta", "features ", -ERROR_CORRUPT, "features is"},
        {"retention none", "retention ", -ERROR_CORRUPT, "retention is"},
        {"retention none", "retention keep\tall", -ERROR_CORRUPT, "retention is"},
        {"secret ", "secret 00", -ERROR_CORRUPT, "fingerprint_secret is"},
        {"uuid ", "uuid x", -ERROR_CORRUPT, "uuid is"},
        {"created ", "created 1", -ERROR_CORRUPT, "created is"},
    };
    struct repo_config config, back;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = ERROR_INIT;
        char *text = sample(&config), *at = strstr(text, cases[i].from);
        char *forged = calloc(1, strlen(text) + 100);

        assert_non_null(at);
        sprintf(forged, "%.*s%s%s", (int)(at - text), text, cases[i].to,
                at + strlen(cases[i].from));
        fix_checksum(forged);
        assert_int_equal(repo_config_parse(forged, strlen(forged), &back, &err), cases[i].code);
        assert_non_null(strstr(error_message(&err), cases[i].sentence));
        free(forged);
        free(text);
    }
}

static void test_features(void **state)
{
    struct repo_config config, back;
    char *text = sample(&config), *without;
    (void)state;

    assert_true(config.deltas); // of a fresh one
    assert_int_equal(repo_config_parse(text, strlen(text), &back, NULL), 0);
    assert_true(back.deltas);
    config.deltas = false;
    without = repo_config_format(&config);
    assert_non_null(strstr(without, "\nfeatures -\n"));
    assert_int_equal(repo_config_parse(without, strlen(without), &back, NULL), 0);
    assert_false(back.deltas);
    free(without);
    free(text);
}

static void test_not_text(void **state)
{
    struct repo_config config, back;
    char *text = sample(&config);
    size_t len = strlen(text);
    char *long_text = calloc(1, 1 << 20);
    (void)state;

    assert_int_equal(repo_config_parse("", 0, &back, NULL), -ERROR_CORRUPT);
    assert_int_equal(repo_config_parse(text, len + 1, &back, NULL), -ERROR_CORRUPT); // the NUL
    memset(long_text, '\n', 1 << 20);
    assert_int_equal(repo_config_parse(long_text, 1 << 20, &back, NULL), -ERROR_CORRUPT);
    free(long_text);
    free(text);
}

static void test_load(void **state)
{
    struct scratch scratch;
    struct repo_config config, back;
    struct error err = ERROR_INIT;
    char sentence[PATH_MAX + 100];
    char *text = sample(&config);
    (void)state;

    assert_int_equal(scratch_make(&scratch), 0);
    assert_int_equal(repo_config_load(scratch.folder, &back, &err), -ENOENT);
    snprintf(sentence, sizeof(sentence), "%s is not a backtree repository", scratch.folder);
    assert_string_equal(error_message(&err), sentence);
    assert_int_equal(repo_config_load("/nowhere/at/all", &back, NULL), -ENOENT);
    assert_int_equal(
        io_replace_file(scratch_path(&scratch, "config"), text, strlen(text), 0600, NULL), 0);
    assert_int_equal(repo_config_load(scratch.folder, &back, NULL), 0);
    assert_memory_equal(&back, &config, sizeof(back));
    text[10] ^= 1;
    assert_int_equal(
        io_replace_file(scratch_path(&scratch, "config"), text, strlen(text), 0600, NULL), 0);
    error_clear(&err);
    assert_int_equal(repo_config_load(scratch.folder, &back, &err), -ERROR_CORRUPT);
    assert_non_null(strstr(error_message(&err), "/config is damaged: "));
    assert_int_equal(scratch_remove(&scratch), 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),        cmocka_unit_test(test_init_refuses),
        cmocka_unit_test(test_every_byte_counts), cmocka_unit_test(test_missing_and_repeated_keys),
        cmocka_unit_test(test_hostile_values),    cmocka_unit_test(test_features),
        cmocka_unit_test(test_not_text),          cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
