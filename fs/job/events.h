// SPDX-License-Identifier: MIT
//
// Telling the listener what has changed, from one thread that holds no lock: the only caller of the
// listener. Besides, that thread samples running jobs for their rate (twice a second) and writes
// progress and waiting log lines to the catalog (every few seconds), so that others can see them.
#ifndef FS_JOB_EVENTS_H
#define FS_JOB_EVENTS_H

#include "fs/job/engine.h"

struct events;

int events_start(struct engine *engine, struct events **ret_events, struct error *err);
struct events *events_stop(struct events *events);

void events_listen(struct events *events,
                   void (*fn)(enum engine_event event, int64_t job_id, void *arg), void *arg);

// Queues an event. Never blocks; when memory is out the event is dropped with a warning (pollers
// then see it at their next look).
void events_post(struct events *events, enum engine_event event, int64_t job_id);

#endif
