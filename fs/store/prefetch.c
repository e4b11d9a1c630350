// SPDX-License-Identifier: MIT
//
// Two rings of pieces of work and the threads that take them, oldest first, those of the second
// ring when the first is empty. A thread that cannot be started is done without; with none at all
// there is no prefetch.
#include "fs/store/prefetch.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/sysinfo.h>

#define THREADS_MAX 8
#define QUEUE_MAX 64u

struct work {
    prefetch_fn fn;
    void *owner;
    struct prefetch_range range;
};

struct ring {
    unsigned taken, submitted; // only grow (and wrap); slot = index % QUEUE_MAX
    struct work queue[QUEUE_MAX];
};

enum { RING_SOON, RING_IDLE, RING_COUNT };

struct prefetch {
    pthread_mutex_t lock;
    pthread_cond_t queued; // there is work, or the end has come
    pthread_cond_t done;   // a thread has finished a piece
    // guarded by lock
    bool started, closing;
    unsigned thread_count;
    pthread_t threads[THREADS_MAX];
    const void *busy_for[THREADS_MAX]; // owners, by thread
    struct ring rings[RING_COUNT];
};

struct thread_start {
    struct prefetch *prefetch;
    unsigned number;
};

int prefetch_new(struct prefetch **ret_prefetch, struct error *err)
{
    struct prefetch *prefetch = calloc(1, sizeof(*prefetch));

    if (!prefetch)
        return error_set(err, -ENOMEM, "out of memory for prefetching");
    pthread_mutex_init(&prefetch->lock, NULL);
    pthread_cond_init(&prefetch->queued, NULL);
    pthread_cond_init(&prefetch->done, NULL);
    *ret_prefetch = prefetch;
    return 0;
}

struct prefetch *prefetch_free(struct prefetch *prefetch)
{
    if (!prefetch)
        return NULL;
    pthread_mutex_lock(&prefetch->lock);
    prefetch->closing = true;
    pthread_cond_broadcast(&prefetch->queued);
    pthread_mutex_unlock(&prefetch->lock);
    for (unsigned i = 0; i < prefetch->thread_count; i++)
        pthread_join(prefetch->threads[i], NULL);
    pthread_cond_destroy(&prefetch->done);
    pthread_cond_destroy(&prefetch->queued);
    pthread_mutex_destroy(&prefetch->lock);
    free(prefetch);
    return NULL;
}

static bool take_from(struct ring *ring, struct work *ret_work) // lock held
{
    if (ring->taken == ring->submitted)
        return false;
    *ret_work = ring->queue[ring->taken++ % QUEUE_MAX];
    return true;
}

// The oldest piece of the first ring that has one; false when the threads are to end. Lock held.
static bool take(struct prefetch *prefetch, struct work *ret_work)
{
    for (;;) {
        if (prefetch->closing)
            return false;
        for (int i = 0; i < RING_COUNT; i++) {
            if (take_from(&prefetch->rings[i], ret_work))
                return true;
        }
        pthread_cond_wait(&prefetch->queued, &prefetch->lock);
    }
}

static void *thread_main(void *arg)
{
    struct thread_start start = *(struct thread_start *)arg;
    struct prefetch *prefetch = start.prefetch;
    struct work work;

    free(arg);
    pthread_mutex_lock(&prefetch->lock);
    while (take(prefetch, &work)) {
        prefetch->busy_for[start.number] = work.owner;
        pthread_mutex_unlock(&prefetch->lock);
        work.fn(work.owner, &work.range);
        pthread_mutex_lock(&prefetch->lock);
        prefetch->busy_for[start.number] = NULL;
        pthread_cond_broadcast(&prefetch->done);
    }
    pthread_mutex_unlock(&prefetch->lock);
    return NULL;
}

static bool start_thread(struct prefetch *prefetch) // lock held
{
    struct thread_start *start = malloc(sizeof(*start));
    pthread_t *thread = &prefetch->threads[prefetch->thread_count];
    char name[16];

    if (!start)
        return false;
    *start = (struct thread_start){.prefetch = prefetch, .number = prefetch->thread_count};
    if (pthread_create(thread, NULL, thread_main, start) != 0) {
        free(start);
        return false;
    }
    snprintf(name, sizeof(name), "bt-ahead-%u", prefetch->thread_count);
    pthread_setname_np(*thread, name);
    prefetch->thread_count++;
    return true;
}

// Signals are the business of the program's other threads.
static void start_threads(struct prefetch *prefetch) // lock held
{
    unsigned wanted = (unsigned)get_nprocs();
    sigset_t all, before;

    prefetch->started = true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (prefetch->thread_count < wanted && prefetch->thread_count < THREADS_MAX &&
           start_thread(prefetch))
        ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void submit(struct prefetch *prefetch, struct ring *ring, const struct work *work)
{
    pthread_mutex_lock(&prefetch->lock);
    if (!prefetch->started)
        start_threads(prefetch);
    if (ring->submitted - ring->taken < QUEUE_MAX) {
        ring->queue[ring->submitted++ % QUEUE_MAX] = *work;
        pthread_cond_signal(&prefetch->queued);
    }
    pthread_mutex_unlock(&prefetch->lock);
}

void prefetch_submit(struct prefetch *prefetch, prefetch_fn fn, void *owner,
                     const struct prefetch_range *range)
{
    struct work work = {.fn = fn, .owner = owner, .range = *range};

    submit(prefetch, &prefetch->rings[RING_SOON], &work);
}

void prefetch_submit_idle(struct prefetch *prefetch, prefetch_fn fn, void *owner,
                          const struct prefetch_range *range)
{
    struct work work = {.fn = fn, .owner = owner, .range = *range};

    submit(prefetch, &prefetch->rings[RING_IDLE], &work);
}

static bool is_busy_for(const struct prefetch *prefetch, const void *owner) // lock held
{
    for (unsigned i = 0; i < prefetch->thread_count; i++) {
        if (prefetch->busy_for[i] == owner)
            return true;
    }
    return false;
}

// What others have queued moves up, so that nothing takes their room. Lock held.
static void forget_queued(struct ring *ring, const void *owner)
{
    unsigned kept = ring->taken;

    for (unsigned i = ring->taken; i != ring->submitted; i++) {
        if (ring->queue[i % QUEUE_MAX].owner != owner)
            ring->queue[kept++ % QUEUE_MAX] = ring->queue[i % QUEUE_MAX];
    }
    ring->submitted = kept;
}

void prefetch_cancel(struct prefetch *prefetch, const void *owner)
{
    pthread_mutex_lock(&prefetch->lock);
    for (int i = 0; i < RING_COUNT; i++)
        forget_queued(&prefetch->rings[i], owner);
    while (is_busy_for(prefetch, owner))
        pthread_cond_wait(&prefetch->done, &prefetch->lock);
    pthread_mutex_unlock(&prefetch->lock);
}
