# SPDX-License-Identifier: MIT
"""Retention and prune through the tree: vms/VM/retention, control/prune, what is kept and what is
told of it, and that every snapshot left reads as it did.
"""
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, digest, make_disk, noise, write_at

DEFAULT = "keep-last=10 keep-daily=7 keep-weekly=4 keep-monthly=12"


def history(case, backups, vm="web1", disks=("vda",), full_at=(), init=()):
    """A VM with some backups; SHA-256 by snapshot folder."""
    if case.daemon is None:
        case.start(init=init)
    images = {}
    for disk in disks:
        images[disk] = make_disk(case.dir / f"{vm}-{disk}.raw", MIB + 100, [(0, 300 * KIB)],
                                 seed=f"{vm}{disk}")
        case.add(vm, **{disk: images[disk]})
    known = {}
    for number in range(backups):
        for disk, image in images.items():
            write_at(image, 70 * KIB * (number % 12), noise(500, f"{vm}{disk}{number}"))
        case.backup(vm, "full" if number in full_at else "")
        for disk, image in images.items():
            known[case.latest(vm, disk)] = digest(image)
    return known


def names(case, vm="web1", disk="vda"):
    return [f"{p.parent.name}/{p.name[:9]}" for p in case.snapshots(vm, disk)]


def retention(case, vm="web1"):
    return case.vm(vm) / "retention"


def policy(case, vm="web1"):
    return retention(case, vm).read_text().splitlines()[0]


def log(case, job):
    return [line.split(" ", 1)[1] for line in (case.job_dir(job) / "log").read_text().splitlines()]


# --- the policy


def test_the_default(case):
    history(case, 0)
    eq(retention(case).read_text(), f"{DEFAULT}\n# the repository's default\n", "retention")
    info = case.info(case.vm("web1"))
    eq((info["retention"], info["retention_default"]), (DEFAULT, True), "info.json")
    check(f"retention {DEFAULT}\n" in (case.mnt / "status").read_text(), "status tells it")
    eq(retention(case).stat().st_mode & 0o777, 0o600, "mode")
    eq(retention(case).stat().st_size, len(retention(case).read_bytes()), "st_size")


def test_a_default_set_by_init(case):
    history(case, 0, init=("--keep-daily=3", "--keep-last=2"))
    eq(policy(case), "keep-last=2 keep-daily=3", "retention")


def test_setting_it(case):
    history(case, 0)
    history(case, 0, vm="web2")
    case.trigger(retention(case), "  keep-daily=3   keep-within=12h ")
    eq(policy(case), "keep-within=12h keep-daily=3", "in its canonical form")
    check("of this VM" in retention(case).read_text(), "says whose it is")
    eq(policy(case, "web2"), DEFAULT, "of another VM")
    info = case.info(case.vm("web1"))
    eq((info["retention"], info["retention_default"]), ("keep-within=12h keep-daily=3", False),
       "info.json")
    case.remount()
    eq(policy(case), "keep-within=12h keep-daily=3", "after a remount")
    case.trigger(retention(case), "none")
    eq(policy(case), "none", "keep everything")
    case.trigger(retention(case), "default")
    eq(policy(case), DEFAULT, "the default again")
    eq(case.catalog.value("SELECT count(*) FROM vm_backup_contexts WHERE retention IS NOT NULL"), 0,
       "VMs with a policy of their own")
    eq(case.catalog.job_count("prune"), 0, "jobs")


def test_what_is_read_can_be_written(case):
    history(case, 0)
    case.trigger(retention(case), "keep-last=4")
    case.sh(f"cp {retention(case)} saved && echo none > {retention(case)} && "
            f"cat saved > {retention(case)}")
    eq(policy(case), "keep-last=4", "written back")


@each({"an unknown word": "keep-fortnightly=2", "no number": "keep-last=x", "none and more":
       "none keep-last=1", "zero": "keep-daily=0", "twice": "keep-last=1 keep-last=2",
       "no unit": "keep-within=7", "nothing": "\n", "blanks": "  \n", "two lines": "keep-last=1\nkeep-daily=1"})
def test_refused_words(case, words):
    history(case, 0)
    case.refuses(errno.EINVAL, lambda: case.trigger(retention(case), words),
                 "^[^ ]+ vms/web1/retention: .{15}")
    eq(policy(case), DEFAULT, "what holds")


def test_a_touch_of_it_is_refused(case):
    history(case, 0)
    case.refuses(errno.EINVAL, lambda: os.utime(retention(case)), "write the value")
    eq(policy(case), DEFAULT, "what holds")


# --- pruning


