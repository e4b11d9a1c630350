// SPDX-License-Identifier: MIT
//
// Rows to JSON. Owns the keys; decides nothing else. An object that could not be built whole is
// dropped: half a record is worse than none.
#include "catalog/record_json.h"

#include "base/clock.h"
#include "base/json_text.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

// An object under construction; `failed` once a value could not be made or added.
struct object {
    json_t *json;
    bool failed;
};

static struct object object_begin(void)
{
    json_t *json = json_object();
    return (struct object){json, json == NULL};
}

static json_t *object_end(struct object *object)
{
    if (object->failed) {
        json_decref(object->json);
        return NULL;
    }
    return object->json;
}

// Takes `value`; NULL is a value that could not be made.
static void put(struct object *object, const char *key, json_t *value)
{
    if (json_object_set_new(object->json, key, value) < 0)
        object->failed = true;
}

// --- text: JSON is UTF-8, paths are bytes

// Length of the UTF-8 sequence at `p`, 0 when there is none. A final NUL ends every wrong one.
static size_t sequence_length(const unsigned char *p)
{
    static const struct {
        unsigned char mask, lead;
        unsigned char second_min, second_max; // where overlong and surrogate forms are shut out
        size_t length;
    } forms[] = {
        {0x80, 0x00, 0x00, 0xff, 1}, {0xff, 0xe0, 0xa0, 0xbf, 3}, {0xff, 0xed, 0x80, 0x9f, 3},
        {0xff, 0xf0, 0x90, 0xbf, 4}, {0xff, 0xf4, 0x80, 0x8f, 4}, {0xe0, 0xc0, 0x80, 0xbf, 2},
        {0xf0, 0xe0, 0x80, 0xbf, 3}, {0xf8, 0xf0, 0x80, 0xbf, 4},
    };
    // 0xc0 and 0xc1 only begin overlong forms, what is above 0xf4 is past U+10FFFF.
    if (p[0] == 0xc0 || p[0] == 0xc1 || p[0] > 0xf4)
        return 0;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if ((p[0] & forms[i].mask) != forms[i].lead)
            continue;
        size_t length = forms[i].length;
        if (length > 1 && (p[1] < forms[i].second_min || p[1] > forms[i].second_max))
            return 0;
        for (size_t n = 2; n < length; n++) {
            if ((p[n] & 0xc0) != 0x80)
                return 0;
        }
        return length;
    }
    return 0;
}

static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    AUTO(text_discard) struct text clean = {0};
    FILE *out = text_begin(&clean);
    if (!out)
        return NULL;
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t length = sequence_length(p);
        if (length > 0)
            fwrite(p, 1, length, out);
        else
            fputs("\xef\xbf\xbd", out); // U+FFFD
        p += length > 0 ? length : 1;
    }
    return text_end(&clean) ? json_string(clean.data) : NULL;
}

static void put_text(struct object *object, const char *key, const char *text)
{
    put(object, key, text_value(text));
}

static void put_text_or_null(struct object *object, const char *key, const char *text)
{
    put(object, key, text[0] ? text_value(text) : json_null());
}

static void put_int(struct object *object, const char *key, int64_t value)
{
    put(object, key, json_integer(value));
}

static void put_size(struct object *object, const char *key, uint64_t value)
{
    put(object, key, json_integer((json_int_t)value)); // the catalog holds none past INT64_MAX
}

static void put_time(struct object *object, const char *key, int64_t when)
{
    char text[CLOCK_ISO_SIZE];
    put_text_or_null(object, key, clock_to_iso(when, text));
}

// "a,b" as ["a", "b"].
static void put_tags(struct object *object, const char *key, const char *tags)
{
    json_t *array = json_array();
    for (const char *p = tags; array && *p;) {
        size_t len = strcspn(p, ",");
        if (len > 0 && json_array_append_new(array, json_stringn(p, len)) < 0)
            object->failed = true;
        p += len + (p[len] == ',');
    }
    put(object, key, array);
}

// --- records

json_t *context_to_json(const struct context_row *row)
{
    struct object object = object_begin();
    put_text(&object, "vm", row->name);
    put_text(&object, "uuid", row->uuid);
    put_time(&object, "created_at", row->created_at);
    put_int(&object, "runs", row->runs);
    put_int(&object, "successes", row->successes);
    put_int(&object, "failures", row->failures);
    put_int(&object, "cancellations", row->cancellations);
    put_time(&object, "last_success_at", row->last_success_at);
    put_time(&object, "last_run_at", row->last_run_at);
    put_text(&object, "retention", row->retention);
    put(&object, "retention_default", json_boolean(!row->own_retention));
    return object_end(&object);
}

json_t *disk_to_json(const struct disk_row *row)
{
    struct object object = object_begin();
    put_text(&object, "vm", row->context_name);
    put_text(&object, "disk", row->name);
    put_text(&object, "uuid", row->uuid);
    put_text_or_null(&object, "source", row->source);
    put_size(&object, "capacity", row->capacity);
    put_size(&object, "chunk_size", row->chunk_size);
    put_text_or_null(&object, "change_id", row->change_id);
    put_time(&object, "created_at", row->created_at);
    put_int(&object, "snapshots", row->snapshots);
    return object_end(&object);
}

