// SPDX-License-Identifier: MIT
//
// What a verification is asked for, in words, and which packs that stands for. Pure functions.
//
// WORDS := [N% | n/t] [unverified=AGE] [job=N], blanks between, in any order.
//   N%              that share of the stored bytes: the packs whose proof is the oldest, so that
//                   runs in a row go round
//   n/t             the n-th of t parts, by the packs' uuids: t runs with n = 1 … t cover
//   everything unverified=AGE  what was not proved within that time (7d) or since that moment; goes
//   with a
//                   share, which is then taken from that
//   job=N           the snapshots that job N made
//
// "1/2" is always a share: a disk 2 of a VM 1 is verified as part of its VM, or by its snapshots.
#ifndef FS_JOB_VERIFY_WORDS_H
#define FS_JOB_VERIFY_WORDS_H

#include "base/error.h"
#include "catalog/pack_index.h"

#define VERIFY_WORDS "N%, n/t, unverified=7d"

struct verify_words {
    unsigned percent;      // 0 = not given
    unsigned part, parts;  // 0 = not given
    int64_t proved_before; // 0 = not given
    int64_t job_id;        // 0 = not given
};

// One word: 1, 0 when it is none of these, -EINVAL with the sentence.
int verify_word(const char *word, int64_t now, struct verify_words *words, struct error *err);

// All of them; `named`: besides, a VM, disk or snapshot is given. -EINVAL for what does not go
// together.
int verify_words_parse(const char *text, bool named, int64_t now, struct verify_words *ret_words,
                       struct error *err);

// Sorts the packs that are to be proved to the front, the oldest proof first; returns their number.
size_t verify_select(const struct verify_words *words, struct pack_row *packs, size_t count);

#endif
