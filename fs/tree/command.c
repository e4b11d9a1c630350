// SPDX-License-Identifier: MIT
//
// The meaning of trigger files; see command.h.
#include "fs/tree/command.h"

#include "catalog/path.h"
#include "fs/tree/tree_state.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The kind of upkeep that the trigger starts.
static enum job_kind upkeep_of(enum node_kind kind)
{
    switch (kind) {
    case NODE_CONTROL_CHECK:
        return JOB_CHECK;
    case NODE_CONTROL_GC:
        return JOB_GC;
    case NODE_CONTROL_VERIFY:
    case NODE_SNAPSHOT_VERIFY:
        return JOB_VERIFY;
    default:
        return JOB_KIND_UNKNOWN;
    }
}

bool command_has_default(enum node_kind kind)
{
    return kind == NODE_VM_BACKUP || kind == NODE_DISK_BACKUP || kind == NODE_JOB_CANCEL ||
           kind == NODE_CONTROL_PRUNE || upkeep_of(kind) != JOB_KIND_UNKNOWN;
}

// --- refusing early

static int count_disk(const struct disk_row *row, void *arg, struct error *err)
{
    (void)row;
    (void)err;
    ++*(int *)arg;
    return 0;
}

static int check_row(struct catalog_conn *conn, struct node node, const union node_row *row,
                     struct error *err)
{
    int disks = 0;

    switch (node.kind) {
    case NODE_VM_BACKUP:
        if (disk_each(conn, node.id, count_disk, &disks, err) < 0)
            return err->code;
        if (disks == 0)
            return error_set(err, -ENOENT, "VM %s has no disks; mkdir vms/%s/DISK adds one",
                             row->context.name, row->context.name);
        return 0;
    case NODE_DISK_BACKUP:
        if (row->disk.source[0] == '\0')
            return error_set(err, -ENOENT,
                             "disk %s/%s has no source yet; write its path to the file source",
                             row->disk.context_name, row->disk.name);
        return 0;
    case NODE_JOB_CANCEL:
        if (job_state_is_ended(row->job.state))
            return error_set(err, -EALREADY, "job %" PRId64 " has ended already: %s", row->job.id,
                             job_state_to_word(row->job.state));
        return 0;
    default:
        return 0;
    }
}

int command_check(struct tree *tree, struct node node, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    union node_row row;

    if (atomic_load(&tree->closing))
        return error_set(err, -EROFS, "the repository is being unmounted");
    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    r = node_load(conn, node, &row, err);
    return r < 0 ? r : check_row(conn, node, &row, err);
}

// --- running

static int run_backup(struct tree *tree, struct node node, const char *words, size_t len,
                      int64_t *ret_job_id, struct error *err)
{
    AUTO_FREE struct backup_request *request = calloc(1, sizeof(*request));
    struct disk_row disk;

    if (!request)
        return error_set(err, -ENOMEM, "out of memory");
    int r = backup_request_parse(words, len, request, err);
    if (r < 0)
        return r;
    request->context_id = node.id;
    if (node.kind == NODE_DISK_BACKUP) {
        AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
        r = tree_read_begin(tree, &conn, err);
        if (r < 0)
            return r;
        r = disk_get(conn, node.id, &disk, err);
        if (r < 0)
            return r;
        request->context_id = disk.context_id;
        request->disk_id = disk.id;
    }
    return engine_request_backup(tree->engine, request, ret_job_id, NULL, err);
}

static int run_restore(struct tree *tree, struct node node, const char *line, size_t len,
                       int64_t *ret_job_id, struct error *err)
{
    AUTO_FREE struct restore_request *request = calloc(1, sizeof(*request));

    if (!request)
        return error_set(err, -ENOMEM, "out of memory");
    int r = restore_request_parse(line, len, request, err);
    if (r < 0)
        return r;
    request->snapshot_id = node.id;
    return engine_request_restore(tree->engine, request, ret_job_id, err);
}

static int run_source(struct tree *tree, struct node node, const char *line, size_t len,
                      struct error *err)
{
    AUTO_FREE char *source = strndup(line, len);
    if (!source)
        return error_set(err, -ENOMEM, "out of memory");
    return engine_set_source(tree->engine, node.id, source, err);
}

static int run_protected(struct tree *tree, struct node node, const char *word, size_t len,
                         struct error *err)
{
    if (len != 1 || (*word != '0' && *word != '1'))
        return error_set(err, -EINVAL,
                         "write 1 to keep the snapshot from being forgotten, 0 to allow it");
    return engine_set_protected(tree->engine, node.id, *word == '1', err);
}

static int run_cancel(struct tree *tree, struct node node, size_t len, int64_t *ret_job_id,
                      struct error *err)
{
    if (len != 0)
        return error_set(err, -EINVAL, "cancel takes no words: touch it");
    int r = engine_cancel_job(tree->engine, node.id, err);
    if (r == 0)
        *ret_job_id = node.id;
    return r;
}

