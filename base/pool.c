// SPDX-License-Identifier: MIT
//
// A pool of worker threads with one queue, first come, first served. Owns its threads; borrows
// tasks from pool_submit() until pool_wait().
//
// Threads: any thread may submit and wait. Workers take a task under the lock, run it without, and
// mark it done under the lock again; after that the owner may free it, so a worker never looks at
// it again. One condition tells workers of work, one broadcast tells owners of results: there are
// few owners (one a running job), each waiting for its oldest task.
#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

struct worker {
    struct pool *pool;
    unsigned index;
    pthread_t thread;
};

struct pool {
    unsigned threads; // set once
    unsigned started;
    struct worker *workers;
    pthread_mutex_t lock;
    pthread_cond_t work;     // the queue is not empty, or the pool is closing
    pthread_cond_t finished; // a task is done
    // guarded by lock
    struct pool_task *head;
    struct pool_task **tail; // where the next task is linked
    bool closing;
};

// Takes the oldest task, waiting for one. NULL when the pool closes and the queue is empty. Called
// and returns with the lock held.
static struct pool_task *take_locked(struct pool *pool)
{
    while (!pool->head && !pool->closing)
        pthread_cond_wait(&pool->work, &pool->lock);
    struct pool_task *task = pool->head;
    if (!task)
        return NULL;
    pool->head = task->next;
    if (!pool->head)
        pool->tail = &pool->head;
    return task;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct pool *pool = worker->pool;
    pthread_mutex_lock(&pool->lock);
    for (struct pool_task *task; (task = take_locked(pool)) != NULL;) {
        pthread_mutex_unlock(&pool->lock);
        task->run(task, worker->index);
        pthread_mutex_lock(&pool->lock);
        task->done = true;
        pthread_cond_broadcast(&pool->finished);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int start_worker(struct pool *pool, unsigned index, struct error *err)
{
    struct worker *worker = &pool->workers[index];
    worker->pool = pool;
    worker->index = index;
    int rc = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (rc != 0)
        return error_set_errno(err, -rc, "cannot start worker thread %u", index);
    pool->started++;
    char name[16];
    snprintf(name, sizeof(name), "bt-worker-%u", index % 10000);
    pthread_setname_np(worker->thread, name);
    return 0;
}

// A new thread inherits the mask of its maker, so blocking around the creation leaves no moment in
// which a worker could be given a signal.
static int start_workers(struct pool *pool, struct error *err)
{
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = 0;
    for (unsigned i = 0; i < pool->threads && rc == 0; i++)
        rc = start_worker(pool, i, err);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int pool_new(unsigned threads, struct pool **ret_pool, struct error *err)
{
    AUTO(pool_free) struct pool *pool = NULL;
    struct pool *made = calloc(1, sizeof(*made));
    if (!made)
        return error_set_errno(err, -ENOMEM, "cannot make a worker pool");
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->work, NULL);
    pthread_cond_init(&made->finished, NULL);
    made->tail = &made->head;
    made->threads = threads;
    pool = made;

    if (threads > 0) {
        pool->workers = calloc(threads, sizeof(*pool->workers));
        if (!pool->workers)
            return error_set_errno(err, -ENOMEM, "cannot make a worker pool");
        int rc = start_workers(pool, err);
        if (rc < 0)
            return rc;
    }
    *ret_pool = TAKE(pool, NULL);
    return 0;
}

struct pool *pool_free(struct pool *pool)
{
    if (!pool)
        return NULL;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
    return NULL;
}

unsigned pool_size(const struct pool *pool)
{
    return pool->threads > 0 ? pool->threads : 1;
}

// Owners of a serial pool may be several threads, and each `worker` value may stand for one
// thread's scratch memory, so tasks run under the lock, one at a time.
static void run_serially(struct pool *pool, struct pool_task *task)
{
    pthread_mutex_lock(&pool->lock);
    task->run(task, 0);
    task->done = true;
    pthread_mutex_unlock(&pool->lock);
}

void pool_submit(struct pool *pool, struct pool_task *task)
{
    task->next = NULL;
    task->done = false;
    if (pool->threads == 0) {
        run_serially(pool, task);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    *pool->tail = task;
    pool->tail = &task->next;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

void pool_wait(struct pool *pool, struct pool_task *task)
{
    pthread_mutex_lock(&pool->lock);
    while (!task->done)
        pthread_cond_wait(&pool->finished, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
