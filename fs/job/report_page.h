// SPDX-License-Identifier: MIT
//
// The report page while it is printed, and its sections. Private to report*.c.
//
// Bounded: of disks, VMs, snapshots, jobs no more are shown than the limits below, and the page
// says how many there are. So it has a few thousand marks at most, whatever the repository holds.
//
// Threads: one page belongs to one thread, with its lease.
#ifndef FS_JOB_REPORT_PAGE_H
#define FS_JOB_REPORT_PAGE_H

#include "fs/job/status.h"

#include <stdio.h>

#define REPORT_VMS 100       // with charts; those in trouble come first
#define REPORT_VM_ROWS 500   // in the table of VMs
#define REPORT_VM_DISKS 12   // with charts, of one VM
#define REPORT_DISK_ROWS 200 // in the table of disks
#define REPORT_MARKS 1800    // snapshots in charts, shared out among the disks
#define REPORT_MARKS_LEAST 8 // … but so many of each
#define REPORT_MARKS_MOST 60
#define REPORT_ATTEMPTS 20 // failed ones, of one disk
#define REPORT_NEWEST 10   // snapshots in the table of a disk
#define REPORT_JOBS 25
#define REPORT_FAILURES 10

struct report {
    FILE *out;
    struct catalog_conn *conn;
    const struct repository *repository;
    struct repository_status status;
    struct vm_figures *vms; // those in trouble first
    size_t vm_count;
    int64_t now;
    size_t marks; // snapshots of each disk in charts
};

// "showing 25 of 4,000" where not all of `total` are.
void report_print_limit(FILE *out, size_t shown, int64_t total, const char *which);

// <span class="badge KIND">TEXT</span>
void report_print_badge(FILE *out, const char *kind, const char *text);

// Table of VMs, and a section with charts for each (report_vms.c).
int report_print_vms(struct report *page, struct error *err);

// What stands against the repository: a box, when there is something (report_tables.c).
int report_print_trouble(struct report *page, struct error *err);

// Tables of disks and of jobs (report_tables.c).
int report_print_disks(struct report *page, struct error *err);
int report_print_jobs(struct report *page, struct error *err);

#endif