def test_prune_of_a_vm(case):
    known = history(case, 5)
    case.trigger(retention(case), "keep-last=2")
    job = case.prune("web1")
    eq((job["kind"], job["trigger"], job["vm"], job["disk"]), ("prune", "manual", "web1", None),
       "the record")
    eq(job["prune"], {"policy": "keep-last=2", "kept": 2, "forgotten": 3, "skipped": 0}, "outcome")
    eq(names(case), ["chain-0001/0004-incr", "chain-0001/0005-incr"], "snapshots")
    left = case.snapshots("web1", "vda")
    eq([case.info(s)["parent"] for s in left], [None, left[0].name], "parents")
    eq([case.info(s)["kind"] for s in left], ["incremental"] * 2, "kinds")
    for snapshot in left:
        eq(digest(snapshot / "disk.raw"), known[snapshot], f"bytes of {snapshot.name}")
    lines = log(case, job["job"])
    eq(lines[0], "policy: keep-last=2", "the policy in the log")
    eq([line.split()[0] for line in lines[1:]], ["forgotten"] * 3 + ["kept"] * 2, "verdicts")
    eq([line.split(": ")[1] for line in lines[4:]], ["last 2", "last 1"], "rules")
    eq((case.job_dir(job["job"]) / "progress").read_text(), "0 0 0 0\n", "progress")
    case.backup("web1")
    eq(names(case)[-1], "chain-0001/0006-incr", "the chain goes on")


def test_names_are_gone_when_the_job_has_ended(case):
    """The kernel is told before a reader of `wait` is."""
    history(case, 4, full_at=(2,))
    old = case.snapshots("web1", "vda")
    for _ in range(2):
        for snapshot in old:
            snapshot.stat()
            snapshot.parent.stat()
    case.prune("web1 keep-last=1")
    eq([s.exists() for s in old], [False, False, False, True], "what is there")
    check(not old[0].parent.exists(), "a chain without snapshots")
    eq([p.name for p in case.chains("web1", "vda")], ["chain-0002"], "chains")


def test_prune_of_everything(case):
    """A touch prunes every VM, a job each."""
    for vm in ("web1", "web2", "web3"):
        history(case, 3, vm=vm)
    case.trigger(retention(case, "web1"), "keep-last=1")
    case.trigger(retention(case, "web2"), "keep-last=2")
    os.utime(case.mnt / "control" / "prune")
    case.settle()
    jobs = case.catalog.jobs("prune")
    eq([j["state"] for j in jobs], ["completed"] * 3, "jobs")
    eq(len({j["context_id"] for j in jobs}), 3, "VMs")
    eq([len(case.snapshots(vm, "vda")) for vm in ("web1", "web2", "web3")], [1, 2, 3], "snapshots")
    eq((case.mnt / "control" / "prune").read_text(), f"{jobs[-1]['id']} completed\n", "the trigger")


def test_prune_of_nothing(case):
    case.start()
    os.utime(case.mnt / "control" / "prune")
    eq(case.catalog.job_count("prune"), 0, "jobs")
    eq((case.mnt / "control" / "prune").read_text(), "", "the trigger")
    case.add("web1")
    eq(case.prune()["prune"]["kept"], 0, "a VM without disks")


def test_prune_of_a_disk(case):
    history(case, 3, disks=("vda", "vdb"))
    job = case.prune("web1/vdb keep-last=1")
    eq(job["disk"], "vdb", "the record")
    eq((len(names(case)), len(names(case, disk="vdb"))), (3, 1), "snapshots of both disks")


@each({"touch": "touch {}", "echo": "echo > {}", "redirection": ": > {}", "dd": "echo web1 | dd of={} bs=1",
       "cp": "echo web1 > w && cp w {}", "printf": "printf web1 > {}"})
def test_one_record_however_written(case, script):
    history(case, 1)
    case.sh(script.format(case.mnt / "control" / "prune"))
    # What writes nothing is a command when the file is released, behind the shell's back.
    within(10, lambda: case.catalog.job_count("prune") > 0, "a record")
    case.settle()
    eq(case.catalog.job_count("prune"), 1, "jobs")


@each({"an unknown VM": ("web9", errno.ENOENT), "an unknown disk": ("web1/vdz", errno.ENOENT),
       "a snapshot": ("web1/vda/latest", errno.EINVAL), "a dry run": ("dry-run", errno.EINVAL),
       "two names": ("web1 web2", errno.EINVAL),
       "a word": ("dry-run=1", errno.EINVAL), "a bad policy": ("web1 keep-last=0", errno.EINVAL),
       "not a name": ("../web1", errno.EINVAL)})
def test_refused(case, row):
    words, code = row
    history(case, 2)
    case.refuses(code, lambda: case.trigger(case.mnt / "control" / "prune", words),
                 "control/prune: ")
    eq((case.catalog.job_count("prune"), len(names(case))), (0, 2), "jobs and snapshots")


def test_protected_ones_stay(case):
    history(case, 5)
    old = case.snapshots("web1", "vda")
    case.trigger(old[1] / "protected", "1")
    job = case.prune("web1 keep-last=1")
    eq(job["prune"], {"policy": "keep-last=1", "kept": 2, "forgotten": 3, "skipped": 0}, "outcome")
    check(any(line.endswith(": protected") for line in log(case, job["job"])), "the reason")
    eq([s.exists() for s in old], [False, True, False, False, True], "what is there")


