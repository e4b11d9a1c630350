// SPDX-License-Identifier: MIT
//
// When the engine writes notes (fs/store/note.h): what a catalog made anew from packs would not
// know otherwise. For the files of this room.
#ifndef FS_JOB_NOTES_H
#define FS_JOB_NOTES_H

#include "fs/job/engine_state.h"
#include "fs/store/note.h"

// Writes a note about each of `count` snapshots, before the transaction that does it:
// note_pack_insert() belongs into that, note_pack_discard() to its refusal. With no space left
// *ret_pack is empty and a warning is logged: forgetting must work on a full disk, and a rebuilt
// catalog bringing the snapshot back is the lesser harm.
int notes_write(struct engine *engine, const char *const *snapshot_uuids, size_t count,
                enum note_what what, struct note_pack *ret_pack, struct error *err);

// Notes how VMs and disks are now, after the transaction that changed them. Failing is logged: the
// change is done, and a snapshot's record says the same again.
void notes_context(struct engine *engine, int64_t context_id, bool with_disks);
void notes_disk(struct engine *engine, int64_t disk_id);
void notes_retention(struct engine *engine, int64_t context_id);
// `disk` NULL: the VM with all there was of it.
void notes_removed(struct engine *engine, const char *context_uuid, const char *disk_uuid);

#endif
