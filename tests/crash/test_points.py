# SPDX-License-Identifier: MIT
"""kill -9 of the daemon at every named fault point, then reopen: completed snapshots byte for byte
what they were, no record stuck, what was interrupted says so, and the next run works.

The points are read out of base/fault.h, so that a new one cannot be forgotten: a point no scenario
hits fails its test.
"""
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, copy, digest, make_disk, noise, write_at

POINTS = re.findall(r'^\s*X\(\w+,\s*"([^"]+)"\)',
                    (SOURCE_ROOT / "base" / "fault.h").read_text(), re.M)
RESTORE_POINTS = [p for p in POINTS if p.startswith("restore-")]
# Points that a backup does not pass, and the test below that is theirs.
ELSEWHERE = {
    "init-config": "test_init",
    "reconcile": "test_reconcile",
    "pack-remove": "test_cancel",
    "pack-read": "test_reading",
    "note-sealed": "test_note",
    "rebuild-aside": "test_rebuild",
    "rebuild-rename": "test_rebuild",
    # A backup that completes ends its job in the transaction of its last disk.
    "job-commit": "test_ending",
    **{p: "test_gc" for p in POINTS if p.startswith("gc-")},
    **{p: "test_restore" for p in RESTORE_POINTS},
}
BACKUP_POINTS = [p for p in POINTS if p not in ELSEWHERE]


