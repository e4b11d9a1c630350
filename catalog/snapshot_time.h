// SPDX-License-Identifier: MIT
//
// A column: when the newest snapshot that is there was taken, of the chains `h` for which
// `condition` holds, whatever their kind; NULL when there is none. A look into an index
// (backup_disks_totals) for each chain. Private to catalog/.
#ifndef CATALOG_SNAPSHOT_TIME_H
#define CATALOG_SNAPSHOT_TIME_H

#define SNAPSHOT_NEWEST_AT(condition)                                                              \
    "(SELECT max((SELECT max(t.taken_at) FROM backup_disks t "                                     \
    "              WHERE t.chain_id = h.id AND t.state = 'completed' "                             \
    "                AND t.forgotten_at IS NULL)) "                                                \
    "   FROM backup_chains h WHERE " condition ") "

#endif
