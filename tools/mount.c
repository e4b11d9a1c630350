// SPDX-License-Identifier: MIT
//
// backtree mount: mounts a repository and serves its tree.
#include "fs/tree/tree.h"
#include "tools/command.h"
#include "tools/mount_options.h"
#include "tools/options.h"

#include <unistd.h>

static int mount_parse(int argc, char **argv, struct tree_mount_options *options, struct error *err)
{
    static const struct option longs[] = {{"foreground", no_argument, NULL, 'f'},
                                          {"options", required_argument, NULL, 'o'},
                                          OPTIONS_HELP,
                                          OPTIONS_END};
    int option, r = 0;
    while (r == 0 && (option = options_next(argc, argv, "fo:h", longs, err)) != -1) {
        if (option == 'f')
            options->foreground = true;
        else if (option == 'o')
            r = mount_options_parse(optarg, options, err);
        else
            r = -EINVAL;
    }
    return r;
}

static int mount_run(int argc, char **argv, struct error *err)
{
    struct tree_mount_options options = {0};
    char **operands;
    int count;
    bool parent = false;
    if (mount_parse(argc, argv, &options, err) < 0 ||
        options_operands(argc, argv, 2, 2, mount_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    pid_t asked = getpid();
    int r = tree_mount(operands[0], operands[1], &options, &parent, err);
    if (r == 0)
        return 0;
    error_prefix(err, "mount %s", operands[0]);
    // The detached child has told its parent or its log; the parent prints the one line.
    if (getpid() != asked)
        return COMMAND_TOLD;
    return r == -EBUSY ? COMMAND_BUSY : r;
}

const struct command mount_command = {
    .name = "mount",
    .operands = "REPO MOUNTPOINT [OPTION...]",
    .summary = "mount a repository and serve its tree",
    .details =
        "Mounts the repository on the empty folder MOUNTPOINT and serves it from the background\n"
        "until it is unmounted. Jobs left pending by an earlier life are run.\n"
        "\n"
        "Options:\n"
        "  --foreground, -f       stay in the foreground and log to stderr\n"
        "  --options=OPTS, -o OPTS\n"
        "                         mount options, separated by commas:\n"
        "                         allow_other (let other users look), cache=SIZE (memory for\n"
        "                         decoded chunks), fsname=NAME (shown as the mount's source);\n"
        "                         the generic words of fstab are accepted, but not ro\n"
        "  --help                 show this text\n",
    .run = mount_run,
};
