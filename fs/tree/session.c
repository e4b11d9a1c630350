// SPDX-License-Identifier: MIT
//
// tree_mount(): from a repository and a folder to a mount that answers, and back.
//
// Up: check the mountpoint, fork, forbid sources on it, open the engine, mount, listen, start the
// watcher, serve. Down, whoever began it (umount, a signal, a lost connection): the loop has ended,
// so no handler runs; the listener is taken away, so no engine thread is in the tree; waiting reads
// are answered while the descriptor they came by is still open; the watcher ends; the mount goes;
// then the engine is closed, which gives the repository's lock back last of all.
//
// The loop runs on the calling thread and libfuse's own; the watcher's is the only other thread
// here.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/source/source.h"
#include "fs/tree/daemon.h"
#include "fs/tree/mount_point.h"
#include "fs/tree/operations.h"
#include "fs/tree/tree.h"
#include "fs/tree/tree_state.h"
#include "fs/tree/watcher.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Reads of `wait` hold no thread, so these are requests being worked on.
#define LOOP_THREADS 16

struct place {
    char repo_dir[PATH_MAX];
    char mountpoint[PATH_MAX];
};

// --- libfuse's messages

// The last complaint, for the sentence of a failed mount. Only the mounting thread reads it.
static _Thread_local char last_complaint[256];

__attribute__((format(printf, 2, 0))) static void log_fuse(enum fuse_log_level level,
                                                           const char *fmt, va_list args)
{
    char text[sizeof(last_complaint)];

    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    memcpy(last_complaint, text, sizeof(text));
    if (level <= FUSE_LOG_ERR)
        log_warning("libfuse: %s", text);
    else
        log_debug("libfuse: %s", text);
}

// What libfuse refused, by its last complaint (`otherwise` when it made none). Want of memory it
// only complains of in its own words, or leaves in errno.
static int refused(struct error *err, int code, const char *what, const char *otherwise)
{
    if (errno == ENOMEM || strstr(last_complaint, "alloc"))
        return error_set(err, -ENOMEM, "%s: out of memory", what);
    return error_set(err, code, "%s: %s", what, last_complaint[0] ? last_complaint : otherwise);
}

// --- mounting

static int make_options(const struct place *place, const struct tree_mount_options *options,
                        char **ret_text, struct error *err)
{
    char *text = NULL;
    const char *name = options->fsname ? options->fsname : place->repo_dir;
    AUTO_FREE char *fsname = NULL;

    if (asprintf(&fsname, "fsname=%s", name) < 0) {
        fsname = NULL;
        return error_set(err, -ENOMEM, "out of memory");
    }
    if (fuse_opt_add_opt(&text, "subtype=backtree,default_permissions,nosuid,nodev,noexec") < 0 ||
        fuse_opt_add_opt_escaped(&text, fsname) < 0 ||
        (options->allow_other && fuse_opt_add_opt(&text, "allow_other") < 0)) {
        free(text);
        return error_set(err, -ENOMEM, "out of memory");
    }
    *ret_text = text;
    return 0;
}

static int session_new(const struct place *place, const struct tree_mount_options *options,
                       struct tree *tree, struct fuse_session **ret_session, struct error *err)
{
    AUTO_FREE char *text = NULL;
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);

    int r = make_options(place, options, &text, err);
    if (r < 0)
        return r;
    if (fuse_opt_add_arg(&args, "backtree") < 0 || fuse_opt_add_arg(&args, "-o") < 0 ||
        fuse_opt_add_arg(&args, text) < 0) {
        fuse_opt_free_args(&args);
        return error_set(err, -ENOMEM, "out of memory");
    }
    errno = 0;
    struct fuse_session *session =
        fuse_session_new(&args, &tree_operations, sizeof(tree_operations), tree);
    if (!session)
        r = refused(err, -EINVAL, "cannot make a FUSE session", "libfuse does not say why");
    fuse_opt_free_args(&args);
    if (r < 0)
        return r;
    *ret_session = session;
    return 0;
}

static int session_mount(struct fuse_session *session, const struct place *place, dev_t *ret_dev,
                         struct error *err)
{
    AUTO_FREE struct mount_point *mount = malloc(sizeof(*mount));
    char what[PATH_MAX + 32];

    if (!mount)
        return error_set(err, -ENOMEM, "out of memory");
    snprintf(what, sizeof(what), "cannot mount on %s", place->mountpoint);
    errno = 0;
    if (fuse_session_mount(session, place->mountpoint) != 0)
        return refused(err, errno == EACCES || errno == EPERM ? -EPERM : -EIO, what,
                       "refused (see fusermount3)");
    int r = mount_point_find(place->mountpoint, mount, err);
    if (r == -ENOENT) { // it said that all is well
        error_clear(err);
        r = refused(err, r, what, "nothing is mounted there");
    }
    if (r < 0) {
        fuse_session_unmount(session);
        return r;
    }
    *ret_dev = mount->dev;
    return 0;
}

// --- serving

static int run_loop(struct fuse_session *session, struct error *err)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (!config)
        return error_set(err, -ENOMEM, "out of memory");
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, LOOP_THREADS);
    errno = 0;
    int r = fuse_session_loop_mt(session, config);
    // It could not start; errno may say why.
    if (r == -1)
        r = errno ? -errno : -ENOMEM;
    fuse_loop_cfg_destroy(config);
    // A lazy unmount cuts the connection off; that is an end, not a failure.
    if (r == -ECONNABORTED || r == -ENODEV)
        r = 0;
    return r < 0 ? error_set_errno(err, r, "the FUSE loop ended") : 0;
}

