// SPDX-License-Identifier: MIT
//
// Opens what a crash left as the repository's next owner does, and looks whether all is there and
// right: the engine starts by itself; every snapshot that was reported is there, none that was
// forgotten, each byte for byte; no job is running; a check finds neither damage nor
// leftovers; a restore's target is what its job says.
#ifndef TESTS_CRASH_RECOVERED_H
#define TESTS_CRASH_RECOVERED_H

#include "tests/crash/expect.h"

#define RECOVERED_SENTENCE 700

struct recovered {
    double start_ms;                   // the longest opening took
    bool no_repository;                // init had not got so far
    bool rebuilt;                      // the catalog had to be rebuilt
    char sentence[RECOVERED_SENTENCE]; // what is wrong, "" = nothing
};

// `dir` holds the state. With `thorough` also: every record is checked; a check before it is
// opened; after it a rebuild of the catalog that must bring everything back, a backup, and one more
// start; an init where there is no repository. Changes the state. The caller bounds its time.
void recovered_check(const char *dir, const struct expect *expect, bool thorough,
                     struct recovered *ret_recovered);

#endif
