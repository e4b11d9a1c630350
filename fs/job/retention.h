// SPDX-License-Identifier: MIT
//
// Retention policies: their words, and which snapshots of a disk one keeps. Pure functions: no
// catalog, no clock, no state.
//
// A policy is a set of rules, each given at most once, in any order:
//
//   keep-within=7d      what was taken in the last 7 days (units s, m, h, d, w)
//   keep-last=N         the newest N
//   keep-hourly=N keep-daily=N keep-weekly=N keep-monthly=N keep-yearly=N
//                       the newest of each of N hours, days, weeks (ISO 8601: Monday to Sunday),
//                       months, years that hold a snapshot; all of them UTC
//
// No rule at all, or the word `none`, keeps everything.
//
// A disk's snapshots are looked at from the newest to the oldest, by the time they were taken. Some
// are kept whatever the rules say, and the rules do not see them: they take no rule's place, and
// their period does not count as covered (else taking a protection away could leave a hole).
//
//   protected  until it is not protected any more
//   future     it was taken after `now`: a clock is or was wrong, and nothing is deleted on that
//   safety     it holds what a restore wrote over: kept for RETENTION_SAFETY_SECONDS, or for
//              keep-within's time when that is longer, and then forgotten. It is no backup of a
//              day: as the newest of one it would push out the backup made before things went wrong
//
// The rules are then gone through in the order within, last, hourly, daily, weekly, monthly,
// yearly. Each keeps what it can of what no earlier rule has kept:
//
//   within     all that is not older
//   last       the newest N of those not kept yet
//   a period   goes through the periods from the newest. One that holds a snapshot an earlier rule
//              has kept is covered: it takes no place. Of any other the newest snapshot is kept,
//              until N places are taken
//
// What is left is forgotten, but for the disk's newest snapshot: the next incremental builds on it.
#ifndef FS_JOB_RETENTION_H
#define FS_JOB_RETENTION_H

#include "base/error.h"
#include "catalog/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RETENTION_DEFAULT "keep-last=10 keep-daily=7 keep-weekly=4 keep-monthly=12"
#define RETENTION_NONE "none"
#define RETENTION_SAFETY_SECONDS (INT64_C(7) * 24 * 60 * 60)
#define RETENTION_COUNT_MAX 99999

enum retention_rule { // in the order they are gone through
    RETENTION_RULE_UNKNOWN,
    RETENTION_WITHIN,
    RETENTION_LAST,
    RETENTION_HOURLY,
    RETENTION_DAILY,
    RETENTION_WEEKLY,
    RETENTION_MONTHLY,
    RETENTION_YEARLY,
    RETENTION_RULE_COUNT
};

struct retention_policy {
    uint32_t keep[RETENTION_RULE_COUNT]; // 0 = not there; of WITHIN the number before the unit
    char within_unit;                    // one of "smhdw"
};

// Parses WORDS := `none` | [keep-RULE=N]…, blanks between. -EINVAL with a sentence.
int retention_parse(const char *words, size_t len, struct retention_policy *ret_policy,
                    struct error *err);

// The words of a policy, rules in the order above, one blank between: the same for the same policy.
// `none` for one without rules. Returns `text`.
char *retention_format(const struct retention_policy *policy, char text[RETENTION_TEXT_SIZE]);

bool retention_keeps_everything(const struct retention_policy *policy);

struct retention_snapshot {
    int64_t id;
    int64_t taken_at; // ns
    bool protected;
    bool safety; // made by a restore, of what it was about to write over
    bool newest; // what the disk's `latest` leads to
};

#define RETENTION_WHY_SIZE 40

struct retention_verdict {
    bool keep;
    char why[RETENTION_WHY_SIZE]; // "daily 2026-11-20", "last 3", "protected"; "" when forgotten
};

// Judges the snapshots of one disk, given in any order; ret_verdicts has room for `count` and is in
// the same order. Equal times are settled by id, the higher being the newer. 0 or -ENOMEM.
int retention_apply(const struct retention_policy *policy, int64_t now,
                    const struct retention_snapshot *snapshots, size_t count,
                    struct retention_verdict *ret_verdicts, struct error *err);

#endif
