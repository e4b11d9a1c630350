// SPDX-License-Identifier: MIT
//
// Requests for upkeep jobs and the common part of running them; see upkeep.h.
#include "fs/job/upkeep.h"

#include "catalog/path.h"
#include "fs/job/check_job.h"
#include "fs/job/gc_job.h"
#include "fs/job/request.h"
#include "fs/job/verify_job.h"

#include <stdio.h>
#include <string.h>

#define BLANKS " \t\r\n"

static const struct upkeep_kind *const kinds[] = {&check_upkeep, &verify_upkeep, &gc_upkeep};
_Static_assert(sizeof(kinds) / sizeof(kinds[0]) == UPKEEP_KINDS, "a job thread for each kind");

const struct upkeep_kind *upkeep_find(enum job_kind kind)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (kinds[i]->kind == kind)
            return kinds[i];
    return NULL;
}

// --- requests

struct upkeep_request {
    const struct upkeep_kind *kind;
    enum job_trigger trigger;
    int64_t context_id, disk_id, snapshot_id;
    char name[NAME_SIZE * 2 + SNAPSHOT_NAME_SIZE * 2]; // "" = none
    char words[UPKEEP_WORDS_SIZE];
};

static int take_name(struct upkeep_request *request, const char *word, struct error *err)
{
    const struct upkeep_kind *kind = request->kind;

    if (!kind->takes_name || request->name[0] || request->snapshot_id)
        return error_set(err, -EINVAL, "unknown word '%s': use %s or trigger=scheduled", word,
                         kind->options);
    if ((size_t)snprintf(request->name, sizeof(request->name), "%s", word) >= sizeof(request->name))
        return error_set(err, -EINVAL, "no VM, disk or snapshot has a name of %zu characters",
                         strlen(word));
    return 0;
}

// Whether the option was given before: it, or one of its kind ("threshold=20%").
static bool is_given(const char *words, const char *word)
{
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) + 1 : strlen(word);

    for (const char *at = words; *at; at += *at == ' ') {
        size_t at_len = strcspn(at, " ");
        if (strncmp(at, word, len) == 0 && (equals || at_len == len))
            return true;
        at += at_len;
    }
    return false;
}

static int take_word(struct upkeep_request *request, const char *word, struct error *err)
{
    size_t used = strlen(request->words), room = sizeof(request->words) - used;
    int r;

    if (strncmp(word, "trigger=", 8) == 0)
        return request_set_trigger(&request->trigger, word + 8, err);
    r = request->kind->option(word, err);
    if (r < 0)
        return r;
    if (r == 0)
        return take_name(request, word, err);
    if (is_given(request->words, word))
        return error_set(err, -EINVAL, "%.*s is given twice", (int)strcspn(word, "="), word);
    if ((size_t)snprintf(request->words + used, room, "%s%s", used ? " " : "", word) >= room)
        return error_set(err, -EINVAL, "too many words");
    return 0;
}

static int parse(struct upkeep_request *request, const char *words, size_t len, struct error *err)
{
    AUTO_FREE char *copy = strndup(words, len);
    char *rest = copy, *word;
    int r = copy ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (r == 0 && strlen(copy) != len)
        r = error_set(err, -EINVAL, "the command holds a NUL character");
    while (r == 0 && (word = strsep(&rest, BLANKS)) != NULL)
        r = *word ? take_word(request, word, err) : 0;
    if (request->trigger == JOB_TRIGGER_UNKNOWN)
        request->trigger = TRIGGER_MANUAL;
    if (r == 0 && request->kind->check)
        r = request->kind->check(request->words, request->name[0] || request->snapshot_id, err);
    return r;
}

// From a name, or a snapshot's number, to the rows the job is about.
static int resolve(struct upkeep_request *request, struct catalog_conn *conn, struct error *err)
{
    AUTO_FREE struct catalog_path *path = calloc(1, sizeof(*path));
    struct snapshot_row *snapshot = path ? &path->snapshot : NULL;
    int r = path ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (r == 0 && request->snapshot_id) {
        r = snapshot_get(conn, request->snapshot_id, snapshot, err);
        request->context_id = r == 0 ? snapshot->context_id : 0;
        request->disk_id = r == 0 ? snapshot->disk_id : 0;
        return r;
    }
    if (r < 0 || !request->name[0])
        return r;
    r = catalog_path_resolve(conn, request->name, path, err);
    if (r == 0 && path->depth == PATH_CHAIN)
        r = error_set(err, -EINVAL, "name a VM, a disk or a snapshot");
    if (r < 0)
        return r;
    request->context_id = path->context.id;
    request->disk_id = path->disk.id;
    request->snapshot_id = path->snapshot.id;
    return 0;
}

