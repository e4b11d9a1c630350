// SPDX-License-Identifier: MIT
//
// Carrying out a note that a crash kept from being carried out. Changes rows of snapshots, nothing
// else.
#include "fs/store/note.h"

#include "catalog/check_rows.h"

// A request that would be refused by now is no error: it was never reported as done.
static int ignore_refusal(int r, const struct error *cause, struct error *err)
{
    if (r == -EPERM || r == -ENOENT || r == 0)
        return 0;
    return error_set(err, r, "%s", error_message(cause));
}

int note_apply(struct catalog_conn *conn, const struct note *note, struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));
    struct error cause = ERROR_INIT;

    if (!row)
        return error_set(err, -ENOMEM, "out of memory");
    if (note->snapshot_uuid[0] == '\0' || note->what == NOTE_VOID)
        return 0;
    int r = snapshot_find_uuid(conn, note->snapshot_uuid, row, &cause);
    if (r < 0 || row->state != JOB_COMPLETED || row->forgotten_at)
        return ignore_refusal(r, &cause, err);
    if (note->what == NOTE_FORGOTTEN)
        r = snapshot_forget(conn, row->id, &cause);
    else if (row->protected != (note->what == NOTE_PROTECTED))
        r = snapshot_set_protected(conn, row->id, note->what == NOTE_PROTECTED, &cause);
    return ignore_refusal(r, &cause, err);
}
