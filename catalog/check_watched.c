// SPDX-License-Identifier: MIT
//
// SQLite checks a table in one step, which takes seconds when the table has millions of rows and
// asks nobody whether to go on. But it may be interrupted from another thread.
//
// Threads: the checking thread alone uses the connection; the caller's waits, and interrupts it.
#include "catalog/check_watched.h"

#include "catalog/connection.h"

#include <pthread.h>
#include <time.h>

#define TICK_NANOSECONDS 100000000

struct watched {
    struct catalog_conn *conn;
    bool full;
    pthread_mutex_t lock;
    pthread_cond_t end;
    // guarded by lock, and the thread's own until it has ended
    bool ended;
    int result;
    struct error err;
};

static void *check_main(void *arg)
{
    struct watched *watched = arg;
    int r = catalog_check(watched->conn, watched->full, &watched->err);

    pthread_mutex_lock(&watched->lock);
    watched->result = r;
    watched->ended = true;
    pthread_cond_signal(&watched->end);
    pthread_mutex_unlock(&watched->lock);
    return NULL;
}

// Waits for the end or a tick; whether it has ended.
static bool wait_for_end(struct watched *watched)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_NANOSECONDS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&watched->lock);
    while (!watched->ended &&
           pthread_cond_timedwait(&watched->end, &watched->lock, &until) != ETIMEDOUT)
        ;
    bool ended = watched->ended;
    pthread_mutex_unlock(&watched->lock);
    return ended;
}

static int watch(struct watched *watched, int (*tick)(void *arg, struct error *err), void *arg,
                 struct error *err)
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, check_main, watched);

    if (r != 0)
        return error_set_errno(err, -r, "cannot start a thread");
    while (!wait_for_end(watched)) {
        if (r == 0)
            r = tick(arg, err);
        // Again and again: between two statements there is nothing to be interrupted.
        if (r != 0)
            sqlite3_interrupt(watched->conn->db);
    }
    pthread_join(thread, NULL);
    if (r == 0 && watched->result < 0)
        r = error_set(err, watched->result, "%s", error_message(&watched->err));
    return r;
}

int catalog_check_watched(struct catalog_conn *conn, bool full,
                          int (*tick)(void *arg, struct error *err), void *arg, struct error *err)
{
    struct watched watched = {.conn = conn, .full = full, .err = ERROR_INIT};
    pthread_condattr_t attr;

    int r = tick(arg, err);
    if (r != 0)
        return r;
    pthread_mutex_init(&watched.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&watched.end, &attr);
    pthread_condattr_destroy(&attr);
    r = watch(&watched, tick, arg, err);
    pthread_cond_destroy(&watched.end);
    pthread_mutex_destroy(&watched.lock);
    return r;
}
