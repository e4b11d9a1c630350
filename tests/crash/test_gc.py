# SPDX-License-Identifier: MIT
"""gc against a backup that is held at every fault point it passes, and a backup against a gc that
is held at each of its own: the backup uses content again that was forgotten, and the collection
would have removed it. Nothing a snapshot refers to is lost, whichever comes first, and neither
waits for the other but for the moment of a transaction.

The points are read out of base/fault.h; one that a backup does not pass must be named here.
"""
import os
import random
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, digest, make_disk, noise, write_at

POINTS = re.findall(r'^\s*X\(\w+,\s*"([^"]+)"\)',
                    (SOURCE_ROOT / "base" / "fault.h").read_text(), re.M)
GC_POINTS = [p for p in POINTS if p.startswith("gc-")]
# Not passed by a backup that completes.
OTHERS = ("restore-", "gc-", "rebuild-", "init-config", "reconcile", "pack-remove", "note-sealed",
          "job-commit")
# Inside a transaction: until it ends nobody else can write to the catalog.
INSIDE = ("3-pack-commit", "5-snapshot-commit", "gc-commit")
# pack-read: a full reads nothing that is stored.
BACKUP_POINTS = [p for p in POINTS if p == "job-committed" or not p.startswith(OTHERS)]
SIZE = 6 * MIB


