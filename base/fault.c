// SPDX-License-Identifier: MIT
//
// Arms and fires the named fault points. Owns the table of points and what BACKTREE_FAULT armed;
// the table is written by fault_init() before threads start and only read afterwards, but for the
// hit counters, which are atomic. Promises that an armed point acts exactly on its Nth hit, however
// many threads hit it.
#include "base/fault.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ARMED_MAX 16
#define SLEEP_MS_MAX 3600000

enum action { ACTION_UNKNOWN, ACTION_KILL, ACTION_PAUSE, ACTION_HOLD, ACTION_SLEEP, ACTION_ERRNO };

struct armed {
    enum fault_point point;
    enum action action;
    uint64_t nth;
    int code;       // ACTION_ERRNO: negative errno
    unsigned sleep; // ACTION_SLEEP: milliseconds
    atomic_uint_fast64_t hits;
};

#define FAULT_NAME(id, name) name,
static const char *const point_names[] = {FAULT_POINTS(FAULT_NAME)};
#undef FAULT_NAME

static const struct {
    const char *name;
    int code;
} errno_names[] = {
    {"EACCES", EACCES},       {"EAGAIN", EAGAIN},       {"EBADF", EBADF},     {"EBUSY", EBUSY},
    {"ECANCELED", ECANCELED}, {"EDQUOT", EDQUOT},       {"EEXIST", EEXIST},   {"EFBIG", EFBIG},
    {"EINTR", EINTR},         {"EINVAL", EINVAL},       {"EIO", EIO},         {"EMFILE", EMFILE},
    {"ENFILE", ENFILE},       {"ENODEV", ENODEV},       {"ENOENT", ENOENT},   {"ENOMEM", ENOMEM},
    {"ENOSPC", ENOSPC},       {"ENXIO", ENXIO},         {"EPERM", EPERM},     {"EROFS", EROFS},
    {"ESTALE", ESTALE},       {"ETIMEDOUT", ETIMEDOUT}, {"EUCLEAN", EUCLEAN},
};

int fault_armed;
static struct armed armed_list[ARMED_MAX];

void fault_disarm(void)
{
    __atomic_store_n(&fault_armed, 0, __ATOMIC_RELAXED);
}

const char *fault_name(enum fault_point point)
{
    return (unsigned)point < FAULT_POINT_COUNT ? point_names[point] : NULL;
}

static int find_point(const char *name, enum fault_point *ret_point, struct error *err)
{
    for (int i = 0; i < FAULT_POINT_COUNT; i++) {
        if (strcmp(name, point_names[i]) == 0) {
            *ret_point = (enum fault_point)i;
            return 0;
        }
    }
    return error_set(err, -EINVAL, "BACKTREE_FAULT: no fault point is called '%s'", name);
}

// Decimal digits to the end of `text`, 0 to `max`.
static bool parse_number(const char *text, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        unsigned digit = (unsigned)(*text - '0');
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

static int parse_action(const char *text, struct armed *armed, struct error *err)
{
    uint64_t ms;
    if (strcmp(text, "kill") == 0) {
        armed->action = ACTION_KILL;
        return 0;
    }
    if (strcmp(text, "pause") == 0) {
        armed->action = ACTION_PAUSE;
        return 0;
    }
    if (strcmp(text, "hold") == 0 && getenv("BACKTREE_FAULT_HOLD")) {
        armed->action = ACTION_HOLD;
        return 0;
    }
    if (strncmp(text, "sleep-", 6) == 0 && parse_number(text + 6, SLEEP_MS_MAX, &ms)) {
        armed->action = ACTION_SLEEP;
        armed->sleep = (unsigned)ms;
        return 0;
    }
    for (size_t i = 0; i < sizeof(errno_names) / sizeof(errno_names[0]); i++) {
        if (strcmp(text, errno_names[i].name) == 0) {
            armed->action = ACTION_ERRNO;
            armed->code = -errno_names[i].code;
            return 0;
        }
    }
    return error_set(err, -EINVAL, "BACKTREE_FAULT: '%s' is no action or errno name", text);
}

// One "NAME[:N]=ACTION"; cuts `text` apart.
static int parse_one(char *text, struct armed *armed, struct error *err)
{
    char *action = strchr(text, '=');
    if (!action)
        return error_set(err, -EINVAL, "BACKTREE_FAULT: '%s' has no '='", text);
    *action++ = '\0';
    armed->nth = 1;
    char *nth = strchr(text, ':');
    if (nth) {
        *nth++ = '\0';
        if (!parse_number(nth, UINT32_MAX, &armed->nth) || armed->nth == 0)
            return error_set(err, -EINVAL, "BACKTREE_FAULT: '%s' is not a count of hits", nth);
    }
    int rc = find_point(text, &armed->point, err);
    return rc < 0 ? rc : parse_action(action, armed, err);
}

int fault_init(struct error *err)
{
    fault_disarm();
    memset(armed_list, 0, sizeof(armed_list));
    const char *value = getenv("BACKTREE_FAULT");
    if (!value || !*value)
        return 0;
    AUTO_FREE char *copy = strdup(value);
    if (!copy)
        return error_set_errno(err, -ENOMEM, "cannot read BACKTREE_FAULT");

    int count = 0;
    char *rest = copy;
    for (char *one; (one = strsep(&rest, ",")) != NULL; count++) {
        if (count == ARMED_MAX)
            return error_set(err, -EINVAL, "BACKTREE_FAULT arms more than %d points", ARMED_MAX);
        int rc = parse_one(one, &armed_list[count], err);
        if (rc < 0)
            return rc;
    }
    __atomic_store_n(&fault_armed, count, __ATOMIC_RELAXED);
    return 0;
}

static void sleep_ms(unsigned ms)
{
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
}

static void hold(const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s.%s", getenv("BACKTREE_FAULT_HOLD"), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    close(fd);
    while (access(path, F_OK) == 0)
        sleep_ms(5);
}

static int fire(const struct armed *armed, struct error *err)
{
    const char *name = point_names[armed->point];
    switch (armed->action) {
    case ACTION_KILL:
        kill(getpid(), SIGKILL);
        // The signal may be delivered to another thread first; this one must not get any further.
        for (;;)
            pause();
    case ACTION_PAUSE:
        raise(SIGSTOP);
        return 0;
    case ACTION_HOLD:
        hold(name);
        return 0;
    case ACTION_SLEEP:
        sleep_ms(armed->sleep);
        return 0;
    case ACTION_ERRNO:
        return error_set_errno(err, armed->code, "injected fault at %s", name);
    case ACTION_UNKNOWN:
        break;
    }
    return 0;
}

int fault_hit_armed(enum fault_point point, struct error *err)
{
    int count = __atomic_load_n(&fault_armed, __ATOMIC_RELAXED), rc = 0;
    for (int i = 0; i < count; i++) {
        struct armed *armed = &armed_list[i];
        if (armed->point != point)
            continue;
        uint64_t hit = atomic_fetch_add(&armed->hits, 1) + 1;
        bool acts = armed->action == ACTION_SLEEP ? hit >= armed->nth : hit == armed->nth;
        if (acts && rc == 0)
            rc = fire(armed, err);
    }
    return rc;
}
