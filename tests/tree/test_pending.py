# SPDX-License-Identifier: MIT
"""The pending rule: while a job of a VM is running one more may wait; further touches are answered
by that one. Every accepted touch gets a backup that starts after it.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, make_disk, make_scattered_disk, noise, write_at

SLOW = "source-read=sleep-100"


def slow_vm(case, disks=("vda",), fault=SLOW, extents=12):
    """A VM whose backups take a second or so, with a backup of it running. Returns its trigger."""
    case.start(fault=fault)
    for number, disk in enumerate(disks):
        make_scattered_disk(case.dir / f"{disk}.raw", extents, seed=number)
    case.add("web1", **{disk: case.dir / f"{disk}.raw" for disk in disks})
    return case.vm("web1") / "backup"


def running(case, trigger, words=""):
    job = case.request(trigger, words)
    case.wait_state(job, "running")
    return job


def test_one_running_one_pending(case):
    trigger = slow_vm(case)
    eq(running(case, trigger), 1, "first job")
    for number in range(6):
        eq(case.request(trigger), 2, f"job of touch {number + 2}")
    eq(case.catalog.job_count(), 2, "job records")
    eq(case.state(1), "running", "the first goes on")
    eq(case.state(2), "pending", "the second waits")
    eq(trigger.read_text(), "2 pending\n", "the trigger tells the job that answers")
    case.wait_job(2)
    eq(case.catalog.job_count(), 2, "job records at the end")
    eq(len(case.snapshots("web1", "vda")), 2, "snapshots")


def test_shell_touches_join(case):
    """Every way a shell has of touching joins without a second record."""
    trigger = slow_vm(case)
    running(case, trigger)
    case.sh('touch "$T"; echo > "$T"; : > "$T"; : >> "$T"; touch -c "$T"; echo auto | dd of="$T" '
            'status=none; cp /dev/null "$T"; echo | tee "$T"', env={"T": str(trigger)})
    eq(case.catalog.job_count(), 2, "job records")
    case.settle()
    eq(case.catalog.job_count(), 2, "job records at the end")


def test_joined_touch_says_so_when_it_is_closed(case):
    """The descriptor that joined reads the pending job's number."""
    trigger = slow_vm(case)
    running(case, trigger)
    eq(case.request(trigger), 2, "the pending job")
    fd = os.open(trigger, os.O_RDWR)
    os.write(fd, b"auto\n")
    eq(os.pread(fd, 100, 0).split()[0], b"2", "job read on the joining descriptor")
    os.close(fd)
    eq(case.catalog.job_count(), 2, "job records")


def test_a_touch_is_answered_by_a_backup_that_starts_after_it(case):
    """What is written to the disk before a touch is in the backup that answers it, even where the
    running job has read that place already."""
    trigger = slow_vm(case)
    first = running(case, trigger)
    within(20, lambda: int((case.job_dir(first) / "progress").read_text().split()[0]) > 0,
           "the first job has read something")
    write_at(case.dir / "vda.raw", 0, noise(4096, "later"))
    second = case.request(trigger)
    check(second != first, "a running job does not answer a later touch")
    case.wait_job(second)
    case.expect_same(case.snapshots("web1", "vda")[1] / "disk.raw", case.dir / "vda.raw")
    a, b = case.job(first), case.job(second)
    check(b["started_at"] >= a["finished_at"], "the second started after the first had ended")


def test_touch_after_the_pending_one_started_is_a_third(case):
    trigger = slow_vm(case)
    running(case, trigger)
    eq(case.request(trigger), 2, "the pending job")
    case.wait_state(2, "running")
    eq(case.request(trigger), 3, "a touch while the second runs")
    case.wait_job(3)
    eq(case.catalog.job_count(), 3, "job records")


def test_mode_and_tags_are_widened(case):
    trigger = slow_vm(case)
    running(case, trigger)
    eq(case.request(trigger, "tag=a"), 2, "the pending job")
    eq(case.request(trigger, "full tag=b"), 2, "the same")
    eq(case.request(trigger, "tag=a tag=c"), 2, "the same again")
    job = case.job(2)
    eq(job["mode"], "full", "auto gives way to full, and stays")
    eq(job["tags"], ["a", "b", "c"], "tags joined, each once")
    case.wait_job(2)
    second = case.snapshots("web1", "vda")[1]
    check("-full-" in second.name, f"a full was made: {second.name}")
    eq(case.info(second)["tags"], ["a", "b", "c"], "tags of the snapshot")


def test_auto_gives_way_to_incremental(case):
    trigger = slow_vm(case, extents=8)
    case.wait_job(case.request(trigger))
    running(case, trigger)
    eq(case.request(trigger), 3, "the pending job")
    eq(case.request(trigger, "incremental"), 3, "the same")
    eq(case.job(3)["mode"], "incremental", "mode")
    case.wait_job(3)


