// SPDX-License-Identifier: MIT
//
// Paths that users give for sources and targets, made absolute.
#include "tools/given_path.h"

#include "base/cleanup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int given_path_copy(const char *text, char **ret_copy, struct error *err)
{
    char *copy = strdup(text);
    if (!copy)
        return error_set_errno(err, -ENOMEM, "cannot resolve %s", text);
    *ret_copy = copy;
    return 0;
}

int given_path_absolute(const char *path, char **ret_path, struct error *err)
{
    if (path[0] == '/')
        return given_path_copy(path, ret_path, err);
    const char *slash = strrchr(path, '/');
    const char *last = slash ? slash + 1 : path;
    if (*last == '\0' || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        return error_set(err, -EINVAL, "'%s' does not name a file", path);
    AUTO_FREE char *folder = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    if (!folder)
        return error_set_errno(err, -ENOMEM, "cannot resolve %s", path);
    char resolved[PATH_MAX];
    if (!realpath(folder, resolved))
        return error_set_errno(err, -errno, "cannot open %s", path);
    if (asprintf(ret_path, "%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved, last) < 0)
        return error_set_errno(err, -ENOMEM, "cannot resolve %s", path);
    return 0;
}

// "word:" with no slash before the colon, as no relative path begins unless it is meant to.
static bool given_path_has_prefix(const char *source)
{
    size_t word = strcspn(source, ":/");
    return word > 0 && source[word] == ':';
}

int given_path_source(const char *source, char **ret_source, struct error *err)
{
    if (source[0] == '/' || given_path_has_prefix(source))
        return given_path_copy(source, ret_source, err);
    return given_path_absolute(source, ret_source, err);
}
