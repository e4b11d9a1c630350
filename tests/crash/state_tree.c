// SPDX-License-Identifier: MIT
//
// Names of a state, its hash, its tree on a real file system, and the comparison with one. Only
// what can be reached from the root counts: a file whose name was lost is lost.
#include "tests/crash/state_tree.h"

#include "base/error.h"
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void state_tree_set(struct disk_state *state, uint32_t dir, const char *name, uint32_t inode)
{
    for (size_t i = 0; i < state->name_count; i++) {
        struct state_name *entry = &state->names[i];

        if (entry->dir != dir || strcmp(entry->name, name) != 0)
            continue;
        entry->inode = inode;
        if (inode == TRACE_NOTHING)
            *entry = state->names[--state->name_count];
        return;
    }
    if (inode == TRACE_NOTHING)
        return; // what takes the name is there, what gave it is not
    if (state->name_count == STATE_NAMES_MAX)
        abort();
    state->names[state->name_count++] = (struct state_name){dir, inode, name};
}

// --- hash

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint64_t word;

    for (; len >= sizeof(word); bytes += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        hash = (hash ^ word) * 0x9fb21c651e98df25u;
        hash ^= hash >> 29;
    }
    word = len;
    memcpy(&word, bytes, len);
    hash = (hash ^ word ^ (uint64_t)len << 56) * 0x9fb21c651e98df25u;
    return hash ^ hash >> 32;
}

// The sum over a folder's names, so that their order does not matter.
static uint64_t hash_folder(struct disk_state *state, uint32_t dir)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < state->name_count; i++) {
        const struct state_name *entry = &state->names[i];
        const struct state_file *file = &state->files[entry->inode];
        uint64_t hash;

        if (entry->dir != dir)
            continue;
        hash = hash_bytes(1, entry->name, strlen(entry->name));
        if (state->trace->inodes[entry->inode].is_dir)
            hash = hash_bytes(hash, &(uint64_t){hash_folder(state, entry->inode)}, 8);
        else if (!state->trace->inodes[entry->inode].rebuilt)
            hash = hash_bytes(hash ^ file->len, file->bytes, file->len);
        sum += hash * (hash | 1);
    }
    return sum;
}

uint64_t disk_state_hash(struct disk_state *state)
{
    return hash_folder(state, 0);
}

// --- writing

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    return at->level == 0 ? 0 : remove(path);
}

static int write_file(const struct state_file *file, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    uint64_t done = 0;

    while (fd >= 0 && done < file->len) {
        ssize_t n = write(fd, file->bytes + done, file->len - done);

        if (n < 0 && errno != EINTR)
            break;
        done += n < 0 ? 0 : (uint64_t)n;
    }
    return fd < 0 || close(fd) < 0 || done < file->len ? -1 : 0;
}

// The first path of an inode that has several: the others are links to it.
static bool first_name(const struct disk_state *state, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (state->names[i].inode == state->names[at].inode)
            return false;
    }
    return true;
}

static int write_folder(struct disk_state *state, uint32_t dir, const char *path)
{
    char inner[PATH_MAX], first[PATH_MAX];

    for (size_t i = 0; i < state->name_count; i++) {
        const struct state_name *entry = &state->names[i];
        int r;

        if (entry->dir != dir)
            continue;
        if (snprintf(inner, sizeof(inner), "%s/%s", path, entry->name) >= (int)sizeof(inner))
            return -1;
        if (state->trace->inodes[entry->inode].is_dir) {
            r = mkdir(inner, 0700) < 0 ? -1 : write_folder(state, entry->inode, inner);
        } else {
            // Links are made in one folder only here (a rebuild's second name of the old catalog).
            r = -1;
            for (size_t j = 0; j < i && !first_name(state, i); j++) {
                if (state->names[j].inode == entry->inode && state->names[j].dir == dir &&
                    snprintf(first, sizeof(first), "%s/%s", path, state->names[j].name) > 0 &&
                    (r = link(first, inner)) == 0)
                    break;
            }
            if (r < 0)
                r = write_file(&state->files[entry->inode], inner);
        }
        if (r < 0)
            return -1;
    }
    return 0;
}

int disk_state_write(struct disk_state *state, const char *dir)
{
    if (nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return -1;
    return write_folder(state, 0, dir);
}

// --- comparing

static unsigned compare_file(struct disk_state *state, uint32_t inode, const char *path)
{
    const struct state_file *file = &state->files[inode];
    struct error err = ERROR_INIT;
    char *bytes = NULL;
    size_t len;

    if (state->trace->inodes[inode].rebuilt)
        return 0;
    if (io_read_file(path, (size_t)1 << 31, &bytes, &len, &err) < 0) {
        printf("%s\n", error_message(&err));
        return 1;
    }
    bool same = len == file->len && memcmp(bytes, file->bytes, len) == 0;
    if (!same)
        printf("%s is not what was recorded: %zu bytes instead of %llu\n", path, len,
               (unsigned long long)file->len);
    free(bytes);
    return !same;
}

static bool is_known(const struct disk_state *state, uint32_t dir, const char *name)
{
    for (size_t i = 0; i < state->name_count; i++) {
        if (state->names[i].dir == dir && strcmp(state->names[i].name, name) == 0)
            return true;
    }
    return false;
}

static unsigned compare_folder(struct disk_state *state, uint32_t inode, const char *path)
{
    char inner[PATH_MAX];
    unsigned differences = 0;
    struct dirent *entry;
    DIR *dir = opendir(path);

    if (!dir) {
        printf("%s was recorded and is not there\n", path);
        return 1;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            is_known(state, inode, entry->d_name))
            continue;
        printf("%s/%s is there and was not recorded\n", path, entry->d_name);
        differences++;
    }
    closedir(dir);
    for (size_t i = 0; i < state->name_count; i++) {
        const struct state_name *name = &state->names[i];

        if (name->dir != inode)
            continue;
        snprintf(inner, sizeof(inner), "%s/%s", path, name->name);
        differences += state->trace->inodes[name->inode].is_dir
                           ? compare_folder(state, name->inode, inner)
                           : compare_file(state, name->inode, inner);
    }
    return differences;
}

unsigned disk_state_compare(struct disk_state *state, const char *dir)
{
    return compare_folder(state, 0, dir);
}
