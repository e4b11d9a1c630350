// SPDX-License-Identifier: MIT
//
// The filters that `list` and `jobs` share: options as given, then resolved to the ids and words
// the catalog filters by.
#ifndef TOOLS_FILTER_H
#define TOOLS_FILTER_H

#include "catalog/path.h"

#include <getopt.h>
#include <stdbool.h>

// Values of the shared options for getopt; a command's own long options begin at FILTER_OWN.
enum filter_option {
    FILTER_VM = 256,
    FILTER_DISK,
    FILTER_KIND,
    FILTER_STATE,
    FILTER_TRIGGER,
    FILTER_TAG,
    FILTER_SINCE,
    FILTER_UNTIL,
    FILTER_LIMIT,
    FILTER_JSON,
    FILTER_OWN
};

// clang-format off
#define FILTER_OPTIONS                                    \
    {"vm", required_argument, NULL, FILTER_VM},           \
    {"disk", required_argument, NULL, FILTER_DISK},       \
    {"kind", required_argument, NULL, FILTER_KIND},       \
    {"state", required_argument, NULL, FILTER_STATE},     \
    {"trigger", required_argument, NULL, FILTER_TRIGGER}, \
    {"tag", required_argument, NULL, FILTER_TAG},         \
    {"since", required_argument, NULL, FILTER_SINCE},     \
    {"until", required_argument, NULL, FILTER_UNTIL},     \
    {"limit", required_argument, NULL, FILTER_LIMIT},     \
    {"json", no_argument, NULL, FILTER_JSON}
// clang-format on

struct filter {
    const char *vm, *disk, *kind, *state, *tag; // as given, NULL = not given
    enum job_trigger trigger;
    int64_t since, until, limit; // 0 = not given
    bool json;
};

// Takes one shared option. Returns 1 taken, 0 not a shared one, or -EINVAL.
int filter_take(struct filter *filter, int option, const char *value, struct error *err);

// Whether the options make sense beside the operand, which may name a VM ("" = none). -EINVAL.
int filter_check(const struct filter *filter, const char *operand, struct error *err);

// The VM and disk that --vm and --disk name, on top of what the operand named (`path`, which may be
// at any depth): naming another than the operand's is -EINVAL, an unknown one -ENOENT.
int filter_resolve(const struct filter *filter, struct catalog_conn *conn,
                   struct catalog_path *path, struct error *err);

#endif
