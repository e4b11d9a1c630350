// SPDX-License-Identifier: MIT
//
// Whoever may change a repository: this process or the daemon that has it mounted.
#include "tools/owner.h"

#include "tools/command.h"
#include "tools/via_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct owner {
    struct engine *engine;    // NULL when a daemon owns the repository
    char *mountpoint;         // the daemon's tree, NULL when this process owns it
    struct repository viewer; // beside a daemon: its catalog, to look at
};

// The daemon may own the repository and not (or no longer) serve its tree: while it starts or
// stops, or in another mount namespace. Its work cannot be shared then.
static int owner_use_tree(struct owner *owner, const char *repo_dir,
                          const struct repo_lock_owner *other, struct error *err)
{
    if (other->mountpoint[0] == '\0' || via_tree_check(other->mountpoint, NULL) < 0)
        return COMMAND_BUSY; // with the lock's sentence, which names the owner
    error_clear(err);
    owner->mountpoint = strdup(other->mountpoint);
    if (!owner->mountpoint)
        return error_set_errno(err, -ENOMEM, "cannot open %s", repo_dir);
    return repository_open_viewer(repo_dir, &owner->viewer, err);
}

// True when a daemon has the repository mounted and answers: found out without asking for the lock,
// which waits a tenth of a second before it says "busy".
static bool owner_is_mounted(const char *repo_dir, struct repo_lock_owner *ret_other)
{
    bool owned = false;
    return repo_lock_inspect(repo_dir, &owned, ret_other, NULL) == 0 && owned &&
           ret_other->mountpoint[0] && via_tree_check(ret_other->mountpoint, NULL) == 0;
}

int owner_open(const char *repo_dir, const char *command, struct owner **ret_owner,
               struct error *err)
{
    AUTO(owner_close) struct owner *owner = calloc(1, sizeof(*owner));
    AUTO_FREE struct repo_lock_owner *other = calloc(1, sizeof(*other));
    if (!owner || !other)
        return error_set_errno(err, -ENOMEM, "cannot open %s", repo_dir);
    owner->viewer.lock_fd = -1;

    // The next mount runs what was left pending; this command ends with its own job.
    struct engine_options options = {.command = command, .leave_pending = true};
    struct error local = ERROR_INIT;
    int r = -EBUSY;
    if (!owner_is_mounted(repo_dir, other))
        r = engine_open(repo_dir, &options, &owner->engine, other, &local);
    if (r == -EBUSY)
        r = owner_use_tree(owner, repo_dir, other, &local);
    if (r != 0) {
        if (err)
            *err = local;
        return r;
    }
    *ret_owner = TAKE(owner, NULL);
    return 0;
}

struct owner *owner_close(struct owner *owner)
{
    if (!owner)
        return NULL;
    engine_close(owner->engine);
    repository_close(&owner->viewer);
    free(owner->mountpoint);
    free(owner);
    return NULL;
}

struct catalog *owner_catalog(struct owner *owner)
{
    return owner->engine ? engine_catalog(owner->engine) : owner->viewer.catalog;
}

bool owner_is_daemon(const struct owner *owner)
{
    return owner->engine == NULL;
}

int owner_resolve(struct owner *owner, const char *name, struct catalog_path *ret_path,
                  struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    if (r < 0)
        return r;
    return catalog_path_resolve(conn, name, ret_path, err);
}

// What `path` names, as it stands under MNT/vms.
static void owner_path_name(const struct catalog_path *path, char *name, size_t size)
{
    char chain[SNAPSHOT_NAME_SIZE], snapshot[SNAPSHOT_NAME_SIZE];
    if (path->depth == PATH_CONTEXT)
        snprintf(name, size, "%s", path->context.name);
    else if (path->depth == PATH_DISK)
        snprintf(name, size, "%s/%s", path->context.name, path->disk.name);
    else
        snprintf(name, size, "%s/%s/%s/%s", path->context.name, path->disk.name,
                 chain_name(path->chain.number, chain), snapshot_name(&path->snapshot, snapshot));
}

#define OWNER_NAME_SIZE (2 * NAME_SIZE + 2 * SNAPSHOT_NAME_SIZE)

int owner_add_vm(struct owner *owner, const char *vm, const struct engine_disk_spec *disks,
                 size_t count, struct error *err)
{
    if (owner->engine)
        return engine_add_vm(owner->engine, vm, disks, count, err);
    return via_tree_add_vm(owner->mountpoint, vm, disks, count, err);
}

struct owner_disks {
    char (*names)[NAME_SIZE];
    size_t count;
};

static int owner_note_disk(const struct disk_row *row, void *arg, struct error *err)
{
    struct owner_disks *disks = arg;
    if (row->snapshots > 0)
        return error_set(err, -ENOTEMPTY, "disk %s of VM %s still holds %" PRId64 " snapshots",
                         row->name, row->context_name, row->snapshots);
    void *grown = reallocarray(disks->names, disks->count + 1, sizeof(*disks->names));
    if (!grown)
        return error_set_errno(err, -ENOMEM, "cannot list the disks of VM %s", row->context_name);
    disks->names = grown;
    memcpy(disks->names[disks->count++], row->name, sizeof(row->name));
    return 0;
}

