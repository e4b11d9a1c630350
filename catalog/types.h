// SPDX-License-Identifier: MIT
//
// Words the catalog stores: states, kinds, origins; and sizes of its text columns.
//
// Each enum has a table of words in types.c; 0 is always "unknown" and is never stored. X_to_word()
// returns a static string ("unknown" for 0); X_from_word() returns the enum, 0 when the word is not
// one.
#ifndef CATALOG_TYPES_H
#define CATALOG_TYPES_H

#define UUID_TEXT_SIZE 37     // 36 characters and NUL, lower case
#define SOURCE_TEXT_SIZE 4200 // "raw" path or URI: PATH_MAX and room for a prefix
#define TAGS_TEXT_SIZE 512    // comma-separated tags
#define REASON_TEXT_SIZE 1024 // why a job or a disk failed
#define CHANGE_ID_SIZE 65
#define RETENTION_TEXT_SIZE 256 // the words of a retention policy
#define UPKEEP_WORDS_SIZE 256   // what a verify, gc or check was asked for

enum job_kind { // "backup restore prune verify gc check"
    JOB_KIND_UNKNOWN,
    JOB_BACKUP,
    JOB_RESTORE,
    JOB_PRUNE,
    JOB_VERIFY,
    JOB_GC,
    JOB_CHECK
};
enum job_state { // "pending running completed failed cancelled"
    JOB_STATE_UNKNOWN,
    JOB_PENDING,
    JOB_RUNNING,
    JOB_COMPLETED,
    JOB_FAILED,
    JOB_CANCELLED
};
enum job_trigger { // "manual scheduled pre_restore_safety"
    JOB_TRIGGER_UNKNOWN,
    TRIGGER_MANUAL,
    TRIGGER_SCHEDULED,
    TRIGGER_PRE_RESTORE_SAFETY
};
enum backup_mode { // "auto full incremental": what was asked for
    BACKUP_MODE_UNKNOWN,
    BACKUP_AUTO,
    BACKUP_FULL,
    BACKUP_INCREMENTAL
};
enum snapshot_kind { // "full incremental": what was made
    SNAPSHOT_KIND_UNKNOWN,
    SNAPSHOT_FULL,
    SNAPSHOT_INCREMENTAL
};

const char *job_kind_to_word(enum job_kind kind);
enum job_kind job_kind_from_word(const char *word);
const char *job_state_to_word(enum job_state state);
enum job_state job_state_from_word(const char *word);
const char *job_trigger_to_word(enum job_trigger trigger);
enum job_trigger job_trigger_from_word(const char *word);
const char *backup_mode_to_word(enum backup_mode mode);
enum backup_mode backup_mode_from_word(const char *word);
const char *snapshot_kind_to_word(enum snapshot_kind kind);
enum snapshot_kind snapshot_kind_from_word(const char *word);

// Jobs that care for what is stored. They change nothing that a snapshot is, so they run beside
// backups and restores, also of the VM they are about.
static inline int job_kind_is_upkeep(enum job_kind kind)
{
    return kind == JOB_VERIFY || kind == JOB_GC || kind == JOB_CHECK;
}

// pending and running are not ended.
static inline int job_state_is_ended(enum job_state state)
{
    return state == JOB_COMPLETED || state == JOB_FAILED || state == JOB_CANCELLED;
}

#endif