struct vm_ids {
    int64_t *ids;
    size_t count;
};

static int note_vm(const struct context_row *row, void *arg, struct error *err)
{
    struct vm_ids *vms = arg;
    int64_t *grown = reallocarray(vms->ids, vms->count + 1, sizeof(*vms->ids));

    if (!grown)
        return error_set(err, -ENOMEM, "out of memory");
    vms->ids = grown;
    vms->ids[vms->count++] = row->id;
    return 0;
}

static int list_vms(struct tree *tree, struct vm_ids *vms, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = tree_read_begin(tree, &conn, err);
    return r < 0 ? r : context_each(conn, note_vm, vms, err);
}

// A job for each VM: what a job does is of one VM. The last one is the one that is told.
static int prune_every_vm(struct tree *tree, struct prune_request *request, int64_t *ret_job_id,
                          struct error *err)
{
    struct vm_ids vms = {0};
    int r = list_vms(tree, &vms, err);

    for (size_t i = 0; r == 0 && i < vms.count; i++) {
        request->context_id = vms.ids[i];
        r = engine_request_prune(tree->engine, request, ret_job_id, NULL, err);
        if (r == -ENOENT) { // removed since
            error_clear(err);
            r = 0;
        }
    }
    free(vms.ids);
    return r;
}

static int find_pruned(struct tree *tree, const char *name, struct prune_request *request,
                       struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    AUTO_FREE struct catalog_path *path = calloc(1, sizeof(*path));
    int r = path ? tree_read_begin(tree, &conn, err) : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = catalog_path_resolve(conn, name, path, err);
    if (r == -ENOENT && strcmp(name, "dry-run") == 0) { // a word of control/gc, and no VM's name
        error_clear(err);
        r = error_set(err, -EINVAL,
                      "a dry run is made by the command: backtree prune REPO --dry-run");
    }
    if (r == 0 && path->depth > PATH_DISK)
        r = error_set(err, -EINVAL, "name a VM or a disk");
    if (r < 0)
        return r;
    request->context_id = path->context.id;
    request->disk_id = path->disk.id;
    return 0;
}

static int run_prune(struct tree *tree, const char *words, size_t len, int64_t *ret_job_id,
                     struct error *err)
{
    struct prune_request request = {0};
    char name[PRUNE_NAME_SIZE];

    int r = prune_request_parse(words, len, name, &request, err);
    if (r == 0 && name[0] == '\0')
        return prune_every_vm(tree, &request, ret_job_id, err);
    if (r == 0)
        r = find_pruned(tree, name, &request, err);
    return r < 0 ? r : engine_request_prune(tree->engine, &request, ret_job_id, NULL, err);
}

static bool is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isspace((unsigned char)text[i]))
            return false;
    }
    return true;
}

// A file read and written back must mean what it meant: the comment below the policy is dropped.
static void drop_comment(const char *words, size_t *len)
{
    while (*len > 0 && words[*len - 1] == '\n')
        --*len;
    const char *comment = memmem(words, *len, "\n#", 2);
    if (comment && !memchr(comment + 1, '\n', *len - (size_t)(comment + 1 - words) - 1))
        *len = (size_t)(comment - words);
}

// Takes newlines off the end, and a line of blanks for nothing. One command is one line of text.
static int trim(const char *words, size_t *len, struct error *err)
{
    while (*len > 0 && words[*len - 1] == '\n')
        --*len;
    if (is_blank(words, *len))
        *len = 0;
    if (memchr(words, '\n', *len))
        return error_set(err, -EINVAL, "one open-to-close is one command: more than one line");
    if (memchr(words, '\0', *len))
        return error_set(err, -EINVAL, "the command holds a NUL byte");
    return 0;
}

int command_run(struct tree *tree, struct node node, const char *words, size_t len,
                int64_t *ret_job_id, struct error *err)
{
    int64_t job_id = 0;

    if (atomic_load(&tree->closing))
        return error_set(err, -EROFS, "the repository is being unmounted");
    if (node.kind == NODE_VM_RETENTION)
        drop_comment(words, &len);
    int r = trim(words, &len, err);
    if (r < 0)
        return r;
    switch (node.kind) {
    case NODE_VM_BACKUP:
    case NODE_DISK_BACKUP:
        r = run_backup(tree, node, words, len, &job_id, err);
        break;
    case NODE_SNAPSHOT_RESTORE:
        r = run_restore(tree, node, words, len, &job_id, err);
        break;
    case NODE_DISK_SOURCE:
        r = run_source(tree, node, words, len, err);
        break;
    case NODE_SNAPSHOT_PROTECTED:
        r = run_protected(tree, node, words, len, err);
        break;
    case NODE_JOB_CANCEL:
        r = run_cancel(tree, node, len, &job_id, err);
        break;
    case NODE_VM_RETENTION:
        r = engine_set_retention(tree->engine, node.id, words, len, err);
        break;
    case NODE_CONTROL_PRUNE:
        r = run_prune(tree, words, len, &job_id, err);
        break;
    case NODE_CONTROL_CHECK:
    case NODE_CONTROL_VERIFY:
    case NODE_CONTROL_GC:
    case NODE_SNAPSHOT_VERIFY:
        r = engine_request_upkeep(tree->engine, upkeep_of(node.kind), words, len, node.id, &job_id,
                                  NULL, err);
        break;
    default:
        r = error_set(err, -EPERM, "this file takes no commands");
        break;
    }
    if (r == 0)
        *ret_job_id = job_id;
    return r;
}