static json_t *restore_to_json(const struct job_row *row)
{
    struct object object = object_begin();
    put_text_or_null(&object, "snapshot", row->restore_snapshot);
    put_text(&object, "target", row->restore_target);
    put(&object, "safety", json_boolean(row->restore_safety));
    put(&object, "safety_job",
        row->restore_safety_job ? json_integer(row->restore_safety_job) : json_null());
    put_size(&object, "compared_bytes", row->restore_compared);
    put_size(&object, "written_bytes", row->restore_written);
    put_size(&object, "verified_bytes", row->restore_verified);
    return object_end(&object);
}

static json_t *prune_to_json(const struct job_row *row)
{
    struct object object = object_begin();
    put_text_or_null(&object, "policy", row->prune_policy);
    put_int(&object, "kept", row->prune_kept);
    put_int(&object, "forgotten", row->prune_forgotten);
    put_int(&object, "skipped", row->prune_skipped);
    return object_end(&object);
}

json_t *job_to_json(const struct job_row *row)
{
    struct object object = object_begin();
    put_int(&object, "job", row->id);
    put_text(&object, "uuid", row->uuid);
    put_text(&object, "kind", job_kind_to_word(row->kind));
    put_text(&object, "state", job_state_to_word(row->state));
    put_text(&object, "trigger", job_trigger_to_word(row->trigger));
    put_text_or_null(&object, "mode", row->mode ? backup_mode_to_word(row->mode) : "");
    put_text_or_null(&object, "vm", row->context_name);
    put_text_or_null(&object, "disk", row->disk_name);
    put_tags(&object, "tags", row->tags);
    put_time(&object, "created_at", row->created_at);
    put_time(&object, "started_at", row->started_at);
    put_time(&object, "finished_at", row->finished_at);
    put_size(&object, "done_bytes", row->done_bytes);
    put_size(&object, "total_bytes", row->total_bytes);
    put_text_or_null(&object, "reason", row->reason);
    put(&object, "damage", json_boolean(row->damage));
    if (row->kind == JOB_BACKUP)
        put(&object, "verify_after", json_boolean(row->verify_after));
    if (row->kind == JOB_RESTORE)
        put(&object, "restore", restore_to_json(row));
    if (row->kind == JOB_PRUNE)
        put(&object, "prune", prune_to_json(row));
    if (job_kind_is_upkeep(row->kind))
        put_text(&object, "words", row->upkeep_words);
    return object_end(&object);
}

json_t *chain_to_json(const struct chain_row *row)
{
    struct object object = object_begin();
    char name[SNAPSHOT_NAME_SIZE];
    put_text(&object, "chain", chain_name(row->number, name));
    put_text(&object, "uuid", row->uuid);
    put_int(&object, "number", row->number);
    put_text(&object, "source", row->source);
    put_size(&object, "capacity", row->capacity);
    put_size(&object, "chunk_size", row->chunk_size);
    put(&object, "safety", json_boolean(row->foreign));
    put_time(&object, "created_at", row->created_at);
    put_time(&object, "changed_at", row->changed_at);
    put_int(&object, "snapshots", row->snapshots);
    put_size(&object, "new_bytes", row->new_bytes);
    return object_end(&object);
}

// Where it stands in the tree; nulls for a row that never became a snapshot.
static void put_place(struct object *object, const struct snapshot_row *row)
{
    if (row->state != JOB_COMPLETED) {
        put(object, "name", json_null());
        put(object, "path", json_null());
        return;
    }
    char name[SNAPSHOT_NAME_SIZE], chain[SNAPSHOT_NAME_SIZE];
    char path[2 * NAME_SIZE + 2 * SNAPSHOT_NAME_SIZE];
    snprintf(path, sizeof(path), "%s/%s/%s/%s", row->context_name, row->disk_name,
             chain_name(row->chain_number, chain), snapshot_name(row, name));
    put_text(object, "name", name);
    put_text(object, "path", path);
}

static void put_content(struct object *object, const struct snapshot_row *row)
{
    bool completed = row->state == JOB_COMPLETED;
    char hex[DIGEST_HEX_SIZE];
    put_size(object, "capacity", row->capacity);
    put_size(object, "chunk_size", row->chunk_size);
    put_text_or_null(object, "digest", completed ? digest_to_hex(&row->digest, hex) : "");
    put_text_or_null(object, "change_id", row->change_id);
    put_size(object, "data_bytes", row->data_bytes);
    put_size(object, "read_bytes", row->read_bytes);
    put_size(object, "changed_bytes", row->changed_bytes);
    put_size(object, "new_bytes", row->new_bytes);
}

