// SPDX-License-Identifier: MIT
//
// errno and last_error; see refusal.h.
#include "fs/tree/refusal.h"

#include "base/clock.h"
#include "base/log.h"
#include "fs/tree/tree_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void refusals_init(struct refusals *refusals)
{
    pthread_mutex_init(&refusals->lock, NULL);
}

void refusals_deinit(struct refusals *refusals)
{
    pthread_mutex_destroy(&refusals->lock);
}

int refusal_errno(int code)
{
    switch (-code) {
    case ERROR_CORRUPT:
    case EPROTO:
    case EPROTONOSUPPORT:
    case EOVERFLOW:
        return EIO;
    case EALREADY: // "Operation already in progress" would say the opposite of "it has ended"
        return EINVAL;
    case ENOSYS:
        return EOPNOTSUPP;
    default:
        return code < 0 ? -code : EIO;
    }
}

// The path ends in a name somebody chose; a sentence is clean already (error_set()).
static void make_one_line(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
    }
}

static void keep(struct refusals *refusals, const char *path, const char *sentence)
{
    pthread_mutex_lock(&refusals->lock);
    refusals->at = clock_now();
    snprintf(refusals->path, sizeof(refusals->path), "%s", path);
    make_one_line(refusals->path);
    snprintf(refusals->sentence, sizeof(refusals->sentence), "%s", sentence);
    pthread_mutex_unlock(&refusals->lock);
}

int refusal_record(struct tree *tree, struct node node, const char *name, const struct error *err)
{
    char path[NODE_PATH_SIZE];
    node_path(tree, node, name, path);
    keep(&tree->refusals, path, error_message(err));
    log_info("refused: %s: %s", path, error_message(err));
    return refusal_errno(err->code);
}

int refusal_say(struct tree *tree, struct node node, const char *name, int code,
                const char *sentence)
{
    struct error err = ERROR_INIT;
    error_set(&err, code, "%s", sentence);
    return refusal_record(tree, node, name, &err);
}

int refusal_text(struct tree *tree, char **ret_text, struct error *err)
{
    struct refusals *refusals = &tree->refusals;
    char *text = NULL, iso[CLOCK_ISO_SIZE];
    int n;

    pthread_mutex_lock(&refusals->lock);
    if (refusals->at == 0)
        n = asprintf(&text, "%s", "");
    else
        n = asprintf(&text, "%s %s: %s\n", clock_to_iso(refusals->at, iso), refusals->path,
                     refusals->sentence);
    pthread_mutex_unlock(&refusals->lock);
    if (n < 0)
        return error_set(err, -ENOMEM, "out of memory");
    *ret_text = text;
    return 0;
}

int64_t refusal_time(struct tree *tree)
{
    pthread_mutex_lock(&tree->refusals.lock);
    int64_t at = tree->refusals.at;
    pthread_mutex_unlock(&tree->refusals.lock);
    return at;
}
