// SPDX-License-Identifier: MIT
//
// Extended attributes; see xattr.h.
#include "fs/tree/xattr.h"

#include "base/clock.h"
#include "fs/tree/tree_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "user.backtree."
#define VALUE_SIZE SOURCE_TEXT_SIZE

enum field {
    FIELD_UNKNOWN,
    FIELD_REPOSITORY,
    FIELD_STATE,
    FIELD_KIND,
    FIELD_TRIGGER,
    FIELD_NUMBER,
    FIELD_PARENT,
    FIELD_JOB,
    FIELD_NEW_BYTES,
    FIELD_DIGEST,
    FIELD_CHANGE_ID,
    FIELD_TAKEN_AT,
    FIELD_DAMAGED,
    FIELD_VERIFIED_AT,
    FIELD_SOURCE,
    FIELD_CAPACITY,
    FIELD_RUNS,
    FIELD_SUCCESSES,
    FIELD_LAST_SUCCESS,
};

static const struct {
    enum node_kind kind;
    enum field field;
    const char *name;
} attributes[] = {
    {NODE_ROOT, FIELD_REPOSITORY, "repository"},
    {NODE_JOB, FIELD_STATE, "state"},
    {NODE_JOB, FIELD_KIND, "kind"},
    {NODE_JOB, FIELD_TRIGGER, "trigger"},
    {NODE_VM, FIELD_RUNS, "runs"},
    {NODE_VM, FIELD_SUCCESSES, "successes"},
    {NODE_VM, FIELD_LAST_SUCCESS, "last_success"},
    {NODE_DISK, FIELD_CHANGE_ID, "change_id"},
    {NODE_DISK, FIELD_SOURCE, "source"},
    {NODE_DISK, FIELD_CAPACITY, "capacity"},
    {NODE_SNAPSHOT, FIELD_STATE, "state"},
    {NODE_SNAPSHOT, FIELD_KIND, "kind"},
    {NODE_SNAPSHOT, FIELD_NUMBER, "number"},
    {NODE_SNAPSHOT, FIELD_PARENT, "parent"},
    {NODE_SNAPSHOT, FIELD_JOB, "job"},
    {NODE_SNAPSHOT, FIELD_NEW_BYTES, "new_bytes"},
    {NODE_SNAPSHOT, FIELD_DIGEST, "digest"},
    {NODE_SNAPSHOT, FIELD_CHANGE_ID, "change_id"},
    {NODE_SNAPSHOT, FIELD_TAKEN_AT, "taken_at"},
    {NODE_SNAPSHOT, FIELD_DAMAGED, "damaged"},
    {NODE_SNAPSHOT, FIELD_VERIFIED_AT, "verified_at"},
};

#define ATTRIBUTE_COUNT (sizeof(attributes) / sizeof(attributes[0]))

static enum field find_field(enum node_kind kind, const char *name)
{
    if (strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0)
        return FIELD_UNKNOWN;
    name += sizeof(PREFIX) - 1;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (attributes[i].kind == kind && strcmp(attributes[i].name, name) == 0)
            return attributes[i].field;
    }
    return FIELD_UNKNOWN;
}

static void put_text(char value[VALUE_SIZE], const char *text)
{
    snprintf(value, VALUE_SIZE, "%s", text);
}

static void put_number(char value[VALUE_SIZE], uint64_t number)
{
    snprintf(value, VALUE_SIZE, "%" PRIu64, number);
}

static void format_job(enum field field, const struct job_row *row, char value[VALUE_SIZE])
{
    if (field == FIELD_STATE)
        put_text(value, job_state_to_word(row->state));
    else if (field == FIELD_KIND)
        put_text(value, job_kind_to_word(row->kind));
    else if (field == FIELD_TRIGGER)
        put_text(value, job_trigger_to_word(row->trigger));
}