def test_full_and_incremental_do_not_join(case):
    trigger = slow_vm(case, extents=8)
    case.wait_job(case.request(trigger))
    running(case, trigger)
    eq(case.request(trigger, "full"), 3, "the pending job")
    case.refuses(errno.EBUSY, lambda: case.trigger(trigger, "incremental"))
    eq(case.job(3)["mode"], "full", "mode is what it was")
    eq(case.catalog.job_count(), 3, "job records")


def test_a_disk_is_covered_by_a_pending_vm_job(case):
    trigger = slow_vm(case, disks=("vda", "vdb"), extents=6)
    running(case, trigger)
    eq(case.request(trigger), 2, "the pending job of all disks")
    eq(case.request(case.vm("web1") / "vda" / "backup"), 2, "a disk's touch joins it")
    case.settle()
    eq(case.catalog.job_count(), 2, "job records")


def test_a_vm_is_not_covered_by_a_pending_disk_job(case):
    trigger = slow_vm(case, disks=("vda", "vdb"), extents=6)
    running(case, trigger)
    eq(case.request(case.vm("web1") / "vda" / "backup"), 2, "the pending job of one disk")
    eq(case.request(trigger), 3, "all disks need a job of their own")
    case.settle(90)
    eq(case.catalog.job_count(), 3, "job records")
    eq(len(case.snapshots("web1", "vda")), 3, "snapshots of vda")
    eq(len(case.snapshots("web1", "vdb")), 2, "snapshots of vdb")


def test_other_disk_has_a_job_of_its_own(case):
    trigger = slow_vm(case, disks=("vda", "vdb"), extents=6)
    running(case, trigger)
    eq(case.request(case.vm("web1") / "vda" / "backup"), 2, "job of vda")
    eq(case.request(case.vm("web1") / "vdb" / "backup"), 3, "job of vdb")
    eq(case.request(case.vm("web1") / "vda" / "backup"), 2, "vda's again")
    case.settle(90)
    eq(case.catalog.job_count(), 3, "job records")


def test_one_job_of_a_vm_at_a_time(case):
    """The jobs of a VM do not overlap."""
    trigger = slow_vm(case, disks=("vda", "vdb"), extents=4)
    running(case, trigger)
    case.request(case.vm("web1") / "vda" / "backup")
    case.request(case.vm("web1") / "vdb" / "backup")
    case.settle()
    rows = case.catalog.rows("SELECT started_at, finished_at FROM backup_jobs ORDER BY started_at")
    eq(len(rows), 3, "jobs")
    for earlier, later in zip(rows, rows[1:]):
        check(earlier["finished_at"] <= later["started_at"], f"no overlap: {rows}")


def test_several_vms_run_at_once(case):
    case.start(fault="source-read=sleep-100")
    for number, vm in enumerate(("web1", "web2", "web3")):
        make_scattered_disk(case.dir / f"{vm}.raw", 14, seed=number)
        case.add(vm, vda=case.dir / f"{vm}.raw")
    jobs = [case.request(case.vm(vm) / "backup") for vm in ("web1", "web2", "web3")]
    within(10, lambda: [case.state(j) for j in jobs] == ["running"] * 3, "three jobs run at once")
    active = sorted(int(p.name) for p in (case.mnt / "jobs" / "active").iterdir())
    eq(active, jobs, "jobs/active")
    for job, vm in zip(jobs, ("web1", "web2", "web3")):
        case.wait_job(job)
        case.expect_same(case.latest(vm, "vda") / "disk.raw", case.dir / f"{vm}.raw")


def test_more_vms_than_workers_all_end(case):
    """Twelve VMs touched in one breath: every one gets its backup."""
    case.start()
    names = [f"vm{number}" for number in range(12)]
    for number, vm in enumerate(names):
        make_disk(case.dir / f"{vm}.raw", 512 * KIB, [(0, 200 * KIB)], seed=number)
        case.add(vm, vda=case.dir / f"{vm}.raw")
    case.sh('for v in "$V"/*; do touch "$v/backup" & done; wait', env={"V": str(case.mnt / "vms")})
    case.settle()
    eq(case.catalog.job_count(), 12, "job records")
    for vm in names:
        case.expect_same(case.latest(vm, "vda") / "disk.raw", case.dir / f"{vm}.raw")


def test_pending_survives_unmount_and_runs_at_the_next_mount(case):
    trigger = slow_vm(case)
    running(case, trigger)
    eq(case.request(trigger, "tag=kept"), 2, "the pending job")
    case.daemon.allow_errors("interrupted")
    case.remount()
    job = case.wait_job(2)
    eq(job["tags"], ["kept"], "tags")
    job = case.job(1)
    eq(job["state"], "failed", "the one that was running")
    check("interrupted" in job["reason"], f"its reason: {job['reason']}")
    eq(case.catalog.job_count(), 2, "job records")
    eq(len(case.snapshots("web1", "vda")), 1, "snapshots")


def test_unmount_does_not_wait_for_long_jobs(case):
    trigger = slow_vm(case, extents=60)
    running(case, trigger)
    begun = time.monotonic()
    case.daemon.allow_errors("interrupted")
    case.umount()
    check(time.monotonic() - begun < 3 * SLOWDOWN, "unmounted promptly")


main()
