// SPDX-License-Identifier: MIT
//
// The words of a retention policy, and what a policy keeps. Input: u8 count, count × (i64 time, u8
// flags: 1 protected, 2 safety, 4 newest), i64 now, then the words.
//
// What is accepted is written in one way that means the same; what is refused leaves the result
// alone. What is protected, of the future or the newest is kept; the order in which snapshots are
// given does not matter; a second run at the same moment forgets nothing more.
#include "fs/job/retention.h"
#include "base/bytes.h"
#include "tests/fuzz/fuzz.h"

#define SNAPSHOTS_MAX 24

static struct retention_snapshot snapshots[SNAPSHOTS_MAX], others[SNAPSHOTS_MAX];
static struct retention_verdict verdicts[SNAPSHOTS_MAX], other_verdicts[SNAPSHOTS_MAX];

static void check_words(const struct retention_policy *policy)
{
    struct retention_policy again;
    char text[RETENTION_TEXT_SIZE], text_again[RETENTION_TEXT_SIZE];

    for (int rule = RETENTION_WITHIN; rule < RETENTION_RULE_COUNT; rule++)
        MUST(policy->keep[rule] <= RETENTION_COUNT_MAX);
    MUST(policy->keep[RETENTION_WITHIN] == 0
             ? policy->within_unit == '\0'
             : policy->within_unit && strchr("smhdw", policy->within_unit));
    retention_format(policy, text);
    MUST(retention_parse(text, strlen(text), &again, NULL) == 0);
    MUST(memcmp(&again, policy, sizeof(again)) == 0);
    MUST(strcmp(retention_format(&again, text_again), text) == 0);
    MUST(retention_keeps_everything(policy) == (strcmp(text, RETENTION_NONE) == 0));
}

static void check_verdicts(const struct retention_policy *policy, int64_t now, size_t count)
{
    uint32_t last = 0;

    for (size_t i = 0; i < count; i++) {
        const struct retention_snapshot *snapshot = &snapshots[i];

        MUST(verdicts[i].keep == (verdicts[i].why[0] != '\0'));
        MUST(strlen(verdicts[i].why) < RETENTION_WHY_SIZE - 1);
        MUST(verdicts[i].keep || !(snapshot->protected || snapshot->newest ||
                                   snapshot->taken_at > now || retention_keeps_everything(policy)));
        last += strncmp(verdicts[i].why, "last ", 5) == 0;
    }
    MUST(last <= policy->keep[RETENTION_LAST]);
}

static void check_other_order(const struct retention_policy *policy, int64_t now, size_t count)
{
    for (size_t i = 0; i < count; i++)
        others[i] = snapshots[count - 1 - i];
    MUST(retention_apply(policy, now, others, count, other_verdicts, NULL) == 0);
    for (size_t i = 0; i < count; i++)
        MUST(memcmp(&other_verdicts[i], &verdicts[count - 1 - i], sizeof(verdicts[0])) == 0);
}

static void check_second_run(const struct retention_policy *policy, int64_t now, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (verdicts[i].keep)
            others[kept++] = snapshots[i];
    }
    MUST(retention_apply(policy, now, others, kept, other_verdicts, NULL) == 0);
    for (size_t i = 0; i < kept; i++)
        MUST(other_verdicts[i].keep);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct retention_policy policy;
    struct error err = ERROR_INIT;

    if (size < 1 || data[0] > SNAPSHOTS_MAX || size < 1 + (size_t)data[0] * 9 + 8)
        return 0;
    size_t count = data[0], head = 1 + count * 9 + 8;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *p = data + 1 + i * 9;

        snapshots[i] = (struct retention_snapshot){.id = (int64_t)i + 1,
                                                   .taken_at = (int64_t)bytes_get_le64(p),
                                                   .protected = p[8] & 1,
                                                   .safety = p[8] & 2,
                                                   .newest = p[8] & 4};
    }
    int64_t now = (int64_t)bytes_get_le64(data + head - 8);
    memset(&policy, 0xa5, sizeof(policy));
    int r = retention_parse((const char *)data + head, size - head, &policy, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(r == -EINVAL && fuzz_all(&policy, sizeof(policy), 0xa5));
        return 0;
    }
    check_words(&policy);
    MUST(retention_apply(&policy, now, snapshots, count, verdicts, NULL) == 0);
    check_verdicts(&policy, now, count);
    check_other_order(&policy, now, count);
    check_second_run(&policy, now, count);
    return 0;
}
