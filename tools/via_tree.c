// SPDX-License-Identifier: MIT
//
// The changing requests of engine.h made through the mounted tree of the daemon that owns the
// repository.
#include "tools/via_tree.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/name.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#define FUSE_MAGIC 0x65735546 // f_type in statfs(2)
#define VM_PATH_SIZE (PATH_MAX + 128)
#define PATH_SIZE (VM_PATH_SIZE + 512)
#define POLL_BROKEN_SLEEP_MS 50
#define JOB_FILE_SIZE 4096

int via_tree_check(const char *mountpoint, struct error *err)
{
    char path[PATH_SIZE];
    struct statfs fs;
    struct stat st;
    snprintf(path, sizeof(path), "%s/vms", mountpoint);
    if (statfs(mountpoint, &fs) < 0 || fs.f_type != FUSE_MAGIC || stat(path, &st) < 0)
        return error_set(err, -ENOTCONN, "no tree answers at %s", mountpoint);
    return 0;
}

// The tree's sentence for refusing what was just done to `path`, from "TIME PATH: SENTENCE". The
// last refusal may be of somebody else, or there is none (the daemon is gone, the kernel refused):
// then errno says what there is to say.
static int via_tree_refused(const char *mountpoint, const char *path, int code, struct error *err)
{
    char file[PATH_SIZE];
    AUTO_FREE char *text = NULL;
    size_t len;
    const char *name = path + strlen(mountpoint) + 1;
    snprintf(file, sizeof(file), "%s/last_error", mountpoint);
    if (io_read_file(file, 64 * 1024, &text, &len, NULL) < 0)
        return error_set_errno(err, code, "%s", path);
    text[strcspn(text, "\n")] = '\0';
    const char *said = strchr(text, ' ');
    if (!said || strncmp(said + 1, name, strlen(name)) != 0 ||
        strncmp(said + 1 + strlen(name), ": ", 2) != 0)
        return error_set_errno(err, code, "%s", path);
    return error_set(err, code, "%s", said + 1 + strlen(name) + 2);
}

// What is there already the kernel refuses by itself, with no word in last_error.
static int via_tree_mkdir(const char *mountpoint, const char *path, bool *ret_made,
                          struct error *err)
{
    if (mkdir(path, 0755) == 0) {
        *ret_made = true;
        return 0;
    }
    if (errno == EEXIST)
        return error_set(err, -EEXIST, "%s is there already", path + strlen(mountpoint) + 1);
    return via_tree_refused(mountpoint, path, -errno, err);
}

// One open-to-close is one command, and an error may come from any of the three.
static int via_tree_write(const char *mountpoint, const char *path, const char *text,
                          struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0)
        return via_tree_refused(mountpoint, path, -errno, err);
    size_t len = strlen(text);
    ssize_t n = write(fd, text, len);
    if (n >= 0 && (size_t)n != len)
        return error_set(err, -EIO, "%s took %zd bytes of %zu", path, n, len);
    if (n < 0 || close(TAKE(fd, -1)) < 0)
        return via_tree_refused(mountpoint, path, -errno, err);
    return 0;
}

static int via_tree_add_disk(const char *mountpoint, const char *vm_path,
                             const struct engine_disk_spec *disk, struct error *err)
{
    char path[PATH_SIZE], file[PATH_SIZE + 16];
    AUTO_FREE char *line = NULL;
    bool made = false;
    snprintf(path, sizeof(path), "%s/%s", vm_path, disk->name);
    snprintf(file, sizeof(file), "%s/source", path);
    if (asprintf(&line, "%s\n", disk->source) < 0)
        return error_set_errno(err, -ENOMEM, "cannot add disk %s", disk->name);
    int r = via_tree_mkdir(mountpoint, path, &made, err);
    if (r == 0)
        r = via_tree_write(mountpoint, file, line, err);
    if (r < 0 && made)
        rmdir(path); // as it was before; the first error is the one to tell
    return r;
}

