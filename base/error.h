// SPDX-License-Identifier: MIT
//
// An error is a negative errno value and one sentence that a person can act on.
//
// Every fallible function returns 0 (or a documented positive case) or -errno, and takes a `struct
// error *` as its last argument, which may be NULL when the caller does not want the sentence.
// The first cause wins: error_set() on an error that already carries a sentence changes nothing
// but the trace, so clean-up code cannot hide why something failed. Callers that know more put it
// in front with error_prefix(): "backup web1/vda: cannot open /dev/vg0/web1: No such file or
// directory".
//
// Damage is -EUCLEAN all the way up (ERROR_CORRUPT), a cancelled job -ECANCELED, a busy repository
// or target -EBUSY; they are told apart from misuse (-EINVAL), I/O errors (-EIO) and no space
// (-ENOSPC) until the tree or a command translates them in its one place.
//
// A struct error is owned by its caller, holds no heap memory and needs no release. Not shared
// between threads.
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <errno.h>

#define ERROR_MESSAGE_MAX 1024
#define ERROR_TRACE_MAX 256

// Stored data is not what was written: checksum, identity or structure is wrong.
#define ERROR_CORRUPT EUCLEAN

struct error {
    int code;                        // negative errno, 0 while unset
    char message[ERROR_MESSAGE_MAX]; // one sentence, no newline, no final full stop
    char trace[ERROR_TRACE_MAX];     // "file:line < file:line", innermost first
};

#define ERROR_INIT                                                                                 \
    {                                                                                              \
        0                                                                                          \
    }

// Records `code` (negative errno) and a sentence; returns `code`. When `err` is already set the
// sentence and code are kept and the *kept* code is returned.
#define error_set(err, code, ...) error_set_at((err), (code), __FILE__, __LINE__, __VA_ARGS__)

// As error_set() with ": strerror(-code)" appended to the sentence.
#define error_set_errno(err, code, ...)                                                            \
    error_set_errno_at((err), (code), __FILE__, __LINE__, __VA_ARGS__)

// Puts "what: " in front of the sentence; returns err->code (or -EIO when err is NULL or unset).
#define error_prefix(err, ...) error_prefix_at((err), __FILE__, __LINE__, __VA_ARGS__)

int error_set_at(struct error *err, int code, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
int error_set_errno_at(struct error *err, int code, const char *file, int line, const char *fmt,
                       ...) __attribute__((format(printf, 5, 6)));
int error_prefix_at(struct error *err, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

void error_clear(struct error *err);

// The sentence, or "unknown error" when nothing was recorded. Borrowed from `err`.
const char *error_message(const struct error *err);

#endif
