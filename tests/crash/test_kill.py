# SPDX-License-Identifier: MIT
"""kill -9 of the daemon at random moments under load (backups of several VMs, snapshots being
forgotten, garbage collection, verification, readers), again and again: what was completed stays, byte
for byte, what was forgotten stays forgotten, and the repository opens by itself every time.

BACKTREE_LONG=1 runs 500 rounds instead of 20, BACKTREE_ROUNDS=N that many; BACKTREE_SEED repeats a
run.
"""
import contextlib
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, digest, make_disk, noise, write_at

ROUNDS = int(os.environ.get("BACKTREE_ROUNDS") or (500 if LONG else 20))
KEPT = 8  # snapshots of a disk; older ones are forgotten while the daemon works
VMS = ("web1", "web2", "web3")
# Each round one of these is slow, so that the kill finds the daemon somewhere else.
SLOW_POINTS = ("job-started", "source-read", "1-pack-append", "2-pack-sync", "2-pack-sealed",
               "3-pack-commit", "3-pack-committed", "4-snapshot-sealed", "5-snapshot-commit",
               "5-snapshot-committed", "cache-write", "job-commit", "pack-read", "note-sealed",
               "gc-mark", "gc-copied", "gc-commit", "gc-committed", "pack-remove")


def reader(case, stop):
    """Reads snapshots all the time; what it gets is checked elsewhere, errors are the crash's."""
    while not stop.is_set():
        try:
            for vm in VMS:
                for snapshot in case.snapshots(vm, "vda")[-2:]:
                    digest(snapshot / "disk.raw")
        except OSError:
            time.sleep(0.01)


def forget_some(case, expected, numbers):
    """Forgets what is beyond KEPT, in the middle of a chain as well as at its ends. Once rmdir has
    returned the snapshot is gone for good; when it was cut off, either may be."""
    for vm in VMS:
        names = sorted(n for n in expected if n.parts[1] == vm)
        while len(names) > KEPT:
            name = names.pop(numbers.randrange(len(names) - 1))
            try:
                (case.mnt / name).rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                # EBUSY: a reader has it open, or its disk is being backed up.
                check(error.errno in (errno.EBUSY, errno.ENOTCONN, errno.ECONNABORTED),
                      f"rmdir {name}: {error}")
                continue
            del expected[name]


def start_upkeep(case, numbers):
    with contextlib.suppress(OSError):  # killed meanwhile
        if numbers.random() < 0.8:
            (case.mnt / "control" / "gc").write_text(f"threshold={numbers.randrange(1, 60)}%\n")
        if numbers.random() < 0.3:
            (case.mnt / "control" / "verify").write_text("20%\n")


def check_all(case, images, expected, old=None):
    """Old snapshots (with `old`, that many of them) are what they were; new ones are the disks as
    they are now."""
    for vm, image in images.items():
        current = digest(image)
        seen = {s.relative_to(case.mnt) for s in case.snapshots(vm, "vda")}
        lost = {n for n in expected if n.parts[1] == vm} - seen
        eq(lost, set(), "completed snapshots that are gone")
        known = sorted(seen & set(expected))
        for name in (seen - set(expected)) | set(random.sample(known, min(old or len(known),
                                                                          len(known)))):
            value = digest(case.mnt / name / "disk.raw")
            eq(value, expected.setdefault(name, current), f"SHA-256 of {name}")


def test_random_kills_under_load(case):
    seed = int(os.environ.get("BACKTREE_SEED") or random.randrange(1 << 30))
    print(f"# seed {seed}", flush=True)
    numbers = random.Random(seed)
    images, expected, killed_running = {}, {}, 0
    case.start()
    for vm in VMS:
        images[vm] = make_disk(case.dir / f"{vm}.raw", 4 * MIB, [(0, 3 * MIB)], seed=vm)
        case.add(vm, vda=images[vm])
    for number in range(ROUNDS):
        for vm, image in images.items():
            write_at(image, numbers.randrange(0, 3 * MIB), noise(400 * KIB, f"{seed} {number} {vm}"))
        case.remount(fault=f"{numbers.choice(SLOW_POINTS)}=sleep-30")
        stop = threading.Event()
        beside = threading.Thread(target=reader, args=(case, stop), daemon=True)
        beside.start()
        for vm in VMS:
            case.trigger(case.vm(vm) / "backup", numbers.choice(("", "full", "tag=round")))
        start_upkeep(case, numbers)
        time.sleep(numbers.random() * 0.12)
        killed_running += case.catalog.unfinished() > 0
        stop.set()
        case.crash()
        beside.join(20)
        begun = time.monotonic()
        case.mount()
        check(time.monotonic() - begun < 2 * SLOWDOWN, "start-up recovers within two seconds")
        case.daemon.allow_errors("interrupted|leftover|pack|open")
        case.settle()
        check_all(case, images, expected, old=10)
        forget_some(case, expected, numbers)
        bad = case.catalog.rows("SELECT id, state, reason FROM backup_jobs WHERE state = 'failed' "
                                "AND reason NOT LIKE '%interrupted%'")
        eq(bad, [], "jobs that failed of something else")
    check(killed_running >= ROUNDS // 4, f"{killed_running} of {ROUNDS} kills met a running job")
    for vm in VMS:
        case.backup(vm)
    check_all(case, images, expected)
    case.remount()
    check_all(case, images, expected)
    eq(case.catalog.value("PRAGMA integrity_check"), "ok", "integrity of the catalog")
    case.umount()
    case.backtree("check", "--full", case.repo)


def test_random_kills_of_a_command(case):
    """The same for `backtree backup` without a daemon."""
    numbers = random.Random(int(os.environ.get("BACKTREE_SEED") or 11))
    image = make_disk(case.dir / "web1.raw", 4 * MIB, [(0, 3 * MIB)])
    case.init()
    case.backtree("add", case.repo, "web1", f"vda={image}")
    case.backtree("backup", case.repo, "web1")
    first = digest(image)
    for number in range(ROUNDS // 2):
        write_at(image, numbers.randrange(0, 3 * MIB), noise(300 * KIB, number))
        child = case.spawn([BINARY, "backup", case.repo, "web1", "--full"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(numbers.random() * 0.1)
        child.kill()
        child.wait(10)
    case.backtree("backup", case.repo, "web1")
    case.mount()
    case.daemon.allow_errors("interrupted|leftover|pack|open")
    eq(digest(case.snapshots("web1", "vda")[0] / "disk.raw"), first, "the first snapshot")
    eq(digest(case.latest("web1", "vda") / "disk.raw"), digest(image), "the last snapshot")
    for snapshot in case.snapshots("web1", "vda"):
        digest(snapshot / "disk.raw")
    eq(case.catalog.unfinished(), 0, "records stuck")


main()