static void via_tree_undo_add(const char *vm_path, const struct engine_disk_spec *disks,
                              size_t count, bool vm_made)
{
    char path[PATH_SIZE];
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s", vm_path, disks[i].name);
        rmdir(path);
    }
    if (vm_made)
        rmdir(vm_path);
}

// Before they become part of a path: a name with a slash or dots would lead elsewhere.
static int via_tree_check_names(const char *vm, const struct engine_disk_spec *disks, size_t count,
                                struct error *err)
{
    int r = name_check("VM", vm, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = name_check("disk", disks[i].name, err);
    return r;
}

int via_tree_add_vm(const char *mountpoint, const char *vm, const struct engine_disk_spec *disks,
                    size_t count, struct error *err)
{
    char vm_path[VM_PATH_SIZE];
    struct stat st;
    bool vm_made = false;
    size_t added = 0;
    int r = via_tree_check_names(vm, disks, count, err);
    if (r < 0)
        return r;
    snprintf(vm_path, sizeof(vm_path), "%s/vms/%s", mountpoint, vm);
    if (count == 0 || stat(vm_path, &st) < 0)
        r = via_tree_mkdir(mountpoint, vm_path, &vm_made, err);
    for (; r == 0 && added < count; added += (r == 0))
        r = via_tree_add_disk(mountpoint, vm_path, &disks[added], err);
    if (r < 0)
        via_tree_undo_add(vm_path, disks, added, vm_made);
    return r;
}

int via_tree_remove(const char *mountpoint, const char *name, struct error *err)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%s/vms/%s", mountpoint, name);
    if (rmdir(path) < 0)
        return via_tree_refused(mountpoint, path, -errno, err);
    return 0;
}

// Reads "17 pending" back on the descriptor that wrote the words: no other can tell which of two
// requests made at once became which job.
static int via_tree_read_job(int fd, const char *path, const char *mountpoint, int64_t *ret_job_id,
                             struct error *err)
{
    char text[64];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    if (n < 0)
        return via_tree_refused(mountpoint, path, -errno, err);
    text[n] = '\0';
    char *end;
    int64_t job_id = strtoll(text, &end, 10);
    if (job_id <= 0 || *end != ' ')
        return error_set(err, -EPROTO, "%s does not tell its job", path);
    *ret_job_id = job_id;
    return 0;
}

// `path` is the trigger's.
static int via_tree_command(const char *mountpoint, const char *path, const char *words,
                            int64_t *ret_job_id, struct error *err)
{
    AUTO_FREE char *line = NULL;
    if (asprintf(&line, "%s\n", words) < 0)
        return error_set_errno(err, -ENOMEM, "cannot write to %s", path);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return via_tree_refused(mountpoint, path, -errno, err);
    size_t len = strlen(line);
    ssize_t n = write(fd, line, len);
    if (n < 0)
        return via_tree_refused(mountpoint, path, -errno, err);
    if ((size_t)n != len)
        return error_set(err, -EIO, "%s took %zd bytes of %zu", path, n, len);
    int r = via_tree_read_job(fd, path, mountpoint, ret_job_id, err);
    if (r < 0)
        return r;
    if (close(TAKE(fd, -1)) < 0)
        return via_tree_refused(mountpoint, path, -errno, err);
    return 0;
}

int via_tree_request(const char *mountpoint, const char *name, const char *trigger,
                     const char *words, int64_t *ret_job_id, struct error *err)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%s/vms/%s/%s", mountpoint, name, trigger);
    return via_tree_command(mountpoint, path, words, ret_job_id, err);
}

int via_tree_control(const char *mountpoint, const char *trigger, const char *words,
                     int64_t *ret_job_id, struct error *err)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%s/control/%s", mountpoint, trigger);
    return via_tree_command(mountpoint, path, words, ret_job_id, err);
}

int via_tree_set(const char *mountpoint, const char *name, const char *file, const char *value,
                 struct error *err)
{
    char path[PATH_SIZE];
    AUTO_FREE char *line = NULL;
    snprintf(path, sizeof(path), "%s/vms/%s/%s", mountpoint, name, file);
    if (asprintf(&line, "%s\n", value) < 0)
        return error_set_errno(err, -ENOMEM, "cannot write to %s", path);
    return via_tree_write(mountpoint, path, line, err);
}

