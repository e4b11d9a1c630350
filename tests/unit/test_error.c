// SPDX-License-Identifier: MIT
//
// Errors: the first cause is kept, sentences stay one line and terminated. Digests and the log's
// line format besides, which are too small for a test of their own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void test_first_cause_is_kept(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    assert_string_equal(error_message(&err), "unknown error");
    assert_int_equal(error_set(&err, -ENOSPC, "no room for %d bytes", 7), -ENOSPC);
    assert_int_equal(error_set(&err, -EIO, "clean-up failed too"), -ENOSPC);
    assert_int_equal(error_set_errno(&err, -EIO, "and this"), -ENOSPC);
    assert_int_equal(err.code, -ENOSPC);
    assert_string_equal(error_message(&err), "no room for 7 bytes");
    assert_non_null(strstr(err.trace, "test_error.c:"));
    assert_non_null(strstr(err.trace, " < "));
    assert_null(strchr(err.trace, '/'));
}

static void test_errno_is_spelled_out(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    assert_int_equal(error_set_errno(&err, -ENOENT, "cannot open %s", "/dev/vg0/web1"), -ENOENT);
    assert_int_equal(error_prefix(&err, "backup %s/%s", "web1", "vda"), -ENOENT);
    assert_string_equal(error_message(&err),
                        "backup web1/vda: cannot open /dev/vg0/web1: No such file or directory");
}

static void test_null_and_unset(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    assert_int_equal(error_set(NULL, -EBUSY, "nobody listens"), -EBUSY);
    assert_int_equal(error_set_errno(NULL, -EBUSY, "nobody listens"), -EBUSY);
    assert_int_equal(error_prefix(NULL, "x"), -EIO);
    assert_int_equal(error_prefix(&err, "x"), -EIO);
    assert_int_equal(err.code, 0);
    assert_string_equal(error_message(NULL), "unknown error");
    error_clear(NULL);
    error_set(&err, -EINVAL, "x");
    error_clear(&err);
    assert_int_equal(err.code, 0);
    assert_string_equal(err.message, "");
    assert_string_equal(err.trace, "");
}

static void test_long_sentences_keep_the_reason(void **state)
{
    (void)state;
    char path[2 * ERROR_MESSAGE_MAX];
    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    struct error err = ERROR_INIT;
    error_set_errno(&err, -EIO, "cannot read %s", path);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_MAX - 1);
    assert_string_equal(err.message + strlen(err.message) - 20, ": Input/output error");
    // No room is left, so the prefix gives way and the cause stays whole.
    char before[ERROR_MESSAGE_MAX];
    strcpy(before, err.message);
    assert_int_equal(error_prefix(&err, "backup"), -EIO);
    assert_string_equal(err.message, before);
    for (int i = 0; i < 100; i++)
        error_prefix(&err, "again");
    assert_true(strlen(err.trace) < ERROR_TRACE_MAX);
}

static void test_prefix_fills_to_the_last_byte(void **state)
{
    (void)state;
    for (int len = ERROR_MESSAGE_MAX - 12; len < ERROR_MESSAGE_MAX; len++) {
        struct error err = ERROR_INIT;
        error_set(&err, -EIO, "%*s", len, "end");
        error_prefix(&err, "%s", "abcd");
        bool fits = len + 6 < ERROR_MESSAGE_MAX;
        assert_int_equal(strlen(err.message), fits ? len + 6 : len);
        assert_string_equal(err.message + strlen(err.message) - 3, "end");
    }
}

static void test_one_line(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    error_set(&err, -EINVAL, "a\nb\tc\x7f");
    error_prefix(&err, "p\r");
    assert_string_equal(err.message, "p?: a?b?c?");
}

static void test_digest_text(void **state)
{
    (void)state;
    struct digest d = {{0}};
    assert_true(digest_is_zero(&d));
    for (int i = 0; i < DIGEST_SIZE; i++)
        d.bytes[i] = (uint8_t)(i * 9);
    assert_false(digest_is_zero(&d));
    char hex[DIGEST_HEX_SIZE];
    assert_ptr_equal(digest_to_hex(&d, hex), hex);
    assert_int_equal(strlen(hex), 64);
    assert_memory_equal(hex, "0009121b", 8);
    struct digest back = {{0}};
    assert_int_equal(digest_from_hex(hex, &back), 0);
    assert_true(digest_equal(&d, &back));

    hex[10] = 'g';
    struct digest untouched = {{1}};
    assert_int_equal(digest_from_hex(hex, &untouched), -EINVAL);
    assert_int_equal(untouched.bytes[0], 1);
    hex[10] = '\0';
    assert_int_equal(digest_from_hex(hex, &back), -EINVAL);
    assert_int_equal(digest_from_hex("", &back), -EINVAL);
    char longer[DIGEST_HEX_SIZE + 1];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(digest_from_hex(longer, &back), -EINVAL);
    longer[64] = '\0';
    memset(longer, 'A', 64);
    assert_int_equal(digest_from_hex(longer, &back), 0);
    assert_int_equal(back.bytes[31], 0xaa);
}

// What the log wrote to stderr while `run` ran; at most one read's worth.
static void capture_stderr(void (*run)(void), char *ret_text, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
    run();
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    close(saved);
    ssize_t n = read(ends[0], ret_text, size - 1);
    close(ends[0]);
    assert_true(n >= 0);
    ret_text[n] = '\0';
}

static void log_some(void)
{
    errno = EXDEV;
    log_error("first %d", 1);
    log_warning("two\nlines");
    log_info("not at this level");
    log_debug("nor this");
    assert_int_equal(errno, EXDEV);
}

static void log_too_much(void)
{
    char big[4000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    log_error("%s", big);
}

static void test_log_lines(void **state)
{
    (void)state;
    char text[4096];
    capture_stderr(log_some, text, sizeof(text));
    assert_string_equal(text, "backtree: error: first 1\nbacktree: warning: two?lines\n");
    log_set_level(LOG_LEVEL_DEBUG);
    capture_stderr(log_some, text, sizeof(text));
    assert_non_null(strstr(text, "backtree: info: not at this level\n"));
    assert_non_null(strstr(text, "backtree: debug: nor this\n"));
    log_set_level(LOG_LEVEL_WARNING);
    capture_stderr(log_too_much, text, sizeof(text));
    assert_string_equal(text + strlen(text) - 6, "x ...\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_cause_is_kept),
        cmocka_unit_test(test_errno_is_spelled_out),
        cmocka_unit_test(test_null_and_unset),
        cmocka_unit_test(test_long_sentences_keep_the_reason),
        cmocka_unit_test(test_prefix_fills_to_the_last_byte),
        cmocka_unit_test(test_one_line),
        cmocka_unit_test(test_digest_text),
        cmocka_unit_test(test_log_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
