// SPDX-License-Identifier: MIT
//
// backtree remove: removes a VM or disk that holds no snapshots, or forgets one snapshot.
#include "tools/command.h"
#include "tools/options.h"
#include "tools/owner.h"

static int remove_check(const struct catalog_path *path, bool with_disks, struct error *err)
{
    if (path->depth == PATH_CHAIN)
        return error_set(err, -EINVAL,
                         "a chain goes with its last snapshot: name the snapshots to remove");
    if (with_disks && path->depth != PATH_CONTEXT)
        return error_set(err, -EINVAL, "--disks goes with a VM alone");
    return 0;
}

static int remove_named(const char *repo, const char *name, bool with_disks, struct error *err)
{
    AUTO(owner_close) struct owner *owner = NULL;
    AUTO_FREE struct catalog_path *path = calloc(1, sizeof(*path));
    if (!path)
        return error_set_errno(err, -ENOMEM, "cannot look for it");
    int r = owner_open(repo, "remove", &owner, err);
    if (r == 0)
        r = owner_resolve(owner, name, path, err);
    if (r == 0)
        r = remove_check(path, with_disks, err);
    if (r == 0)
        r = owner_remove(owner, path, with_disks, err);
    return r;
}

static int remove_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {
        {"disks", no_argument, NULL, 'd'}, OPTIONS_HELP, OPTIONS_END};
    char **operands;
    int option, count;
    bool with_disks = false;
    while ((option = options_next(argc, argv, "h", longs, err)) != -1) {
        if (option != 'd')
            return COMMAND_USAGE;
        with_disks = true;
    }
    if (options_operands(argc, argv, 2, 2, remove_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    int r = remove_named(operands[0], operands[1], with_disks, err);
    if (r != 0)
        error_prefix(err, "remove %s", operands[1]);
    return r;
}

const struct command remove_command = {
    .name = "remove",
    .operands = "REPO VM[/DISK[/CHAIN/SNAPSHOT]] [OPTION...]",
    .summary = "remove a VM, a disk or a snapshot",
    .details =
        "Removes a VM or a disk that holds no snapshots, or forgets one snapshot; the other\n"
        "snapshots of its chain stay whole.\n"
        "\n"
        "Options:\n"
        "  --disks  with a VM: remove its disks too, if they are all empty\n"
        "  --help   show this text\n",
    .run = remove_run,
};
