// SPDX-License-Identifier: MIT
//
// Mountpoints; see mount_point.h. What the kernel says is read from /proc/self/mountinfo, whose
// fields have blank, tab, newline and backslash as octal escapes.
#include "fs/tree/mount_point.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>

extern char **environ;

// --- the kernel's table

static void unescape(const char *field, char *out, size_t size)
{
    size_t used = 0;
    while (*field && used + 1 < size) {
        unsigned code;
        if (field[0] == '\\' && sscanf(field + 1, "%3o", &code) == 1) {
            out[used++] = (char)code;
            field += 4;
        } else {
            out[used++] = *field++;
        }
    }
    out[used] = '\0';
}

// "ID PARENT MAJ:MIN ROOT PATH OPTIONS [TAGS…] - TYPE SOURCE SUPER". False for anything else.
static bool parse_line(char *line, struct mount_point *ret_mount)
{
    char *fields[5], *save = NULL, *word = strtok_r(line, " \n", &save);
    unsigned major_number, minor_number;

    for (int i = 0; i < 5; i++, word = strtok_r(NULL, " \n", &save)) {
        if (!word)
            return false;
        fields[i] = word;
    }
    while (word && strcmp(word, "-") != 0)
        word = strtok_r(NULL, " \n", &save);
    char *type = strtok_r(NULL, " \n", &save), *source = strtok_r(NULL, " \n", &save);
    if (!word || !type || !source || sscanf(fields[2], "%u:%u", &major_number, &minor_number) != 2)
        return false;
    ret_mount->dev = makedev(major_number, minor_number);
    unescape(fields[4], ret_mount->path, sizeof(ret_mount->path));
    unescape(type, ret_mount->type, sizeof(ret_mount->type));
    unescape(source, ret_mount->source, sizeof(ret_mount->source));
    return true;
}

// Calls `fn` for every mount, oldest first, until it returns true.
static int each_mount(bool (*fn)(const struct mount_point *mount, void *arg), void *arg,
                      struct error *err)
{
    AUTO_FREE struct mount_point *mount = malloc(sizeof(*mount));
    AUTO_FREE char *line = NULL;
    size_t room = 0;
    FILE *table = mount ? fopen("/proc/self/mountinfo", "re") : NULL;
    bool found = false;

    if (!table)
        return error_set_errno(err, mount ? -errno : -ENOMEM, "cannot read /proc/self/mountinfo");
    // Only errno tells the end of the table from want of memory.
    while (!found && (errno = 0, getline(&line, &room, table) > 0))
        found = parse_line(line, mount) && fn(mount, arg);
    int code = found ? 0 : -errno;
    fclose(table);
    return code < 0 ? error_set_errno(err, code, "cannot read /proc/self/mountinfo") : 0;
}

struct path_search {
    const char *path;
    struct mount_point *found;
    bool is_found;
};

static bool match_path(const struct mount_point *mount, void *arg)
{
    struct path_search *search = arg;
    if (strcmp(mount->path, search->path) == 0) {
        *search->found = *mount; // a later one lies on top
        search->is_found = true;
    }
    return false;
}

int mount_point_find(const char *path, struct mount_point *ret_mount, struct error *err)
{
    struct path_search search = {.path = path, .found = ret_mount};
    int r = each_mount(match_path, &search, err);
    if (r < 0)
        return r;
    if (!search.is_found)
        return error_set(err, -ENOENT, "nothing is mounted on %s", path);
    return 0;
}

struct device_search {
    dev_t dev;
    bool is_found;
};

static bool match_device(const struct mount_point *mount, void *arg)
{
    struct device_search *search = arg;
    search->is_found = mount->dev == search->dev;
    return search->is_found;
}

bool mount_point_has_device(dev_t dev)
{
    struct device_search search = {.dev = dev};
    // A table that cannot be read is no reason to believe that the mount has gone.
    return each_mount(match_device, &search, NULL) < 0 || search.is_found;
}

// --- folders

