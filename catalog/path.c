// SPDX-License-Identifier: MIT
//
// Resolves the names users write to rows, from left to right. Takes one view of the catalog: the
// caller's lease.
#include "catalog/path.h"

#include <string.h>

#define PARTS_MAX 4
#define PATH_TEXT_MAX (PARTS_MAX * NAME_SIZE)

struct parts {
    char text[PATH_TEXT_MAX + 1];
    const char *part[PARTS_MAX];
    int count;
};

static int malformed(const char *text, struct error *err)
{
    return error_set(err, -EINVAL, "'%.*s' is not of the form VM/DISK/CHAIN/SNAPSHOT",
                     PATH_TEXT_MAX, text);
}

// Cuts at slashes; empty parts are kept, for name_check() to refuse.
static int split(const char *text, struct parts *parts, struct error *err)
{
    static const char prefix[] = "vms/";
    const char *rest = text;
    if (strncmp(rest, prefix, sizeof(prefix) - 1) == 0)
        rest += sizeof(prefix) - 1;
    size_t len = strlen(rest);
    if (len > 0 && rest[len - 1] == '/')
        len--;
    if (len == 0 || len > PATH_TEXT_MAX)
        return malformed(text, err);
    memcpy(parts->text, rest, len);
    parts->text[len] = '\0';
    parts->count = 0;
    char *cursor = parts->text, *part;
    while ((part = strsep(&cursor, "/")) != NULL) {
        if (parts->count == PARTS_MAX)
            return malformed(text, err);
        parts->part[parts->count++] = part;
    }
    return 0;
}

static int resolve_context(struct catalog_conn *conn, const char *name, struct catalog_path *path,
                           struct error *err)
{
    int rc = name_check("VM", name, err);
    if (rc == 0)
        rc = context_find(conn, name, &path->context, err);
    if (rc == 0)
        path->depth = PATH_CONTEXT;
    return rc;
}

static int resolve_disk(struct catalog_conn *conn, const char *name, struct catalog_path *path,
                        struct error *err)
{
    int rc = name_check("disk", name, err);
    if (rc == 0)
        rc = disk_find(conn, path->context.id, name, &path->disk, err);
    if (rc == 0)
        path->depth = PATH_DISK;
    return rc;
}

static int resolve_latest(struct catalog_conn *conn, struct catalog_path *path, struct error *err)
{
    int rc = snapshot_find_latest(conn, path->disk.id, &path->snapshot, err);
    if (rc == 0)
        rc = chain_get(conn, path->snapshot.chain_id, &path->chain, err);
    if (rc == 0)
        path->depth = PATH_SNAPSHOT;
    return rc;
}

static int resolve_chain(struct catalog_conn *conn, const char *name, struct catalog_path *path,
                         struct error *err)
{
    if (strcmp(name, "latest") == 0)
        return resolve_latest(conn, path, err);
    int64_t number = chain_number_from_name(name);
    if (number > 0) {
        int rc = chain_find(conn, path->disk.id, number, &path->chain, err);
        if (rc == 0)
            path->depth = PATH_CHAIN;
        return rc;
    }
    // "chain-2" is well formed, but no chain is called so: name_check() would call it reserved.
    int rc = strncmp(name, "chain-", 6) == 0 ? 0 : name_check("chain", name, err);
    return rc < 0 ? rc
                  : error_set(err, -ENOENT, "no chain named %s in %s/%s", name, path->context.name,
                              path->disk.name);
}

static int resolve_snapshot(struct catalog_conn *conn, const char *name, struct catalog_path *path,
                            struct error *err)
{
    if (path->depth != PATH_CHAIN)
        return error_set(err, -EINVAL, "nothing can be named behind 'latest'");
    int rc = name_check("snapshot", name, err);
    if (rc == 0)
        rc = snapshot_find(conn, path->chain.id, name, &path->snapshot, err);
    if (rc == 0)
        path->depth = PATH_SNAPSHOT;
    return rc;
}

int catalog_path_resolve(struct catalog_conn *conn, const char *text, struct catalog_path *ret_path,
                         struct error *err)
{
    static int (*const resolve[PARTS_MAX])(struct catalog_conn *, const char *,
                                           struct catalog_path *, struct error *) = {
        resolve_context, resolve_disk, resolve_chain, resolve_snapshot};
    struct parts parts;
    int rc = split(text, &parts, err);
    struct catalog_path path = {0};
    for (int i = 0; rc == 0 && i < parts.count; i++)
        rc = resolve[i](conn, parts.part[i], &path, err);
    if (rc == 0)
        *ret_path = path;
    return rc;
}