// --- reading

static int note_job(const struct job_row *row, void *arg, struct error *err)
{
    (void)err;
    *(struct job_row *)arg = *row;
    return 0;
}

static int find_newest(struct catalog_conn *conn, enum job_kind kind, int64_t *ret_job_id,
                       enum job_state *ret_state, struct error *err)
{
    struct job_filter filter = {.kind = kind, .limit = 1};
    struct job_row newest = {0};

    int r = job_each(conn, &filter, note_job, &newest, err);
    if (r < 0)
        return r;
    *ret_job_id = newest.id;
    *ret_state = newest.state;
    return 0;
}

// The job a trigger last stood for; *ret_job_id 0 when there is none.
static int find_job(struct catalog_conn *conn, struct node node, const union node_row *row,
                    int64_t job_id, int64_t *ret_job_id, enum job_state *ret_state,
                    struct error *err)
{
    struct job_row job;
    int r;

    if (job_id != 0)
        r = job_get(conn, job_id, &job, err);
    else if (node.kind == NODE_SNAPSHOT_RESTORE)
        r = job_find_newest_of_snapshot(conn, JOB_RESTORE, node.id, &job, NULL);
    else if (node.kind == NODE_CONTROL_PRUNE)
        return find_newest(conn, JOB_PRUNE, ret_job_id, ret_state, err);
    else if (node.kind == NODE_SNAPSHOT_VERIFY)
        r = job_find_newest_of_snapshot(conn, JOB_VERIFY, node.id, &job, NULL);
    else if (upkeep_of(node.kind))
        return find_newest(conn, upkeep_of(node.kind), ret_job_id, ret_state, err);
    else if (node.kind == NODE_DISK_BACKUP)
        r = job_find_newest_backup(conn, row->disk.context_id, node.id, &job, NULL);
    else
        r = job_find_newest_backup(conn, node.id, 0, &job, NULL);
    if (r == -ENOENT && job_id == 0) {
        *ret_job_id = 0;
        return 0;
    }
    if (r < 0)
        return error_set_errno(err, r, "cannot find the job of this trigger");
    *ret_job_id = job.id;
    *ret_state = job.state;
    return 0;
}

static int print_job(struct catalog_conn *conn, struct node node, const union node_row *row,
                     int64_t job_id, char **ret_text, struct error *err)
{
    enum job_state state = JOB_STATE_UNKNOWN;
    int64_t found = 0;
    char *text;

    int r = find_job(conn, node, row, job_id, &found, &state, err);
    if (r < 0)
        return r;
    if (found == 0)
        r = asprintf(&text, "%s", "");
    else
        r = asprintf(&text, "%" PRId64 " %s\n", found, job_state_to_word(state));
    if (r < 0)
        return error_set(err, -ENOMEM, "out of memory");
    *ret_text = text;
    return 0;
}

static int print_retention(const struct context_row *context, char **ret_text, struct error *err)
{
    const char *whose = context->own_retention
                            ? "of this VM; write default to follow the repository's again"
                            : "the repository's default";
    if (asprintf(ret_text, "%s\n# %s\n", context->retention, whose) < 0) {
        *ret_text = NULL;
        return error_set(err, -ENOMEM, "out of memory");
    }
    return 0;
}

int command_text(struct tree *tree, struct node node, int64_t job_id, char **ret_text,
                 struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    union node_row row;
    const char *line;
    char *text;

    int r = tree_read_begin(tree, &conn, err);
    if (r < 0)
        return r;
    r = node_load(conn, node, &row, err);
    if (r < 0)
        return r;
    switch (node.kind) {
    case NODE_DISK_SOURCE:
        line = row.disk.source;
        break;
    case NODE_SNAPSHOT_PROTECTED:
        line = row.snapshot.protected ? "1" : "0";
        break;
    case NODE_JOB_CANCEL:
        line = job_state_to_word(row.job.state);
        break;
    case NODE_VM_RETENTION:
        return print_retention(&row.context, ret_text, err);
    default:
        return print_job(conn, node, &row, job_id, ret_text, err);
    }
    if (asprintf(&text, "%s%s", line, *line ? "\n" : "") < 0)
        return error_set(err, -ENOMEM, "out of memory");
    *ret_text = text;
    return 0;
}
