// SPDX-License-Identifier: MIT
//
// Catalog records as JSON objects: the one place that decides the keys of info.json in the tree and
// of --json in commands. Keys are stable; times are ISO 8601 UTC strings or null; sizes are bytes.
// Text that is not UTF-8 (paths) is shown with U+FFFD for each bad byte. Built with Jansson; a
// returned json_t is the caller's to json_decref(). NULL means out of memory.
#ifndef CATALOG_RECORD_JSON_H
#define CATALOG_RECORD_JSON_H

#include "catalog/context.h"
#include "catalog/disk.h"
#include "catalog/job.h"
#include "catalog/snapshot.h"
#include "catalog/stats.h"

#include <jansson.h>

json_t *context_to_json(const struct context_row *row);
json_t *disk_to_json(const struct disk_row *row);
json_t *job_to_json(const struct job_row *row);
json_t *chain_to_json(const struct chain_row *row);
json_t *snapshot_to_json(const struct snapshot_row *row);
json_t *stats_to_json(const struct catalog_stats *stats);

// A whole job record: job_to_json() and "disks": its per-disk rows.
int job_record_json(struct catalog_conn *conn, int64_t job_id, json_t **ret_json,
                    struct error *err);

// Pretty-printed (indent 2, order of insertion) with a final newline; the caller frees it. NULL:
// out of memory.
char *record_json_text(const json_t *json);

#endif
