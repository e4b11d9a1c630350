// SPDX-License-Identifier: MIT
//
// Upkeep: jobs that care for what is stored (verify, gc, check). They change nothing that a
// snapshot is, so they run beside the backups and restores of every VM; jobs of one kind run one
// after another. One table (upkeep.c) says what each kind is; what a kind does is in the file of
// its name.
//
// WORDS := [NAME] [OPTION]… [trigger=manual|scheduled], blanks between, in any order, each at
// most once. NAME is a VM, VM/DISK or a snapshot's path, for kinds that can be narrowed to it;
// options are the kind's own and are kept with the job as they were given (job_row.upkeep_words).
#ifndef FS_JOB_UPKEEP_H
#define FS_JOB_UPKEEP_H

#include "fs/job/engine_state.h"

#include <stddef.h>

#define UPKEEP_KINDS 3 // verify, gc, check

struct upkeep_kind {
    enum job_kind kind;
    bool takes_name; // can be narrowed to a VM, disk or snapshot

    // Whether `word` is an option: 1, 0 when it is none, -EINVAL with the sentence when it is one
    // with a value that is none.
    int (*option)(const char *word, struct error *err);

    // Whether the options go together, and with a name: 0 or -EINVAL with the sentence. NULL:
    // always.
    int (*check)(const char *words, bool named, struct error *err);

    // What the options are, for sentences: "full".
    const char *options;

    // Does the work of a started job and notes what came of it (job_run_log(), figures). 0 or
    // -errno: -ERROR_CORRUPT when it found damage, -ECANCELED when job_run_check() said so. The
    // job's end is recorded by the caller.
    int (*run)(struct engine *engine, struct job_run *run, const struct job_row *job,
               struct error *err);
};

// NULL when `kind` is no upkeep.
const struct upkeep_kind *upkeep_find(enum job_kind kind);

// Runs a started upkeep job to its recorded end. Called by a job thread.
void upkeep_job(struct engine *engine, struct job_run *run, const struct job_row *job);

struct upkeep_figure {
    const char *name;
    int64_t value;
};

// Records figures of the job in one transaction of their own; what cannot be recorded is logged.
void upkeep_figures(struct engine *engine, struct job_run *run, const struct upkeep_figure *figures,
                    size_t count);

#endif
