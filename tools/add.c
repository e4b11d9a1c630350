// SPDX-License-Identifier: MIT
//
// backtree add: adds a VM and its disks, all or nothing.
#include "tools/command.h"
#include "tools/given_path.h"
#include "tools/options.h"
#include "tools/owner.h"

#include <stdio.h>
#include <string.h>

struct add_disks {
    struct engine_disk_spec *specs;
    size_t count;
};

static struct add_disks *add_disks_free(struct add_disks *disks)
{
    for (size_t i = 0; i < disks->count; i++) {
        free((char *)disks->specs[i].name);
        free((char *)disks->specs[i].source);
    }
    free(disks->specs);
    return NULL;
}

DEFINE_CLEANUP(struct add_disks *, add_disks_free)

static int add_disk(struct add_disks *disks, const char *word, struct error *err)
{
    AUTO_FREE char *source = NULL;
    const char *equals = strchr(word, '=');
    int r = given_path_source(equals + 1, &source, err);
    if (r < 0)
        return r;
    char *name = strndup(word, (size_t)(equals - word));
    if (!name)
        return error_set_errno(err, -ENOMEM, "cannot add %s", word);
    disks->specs[disks->count++] =
        (struct engine_disk_spec){.name = name, .source = TAKE(source, NULL)};
    return 0;
}

static int add_vm(const char *repo, const char *vm, char **words, size_t count, struct error *err)
{
    struct add_disks collected = {0};
    AUTO(add_disks_free) struct add_disks *disks = &collected;
    AUTO(owner_close) struct owner *owner = NULL;
    int r = 0;
    disks->specs = calloc(count + 1, sizeof(*disks->specs));
    if (!disks->specs)
        return error_set_errno(err, -ENOMEM, "cannot add VM %s", vm);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = add_disk(disks, words[i], err);
    if (r == 0)
        r = owner_open(repo, "add", &owner, err);
    if (r == 0)
        r = owner_add_vm(owner, vm, disks->specs, disks->count, err);
    return r;
}

static int add_run(int argc, char **argv, struct error *err)
{
    static const struct option longs[] = {OPTIONS_HELP, OPTIONS_END};
    char **operands;
    int count;
    if (options_next(argc, argv, "h", longs, err) != -1 ||
        options_operands(argc, argv, 2, -1, add_command.operands, &operands, &count, err) < 0)
        return COMMAND_USAGE;
    for (int i = 2; i < count; i++)
        if (!strchr(operands[i], '=')) {
            error_set(err, -EINVAL, "'%s' is not DISK=SOURCE", operands[i]);
            return COMMAND_USAGE;
        }
    int r = add_vm(operands[0], operands[1], operands + 2, (size_t)(count - 2), err);
    if (r != 0)
        error_prefix(err, "add %s", operands[1]);
    return r;
}

const struct command add_command = {
    .name = "add",
    .operands = "REPO VM [DISK=SOURCE...]",
    .summary = "add a VM, or disks to it",
    .details =
        "Adds the VM if it is not there, and its disks with the sources they are read from. Each\n"
        "source is opened and its capacity recorded now; when one cannot be read nothing is "
        "added.\n"
        "SOURCE is the path of a raw disk image or a block device.\n"
        "\n"
        "Options:\n"
        "  --help  show this text\n",
    .run = add_run,
};