static int record(struct engine *engine, struct upkeep_request *request, int64_t *ret_job_id,
                  bool *ret_joined, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    AUTO_FREE struct job_row *pending = calloc(1, sizeof(*pending));
    int r = pending ? catalog_write_begin(engine->repository.catalog, &conn, err)
                    : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = resolve(request, conn, err);
    if (r < 0)
        return r;
    struct job_new job = {.kind = request->kind->kind,
                          .trigger = request->trigger,
                          .context_id = request->context_id,
                          .disk_id = request->disk_id,
                          .tags = "",
                          .upkeep_snapshot_id = request->snapshot_id,
                          .upkeep_words = request->words};
    r = job_find_pending_upkeep(conn, &job, pending, NULL);
    *ret_joined = r == 0;
    if (r == 0)
        *ret_job_id = pending->id;
    else if (r == -ENOENT)
        r = job_insert(conn, &job, ret_job_id, err);
    else
        r = error_set_errno(err, r, "cannot look for pending jobs");
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

int engine_request_upkeep(struct engine *engine, enum job_kind kind, const char *words, size_t len,
                          int64_t snapshot_id, int64_t *ret_job_id, bool *ret_joined,
                          struct error *err)
{
    AUTO_FREE struct upkeep_request *request = calloc(1, sizeof(*request));
    AUTO_FREE struct pending_job *place = queue_place(err);
    bool joined = false;
    int64_t job_id = 0;
    int r = request && place ? engine_refuse_while_stopping(engine, err)
                             : error_set(err, -ENOMEM, "out of memory");

    if (r < 0)
        return r;
    request->kind = upkeep_find(kind);
    request->snapshot_id = snapshot_id;
    if (!request->kind)
        return error_set(err, -EINVAL, "%s is no upkeep", job_kind_to_word(kind));
    r = parse(request, words, len, err);
    if (r == 0)
        r = record(engine, request, &job_id, &joined, err);
    if (r < 0)
        return r;
    engine_queue_recorded(engine, TAKE(place, NULL), job_id, queue_lane(kind, request->context_id),
                          joined);
    *ret_job_id = job_id;
    if (ret_joined)
        *ret_joined = joined;
    return 0;
}

// --- running

static int write_figures(struct engine *engine, int64_t job_id, const struct upkeep_figure *figures,
                         size_t count, struct error *err)
{
    AUTO(catalog_write_rollback) struct catalog_conn *conn = NULL;
    int r = catalog_write_begin(engine->repository.catalog, &conn, err);

    for (size_t i = 0; r == 0 && i < count; i++)
        r = job_set_figure(conn, job_id, figures[i].name, figures[i].value, err);
    return r < 0 ? r : catalog_write_commit(TAKE(conn, NULL), err);
}

void upkeep_figures(struct engine *engine, struct job_run *run, const struct upkeep_figure *figures,
                    size_t count)
{
    struct error err = ERROR_INIT;

    if (write_figures(engine, run->job_id, figures, count, &err) == 0)
        return;
    job_run_log(run, "the figures are not recorded: %s", error_message(&err));
    for (size_t i = 0; i < count; i++)
        job_run_log(run, "%s %lld", figures[i].name, (long long)figures[i].value);
}

void upkeep_job(struct engine *engine, struct job_run *run, const struct job_row *job)
{
    const struct upkeep_kind *kind = upkeep_find(job->kind);
    struct error err = ERROR_INIT;
    int r = kind ? kind->run(engine, run, job, &err)
                 : error_set(&err, -EPROTONOSUPPORT, "this program has no %s jobs",
                             job_kind_to_word(job->kind));

    queue_end_job(engine, run, r, r < 0 ? error_message(&err) : "");
}