// From a mounted session to an unmounted one. Takes over report_fd.
static int serve(struct tree *tree, struct fuse_session *session, const struct place *place,
                 dev_t dev, int report_fd, struct error *err)
{
    struct watcher watcher = {.tree = tree,
                              .session = session,
                              .mountpoint = place->mountpoint,
                              .report_fd = report_fd,
                              .dev = dev};

    engine_listen(tree->engine, live_event, tree);
    int r = watcher_start(&watcher, err);
    if (r < 0) {
        daemon_report(report_fd, r, error_message(err));
        engine_listen(tree->engine, NULL, NULL);
        fuse_session_unmount(session);
        return r;
    }
    r = run_loop(session, err);

    atomic_store(&tree->closing, true);
    engine_listen(tree->engine, NULL, NULL);
    live_close(tree);
    // Before the session's descriptor is closed: it writes to it, and the number may be another
    // file's then.
    watcher_stop(&watcher);
    // Where the loop was ended under a mount that was taken away lazily, libfuse would unmount
    // whatever is in its place by now; in all other cases it knows. Then its copy of the path is
    // given back by the process's end.
    if (!atomic_load(&watcher.detached) || !atomic_load(&watcher.signalled))
        fuse_session_unmount(session);
    return r;
}

static int mount_and_serve(struct engine *engine, const struct place *place,
                           const struct tree_mount_options *options, int *report_fd,
                           struct error *err)
{
    AUTO_FREE struct tree *tree = malloc(sizeof(*tree));
    struct fuse_session *session = NULL;
    dev_t dev = 0;

    if (!tree)
        return error_set(err, -ENOMEM, "out of memory");
    int r = tree_state_init(tree, engine, options->allow_other, err);
    if (r < 0)
        return r;
    r = session_new(place, options, tree, &session, err);
    if (r == 0) {
        tree->session = session;
        r = session_mount(session, place, &dev, err);
        if (r == 0) {
            source_forbid_device(dev, "it is on the mounted repository itself");
            if (!options->foreground)
                daemon_detach();
            r = serve(tree, session, place, dev, TAKE(*report_fd, -1), err);
        }
        fuse_session_destroy(session);
    }
    tree_state_deinit(tree);
    return r;
}

static int run(const struct place *place, const struct tree_mount_options *options, int *report_fd,
               struct error *err)
{
    struct engine_options engine_options = {
        .command = "mount", .mountpoint = place->mountpoint, .cache_bytes = options->cache_bytes};
    AUTO(engine_close) struct engine *engine = NULL;

    fuse_set_log_func(log_fuse);
    watcher_block_signals();
    int r = source_forbid(place->mountpoint, "it is on the mounted repository itself", err);
    if (r < 0)
        return r;
    r = source_forbid(place->repo_dir, "it is in the repository itself", err);
    if (r < 0)
        return r;
    r = engine_open(place->repo_dir, &engine_options, &engine, NULL, err);
    if (r < 0)
        return r;
    return mount_and_serve(engine, place, options, report_fd, err);
}

// fusermount3 refuses it too, but to the terminal and not to us.
static int check_allow_other(const struct tree_mount_options *options, struct error *err)
{
    AUTO_FREE char *text = NULL;
    size_t len;

    if (!options->allow_other || geteuid() == 0)
        return 0;
    if (io_read_file("/etc/fuse.conf", 64 * 1024, &text, &len, NULL) == 0) {
        char *save = NULL, *line = strtok_r(text, "\n", &save);
        for (; line; line = strtok_r(NULL, "\n", &save)) {
            line += strspn(line, " \t");
            line[strcspn(line, " \t")] = '\0';
            if (strcmp(line, "user_allow_other") == 0)
                return 0;
        }
    }
    return error_set(err, -EPERM,
                     "allow_other is for root, or for all where /etc/fuse.conf has the line "
                     "user_allow_other");
}

static int find_place(const char *repo_dir, const char *mountpoint, struct place *ret_place,
                      struct error *err)
{
    if (!realpath(repo_dir, ret_place->repo_dir))
        return error_set_errno(err, -errno, "cannot find the repository %s", repo_dir);
    int r = mount_point_resolve(mountpoint, ret_place->mountpoint, err);
    if (r < 0)
        return r;
    return mount_point_check(ret_place->mountpoint, ret_place->repo_dir, err);
}

int tree_mount(const char *repo_dir, const char *mountpoint,
               const struct tree_mount_options *options, bool *ret_parent, struct error *err)
{
    AUTO_FREE struct place *place = malloc(sizeof(*place));
    struct error local = ERROR_INIT;
    int report_fd = -1;

    *ret_parent = true;
    if (!err)
        err = &local; // the parent is told the sentence whether or not the caller wants it
    if (!place)
        return error_set(err, -ENOMEM, "out of memory");
    int r = check_allow_other(options, err);
    if (r < 0)
        return r;
    r = find_place(repo_dir, mountpoint, place, err);
    if (r < 0)
        return r;
    if (options->foreground) {
        *ret_parent = false;
    } else {
        r = daemon_fork(ret_parent, &report_fd, err);
        if (r < 0 || *ret_parent)
            return r;
    }
    r = run(place, options, &report_fd, err);
    if (r < 0) {
        if (report_fd >= 0)
            daemon_report(report_fd, r, error_message(err));
        else if (!options->foreground)
            log_error("%s", error_message(err)); // after it has detached nobody else can tell
    }
    return r;
}