// The tree removes one folder at a time, so that all disks are looked at before the first goes.
static int owner_remove_disks_via_tree(struct owner *owner, const struct context_row *context,
                                       struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    struct owner_disks disks = {0};
    int r = catalog_read_begin(owner_catalog(owner), &conn, err);
    if (r == 0)
        r = disk_each(conn, context->id, owner_note_disk, &disks, err);
    for (size_t i = 0; r == 0 && i < disks.count; i++) {
        char name[OWNER_NAME_SIZE];
        snprintf(name, sizeof(name), "%s/%s", context->name, disks.names[i]);
        r = via_tree_remove(owner->mountpoint, name, err);
    }
    free(disks.names);
    return r;
}

static int owner_remove_via_tree(struct owner *owner, const struct catalog_path *path,
                                 bool with_disks, struct error *err)
{
    char name[OWNER_NAME_SIZE];
    int r = 0;
    if (path->depth == PATH_CONTEXT && with_disks)
        r = owner_remove_disks_via_tree(owner, &path->context, err);
    owner_path_name(path, name, sizeof(name));
    return r < 0 ? r : via_tree_remove(owner->mountpoint, name, err);
}

int owner_remove(struct owner *owner, const struct catalog_path *path, bool with_disks,
                 struct error *err)
{
    if (!owner->engine)
        return owner_remove_via_tree(owner, path, with_disks, err);
    if (path->depth == PATH_CONTEXT)
        return engine_remove_context(owner->engine, path->context.id, with_disks, err);
    if (path->depth == PATH_DISK)
        return engine_remove_disk(owner->engine, path->disk.id, err);
    return engine_forget_snapshot(owner->engine, path->snapshot.id, err);
}

int owner_request_backup(struct owner *owner, const struct catalog_path *path, const char *words,
                         int64_t *ret_job_id, struct error *err)
{
    if (!owner->engine) {
        char name[OWNER_NAME_SIZE];
        owner_path_name(path, name, sizeof(name));
        return via_tree_request(owner->mountpoint, name, "backup", words, ret_job_id, err);
    }
    struct backup_request request = {
        .context_id = path->context.id,
        .disk_id = path->depth == PATH_DISK ? path->disk.id : 0,
    };
    int r = backup_request_parse(words, strlen(words), &request, err);
    if (r < 0)
        return r;
    return engine_request_backup(owner->engine, &request, ret_job_id, NULL, err);
}

int owner_request_prune(struct owner *owner, const struct catalog_path *path, const char *policy,
                        int64_t *ret_job_id, struct error *err)
{
    struct prune_request request = {.context_id = path->context.id,
                                    .disk_id = path->depth == PATH_DISK ? path->disk.id : 0,
                                    .trigger = TRIGGER_MANUAL};
    if (!owner->engine) {
        char words[OWNER_NAME_SIZE + RETENTION_TEXT_SIZE], name[OWNER_NAME_SIZE];
        owner_path_name(path, name, sizeof(name));
        snprintf(words, sizeof(words), "%s %s", name, policy);
        return via_tree_control(owner->mountpoint, "prune", words, ret_job_id, err);
    }
    snprintf(request.policy, sizeof(request.policy), "%s", policy);
    return engine_request_prune(owner->engine, &request, ret_job_id, NULL, err);
}

int owner_request_upkeep(struct owner *owner, enum job_kind kind, const char *words,
                         int64_t *ret_job_id, struct error *err)
{
    if (!owner->engine)
        return via_tree_control(owner->mountpoint, job_kind_to_word(kind), words, ret_job_id, err);
    return engine_request_upkeep(owner->engine, kind, words, strlen(words), 0, ret_job_id, NULL,
                                 err);
}

int owner_set_retention(struct owner *owner, const struct catalog_path *path, const char *policy,
                        struct error *err)
{
    if (!owner->engine)
        return via_tree_set(owner->mountpoint, path->context.name, "retention", policy, err);
    return engine_set_retention(owner->engine, path->context.id, policy, strlen(policy), err);
}

int owner_request_restore(struct owner *owner, const struct catalog_path *path, const char *line,
                          int64_t *ret_job_id, struct error *err)
{
    if (!owner->engine) {
        char name[OWNER_NAME_SIZE];
        owner_path_name(path, name, sizeof(name));
        return via_tree_request(owner->mountpoint, name, "restore", line, ret_job_id, err);
    }
    struct restore_request request = {.snapshot_id = path->snapshot.id};
    int r = restore_request_parse(line, strlen(line), &request, err);
    if (r < 0)
        return r;
    return engine_request_restore(owner->engine, &request, ret_job_id, err);
}

int owner_job_progress(struct owner *owner, int64_t job_id, struct job_progress *ret_progress,
                       struct error *err)
{
    if (owner->engine)
        return engine_job_progress(owner->engine, job_id, ret_progress, err);
    return via_tree_job_progress(owner->mountpoint, job_id, ret_progress, err);
}

int owner_wait_job(struct owner *owner, int64_t job_id, int timeout_ms, enum job_state *ret_state,
                   struct error *err)
{
    if (owner->engine)
        return engine_wait_job(owner->engine, job_id, timeout_ms, ret_state, err);
    return via_tree_wait_job(owner->mountpoint, job_id, timeout_ms, ret_state, err);
}

int owner_cancel_job(struct owner *owner, int64_t job_id, struct error *err)
{
    if (owner->engine)
        return engine_cancel_job(owner->engine, job_id, err);
    return via_tree_cancel_job(owner->mountpoint, job_id, err);
}
