// SPDX-License-Identifier: MIT
//
// Opens a repository read-only as it is, however damaged, and reads every snapshot through
// image_read() beside what it must be. Shared by the programs of this folder.
//
// What can happen to one snapshot, from good to bad:
//   RIGHT    every byte is what it was
//   REFUSED  an error with a sentence, at opening or reading
//   MISSING  the catalog does not list it any more
//   RENAMED  whole, but listed under another name, which may be that of another snapshot
//   WRONG    other bytes than were backed up, or another size: must never happen
#ifndef TESTS_CORRUPT_PROBE_H
#define TESTS_CORRUPT_PROBE_H

#include "base/error.h"

#include <stdbool.h>

#include <stddef.h>
#include <stdint.h>

enum probe_class { PROBE_RIGHT = 1, PROBE_REFUSED, PROBE_MISSING, PROBE_RENAMED, PROBE_WRONG };

struct probe_disk {
    const char *path; // "web1/vda/chain-0001/0001-full-…"
    uint8_t *bytes;
    size_t len;
    enum probe_class seen;
    char sentence[ERROR_MESSAGE_MAX]; // when it was refused, or listed elsewhere
};

// Fills `seen` and `sentence` of each; the worst of them is returned. An error of the repository as
// a whole is every snapshot's. Also reads the fingerprint cache of each disk: a leaf that is given
// although its file differs from what `cache` (the untouched folder, NULL = do not look) holds is
// WRONG.
enum probe_class probe_repository(const char *repo, const char *cache, struct probe_disk *disks,
                                  size_t count);

const char *probe_class_word(enum probe_class class);

#endif
