// SPDX-License-Identifier: MIT
//
// The words written to triggers, parsed. The same parser serves the tree and the commands.
#ifndef FS_JOB_REQUEST_H
#define FS_JOB_REQUEST_H

#include "base/name.h"
#include "catalog/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backup_request {
    int64_t context_id;
    int64_t disk_id; // 0 = every disk of the VM
    enum backup_mode mode;
    enum job_trigger trigger;
    char tags[TAGS_TEXT_SIZE]; // comma-separated, each once
    bool verify_after;         // the snapshots it makes
};

// WORDS := [auto|full|incremental] [tag=X]… [trigger=manual|scheduled] [verify_after=0|1], blanks
// between, in any order, mode and trigger at most once. Nothing at all is auto, manual, not
// verified. Sets all but the ids. -EINVAL "unknown word 'x'".
int backup_request_parse(const char *words, size_t len, struct backup_request *request,
                         struct error *err);

// What stands behind "trigger=": manual or scheduled, and once. -EINVAL.
int request_set_trigger(enum job_trigger *trigger, const char *word, struct error *err);

// Adds one tag, or each of a comma-separated list, to `tags` unless it is there. -EINVAL: not a
// tag, or too many; `tags` keeps what it held.
int tags_add(char tags[TAGS_TEXT_SIZE], const char *tag, struct error *err);
int tags_join(char tags[TAGS_TEXT_SIZE], const char *more, struct error *err);

struct prune_request {
    int64_t context_id;
    int64_t disk_id; // 0 = every disk of the VM
    enum job_trigger trigger;
    char policy[RETENTION_TEXT_SIZE]; // for this run; "" = the VM's own
};

#define PRUNE_NAME_SIZE (2 * NAME_SIZE)

// WORDS := [VM[/DISK]] [keep-RULE=N]… [trigger=manual|scheduled], blanks between, in any order. No
// name at all stands for every VM (ret_name ""). Sets trigger and policy; leaves the ids alone.
// -EINVAL.
int prune_request_parse(const char *words, size_t len, char ret_name[PRUNE_NAME_SIZE],
                        struct prune_request *request, struct error *err);

struct restore_request {
    int64_t snapshot_id;
    char target[SOURCE_TEXT_SIZE];
    bool safety;
};

// LINE := [safety=on|off ]ABSOLUTE-PATH[ safety=on|off]; a path may hold blanks. -EINVAL for
// anything else.
int restore_request_parse(const char *line, size_t len, struct restore_request *request,
                          struct error *err);

#endif
