// SPDX-License-Identifier: MIT
//
// A repository opened to look at, whoever owns it: no lock, the catalog read-only.
#ifndef TOOLS_VIEWER_H
#define TOOLS_VIEWER_H

#include "base/cleanup.h"
#include "fs/job/repository.h"

int viewer_open(const char *repo_dir, struct repository **ret_viewer, struct error *err);
struct repository *viewer_close(struct repository *viewer);

DEFINE_CLEANUP(struct repository *, viewer_close)

#endif
