// SPDX-License-Identifier: MIT
//
// What notes say, done to a catalog that is made anew: after all VMs, disks and snapshots are in
// it, in the order of the notes' times.
#include "fs/job/rebuild_state.h"

#include "catalog/check_rows.h"
#include "catalog/rebuild_rows.h"
#include "fs/job/retention.h"

#include <string.h>

// A policy this program cannot read keeps everything until it is set again.
static int set_retention(struct rebuild *rebuild, struct catalog_conn *conn,
                         const struct note *note, struct error *err)
{
    struct retention_policy policy;
    struct error doubt = ERROR_INIT;
    const char *words = note->retention[0] ? note->retention : NULL;
    int64_t context_id;
    int r = row_find_uuid(conn, ROW_CONTEXTS, note->context_uuid, &context_id, err);

    if (r <= 0)
        return r;
    if (words && retention_parse(words, strlen(words), &policy, &doubt) < 0) {
        rebuild_tell(rebuild, true, "a retention policy is left out: %s", error_message(&doubt));
        words = RETENTION_NONE;
    }
    return context_set_retention(conn, context_id, words, err);
}

int rebuild_carry_out(struct rebuild *rebuild, struct catalog_conn *conn, const struct note *note,
                      struct error *err)
{
    AUTO_FREE struct snapshot_row *row = calloc(1, sizeof(*row));

    if (!row)
        return error_set(err, -ENOMEM, "out of memory");
    if (note->what == NOTE_RETENTION)
        return set_retention(rebuild, conn, note, err);
    if (note->snapshot_uuid[0] == '\0' || note->what == NOTE_VOID)
        return 0;
    int r = snapshot_find_uuid(conn, note->snapshot_uuid, row, NULL);
    if (r == -ENOENT || (r == 0 && row->forgotten_at))
        return 0;
    if (r < 0)
        return error_set_errno(err, r, "cannot look for a snapshot");
    if (note->what == NOTE_FORGOTTEN) {
        rebuild->result.forgotten++;
        return rebuild_forget(conn, row->id, note->at, err);
    }
    return snapshot_set_protected(conn, row->id, note->what == NOTE_PROTECTED, err);
}
