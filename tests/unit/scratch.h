// SPDX-License-Identifier: MIT
//
// A temporary folder for one test: made under $TMPDIR or /tmp, removed with everything in it.
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct scratch {
    char folder[PATH_MAX / 2]; // resolved, so that it compares with what the kernel reports
    char path[PATH_MAX];       // the last scratch_path()
};

static inline int scratch_make(struct scratch *scratch)
{
    const char *parent = getenv("TMPDIR");
    char name[PATH_MAX / 2];
    snprintf(name, sizeof(name), "%s/backtree-unit-XXXXXX", parent && *parent ? parent : "/tmp");
    char resolved[PATH_MAX];
    if (!mkdtemp(name) || !realpath(name, resolved))
        return -1;
    int n = snprintf(scratch->folder, sizeof(scratch->folder), "%s", resolved);
    return n < (int)sizeof(scratch->folder) ? 0 : -1;
}

// FOLDER/name, in a buffer that the next call reuses.
static inline const char *scratch_path(struct scratch *scratch, const char *name)
{
    snprintf(scratch->path, sizeof(scratch->path), "%s/%s", scratch->folder, name);
    return scratch->path;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline int scratch_remove(struct scratch *scratch)
{
    return nftw(scratch->folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

#endif