class World:
    """Two VMs with three disks, backed up once; and what every snapshot must read as."""

    def __init__(self, case):
        self.case = case
        self.images = {}
        self.expected = {}  # path below vms/ → SHA-256
        self.held = None  # SHA-256 of a restore's target before it
        case.start()
        for vm, disk in (("web1", "vda"), ("web1", "vdb"), ("web2", "vda")):
            image = make_disk(case.dir / f"{vm}-{disk}.raw", 3 * MIB + 100,
                              [(0, MIB), (2 * MIB, 300 * KIB)], seed=f"{vm}{disk}")
            self.images[vm, disk] = image
            case.add(vm, **{disk: image})
        for vm in ("web1", "web2"):
            case.backup(vm)
        self.learn()
        eq(len(self.expected), 3, "snapshots at the start")

    def change(self, generation):
        """Other bytes on every disk."""
        for (vm, disk), image in self.images.items():
            write_at(image, MIB // 2, noise(200 * KIB, f"{vm}{disk}{generation}"))

    def learn(self):
        """Takes note of snapshots not seen before: they are of the disks as they are now."""
        for (vm, disk), image in self.images.items():
            for snapshot in self.case.snapshots(vm, disk):
                name = snapshot.relative_to(self.case.mnt)
                if name not in self.expected:
                    self.expected[name] = digest(image)

    def note_safety(self, held):
        """Safety snapshots not seen before must read as what the target held."""
        for vm, disk in self.images:
            for snapshot in self.case.snapshots(vm, disk):
                name = snapshot.relative_to(self.case.mnt)
                if name not in self.expected:
                    eq(self.case.info(snapshot)["trigger"], "pre_restore_safety", f"what {name} is")
                    self.expected[name] = held

    def compare(self):
        """Every snapshot there ever was is there and reads as it did."""
        for name, expected in self.expected.items():
            path = self.case.mnt / name / "disk.raw"
            check(path.exists(), f"{name} is gone")
            eq(digest(path), expected, f"SHA-256 of {name}")

    def recovered(self):
        """Mounts again and requires what must be true after any crash. Returns nothing."""
        case = self.case
        case.mount()
        case.daemon.allow_errors("interrupted|leftover|pack|open")
        case.settle()
        self.learn()
        self.compare()
        for row in case.catalog.rows("SELECT id, state, reason FROM backup_jobs"):
            check(row["state"] in ENDED, f"stuck: {row}")
            if row["state"] == "failed":
                check("interrupted" in row["reason"], f"reason: {row}")
        eq(case.catalog.value("SELECT count(*) FROM backup_disks "
                              "WHERE state IN ('pending', 'running')"), 0, "rows of disks stuck")
        eq([p.name for p in case.pack_files() if ".open" in p.name or ".tmp" in p.name], [],
           "leftovers in packs/")
        known = case.catalog.value("SELECT count(*) FROM packs")
        eq(len(case.pack_files()), known, "pack files and pack rows")
        eq(case.catalog.rows("PRAGMA foreign_key_check"), [], "foreign keys")
        eq(case.catalog.value("PRAGMA integrity_check"), "ok", "integrity of the catalog")
        eq(list((case.mnt / "jobs" / "active").iterdir()), [], "jobs/active")

    def goes_on(self):
        """The next runs work, and are right: an incremental, a full, and after one more mount."""
        case = self.case
        for generation, words in (("after 1", ""), ("after 2", "full")):
            self.change(generation)
            for vm in ("web1", "web2"):
                case.backup(vm, words)
            for (vm, disk), image in self.images.items():
                case.expect_same(case.latest(vm, disk) / "disk.raw", image)
            self.learn()
        case.remount()
        self.compare()


def die(case, action, what):
    """Runs `action`, in which the armed daemon must kill itself."""
    try:
        action()
    except OSError:
        pass  # the mount went away under the call, as it should
    daemon, case.daemon = case.daemon, None
    status = daemon.wait_ended(30)
    case.run(["umount", "-l", case.mnt], status=None)
    eq(status, -signal.SIGKILL, f"how the daemon ended ({what})")


def crash_in_backup(case, point, words, nth=1):
    world = World(case)
    world.change("crash")
    case.remount(fault=f"{point}:{nth}=kill")
    die(case, lambda: case.trigger(case.vm("web1") / "backup", words), f"{point}:{nth}")
    world.recovered()
    world.goes_on()


@each(BACKUP_POINTS)
def test_full(case, point):
    crash_in_backup(case, point, "full")


@each(BACKUP_POINTS)
def test_incremental(case, point):
    crash_in_backup(case, point, "")


# The second disk of the job, or the second seal of the first.
@each([p for p in BACKUP_POINTS if p not in ("job-enqueued", "job-started", "job-committed")])
def test_second_time(case, point):
    crash_in_backup(case, point, "full", nth=2)


def test_every_time_a_point_is_passed(case):
    """The order of durability at every hit of one backup, not the first two alone. The daemon is
    killed at hit 3, 4, … until the backup gets through."""
    world = World(case)
    hits = 0
    for point in [p for p in BACKUP_POINTS if p[0].isdigit()] if LONG else ["1-pack-append"]:
        for nth in range(3, 40):
            world.change(f"{point} {nth}")
            case.remount(fault=f"{point}:{nth}=kill")
            try:
                case.trigger(case.vm("web1") / "backup", "full")
            except OSError:
                pass
            done = within(30, lambda: not case.daemon.alive() or case.catalog.unfinished() == 0,
                          "the daemon died or the backup got through")
            check(done, "an end")
            if case.daemon.alive():
                break
            case.crash()
            world.recovered()
            hits += 1
    check(hits >= (10 if LONG else 1), f"{hits} deaths")


def test_every_point_has_a_scenario(case):
    check(len(POINTS) >= 25, f"points of base/fault.h: {POINTS}")
    eq([p for p in ELSEWHERE if p not in POINTS], [], "points that are no more")
    for test in set(ELSEWHERE.values()):
        check(test in globals(), f"{test} exists")
    check(case.dir.exists(), "a work folder")


# --- prune


@each(["job-enqueued", "job-started", "job-commit", "job-committed"])
def test_prune(case, point):
    """Before its notes are sealed nothing is forgotten, after that all of it: what was noted and not
    done when the crash came, the next start does. Never a part."""
    world = World(case)
    for generation in range(2):
        world.change(generation)
        case.backup("web1")
        world.learn()
    case.remount(fault=f"{point}=kill")
    die(case, lambda: case.trigger(case.mnt / "control" / "prune", "web1 keep-last=1"), point)
    noted = point in ("job-commit", "job-committed")
    if noted:
        first = sorted(n for n in world.expected if n.parts[1] == "web1")
        world.expected = {n: d for n, d in world.expected.items() if n not in first or "0003" in n.name}
    if point == "job-enqueued":
        # Nothing had begun: the next owner runs it.
        case.mount()
        case.settle()
        eq(case.catalog.jobs("prune")[0]["state"], "completed", "the pending prune")
        eq(len(case.snapshots("web1", "vda")), 1, "snapshots")
        return
    world.recovered()
    job = case.catalog.jobs("prune")[0]
    eq(job["state"], "completed" if point == "job-committed" else "failed", "its record")
    eq(len(case.snapshots("web1", "vda")), 1 if noted else 3, "snapshots")
    world.goes_on()


@each(["5-snapshot-commit", "5-snapshot-committed", "job-committed"])
def test_prune_after_a_backup(case, point):
    """The prune that follows a scheduled backup is there if and only if the backup is."""
    world = World(case)
    world.change("crash")
    nth = 2 if point.startswith("5") else 1  # web1 has two disks
    case.remount(fault=f"{point}:{nth}=kill")
    die(case, lambda: case.trigger(case.vm("web1") / "backup", "trigger=scheduled"), point)
    world.recovered()
    done = case.catalog.jobs()[-1]["state"] == "completed"
    eq(done, point != "5-snapshot-commit", "the backup")
    eq([j["state"] for j in case.catalog.jobs("prune")], ["completed"] if done else [], "its prune")
    world.goes_on()


# --- gc

# Every point a collection passes that drops packs, rewrites and merges some.
GC_POINTS = [p for p in POINTS if p.startswith(("gc-", "2-pack-"))
             and p != "2-pack-sealed"] + ["job-started", "pack-create", "1-pack-append", "pack-read",
                                          "pack-remove", "job-commit", "job-committed"]


def garbage(case, world):
    """Something of each kind: packs of which all, half and next to nothing is needed, and many small
    ones."""
    case.add("web3", vda=make_disk(case.dir / "web3.raw", MIB, [(0, MIB)], seed="web3"))
    case.backup("web3")
    case.latest("web3", "vda").rmdir()
    for vm in ("web1", "web2"):
        case.backup(vm)
    world.learn()
    world.change("half")
    for vm in ("web1", "web2"):
        case.backup(vm)
    world.learn()
    for name in sorted(world.expected):
        if "0002" in name.name or (name.parts[1] == "web2" and "0001" in name.name):
            (case.mnt / name).rmdir()
            del world.expected[name]
    kept = case.mnt / sorted(world.expected)[0] / "protected"
    for number in range(17):
        kept.write_text(f"{(number + 1) % 2}\n")
    return kept


# It makes two new packs: of what is left of nearly dead ones, and of the rest.
PASSED_TWICE = ("gc-copied", "gc-commit", "gc-committed", "2-pack-sync", "1-pack-append", "pack-read",
                "pack-remove")


@each([(p, nth) for p in GC_POINTS for nth in (1, 2) if nth == 1 or p in PASSED_TWICE])
def test_gc(case, row):
    """A collection that dies anywhere loses nothing, says it was interrupted, and the next one ends
    what it began. Notes in packs that come back are not carried out again."""
    point, nth = row
    world = World(case)
    kept = garbage(case, world)
    case.remount(fault=f"{point}:{nth}=kill")
    die(case, lambda: case.trigger(case.mnt / "control" / "gc", "threshold=1%"), f"{point}:{nth}")
    world.recovered()
    job = case.catalog.jobs("gc")[0]
    eq(job["state"], "completed" if point == "job-committed" else "failed", "its record")
    eq(kept.read_text().strip(), "1", "protected")
    figures = []
    for _ in range(2):
        figures.append(case.wait_job(case.request(case.mnt / "control" / "gc", "threshold=1%"))
                       ["figures"])
        world.compare()
    eq(figures[1]["packs_dropped"] + figures[1]["packs_rewritten"], 0, f"all was done: {figures}")
    case.backtree("check", case.repo, "--full")
    world.goes_on()


# --- restore


def crash_in_restore(case, point, to_new_file):
    world = World(case)
    snapshot = case.snapshots("web1", "vda")[0].relative_to(case.mnt)
    original = copy(world.images["web1", "vda"], case.dir / "original.raw")
    target = case.dir / "target.raw"
    if not to_new_file:
        copy(original, target)
        for number in range(4):
            write_at(target, number * 128 * KIB, noise(100, number))
        world.held = digest(target)
    fault = f"{point}=kill"
    if point == "restore-rollback":
        fault = f"restore-write:3=EIO,{fault}"
    case.remount(fault=fault)
    die(case, lambda: case.trigger(case.mnt / snapshot / "restore", str(target)), point)
    recovers_from_restore(case, world, target)
    held = digest(target) if target.exists() else None
    case.restore(case.mnt / snapshot, target)
    case.expect_same(target, original)
    world.note_safety(held)
    world.goes_on()


def recovers_from_restore(case, world, target):
    """As after any crash; the interrupted restore's own safety snapshot holds the old target."""
    case.mount()
    case.daemon.allow_errors("interrupted|leftover|pack|open")
    case.settle()
    world.note_safety(world.held)
    world.compare()
    restore = case.catalog.jobs("restore")[0]
    check(restore["state"] in ("failed", "completed"), f"the restore's record: {restore}")
    if restore["state"] == "failed":
        check("interrupted" in restore["reason"], f"reason: {restore['reason']}")
    for job in case.catalog.jobs():
        if job["trigger"] == "pre_restore_safety":
            check(job["state"] in ENDED, f"the safety job's record: {job}")
    check(not list(case.dir.glob("target.raw.backtree-*")) or not target.exists(),
          "no temporary file beside a whole target")


@each([p for p in RESTORE_POINTS if p != "restore-rename"])
def test_restore_in_place(case, point):
    crash_in_restore(case, point, to_new_file=False)


@each([p for p in RESTORE_POINTS if p not in ("restore-read", "restore-rollback")])
def test_restore_to_a_new_file(case, point):
    crash_in_restore(case, point, to_new_file=True)


def test_restore(case):
    """Every restore point is one of the tables above."""
    eq(sorted(RESTORE_POINTS), sorted(["restore-read", "restore-write", "restore-sync",
                                       "restore-verify", "restore-rename", "restore-rollback"]),
       "restore points")
    check(case.dir.exists(), "a work folder")


# --- the others


def test_init(case):
    """An init that was interrupted left no repository, and says so; a new one can be made."""
    done = case.backtree("init", case.repo, status=None, env={"BACKTREE_FAULT": "init-config=kill"})
    eq(done.status, -signal.SIGKILL, "how init ended")
    check(not (case.repo / "config").exists(), "config is put in place last")
    case.refused("mount", "-f", case.repo, case.mnt, says="not a backtree repository")
    case.run(["rm", "-rf", case.repo])
    World(case).goes_on()


def test_reconcile(case):
    """Dying while the leftovers of a crash are dealt with, twice, is no worse than dying once."""
    world = World(case)
    world.change("crash")
    case.remount(fault="2-pack-sealed=kill")
    die(case, lambda: case.trigger(case.vm("web1") / "backup", "full"), "2-pack-sealed")
    for _ in range(2):
        case.mount(fault="reconcile=kill", wait=False)
        die(case, lambda: None, "reconcile")
    world.recovered()
    world.goes_on()


def test_cancel(case):
    """Dying while the packs of a cancelled job are removed: they are gone after the next start or
    kept for the next run, never half known."""
    world = World(case)
    make_disk(case.dir / "big.raw", 160 * MIB, [(0, 160 * MIB)], seed="big")
    case.add("web3", vda=case.dir / "big.raw")
    case.remount(fault="source-read=sleep-5,pack-remove=kill")
    job = case.request(case.vm("web3") / "backup")
    within(60, lambda: case.catalog.value("SELECT count(*) FROM packs WHERE job_id IS NOT NULL") > 0,
           "a sealed pack of the running job")
    die(case, lambda: case.trigger(case.job_dir(job) / "cancel"), "pack-remove")
    case.mount()
    case.settle()
    check(case.catalog.state(job) in ("cancelled", "failed"), f"state {case.catalog.state(job)}")
    eq(len(case.pack_files()), case.catalog.value("SELECT count(*) FROM packs"), "packs and rows")
    world.compare()
    case.backup("web3")
    case.expect_same(case.latest("web3", "vda") / "disk.raw", case.dir / "big.raw")
    world.goes_on()


@each(["failed", "cancelled", "restored"])
def test_ending(case, state):
    """Dying in the transaction that ends a job which no disk's completion has ended."""
    world = World(case)
    snapshot = case.snapshots("web1", "vda")[0].relative_to(case.mnt)
    slow = "source-read=EIO" if state == "failed" else "source-read=sleep-200"
    case.remount(fault=f"{slow},job-commit=kill")
    if state == "restored":
        target = case.dir / "target.raw"
        die(case, lambda: case.trigger(case.mnt / snapshot / "restore", target), "job-commit")
        recovers_from_restore(case, world, target)
    else:
        job = case.request(case.vm("web1") / "backup")
        die(case, lambda: state == "failed" or case.trigger(case.job_dir(job) / "cancel"),
            "job-commit")
        world.recovered()
        eq(case.catalog.state(job), "failed", "state")
    world.goes_on()


def test_note(case):
    """Dying between the note that a snapshot is forgotten and the transaction that forgets it."""
    world = World(case)
    snapshot = case.snapshots("web1", "vda")[0].relative_to(case.mnt)
    case.remount(fault="note-sealed=kill")
    die(case, (case.mnt / snapshot).rmdir, "note-sealed")
    del world.expected[snapshot]
    world.recovered()
    check(not (case.mnt / snapshot).exists(), "what was asked for is done by the next start")
    world.goes_on()


@each(["rebuild-aside", "rebuild-rename"])
def test_rebuild(case, point):
    """Dying before the new catalog is in place: the old one stands, and works."""
    world = World(case)
    case.umount()
    done = case.backtree("rebuild", case.repo, status=None, env={"BACKTREE_FAULT": f"{point}=kill"})
    eq(done.status, -signal.SIGKILL, "how the rebuild ended")
    world.recovered()
    case.umount()
    case.backtree("rebuild", case.repo)
    world.recovered()
    world.goes_on()


def test_reading(case):
    world = World(case)
    case.remount(fault="pack-read=kill")
    snapshot = case.snapshots("web1", "vda")[0]
    die(case, lambda: digest(snapshot / "disk.raw"), "pack-read")
    world.recovered()
    world.goes_on()


main()
