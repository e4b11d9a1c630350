// SPDX-License-Identifier: MIT
//
// backtree umount: unmounts a repository and waits until its daemon has let go of it.
#include "fs/tree/tree.h"
#include "tools/command.h"
#include "tools/options.h"

#define UMOUNT_TIMEOUT_MS 60000 // a running job has to stop, and its disk may be slow

static int umount_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {
        {"lazy", no_argument, NULL, 'l'}, OPTIONS_HELP, OPTIONS_END};
    char **operands;
    int option, count;
    bool lazy = false;
    while ((option = options_next(argc, argv, "h", longs, err)) != -1) {
        if (option != 'l')
            return COMMAND_USAGE;
        lazy = true;
    }
    if (options_operands(argc, argv, 1, 1, umount_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    int r = tree_unmount(operands[0], lazy, UMOUNT_TIMEOUT_MS, err);
    if (r < 0)
        return error_prefix(err, "umount %s", operands[0]);
    return 0;
}

const struct command umount_command = {
    .name = "umount",
    .operands = "REPO|MOUNTPOINT [OPTION...]",
    .summary = "unmount a repository",
    .details = "Unmounts the repository and waits until its daemon has ended. Running jobs end as\n"
               "failed (interrupted), pending ones run after the next mount.\n"
               "\n"
               "Options:\n"
               "  --lazy  take the tree out of sight now, even while files in it are open\n"
               "  --help  show this text\n",
    .run = umount_run,
};