class World:
    """A VM with one disk, and another that was forgotten. The disk's first generation of bytes was backed up and forgotten, its second is a snapshot
    that shares half of that, and now the first stands on the disk again."""

    def __init__(self, case, faults):
        self.case = case
        self.expected = {}
        case.start()
        self.image = make_disk(case.dir / "web1.raw", SIZE + 100, [(0, SIZE)], seed="first")
        case.add("web1", vda=self.image)
        case.backup("web1")
        first = case.latest("web1", "vda")
        old = self.image.read_bytes()
        write_at(self.image, 0, noise(SIZE // 2, "second"))
        case.backup("web1")
        self.learn(first)
        write_at(self.image, 0, old[:SIZE // 2])
        write_at(self.image, SIZE - 100 * KIB, noise(50 * KIB, "third"))
        first.rmdir()
        other = make_disk(case.dir / "web2.raw", 2 * MIB, [(0, 2 * MIB)], seed="other")
        case.add("web2", vda=other)
        case.backup("web2")
        case.latest("web2", "vda").rmdir()
        os.environ["BACKTREE_FAULT_HOLD"] = str(case.dir / "held")
        case.remount(fault=faults)

    def learn(self, but=None):
        for snapshot in self.case.snapshots("web1", "vda"):
            name = snapshot.relative_to(self.case.mnt)
            if snapshot != but and name not in self.expected:
                self.expected[name] = digest(self.image)

    def wait_held(self, point):
        return within(30, (self.case.dir / f"held.{point}").exists, f"it stands at {point}", 0.005)

    def release(self, point):
        (self.case.dir / f"held.{point}").unlink()

    def compare(self):
        """Cold: nothing is cached after a mount."""
        self.case.remount()
        for name, expected in self.expected.items():
            eq(digest(self.case.mnt / name / "disk.raw"), expected, f"SHA-256 of {name}")
        self.case.backtree("check", self.case.repo, "--full")

    def whole(self, jobs):
        """What must be true at the end, and after one more collection."""
        for job in jobs:
            self.case.wait_job(job)
        self.learn()
        eq(len(self.expected), 2, "snapshots")
        self.compare()
        self.case.wait_job(self.case.request(self.case.mnt / "control" / "gc", "threshold=1%"))
        self.compare()


def begin(case, path, words=""):
    """Writes to a trigger from a thread of its own: it may have to wait for a transaction."""
    thread = threading.Thread(target=case.trigger, args=(path, words), daemon=True)
    thread.start()
    return thread


def backup_held(case, point, nth, words):
    world = World(case, f"{point}:{nth}=hold")
    asked = begin(case, case.vm("web1") / "backup", words)
    world.wait_held(point)
    job = case.catalog.newest_job()
    asking = begin(case, case.mnt / "control" / "gc", "threshold=1%")
    if point in INSIDE:
        asking.join(0.5)  # it cannot even be asked for
        world.release(point)
        asking.join(30)
        collection = within(10, lambda: case.catalog.newest_job("gc"), "its record")
        case.wait_job(collection)
    else:
        asking.join(30)
        collection = within(10, lambda: case.catalog.newest_job("gc"), "its record")
        figures = case.wait_job(collection, seconds=30)["figures"]  # does not wait for the backup
        check(figures["packs_dropped"] + figures["packs_rewritten"] > 0, f"it worked: {figures}")
        world.release(point)
    asked.join(30)
    world.whole([job])


@each([(p, w) for p in BACKUP_POINTS for w in ("full", "") if (p, w) != ("pack-read", "full")])
def test_gc_beside_a_backup(case, row):
    point, words = row
    backup_held(case, point, 1, words)


# Later moments: some batches were looked up, some not; the second pack.
@each([("source-read", 2), ("source-read", 4), ("source-read", 6), ("2-pack-sealed", 1)])
def test_gc_later_in_a_backup(case, row):
    point, nth = row
    backup_held(case, point, nth, "full")


@each([(p, w) for p in GC_POINTS if p not in INSIDE for w in ("full", "")])
def test_backup_beside_a_gc(case, row):
    """The whole backup runs while the collection stands still: what it relied on stays."""
    point, words = row
    world = World(case, f"{point}=hold")
    collection = case.request(case.mnt / "control" / "gc", "threshold=1%")
    world.wait_held(point)
    case.backup("web1", words)
    eq(case.state(collection), "running", "the collection")
    world.release(point)
    world.whole([collection])


@each(["full", ""])
def test_looking_up_before_the_commit(case, words):
    """The collection stands in its transaction when the backup looks chunks up that are to go."""
    world = World(case, "source-read=hold,gc-commit=hold")
    job = case.request(case.vm("web1") / "backup", words)
    world.wait_held("source-read")
    collection = case.request(case.mnt / "control" / "gc", "threshold=1%")
    world.wait_held("gc-commit")
    world.release("source-read")
    time.sleep(0.5)
    eq(case.catalog.unfinished(), 2, "both are at work")
    world.release("gc-commit")
    world.whole([job, collection])


@each([(p, w) for p in ("source-read", "1-pack-append", "5-snapshot-committed")
       for w in ("parent", "other")])
def test_forgetting_meanwhile(case, row):
    """Snapshots are forgotten while a backup is held and before the collection: the parent of a
    running backup cannot be."""
    point, whose = row
    world = World(case, f"{point}=hold")
    asked = begin(case, case.vm("web1") / "backup")
    world.wait_held(point)
    parent = case.snapshots("web1", "vda")[0]
    if whose == "parent" and point != "5-snapshot-committed":
        case.refuses((errno.EBUSY,), parent.rmdir)
    collection = case.request(case.mnt / "control" / "gc", "threshold=1%")
    case.wait_job(collection, seconds=30)
    world.release(point)
    asked.join(30)
    case.settle()
    if whose == "parent":
        world.learn()
        parent.rmdir()
        del world.expected[parent.relative_to(case.mnt)]
        case.wait_job(case.request(case.mnt / "control" / "gc", "threshold=1%"))
        world.compare()
    else:
        world.whole([])


def test_under_load(case):
    """Backups of three VMs that go back and forth between generations of bytes, prunes and one
    collection after another, for some seconds; every snapshot that is left reads as what it was."""
    seed = int(os.environ.get("BACKTREE_SEED") or random.randrange(1 << 30))
    print(f"# seed {seed}", flush=True)
    vms, images, expected, failures = ("web1", "web2", "web3"), {}, {}, []
    until = time.monotonic() + (300 if LONG else 8) * SLOWDOWN
    case.start()
    for vm in vms:
        images[vm] = make_disk(case.dir / f"{vm}.raw", 4 * MIB, [(0, 4 * MIB)], seed="same")
        case.add(vm, vda=images[vm])

    def back_up(vm):
        numbers = random.Random(f"{seed}{vm}")
        known = set()
        while time.monotonic() < until:
            write_at(images[vm], numbers.randrange(8) * 512 * KIB,
                     noise(512 * KIB, numbers.randrange(6)))
            now = digest(images[vm])
            case.backup(vm, numbers.choice(("", "", "full")))
            found = {s.relative_to(case.mnt) for s in case.snapshots(vm, "vda")}
            for name in found - known:
                expected[name] = now
            known |= found
            if numbers.random() < 0.4:
                case.wait_job(case.request(case.mnt / "control" / "prune",
                                           f"{vm} keep-last={numbers.randrange(1, 4)}"))

    def run(action, *args):
        try:
            action(*args)
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(repr(error))

    threads = [threading.Thread(target=run, args=(back_up, vm), daemon=True) for vm in vms]
    for thread in threads:
        thread.start()
    freed = rounds = 0
    while any(thread.is_alive() for thread in threads):
        job = case.wait_job(case.request(case.mnt / "control" / "gc", "threshold=1%"))
        freed += job["figures"]["freed_bytes"]
        rounds += 1
    eq(failures, [], "what the threads met")
    check(freed > MIB and rounds > 3, f"{freed} bytes in {rounds} collections")
    case.remount()
    for vm in vms:
        for snapshot in case.snapshots(vm, "vda"):
            name = snapshot.relative_to(case.mnt)
            eq(digest(snapshot / "disk.raw"), expected[name], f"SHA-256 of {name}")
    case.backtree("check", case.repo, "--full")


main()