json_t *snapshot_to_json(const struct snapshot_row *row)
{
    struct object object = object_begin();
    bool completed = row->state == JOB_COMPLETED;
    char chain[SNAPSHOT_NAME_SIZE];
    put_place(&object, row);
    put_text_or_null(&object, "uuid", row->uuid);
    put_text(&object, "vm", row->context_name);
    put_text(&object, "disk", row->disk_name);
    put_text_or_null(&object, "chain", completed ? chain_name(row->chain_number, chain) : "");
    put(&object, "number", completed ? json_integer(row->number) : json_null());
    put_text_or_null(&object, "kind", completed ? snapshot_kind_to_word(row->kind) : "");
    put_text(&object, "state", job_state_to_word(row->state));
    put_text_or_null(&object, "reason", row->reason);
    put_text_or_null(&object, "parent", row->parent_name);
    put_int(&object, "job", row->job_id);
    put_text(&object, "trigger", job_trigger_to_word(row->trigger));
    put_tags(&object, "tags", row->tags);
    put_time(&object, "taken_at", row->taken_at);
    put_time(&object, "started_at", row->started_at);
    put_time(&object, "finished_at", row->finished_at);
    put_content(&object, row);
    put(&object, "protected", json_boolean(row->protected));
    put_time(&object, "forgotten_at", row->forgotten_at);
    put(&object, "damaged", json_boolean(row->damaged));
    put_time(&object, "verified_at", row->verified_at);
    return object_end(&object);
}

json_t *stats_to_json(const struct catalog_stats *stats)
{
    struct object object = object_begin();
    struct object jobs = object_begin();
    for (int state = JOB_PENDING; state <= JOB_CANCELLED; state++)
        put_int(&jobs, job_state_to_word(state), stats->jobs_by_state[state]);
    put_int(&object, "contexts", stats->contexts);
    put_int(&object, "disks", stats->disks);
    put_int(&object, "chains", stats->chains);
    put_int(&object, "snapshots", stats->snapshots);
    put(&object, "jobs", object_end(&jobs));
    put_size(&object, "logical_bytes", stats->logical_bytes);
    put_size(&object, "data_bytes", stats->data_bytes);
    put_size(&object, "unique_bytes", stats->unique_bytes);
    put_size(&object, "stored_bytes", stats->stored_bytes);
    put_int(&object, "packs", stats->packs);
    put_int(&object, "records", stats->records);
    put_int(&object, "damaged_snapshots", stats->damaged_snapshots);
    put_int(&object, "lost_records", stats->lost_records);
    put_int(&object, "unverified_snapshots", stats->unverified_snapshots);
    put_size(&object, "unverified_bytes", stats->unverified_bytes);
    put_time(&object, "last_verified_at", stats->last_verified_at);
    put_time(&object, "oldest_verified_at", stats->oldest_verified_at);
    put_time(&object, "last_success_at", stats->last_success_at);
    return object_end(&object);
}

static int append_disk(const struct snapshot_row *row, void *arg, struct error *err)
{
    json_t *array = arg;
    if (json_array_append_new(array, snapshot_to_json(row)) < 0)
        return error_set(err, -ENOMEM, "job %lld as JSON: out of memory", (long long)row->job_id);
    return 0;
}

static int put_figure(const char *name, int64_t value, void *arg, struct error *err)
{
    (void)err;
    put_int(arg, name, value);
    return 0;
}

// Only jobs that leave figures have them.
static int put_figures(struct object *job, struct catalog_conn *conn, int64_t job_id,
                       struct error *err)
{
    struct object figures = object_begin();
    int rc = job_figure_each(conn, job_id, put_figure, &figures, err);
    if (rc < 0 || (figures.json && json_object_size(figures.json) == 0)) {
        json_decref(figures.json);
        return rc;
    }
    put(job, "figures", object_end(&figures));
    return 0;
}

int job_record_json(struct catalog_conn *conn, int64_t job_id, json_t **ret_json, struct error *err)
{
    struct job_row row;
    int rc = job_get(conn, job_id, &row, err);
    if (rc < 0)
        return rc;
    json_t *disks = json_array();
    struct snapshot_filter filter = {.job_id = job_id, .every_row = true};
    rc = disks ? snapshot_each(conn, &filter, append_disk, disks, err) : 0;
    if (rc < 0) {
        json_decref(disks);
        return rc;
    }
    struct object object = {job_to_json(&row), false};
    put(&object, "disks", disks);
    rc = put_figures(&object, conn, job_id, err);
    if (rc < 0) {
        json_decref(object.json);
        return rc;
    }
    json_t *json = object_end(&object);
    if (!json)
        return error_set(err, -ENOMEM, "job %lld as JSON: out of memory", (long long)job_id);
    *ret_json = json;
    return 0;
}

char *record_json_text(const json_t *json)
{
    AUTO_FREE char *text = json_text_dump(json, JSON_INDENT(2));
    char *line = NULL;
    return text && asprintf(&line, "%s\n", text) >= 0 ? line : NULL;
}
