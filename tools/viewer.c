// SPDX-License-Identifier: MIT
//
// A repository opened to look at.
#include "tools/viewer.h"

#include <stdlib.h>

int viewer_open(const char *repo_dir, struct repository **ret_viewer, struct error *err)
{
    struct repository *viewer = calloc(1, sizeof(*viewer));
    if (!viewer)
        return error_set_errno(err, -ENOMEM, "cannot open %s", repo_dir);
    int r = repository_open_viewer(repo_dir, viewer, err);
    if (r < 0) {
        free(viewer);
        return r;
    }
    *ret_viewer = viewer;
    return 0;
}

struct repository *viewer_close(struct repository *viewer)
{
    if (viewer)
        repository_close(viewer);
    free(viewer);
    return NULL;
}
