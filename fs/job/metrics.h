// SPDX-License-Identifier: MIT
//
// The repository for a monitoring system: OpenMetrics text (the exposition format of Prometheus),
// gauges only, because every figure is what holds now. Names begin with "backtree_"; sizes are
// bytes, times seconds. What a figure means stands in its HELP line.
#ifndef FS_JOB_METRICS_H
#define FS_JOB_METRICS_H

#include "fs/job/repository.h"

// malloc'ed, ends with "# EOF". One read lease, so that figures agree with each other.
int repository_metrics_text(const struct repository *repository, char **ret_text,
                            struct error *err);

#endif