def test_waits_for_the_restore(case):
    history(case, 3)
    old = case.snapshots("web1", "vda")
    case.remount(fault="restore-write=sleep-100")
    restore = case.request_restore(old[0], case.dir / "target.raw")
    job = case.request(case.mnt / "control" / "prune", "web1 keep-last=1")
    case.wait_job(restore)
    case.wait_job(job)
    eq((case.job(job)["prune"]["forgotten"], names(case)[-1].split("/")[1][:4]), (2, "0003"), "outcome")


def test_safety_snapshots_stay_for_a_week(case):
    history(case, 2)
    target = make_disk(case.dir / "target.raw", MIB + 100, [(0, 100)], seed="target")
    case.restore(case.snapshots("web1", "vda")[0], target)
    eq(len(names(case)), 3, "snapshots")
    job = case.prune("web1 keep-last=1")
    check(any(line.endswith(": safety") for line in log(case, job["job"])), "kept as one")
    eq(names(case), ["chain-0001/0002-incr", "chain-0002/0001-full"], "snapshots")


def test_waits_for_the_backup(case):
    history(case, 2)
    case.remount(fault="source-read=sleep-200")
    backup = case.request(case.vm("web1") / "backup", "full")
    case.wait_state(backup, "running")
    prune = case.request(case.mnt / "control" / "prune", "web1 keep-last=1")
    again = case.request(case.mnt / "control" / "prune", "web1 keep-last=1")
    eq((case.state(prune), again), ("pending", prune), "waits, and is joined")
    case.wait_job(backup)
    case.wait_job(prune)
    eq(names(case), ["chain-0002/0001-full"], "the new one is the one that is kept")


def test_a_pending_one_can_be_cancelled(case):
    history(case, 2)
    case.remount(fault="source-read=sleep-200")
    backup = case.request(case.vm("web1") / "backup")
    case.wait_state(backup, "running")
    prune = case.request(case.mnt / "control" / "prune", "web1 keep-last=1")
    (case.job_dir(prune) / "cancel").touch()
    case.wait_job(prune, "cancelled")
    case.wait_job(backup)
    eq(len(names(case)), 3, "snapshots")


def test_follows_a_scheduled_backup(case):
    history(case, 3)
    case.trigger(retention(case), "keep-last=2")
    case.backup("web1")
    eq(case.catalog.job_count("prune"), 0, "none after a manual one")
    backup = case.backup("web1", "trigger=scheduled")
    eq(case.catalog.job_count("prune"), 1, "its prune, recorded with its end")
    case.settle()
    job = case.job(case.catalog.newest_job("prune"))
    eq((job["state"], job["trigger"], job["prune"]["forgotten"]), ("completed", "scheduled", 3),
       "the record")
    check(job["job"] > backup["job"], "after the backup")
    eq(names(case), ["chain-0001/0004-incr", "chain-0001/0005-incr"], "snapshots")


def test_no_prune_follows_what_failed_or_keeps_everything(case):
    history(case, 2)
    case.trigger(retention(case), "none")
    case.backup("web1", "trigger=scheduled")
    case.trigger(retention(case), "keep-last=1")
    (case.dir / "web1-vda.raw").rename(case.dir / "away.raw")
    case.backup("web1", "trigger=scheduled", state="failed")
    case.remount()
    eq((case.catalog.job_count("prune"), len(names(case))), (0, 3), "jobs and snapshots")


# --- nothing else is touched


@each({f"seed {n}": n for n in range(6 if LONG else 3)})
def test_random_forgetting(case, seed):
    """Any snapshot may go, the first full too: the others read as they did, the chain is honest."""
    dice = random.Random(seed)
    known = history(case, 9, disks=("vda", "vdb"), full_at=(dice.randrange(2, 8),))
    for round_number in range(6):
        there = [s for d in ("vda", "vdb") for s in case.snapshots("web1", d)]
        if dice.random() < 0.5:
            case.prune(f"web1/{dice.choice(['vda', 'vdb'])} keep-last={dice.randrange(1, 9)}")
        else:
            os.rmdir(dice.choice(there))
        if round_number == 3:
            case.remount()
        for disk in ("vda", "vdb"):
            above = {}
            for snapshot in case.snapshots("web1", disk):
                info = case.info(snapshot)
                eq(info["parent"], above.get(snapshot.parent), f"parent of {snapshot.name}")
                eq(info["kind"], "full" if info["number"] == 1 else "incremental", "kind")
                eq(digest(snapshot / "disk.raw"), known[snapshot], f"bytes of {snapshot}")
                above[snapshot.parent] = snapshot.name
    case.backup("web1")
    for disk in ("vda", "vdb"):
        case.expect_same(case.latest("web1", disk) / "disk.raw", case.dir / f"web1-{disk}.raw")


main()