int mount_point_resolve(const char *path, char ret_path[PATH_MAX], struct error *err)
{
    char copy[PATH_MAX], folder[PATH_MAX];

    if (realpath(path, ret_path))
        return 0;
    if (errno != ENOTCONN || strlen(path) >= sizeof(copy))
        return error_set_errno(err, -errno, "cannot find %s", path);

    // A stale mount: resolve the folder it is in, and trust the last name.
    strcpy(copy, path);
    for (size_t len = strlen(copy); len > 1 && copy[len - 1] == '/';)
        copy[--len] = '\0';
    char *slash = strrchr(copy, '/'), *name = slash ? slash + 1 : copy;
    const char *in = !slash ? "." : slash == copy ? "/" : copy;
    if (slash)
        *slash = '\0';
    if (!realpath(slash == copy ? "/" : in, folder))
        return error_set_errno(err, -errno, "cannot find %s", path);
    int n = snprintf(ret_path, PATH_MAX, "%s%s%s", folder, folder[1] ? "/" : "", name);
    return n < PATH_MAX ? 0 : error_set(err, -ENAMETOOLONG, "%s: the path is too long", path);
}

static bool is_inside(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    if (strcmp(folder, "/") == 0)
        return true;
    return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static int check_empty(const char *path, struct error *err)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return error_set_errno(err, -errno, "cannot open the mountpoint %s", path);
    while (r == 0 && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            r = error_set(err, -ENOTEMPTY, "the mountpoint %s is not empty", path);
    }
    closedir(dir);
    return r;
}

static int check_not_ours(const char *path, struct error *err)
{
    AUTO_FREE struct mount_point *mount = malloc(sizeof(*mount));
    if (!mount)
        return error_set(err, -ENOMEM, "out of memory");
    if (mount_point_find(path, mount, NULL) == 0 && strcmp(mount->type, MOUNT_POINT_TYPE) == 0)
        return error_set(err, -EBUSY, "the repository %s is mounted on %s already", mount->source,
                         path);
    return 0;
}

int mount_point_check(const char *path, const char *repo_dir, struct error *err)
{
    struct statfs fs;
    struct stat st;

    // Not stat(2): for a second the kernel may still answer that from what a dead daemon told it.
    if (statfs(path, &fs) < 0 && errno == ENOTCONN) {
        log_warning("%s: taking away the stale mount of a daemon that has died", path);
        int r = mount_point_remove(path, true, err);
        if (r < 0)
            return r;
    }
    if (stat(path, &st) < 0)
        return error_set_errno(err, -errno, "cannot look at the mountpoint %s", path);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, -ENOTDIR, "the mountpoint %s is not a folder", path);
    if (is_inside(path, repo_dir) || is_inside(repo_dir, path))
        return error_set(err, -EINVAL,
                         "the mountpoint %s and the repository %s lie one in the other", path,
                         repo_dir);
    int r = check_not_ours(path, err);
    return r < 0 ? r : check_empty(path, err);
}

// --- unmounting

// Starts fusermount3 with its complaints going to `complaints_fd`. Returns the pid or -errno.
static pid_t spawn_fusermount(const char *path, bool lazy, int complaints_fd)
{
    const char *argv[] = {"fusermount3", "-u", lazy ? "-uz" : "-u", "--", path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    pid_t pid;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, complaints_fd, STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int r = posix_spawnp(&pid, argv[0], &actions, &attributes, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return r == 0 ? pid : -r;
}

// Returns 0 when it unmounted, else -errno with its first line of complaint in `text`.
static int run_fusermount(const char *path, bool lazy, char *text, size_t size)
{
    int fds[2], status;

    text[0] = '\0';
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = spawn_fusermount(path, lazy, fds[1]);
    close(fds[1]);
    if (pid > 0) {
        ssize_t n = read(fds[0], text, size - 1);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        if (waitpid(pid, &status, 0) != pid || status != 0)
            pid = -EPERM;
    }
    close(fds[0]);
    return pid < 0 ? pid : 0;
}

static int remove_as_user(const char *path, bool lazy, struct error *err)
{
    char text[512];
    int r = run_fusermount(path, lazy, text, sizeof(text));
    if (r == 0)
        return 0;
    if (strcasestr(text, "busy"))
        return error_set(err, -EBUSY, "%s is busy: files are open in it (fuser -m %s tells whose)",
                         path, path);
    return error_set(err, r, "cannot unmount %s: %s", path, text[0] ? text : strerror(-r));
}

int mount_point_remove(const char *path, bool lazy, struct error *err)
{
    if (geteuid() != 0)
        return remove_as_user(path, lazy, err);
    if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
        return 0;
    if (errno == EBUSY)
        return error_set(err, -EBUSY, "%s is busy: files are open in it (fuser -m %s tells whose)",
                         path, path);
    return error_set_errno(err, -errno, "cannot unmount %s", path);
}
