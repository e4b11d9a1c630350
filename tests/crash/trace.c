// SPDX-License-Identifier: MIT
//
// See trace.h. While it loads it keeps the tree as it was at that point: the entries of all folders
// in one list, and the inode that each number of the kernel's stands for.
#include "tests/crash/trace.h"

#include "base/error.h"
#include "base/io.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_SIZE_MAX ((size_t)1 << 31)
#define ENTRIES_MAX 4096
#define NUMBERS_MAX 16384

struct entry {
    uint32_t dir, inode;
    const char *name;
};

struct loading {
    struct trace *trace;
    uint32_t op_room, inode_room;
    struct entry entries[ENTRIES_MAX];
    size_t entry_count;
    struct {
        uint64_t number;
        uint32_t inode;
    } numbers[NUMBERS_MAX]; // the newest last
    size_t number_count;
};

static void give_up(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void give_up(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("trace: ", stdout);
    vprintf(fmt, args);
    putchar('\n');
    va_end(args);
    exit(4);
}

static uint32_t new_inode(struct loading *loading, uint64_t number, bool is_dir, const char *named)
{
    struct trace *trace = loading->trace;

    if (trace->inode_count == loading->inode_room) {
        loading->inode_room = loading->inode_room * 2 + 64;
        trace->inodes = realloc(trace->inodes, loading->inode_room * sizeof(*trace->inodes));
    }
    if (!trace->inodes || loading->number_count == NUMBERS_MAX)
        give_up("out of room for inodes");
    loading->numbers[loading->number_count].number = number;
    loading->numbers[loading->number_count++].inode = trace->inode_count;
    size_t len = strlen(named);
    trace->inodes[trace->inode_count] = (struct trace_inode){
        .is_dir = is_dir,
        .named = named,
        .rebuilt = len > 4 && strcmp(named + len - 4, "-shm") == 0,
    };
    return trace->inode_count++;
}

static uint32_t find_inode(const struct loading *loading, uint64_t number)
{
    for (size_t i = loading->number_count; i-- > 0;) {
        if (loading->numbers[i].number == number)
            return loading->numbers[i].inode;
    }
    give_up("inode %llu is used and was never created: an operation was missed",
            (unsigned long long)number);
}

static struct entry *find_entry(struct loading *loading, uint32_t dir, const char *name, size_t len)
{
    for (size_t i = 0; i < loading->entry_count; i++) {
        struct entry *entry = &loading->entries[i];

        if (entry->dir == dir && strlen(entry->name) == len && memcmp(entry->name, name, len) == 0)
            return entry;
    }
    return NULL;
}

// The folder that a path is in, and what follows its last slash.
static uint32_t resolve(struct loading *loading, const char *path, const char **ret_name)
{
    uint32_t dir = 0;
    const char *slash;

    for (; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        struct entry *entry = find_entry(loading, dir, path, (size_t)(slash - path));

        if (!entry)
            give_up("the folder of %s was never made: an operation was missed", path);
        dir = entry->inode;
    }
    *ret_name = path;
    return dir;
}

static void set_entry(struct loading *loading, uint32_t dir, const char *name, uint32_t inode)
{
    struct entry *entry = find_entry(loading, dir, name, strlen(name));

    if (entry && inode == TRACE_NOTHING)
        *entry = loading->entries[--loading->entry_count];
    else if (entry)
        entry->inode = inode;
    else if (inode == TRACE_NOTHING)
        give_up("%s is taken away and was never there: an operation was missed", name);
    else if (loading->entry_count == ENTRIES_MAX)
        give_up("out of room for names");
    else
        loading->entries[loading->entry_count++] =
            (struct entry){.dir = dir, .inode = inode, .name = name};
}

static struct trace_op *add_op(struct loading *loading, enum record_op op, uint64_t log_end)
{
    struct trace *trace = loading->trace;

    if (trace->op_count == loading->op_room) {
        loading->op_room = loading->op_room * 2 + 1024;
        trace->ops = realloc(trace->ops, loading->op_room * sizeof(*trace->ops));
        if (!trace->ops)
            give_up("out of memory");
    }
    trace->ops[trace->op_count] = (struct trace_op){
        .op = op, .durable_at = TRACE_NEVER, .log_end = log_end, .inode = TRACE_NOTHING};
    return &trace->ops[trace->op_count++];
}

static void add_named(struct loading *loading, const struct record_head *head, const char *name,
                      const char *name2, uint64_t log_end)
{
    struct trace_op *op = add_op(loading, (enum record_op)head->op, log_end);
    struct entry *entry;

    if (head->op == RECORD_CREATE || head->op == RECORD_MKDIR)
        op->inode = new_inode(loading, head->inode, head->op == RECORD_MKDIR, name);
    else if (head->op == RECORD_LINK)
        op->inode = find_inode(loading, head->inode);
    if (name[0] == '\0')
        return; // O_TMPFILE
    if (head->op == RECORD_RENAME) {
        op->dir2 = resolve(loading, name, &op->name2);
        entry = find_entry(loading, op->dir2, op->name2, strlen(op->name2));
        if (!entry)
            give_up("%s is renamed and was never there: an operation was missed", name);
        op->inode = entry->inode;
        set_entry(loading, op->dir2, op->name2, TRACE_NOTHING);
        name = name2;
    }
    op->dir = resolve(loading, name, &op->name);
    set_entry(loading, op->dir, op->name, op->inode);
}

static void add_content(struct loading *loading, const struct record_head *head,
                        const uint8_t *data, uint64_t log_end)
{
    struct trace_op *op = add_op(loading, (enum record_op)head->op, log_end);

    op->inode = find_inode(loading, head->inode);
    op->flags = head->flags;
    op->offset = head->offset;
    op->len = head->len;
    op->data = data;
    if (head->op == RECORD_WRITE && loading->trace->inodes[op->inode].rebuilt)
        op->len = 0;
}

// What the driver did itself between two commands, and is durable.
static void add_by_driver(struct loading *loading, const struct record_head *head, const char *name,
                          const uint8_t *data, uint64_t log_end)
{
    struct record_head create = {.op = RECORD_CREATE, .inode = head->inode};
    struct record_head put = {.op = RECORD_WRITE, .inode = head->inode, .len = head->len};
    struct record_head drop = {.op = RECORD_UNLINK};
    uint32_t first = loading->trace->op_count;

    if (head->op == RECORD_PUT) {
        add_named(loading, &create, name, NULL, log_end);
        add_content(loading, &put, data, log_end);
    } else {
        add_named(loading, &drop, name, NULL, log_end);
    }
    for (uint32_t i = first; i < loading->trace->op_count; i++)
        loading->trace->ops[i].durable_at = 0;
}

static void add_record(struct loading *loading, const struct record_head *head, const char *name,
                       const char *name2, const uint8_t *data, uint64_t log_end)
{
    switch (head->op) {
    case RECORD_ROOT:
        loading->numbers[0].number = head->inode;
        break;
    case RECORD_WRITE:
    case RECORD_TRUNCATE:
    case RECORD_ZERO:
    case RECORD_SYNC:
        add_content(loading, head, data, log_end);
        break;
    case RECORD_PUT:
    case RECORD_DROP:
        add_by_driver(loading, head, name, data, log_end);
        break;
    case RECORD_OUTSIDE:
        give_up("the recorder met what it cannot follow: %s", name);
    default:
        add_named(loading, head, name, name2, log_end);
    }
}

static bool ignored(const struct trace_inode *inode, const char *ignore)
{
    if (!ignore)
        return false;
    return strcmp(ignore, "folders") == 0 ? inode->is_dir : strstr(inode->named, ignore) != NULL;
}

// Goes backward, with the next sync of each inode at hand.
static void find_syncs(struct trace *trace, const char *ignore)
{
    uint32_t *next = malloc(trace->inode_count * sizeof(*next));

    for (uint32_t i = 0; next && i < trace->inode_count; i++)
        next[i] = TRACE_NEVER;
    for (uint32_t i = trace->op_count; next && i-- > 0;) {
        struct trace_op *op = &trace->ops[i];

        if (op->op == RECORD_SYNC) {
            if (!ignored(&trace->inodes[op->inode], ignore))
                next[op->inode] = i;
        } else if (op->durable_at == 0) {
            continue;
        } else if (op->op >= RECORD_WRITE) {
            op->durable_at = next[op->inode];
        } else if (op->name) {
            op->durable_at = next[op->dir];
            if (op->name2 && next[op->dir2] < op->durable_at)
                op->durable_at = next[op->dir2];
        }
    }
    if (!next)
        give_up("out of memory");
    free(next);
}

static char *take_name(const char *at, uint32_t len)
{
    char *name = strndup(at, len);

    if (!name)
        give_up("out of memory");
    return name;
}

// The trace, its names and the log's bytes are kept until the process ends.
struct trace *trace_load(const char *path, const char *ignore)
{
    struct loading *loading = calloc(1, sizeof(*loading));
    struct error err = ERROR_INIT;
    struct record_head head;
    char *log;
    size_t len, at = 0;

    if (!loading || !(loading->trace = calloc(1, sizeof(*loading->trace))))
        give_up("out of memory");
    if (io_read_file(path, LOG_SIZE_MAX, &log, &len, &err) < 0)
        give_up("%s", error_message(&err));
    new_inode(loading, 0, true, "");
    while (at + sizeof(head) <= len) {
        memcpy(&head, log + at, sizeof(head));
        bool data = head.op == RECORD_WRITE || head.op == RECORD_PUT;
        uint64_t total = sizeof(head) + head.name_len + head.name2_len + (data ? head.len : 0);
        const char *name = log + at + sizeof(head);

        if (total > len - at)
            give_up("%s ends inside a record", path);
        add_record(loading, &head, take_name(name, head.name_len),
                   take_name(name + head.name_len, head.name2_len),
                   (const uint8_t *)name + head.name_len + head.name2_len, at + total);
        at += total;
    }
    if (at != len)
        give_up("%s ends inside a record", path);
    find_syncs(loading->trace, ignore);
    struct trace *trace = loading->trace;
    free(loading);
    return trace;
}

void trace_describe(const struct trace *trace, uint32_t number, char *text, size_t size)
{
    static const char *const words[] = {"",      "root",   "create", "mkdir",    "link", "unlink",
                                        "rmdir", "rename", "write",  "truncate", "zero", "sync"};
    const struct trace_op *op = &trace->ops[number];
    const char *named = op->inode == TRACE_NOTHING ? "" : trace->inodes[op->inode].named;

    snprintf(text, size, "%u %s %s%s%s inode %d (%s) %llu+%llu durable with %d", number,
             words[op->op], op->name2 ? op->name2 : "", op->name2 ? " to " : "",
             op->name ? op->name : "", (int)op->inode, named, (unsigned long long)op->offset,
             (unsigned long long)op->len, (int)op->durable_at);
}
