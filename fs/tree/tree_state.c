// SPDX-License-Identifier: MIT
//
// Life of a mounted tree's shared state. Owns nothing but the order in which its parts begin and
// end.
#include "fs/tree/tree_state.h"

#include "base/clock.h"

#include <string.h>
#include <unistd.h>

int tree_state_init(struct tree *tree, struct engine *engine, bool allow_other, struct error *err)
{
    memset(tree, 0, sizeof(*tree));
    int r = kernel_cache_init(&tree->kernel_cache, err);
    if (r < 0)
        return r;
    tree->engine = engine;
    tree->uid = geteuid();
    tree->gid = getegid();
    tree->allow_other = allow_other;
    tree->mounted_at = clock_now();
    atomic_init(&tree->closing, false);
    handles_init(&tree->handles);
    refusals_init(&tree->refusals);
    live_init(&tree->live);
    triggers_init(&tree->triggers);
    disk_images_init(&tree->images);
    changes_sizes_init(&tree->changes);
    return 0;
}

void tree_state_deinit(struct tree *tree)
{
    // Files that were open when the mount was taken away: their release never comes.
    handles_close(tree);
    changes_sizes_deinit(&tree->changes);
    disk_images_deinit(&tree->images);
    triggers_deinit(&tree->triggers);
    live_deinit(&tree->live);
    refusals_deinit(&tree->refusals);
    handles_deinit(&tree->handles);
    kernel_cache_deinit(&tree->kernel_cache);
}
