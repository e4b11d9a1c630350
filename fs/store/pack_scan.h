// SPDX-License-Identifier: MIT
//
// Looking at packs as files, for a check and a rebuild: which there are, what their indexes say,
// what can still be read of one whose index is damaged. Changes nothing.
#ifndef FS_STORE_PACK_SCAN_H
#define FS_STORE_PACK_SCAN_H

#include "catalog/pack_index.h"
#include "fs/store/pack_backend.h"
#include "fs/store/store.h"

// pack_backend_list() of the store's packs.
int pack_scan_list(struct store *store, pack_file_fn fn, void *arg, struct error *err);

struct pack_content {
    int64_t created_at;        // 0 when its header is damaged
    struct chunk_row *records; // malloc'ed, in file order
    size_t count;
    uint64_t raw_bytes; // content of the chunks among them

    // of a salvage
    uint64_t lost_bytes; // that belong to no record that can be read
    size_t lost_places;  // runs of them
    size_t untrusted;    // records left out: see below
};

void pack_content_deinit(struct pack_content *content);

// Header, trailer and index of a sealed pack. -ERROR_CORRUPT, -EPROTONOSUPPORT; -EXDEV for a pack
// of another repository.
int pack_scan_index(struct store *store, const char *uuid, uint64_t bytes,
                    struct pack_content *ret_content, struct error *err);

// What can be read of a pack without its index: records describe themselves, each header has its
// checksum. From the front to the first header that is damaged, every header is believed, for each
// follows from the one before. Behind a damaged one the next place that looks like a record is
// looked for, and content is believed only when its id proves it; snapshots, notes and deltas are
// left out there, for a guest could have written into its disk what looks like one, id and all (a
// delta is proved by its base, which may be anywhere). -EXDEV for a
// pack of another repository; never -ERROR_CORRUPT: nothing may be left, then `count` is 0.
int pack_scan_salvage(struct store *store, const char *uuid, uint64_t bytes,
                      struct pack_content *ret_content, struct error *err);

struct pack_decoder;

// Reads one record and proves all of it: header, both checksums, what the catalog says of it, and
// its id. -ERROR_CORRUPT. A decoder belongs to one thread.
int pack_scan_decoder_new(struct pack_decoder **ret_decoder, struct error *err);
struct pack_decoder *pack_scan_decoder_free(struct pack_decoder *decoder);
int pack_scan_prove(struct store *store, struct pack_decoder *decoder,
                    const struct chunk_location *location, struct error *err);

DEFINE_CLEANUP(struct pack_decoder *, pack_scan_decoder_free)

#endif