static void format_context(enum field field, const struct context_row *row, char value[VALUE_SIZE])
{
    char iso[CLOCK_ISO_SIZE];
    if (field == FIELD_RUNS)
        put_number(value, (uint64_t)row->runs);
    else if (field == FIELD_SUCCESSES)
        put_number(value, (uint64_t)row->successes);
    else if (field == FIELD_LAST_SUCCESS)
        put_text(value, clock_to_iso(row->last_success_at, iso));
}

static void format_disk(enum field field, const struct disk_row *row, char value[VALUE_SIZE])
{
    if (field == FIELD_CHANGE_ID)
        put_text(value, row->change_id);
    else if (field == FIELD_SOURCE)
        put_text(value, row->source);
    else if (field == FIELD_CAPACITY)
        put_number(value, row->capacity);
}

static void format_snapshot(enum field field, const struct snapshot_row *row,
                            char value[VALUE_SIZE])
{
    char iso[CLOCK_ISO_SIZE], hex[DIGEST_HEX_SIZE];

    switch (field) {
    case FIELD_STATE:
        put_text(value, job_state_to_word(row->state));
        break;
    case FIELD_KIND:
        put_text(value, snapshot_kind_to_word(row->kind));
        break;
    case FIELD_NUMBER:
        put_number(value, (uint64_t)row->number);
        break;
    case FIELD_PARENT:
        put_text(value, row->parent_name);
        break;
    case FIELD_JOB:
        put_number(value, (uint64_t)row->job_id);
        break;
    case FIELD_NEW_BYTES:
        put_number(value, row->new_bytes);
        break;
    case FIELD_DIGEST:
        put_text(value, digest_to_hex(&row->digest, hex));
        break;
    case FIELD_CHANGE_ID:
        put_text(value, row->change_id);
        break;
    case FIELD_TAKEN_AT:
        put_text(value, clock_to_iso(row->taken_at, iso));
        break;
    case FIELD_DAMAGED:
        put_number(value, row->damaged);
        break;
    case FIELD_VERIFIED_AT:
        put_text(value, clock_to_iso(row->verified_at, iso));
        break;
    default:
        break;
    }
}

static int format_value(struct tree *tree, struct node node, enum field field,
                        char value[VALUE_SIZE], struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    union node_row row;

    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    r = node_load(conn, node, &row, err);
    if (r < 0)
        return r;
    value[0] = '\0';
    switch (node.kind) {
    case NODE_ROOT:
        put_text(value, engine_repository(tree->engine)->config.uuid);
        break;
    case NODE_JOB:
        format_job(field, &row.job, value);
        break;
    case NODE_VM:
        format_context(field, &row.context, value);
        break;
    case NODE_DISK:
        format_disk(field, &row.disk, value);
        break;
    default:
        format_snapshot(field, &row.snapshot, value);
        break;
    }
    return 0;
}

// The protocol of getxattr and listxattr: size 0 asks how long it is.
static void reply_sized(fuse_req_t req, const char *value, size_t len, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(req, len);
    else if (size < len)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, value, len);
}

void xattr_get(struct tree *tree, fuse_req_t req, struct node node, const char *name, size_t size)
{
    struct error err = ERROR_INIT;
    char value[VALUE_SIZE];

    enum field field = find_field(node.kind, name);
    if (field == FIELD_UNKNOWN) {
        fuse_reply_err(req, ENODATA);
        return;
    }
    int r = format_value(tree, node, field, value, &err);
    if (r < 0)
        fuse_reply_err(req, refusal_errno(r));
    else
        reply_sized(req, value, strlen(value), size);
}

void xattr_list(fuse_req_t req, struct node node, size_t size)
{
    char names[ATTRIBUTE_COUNT * 40];
    size_t len = 0;

    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (attributes[i].kind == node.kind)
            len += (size_t)snprintf(names + len, sizeof(names) - len, PREFIX "%s",
                                    attributes[i].name) +
                   1;
    }
    reply_sized(req, names, len, size);
}
