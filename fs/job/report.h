// SPDX-License-Identifier: MIT
//
// MNT/report.html: the repository as one page for people. It needs nothing but itself: no network,
// no script, no other file, and a Content-Security-Policy that says so. Made from the catalog alone
// (no chunk is read), in one view of it; what it costs is bounded by the limits in report_page.h
// and by what status.h costs.
#ifndef FS_JOB_REPORT_H
#define FS_JOB_REPORT_H

#include "fs/job/repository.h"

// malloc'ed. VM names, reasons, sources, tags and paths may hold anything: they are escaped.
int repository_report_text(const struct repository *repository, char **ret_text, struct error *err);

#endif
