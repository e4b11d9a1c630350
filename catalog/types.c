// SPDX-License-Identifier: MIT
//
// The words of the catalog's enums. The schema's CHECKs name the same words.
#include "catalog/types.h"

#include <stddef.h>
#include <string.h>

#define COUNT(words) (sizeof(words) / sizeof((words)[0]))

static const char *const job_kind_words[] = {
    [JOB_BACKUP] = "backup", [JOB_RESTORE] = "restore", [JOB_PRUNE] = "prune",
    [JOB_VERIFY] = "verify", [JOB_GC] = "gc",           [JOB_CHECK] = "check",
};

static const char *const job_state_words[] = {
    [JOB_PENDING] = "pending", [JOB_RUNNING] = "running",     [JOB_COMPLETED] = "completed",
    [JOB_FAILED] = "failed",   [JOB_CANCELLED] = "cancelled",
};

static const char *const job_trigger_words[] = {
    [TRIGGER_MANUAL] = "manual",
    [TRIGGER_SCHEDULED] = "scheduled",
    [TRIGGER_PRE_RESTORE_SAFETY] = "pre_restore_safety",
};

static const char *const backup_mode_words[] = {
    [BACKUP_AUTO] = "auto",
    [BACKUP_FULL] = "full",
    [BACKUP_INCREMENTAL] = "incremental",
};

static const char *const snapshot_kind_words[] = {
    [SNAPSHOT_FULL] = "full",
    [SNAPSHOT_INCREMENTAL] = "incremental",
};

static const char *to_word(const char *const *words, size_t count, unsigned value)
{
    return value > 0 && value < count ? words[value] : "unknown";
}

static unsigned from_word(const char *const *words, size_t count, const char *word)
{
    for (unsigned i = 1; i < count; i++) {
        if (strcmp(words[i], word) == 0)
            return i;
    }
    return 0;
}

const char *job_kind_to_word(enum job_kind kind)
{
    return to_word(job_kind_words, COUNT(job_kind_words), kind);
}

enum job_kind job_kind_from_word(const char *word)
{
    return from_word(job_kind_words, COUNT(job_kind_words), word);
}

const char *job_state_to_word(enum job_state state)
{
    return to_word(job_state_words, COUNT(job_state_words), state);
}

enum job_state job_state_from_word(const char *word)
{
    return from_word(job_state_words, COUNT(job_state_words), word);
}

const char *job_trigger_to_word(enum job_trigger trigger)
{
    return to_word(job_trigger_words, COUNT(job_trigger_words), trigger);
}

enum job_trigger job_trigger_from_word(const char *word)
{
    return from_word(job_trigger_words, COUNT(job_trigger_words), word);
}

const char *backup_mode_to_word(enum backup_mode mode)
{
    return to_word(backup_mode_words, COUNT(backup_mode_words), mode);
}

enum backup_mode backup_mode_from_word(const char *word)
{
    return from_word(backup_mode_words, COUNT(backup_mode_words), word);
}

const char *snapshot_kind_to_word(enum snapshot_kind kind)
{
    return to_word(snapshot_kind_words, COUNT(snapshot_kind_words), kind);
}

enum snapshot_kind snapshot_kind_from_word(const char *word)
{
    return from_word(snapshot_kind_words, COUNT(snapshot_kind_words), word);
}
