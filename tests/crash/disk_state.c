// SPDX-License-Identifier: MIT
//
// See disk_state.h. A state is built in memory, each inode a buffer and the names of all folders in
// one list; only then is it known whether it is a new one that is worth writing out.
#include "tests/crash/disk_state.h"

#include "base/io.h"
#include "tests/crash/state_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

const char *const crash_policy_words[CRASH_POLICIES] = {
    "process dies",         "dies in a write",   "loses all unsynced",
    "names and sizes only", "content only",      "last change only",
    "all but one",          "in order, by seed", "any, by seed",
};

// How much of an operation is there.
enum fate { LOST, LOST_ZEROS, LOST_GARBAGE, KEPT, TORN };

// splitmix64: the choices of a seed do not depend on each other.
static uint64_t mix(uint64_t seed, uint64_t number)
{
    uint64_t x = seed + (number + 1) * 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

// --- content

static void grow(struct state_file *file, uint64_t len)
{
    if (len > file->room) {
        file->room = len * 2;
        file->bytes = realloc(file->bytes, file->room);
        if (!file->bytes)
            abort();
    }
    if (len > file->len) {
        memset(file->bytes + file->len, 0, len - file->len);
        file->len = len;
    }
}

static void put_range(struct state_file *file, const struct trace_op *op, uint64_t from,
                      uint64_t to)
{
    if (op->op == RECORD_ZERO) {
        if (!(op->flags & 1) && to > file->len)
            to = file->len;
        if (from >= to)
            return;
        grow(file, to);
        memset(file->bytes + from, 0, to - from);
        return;
    }
    grow(file, to);
    memcpy(file->bytes + from, op->data + (from - op->offset), to - from);
}

// Some sectors: those before a point, those after it, or each by itself.
static void put_torn(struct state_file *file, const struct trace_op *op, uint64_t random)
{
    uint64_t sector = random & 1 ? 512 : PAGE, end = op->offset + op->len;
    uint64_t first = op->offset / sector, count = (end + sector - 1) / sector - first;
    uint64_t cut = (random >> 8) % (count + 1);

    for (uint64_t i = 0; i < count; i++) {
        uint64_t from = (first + i) * sector, to = from + sector;
        bool there = (random >> 1 & 3) == 0   ? i < cut
                     : (random >> 1 & 3) == 1 ? i >= cut
                                              : mix(random, i) & 1;

        if (there)
            put_range(file, op, from < op->offset ? op->offset : from, to > end ? end : to);
    }
}

// The size is there, the content is not: where the file has grown it holds zeros, or what the
// blocks held that it got.
static void put_size(struct state_file *file, uint64_t len, enum fate fate, uint64_t random)
{
    uint64_t before = file->len;

    grow(file, len);
    for (uint64_t at = before; fate == LOST_GARBAGE && at < len; at++)
        file->bytes[at] = (uint8_t)(mix(random, at / 8) >> at % 8 * 8);
}

static void put_content(struct state_file *file, const struct trace_op *op, enum fate fate,
                        uint64_t random)
{
    bool lost = fate == LOST_ZEROS || fate == LOST_GARBAGE;

    if (op->op == RECORD_TRUNCATE) {
        if (fate == LOST)
            return;
        if (op->len < file->len && !lost)
            file->len = op->len;
        grow(file, op->len);
    } else if (lost && op->len > 0) {
        if (op->op == RECORD_WRITE || (op->flags & 1))
            put_size(file, op->offset + op->len, fate, random);
    } else if (op->len > 0 && fate == TORN) {
        put_torn(file, op, random);
    } else if (op->len > 0 && fate == KEPT) {
        put_range(file, op, op->offset, op->offset + op->len);
    }
}

// --- what becomes of what was not synced

struct choice {
    const struct trace *trace;
    uint32_t point;
    enum crash_policy policy;
    uint64_t seed;
    uint32_t one, last; // unsynced operations: some one, the last
    uint32_t last_write;
    uint32_t *in_dir; // unsynced changes of names in each folder: how many, then how many are kept
};

static bool is_unsynced(const struct trace_op *op, uint32_t point)
{
    return op->op != RECORD_SYNC && op->durable_at >= point && op->durable_at != 0;
}

static bool is_content(const struct trace_op *op)
{
    return op->op >= RECORD_WRITE;
}

static void look_ahead(struct choice *choice)
{
    choice->one = choice->last = choice->last_write = TRACE_NOTHING;
    memset(choice->in_dir, 0, choice->trace->inode_count * sizeof(*choice->in_dir));
    for (uint32_t i = 0; i < choice->point; i++) {
        const struct trace_op *op = &choice->trace->ops[i];

        if (op->op == RECORD_WRITE)
            choice->last_write = i;
        if (!is_unsynced(op, choice->point))
            continue;
        if (choice->one == TRACE_NOTHING || mix(choice->seed, i) % 4 == 0)
            choice->one = i;
        choice->last = i;
        if (!is_content(op) && op->name)
            choice->in_dir[op->dir]++;
    }
    for (uint32_t i = 0; i < choice->trace->inode_count; i++)
        choice->in_dir[i] = (uint32_t)(mix(choice->seed, ~(uint64_t)i) % (choice->in_dir[i] + 1));
}

// By seed. How much is kept on the whole differs from seed to seed, else every state would hold
// about half of everything.
static enum fate draw(struct choice *choice, uint32_t number)
{
    static const unsigned lost_percent[] = {5, 20, 45, 80};
    const struct trace_op *op = &choice->trace->ops[number];
    uint64_t random = mix(choice->seed, number);
    unsigned limit = lost_percent[choice->seed % 4];

    if (!is_content(op)) {
        if (choice->policy == CRASH_REORDERED)
            return random % 100 < limit ? LOST : KEPT;
        return choice->in_dir[op->dir] > 0 && choice->in_dir[op->dir]-- ? KEPT : LOST;
    }
    if (random % 100 < limit)
        return random >> 32 & 1 ? LOST : random >> 34 & 1 ? LOST_ZEROS : LOST_GARBAGE;
    return (random >> 33 & 3) == 0 ? TORN : KEPT;
}

static enum fate choose(struct choice *choice, uint32_t number)
{
    const struct trace_op *op = &choice->trace->ops[number];

    if (choice->policy == CRASH_DIES_TORN && number == choice->last_write &&
        number + 1 == choice->point)
        return TORN;
    if (choice->policy <= CRASH_DIES_TORN || !is_unsynced(op, choice->point))
        return KEPT;
    switch (choice->policy) {
    case CRASH_LOSES_ALL:
        return LOST;
    case CRASH_NAMES_ONLY:
        return is_content(op) ? LOST_ZEROS : KEPT;
    case CRASH_DATA_ONLY:
        return is_content(op) ? KEPT : LOST;
    case CRASH_LAST_ONLY:
        return number == choice->last ? KEPT : LOST;
    case CRASH_ALL_BUT_ONE:
        return number == choice->one ? LOST : KEPT;
    default:
        return draw(choice, number);
    }
}

// A write that a dying process had begun is there up to a page.
static uint64_t tearing(const struct choice *choice, uint32_t number)
{
    uint64_t random = mix(choice->seed ^ 0x5bd1e995, number);

    return choice->policy == CRASH_DIES_TORN ? random & ~(uint64_t)7 : random;
}

struct disk_state *disk_state_new(const struct trace *trace)
{
    struct disk_state *state = calloc(1, sizeof(*state));

    if (state) {
        state->trace = trace;
        state->files = calloc(trace->inode_count, sizeof(*state->files));
        state->per_dir = calloc(trace->inode_count, sizeof(*state->per_dir));
    }
    if (!state || !state->files || !state->per_dir)
        abort();
    return state;
}

void disk_state_build(struct disk_state *state, uint32_t point, enum crash_policy policy,
                      uint64_t seed)
{
    const struct trace *trace = state->trace;
    struct choice choice = {trace, point, policy, seed, .in_dir = state->per_dir};

    look_ahead(&choice);
    for (uint32_t i = 0; i < trace->inode_count; i++)
        state->files[i].len = 0;
    state->name_count = 0;
    for (uint32_t i = 0; i < point; i++) {
        const struct trace_op *op = &trace->ops[i];
        enum fate fate = op->op == RECORD_SYNC ? LOST : choose(&choice, i);

        if (op->op == RECORD_SYNC)
            continue;
        if (is_content(op)) {
            put_content(&state->files[op->inode], op, fate, tearing(&choice, i));
        } else if (op->name && fate != LOST) {
            if (op->name2)
                state_tree_set(state, op->dir2, op->name2, TRACE_NOTHING);
            state_tree_set(state, op->dir, op->name, op->inode);
        }
    }
}
