// SPDX-License-Identifier: MIT
//
// Notes: what happens to a repository beside backups, as records in packs, so that a catalog made
// anew from packs knows it too. JSON (compact, keys sorted), one event a note; docs/FORMAT.md lists
// the keys of each.
//
// A note about a snapshot is an instruction: it is in a sealed pack before the transaction that
// does what it says, and in the catalog's index by that transaction. So a pack with a note the
// catalog does not know is a request that a crash interrupted, and start-up carries it out. A note
// about a VM or disk says how it was at a moment, and is written afterwards.
#ifndef FS_STORE_NOTE_H
#define FS_STORE_NOTE_H

#include "base/name.h"
#include "catalog/pack_index.h"
#include "fs/store/store.h"

enum note_what { // "forgotten protected unprotected vm vm-removed disk disk-removed retention void"
    NOTE_UNKNOWN,
    NOTE_FORGOTTEN,
    NOTE_PROTECTED,
    NOTE_UNPROTECTED,
    NOTE_VM,
    NOTE_VM_REMOVED,
    NOTE_DISK,
    NOTE_DISK_REMOVED,
    NOTE_RETENTION, // of a VM
    NOTE_VOID,      // a snapshot that never came to be: its record is to be passed over
};

struct note {
    enum note_what what;
    int64_t at;
    char snapshot_uuid[UUID_TEXT_SIZE];  // forgotten, protected, unprotected, void
    char context_uuid[UUID_TEXT_SIZE];   // vm…, disk…, retention
    char context_name[NAME_SIZE];        // vm, disk
    int64_t context_created_at;          // vm, disk
    char disk_uuid[UUID_TEXT_SIZE];      // disk…
    char disk_name[NAME_SIZE];           // disk
    int64_t disk_created_at;             // disk
    char source[SOURCE_TEXT_SIZE];       // disk; "" = none yet
    uint64_t capacity;                   // disk
    uint32_t chunk_size;                 // disk
    char retention[RETENTION_TEXT_SIZE]; // retention; "" = the VM has none of its own any more
};

// The JSON, malloc'ed. -EINVAL for a note that could not be read back.
int note_format(const struct note *note, char **ret_text, struct error *err);

// Trusts nothing: -ERROR_CORRUPT for a missing key or a wrong value, -EPROTONOSUPPORT for a newer
// version or an event this program does not know.
int note_parse(const void *data, size_t len, struct note *ret_note, struct error *err);

// --- packs of notes

struct note_pack {
    char uuid[UUID_TEXT_SIZE]; // "" = nothing was written
    uint64_t bytes;
    struct chunk_row *records;
    size_t count;
};

// Writes `count` notes into a sealed pack of their own. The catalog does not know it yet.
int note_pack_write(struct store *store, const struct note *notes, size_t count,
                    struct note_pack *ret_pack, struct error *err);

// Adds the pack and its records, in the caller's transaction. Nothing for an empty one.
int note_pack_insert(struct catalog_conn *conn, const struct note_pack *pack, struct error *err);

// Takes the file away when what the notes say was refused after all (not when a commit failed: it
// may have come through). Failing is logged.
void note_pack_discard(struct store *store, const struct note_pack *pack);

void note_pack_deinit(struct note_pack *pack);

// Does what a note about a snapshot says, in the caller's transaction, when that has not been done:
// for notes found at start-up. Others, and what cannot be done any more, are nothing to do.
int note_apply(struct catalog_conn *conn, const struct note *note, struct error *err);

#endif
