// SPDX-License-Identifier: MIT
//
// What the tests of restore targets share: files in a temporary folder, and targets that are good
// or refused.
#ifndef TESTS_UNIT_TARGET_TESTING_H
#define TESTS_UNIT_TARGET_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/source/source.h"
#include "fs/source/target.h"
#include "tests/unit/holder.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MIB (1u << 20)
#define PAGE 4096u

static struct scratch scratch;

static inline void path_to(const char *name, char ret_path[PATH_MAX])
{
    strcpy(ret_path, scratch_path(&scratch, name));
}

// A file of `size` bytes, every one of them `fill` (0 = a hole).
static inline void make_file(const char *path, size_t size, int fill)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    AUTO_FREE char *data = malloc(size + 1);
    assert_non_null(data);
    memset(data, fill, size);
    if (fill)
        assert_int_equal(pwrite(fd, data, size, 0), size);
}

static inline struct target *open_good(const char *path, uint64_t capacity)
{
    struct target *target = NULL;
    struct error err = ERROR_INIT;
    if (target_open(path, capacity, &target, &err) != 0)
        fail_msg("%s", error_message(&err));
    return target;
}

// Asking and opening must refuse alike.
static inline void assert_target_refused(const char *path, uint64_t capacity, int code,
                                         const char *part)
{
    struct target *target = NULL;
    struct error err = ERROR_INIT;
    int rc = target_check(path, capacity, &err);
    if (rc != code || !strstr(error_message(&err), part))
        fail_msg("check %s: %d, %s", path, rc, error_message(&err));
    error_clear(&err);
    rc = target_open(path, capacity, &target, &err);
    if (rc != code || !strstr(error_message(&err), part))
        fail_msg("open %s: %d, %s", path, rc, error_message(&err));
    assert_null(target);
}

#endif