// A live file may be longer by the time it is read than it was when it was opened, so that its size
// is not asked for.
static int via_tree_read_job_file(const char *mountpoint, int64_t job_id, const char *file,
                                  char **ret_text, struct error *err)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%s/jobs/%" PRId64 "/%s", mountpoint, job_id, file);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, -errno, "cannot open %s", path);
    AUTO_FREE char *text = malloc(JOB_FILE_SIZE);
    if (!text)
        return error_set_errno(err, -ENOMEM, "cannot read %s", path);
    ssize_t n = io_read_up_to(fd, text, JOB_FILE_SIZE - 1, 0, path, err);
    if (n < 0)
        return (int)n;
    text[n] = '\0';
    *ret_text = TAKE(text, NULL);
    return 0;
}

static int via_tree_job_state(const char *mountpoint, int64_t job_id, enum job_state *ret_state,
                              struct error *err)
{
    AUTO_FREE char *text = NULL;
    int r = via_tree_read_job_file(mountpoint, job_id, "state", &text, err);
    if (r < 0)
        return r;
    text[strcspn(text, " \n")] = '\0';
    enum job_state state = job_state_from_word(text);
    if (state == JOB_STATE_UNKNOWN)
        return error_set(err, -EPROTO, "job %" PRId64 " has the unknown state '%s'", job_id, text);
    *ret_state = state;
    return 0;
}

int via_tree_job_progress(const char *mountpoint, int64_t job_id, struct job_progress *ret_progress,
                          struct error *err)
{
    AUTO_FREE char *text = NULL;
    struct job_progress progress = {0};
    int r = via_tree_job_state(mountpoint, job_id, &progress.state, err);
    if (r == 0)
        r = via_tree_read_job_file(mountpoint, job_id, "progress", &text, err);
    if (r < 0)
        return r;
    if (sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNd64, &progress.done_bytes,
               &progress.total_bytes, &progress.bytes_per_second, &progress.eta_seconds) != 4)
        return error_set(err, -EPROTO, "the progress of job %" PRId64 " cannot be understood",
                         job_id);
    *ret_progress = progress;
    return 0;
}

static int via_tree_open_wait(const char *mountpoint, int64_t job_id, int *ret_fd,
                              struct error *err)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%s/jobs/%" PRId64 "/wait", mountpoint, job_id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return via_tree_refused(mountpoint, path, -errno, err);
    *ret_fd = fd;
    return 0;
}

// poll(2) only shortens the sleep between two looks at the state, so that this ends whatever the
// kernel makes of it.
int via_tree_wait_job(const char *mountpoint, int64_t job_id, int timeout_ms,
                      enum job_state *ret_state, struct error *err)
{
    AUTO_CLOSE int fd = -1;
    int64_t until = clock_monotonic() + timeout_ms * INT64_C(1000000);
    int r = via_tree_open_wait(mountpoint, job_id, &fd, err);
    int ready = 0;
    while (r == 0) {
        enum job_state state;
        r = via_tree_job_state(mountpoint, job_id, &state, err);
        if (r < 0)
            return r;
        if (job_state_is_ended(state)) {
            *ret_state = state;
            return 0;
        }
        int64_t left_ms = timeout_ms < 0 ? 1000 : (until - clock_monotonic()) / 1000000;
        if (left_ms <= 0)
            return -ETIMEDOUT;
        if (ready > 0) // "ended", and it had not
            nanosleep(&(struct timespec){.tv_nsec = POLL_BROKEN_SLEEP_MS * 1000000L}, NULL);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        ready = poll(&wait, 1, (int)left_ms);
    }
    return r;
}

int via_tree_cancel_job(const char *mountpoint, int64_t job_id, struct error *err)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%s/jobs/%" PRId64 "/cancel", mountpoint, job_id);
    return via_tree_write(mountpoint, path, "\n", err);
}
