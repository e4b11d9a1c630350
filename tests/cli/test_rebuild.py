# SPDX-License-Identifier: MIT
"""rebuild: from packs/ and config alone to a catalog that gives the same tree, after each kind of
loss; what is lost with a pack is named and nothing else is; nothing forgotten comes back.
"""
import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, digest, make_disk, noise, write_at


class World:
    """Three VMs, five disks, chains of several snapshots, tags, a foreign chain, protected and
    forgotten snapshots, a removed disk and a removed VM, restores, a failed and a cancelled job."""

    def __init__(self, case):
        self.case = case
        case.init()
        images = {n: make_disk(case.dir / f"{n}.raw", 4 * MIB + 100, [(0, MIB), (3 * MIB, 70 * KIB)], n)
                  for n in ("a", "b", "c", "d", "e")}
        bt = lambda *args, **more: case.backtree(args[0], case.repo, *args[1:], **more)
        bt("add", "web1", f"vda={images['a']}", f"vdb={images['b']}")
        bt("add", "web2", f"root={images['c']}")
        bt("backup", "web1", "--tag=first", "--tag=x")
        for generation in range(4):
            write_at(images["a"], generation * 100 * KIB, noise(90 * KIB, generation))
            bt("backup", "web1/vda", *(["--scheduled", "--tag=nightly"] if generation % 2 else []))
        bt("backup", "web1", "--full")
        write_at(images["a"], 2 * MIB, noise(10 * KIB, "later"))
        bt("backup", "web1")
        bt("backup", "web2")
        (images["c"]).rename(case.dir / "away.raw")
        bt("backup", "web2", status=1)
        (case.dir / "away.raw").rename(images["c"])
        # What a restore in place held before: a foreign chain, for the target is not the source.
        target = make_disk(case.dir / "target.raw", 4 * MIB + 100, [(0, 64 * KIB)], "target")
        bt("restore", "web1/vda", target)
        bt("add", "gone", f"vda={images['d']}")
        bt("backup", "gone")
        bt("add", "web2", f"spare={images['e']}", f"old={images['d']}")
        bt("backup", "web2/old")
        case.mount()
        case.vm("empty").mkdir()
        (case.vm("empty") / "nothing").mkdir()
        snapshots = case.snapshots("web1", "vda")
        for place in (0, 2, 5):
            (snapshots[place] / "protected").write_text("1\n")
        (snapshots[0] / "protected").write_text("0\n")
        for place in (0, 1, 3):  # the first full, its child, and one in the middle
            snapshots[place].rmdir()
        for vm, disk in (("gone", "vda"), ("web2", "old")):
            for snapshot in case.snapshots(vm, disk):
                snapshot.rmdir()
            (case.vm(vm) / disk).rmdir()
        case.vm("gone").rmdir()
        (case.vm("web2") / "spare" / "source").write_text(f"{images['d']}\n")
        for vm, policy in (("web1", "keep-last=3"), ("web2", "keep-last=9"), ("web2", "default"),
                           ("empty", "none"), ("web1", "keep-last=30 keep-within=7d")):
            (case.vm(vm) / "retention").write_text(f"{policy}\n")
        case.umount()
        self.images = images
        self.before = self.look()

    def look(self):
        """Everything the tree shows of VMs, disks, chains and snapshots, and what disks read as."""
        case = self.case
        case.mount()
        seen = {"list": case.backtree("list", case.repo, "--json").json()}
        for vm in sorted((case.mnt / "vms").iterdir()):
            seen[vm.name] = case.info(vm)
            for disk in sorted(p for p in vm.iterdir() if p.is_dir()):
                self.look_at_disk(seen, disk)
        case.umount()
        return seen

    def look_at_disk(self, seen, disk):
        key = f"{disk.parent.name}/{disk.name}"
        seen[key] = self.case.info(disk)
        seen[f"{key} source"] = (disk / "source").read_text()
        for chain in self.case.chains(*key.split("/")):
            seen[f"{key}/{chain.name}"] = self.case.info(chain)
            for snapshot in sorted(p for p in chain.iterdir() if p.is_dir()):
                name = f"{key}/{chain.name}/{snapshot.name}"
                stat = snapshot.stat()
                seen[name] = self.case.info(snapshot)
                seen[f"{name} stat"] = (stat.st_size, stat.st_mtime_ns)
                seen[f"{name} protected"] = (snapshot / "protected").read_text()
                seen[f"{name} bytes"] = digest(snapshot / "disk.raw")

    # Of runs only those that made a snapshot are known to packs.
    TOTALS = ("runs", "successes", "failures", "cancellations", "last_run_at", "last_success_at")

    def compare(self):
        after = self.look()
        eq(sorted(after), sorted(self.before), "names in the tree")
        for key, was in self.before.items():
            now = after[key]
            if isinstance(was, dict) and "retention" in was:
                now = {k: v for k, v in now.items() if k not in self.TOTALS}
                was = {k: v for k, v in was.items() if k not in self.TOTALS}
            eq(now, was, key)

    def rebuild(self, status=0):
        return self.case.backtree("rebuild", self.case.repo, status=status)


def catalog_files(case):
    return sorted(p for p in case.repo.iterdir() if p.name.startswith("catalog.db"))


def lose(case):
    for path in catalog_files(case):
        path.unlink()


def cut(case):
    os.truncate(case.repo / "catalog.db", 10000)


def empty(case):
    os.truncate(case.repo / "catalog.db", 0)


def fill_with_noise(case):
    size = (case.repo / "catalog.db").stat().st_size
    (case.repo / "catalog.db").write_bytes(noise(size, "noise"))


def damage_the_middle(case):
    write_at(case.repo / "catalog.db", 8192, noise(40000, "middle"))


def leave_a_strange_log(case):
    (case.repo / "catalog.db").write_bytes(b"x" * 5000)
    (case.repo / "catalog.db-wal").write_bytes(noise(9000, "wal"))


LOSSES = {
    "deleted": lose, "cut off": cut, "empty": empty, "noise": fill_with_noise,
    "damaged in the middle": damage_the_middle, "noise with a log": leave_a_strange_log,
    "nothing": lambda case: None,
}


@each(LOSSES)
def test_the_same_tree_after(case, loss):
    world = World(case)
    jobs = {j["job"]: j for j in case.backtree("jobs", case.repo, "--json").json()}
    loss(case)
    old = {p.name: p.read_bytes() for p in catalog_files(case)}
    done = world.rebuild()
    kept = [p for p in catalog_files(case) if p.name.startswith("catalog.db.")]
    eq(bool(kept), bool(old), f"the old catalog is kept: {kept}")
    if old and loss is not LOSSES["nothing"]:
        eq(next(p for p in kept if not p.name.endswith(("-wal", "-shm"))).read_bytes(),
           old["catalog.db"], "bytes of the old catalog")
    check("snapshots" in done.out, f"a summary: {done}")
    world.compare()
    compare_jobs(case, jobs)
    eq(case.backtree("check", "--full", case.repo).status, 0, "check after it")
    goes_on(case, world)


def compare_jobs(case, before):
    """Each job that made a snapshot is there with its number, and says what it said."""
    after = {j["job"]: j for j in case.backtree("jobs", case.repo, "--json").json()}
    check(len(after) >= 8, f"{len(after)} jobs")
    for number, job in after.items():
        was = before[number]
        for key in ("uuid", "kind", "state", "trigger", "mode", "vm", "disk", "tags", "created_at",
                    "started_at", "done_bytes", "total_bytes"):
            eq(job[key], was[key], f"{key} of job {number}")


def goes_on(case, world):
    """The next run of a chain goes on where it was, incremental, and with a new number."""
    write_at(world.images["a"], MIB, noise(1000, "on"))
    last = case.listed("--disk=web1/vda", "--trigger=manual")
    highest = max(int(j["job"]) for j in case.backtree("jobs", case.repo, "--json").json())
    case.backtree("backup", case.repo, "web1/vda", "--incremental")
    case.mount()
    info = case.info(case.latest("web1", "vda"))
    check(info["job"] > highest, f"job {info['job']} after {highest}")
    eq(info["kind"], "incremental", "kind")
    check(info["path"] not in last, "a new snapshot")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", world.images["a"])
    case.umount()


def test_dry_run_changes_nothing(case):
    world = World(case)
    lose(case)
    before = sorted(p.name for p in case.repo.iterdir())
    dry = case.backtree("rebuild", case.repo, "--dry-run")
    eq(sorted(p.name for p in case.repo.iterdir()), before, "names in the repository")
    real = world.rebuild()
    eq(dry.out.splitlines()[0], real.out.splitlines()[0], "what they say")
    world.compare()


def test_again_and_again(case):
    """A rebuilt catalog, rebuilt, is the same; each old one is kept."""
    world = World(case)
    for _ in range(3):
        world.rebuild()
    world.compare()
    eq(len([p for p in catalog_files(case) if p.name.count(".") == 2 and "-wal" not in p.name
            and "-shm" not in p.name]), 3, "old catalogs")


def test_busy(case):
    case.start()
    case.refused("rebuild", case.repo, status=75, says="busy")
    case.umount()
    case.refused("rebuild", case.dir / "nothing", says="not a backtree repository")


def test_lost_pack(case):
    """Each pack in turn: what only it held is named; every other snapshot reads as before."""
    world = World(case)
    packs = case.pack_files()
    named = 0
    for pack in packs:
        away = case.dir / "away.pack"
        pack.rename(away)
        done = world.rebuild(status=None)
        check(done.status in (0, 3), f"exit status: {done}")
        case.mount()
        case.daemon.allow_errors("damage|missing|no pack|corrupt")
        for name in case.listed():
            named += compare_or_named(case, world, name, done.out)
        case.umount()
        away.rename(pack)
    check(named >= 3, f"{named} snapshots were incomplete without some pack")
    world.rebuild()
    world.compare()


def compare_or_named(case, world, name, findings):
    """A snapshot reads as before, or was named; then reading it fails and never lies."""
    try:
        seen = digest(case.vm(name) / "disk.raw")
    except OSError as error:
        eq(error.errno, errno.EIO, f"reading {name}")
        check(f"{name}: " in findings, f"{name} is named: {findings}")
        return 1
    if f"{name} bytes" in world.before:  # a forgotten one may be back when its note is lost
        eq(seen, world.before[f"{name} bytes"], f"bytes of {name}")
    check(f"{name}: " not in findings, f"{name} is whole and named: {findings}")
    return 0


@each({"with its fingerprints": False, "without them": True})
def test_a_lost_pack_heals(case, without_cache):
    """What a rebuild misses is DAMAGED in the tree, and the next incremental, which the lost chunks
    look unchanged to, stores them again."""
    case.init()
    image = make_disk(case.dir / "vda.raw", 8 * MIB, [(0, 4 * MIB)])
    case.backtree("add", case.repo, "web1", f"vda={image}")
    case.backtree("backup", case.repo, "web1")
    before = set(case.pack_files())
    for generation in (1, 2):
        write_at(image, generation * MIB, noise(100 * KIB, generation))
        case.backtree("backup", case.repo, "web1")
    max(before, key=lambda path: path.stat().st_size).unlink()
    done = case.backtree("rebuild", case.repo, status=3)
    names = case.listed()  # the full's own description is gone with the pack
    eq(len(names), 2, "snapshots")
    check(all(f"{name}: " in done.out for name in names), f"both are named: {done.out}")
    if without_cache:
        for cache in (case.repo / "cache").glob("*.fingerprints"):
            cache.unlink()

    case.mount()
    for name in names:
        check((case.vm(name) / "DAMAGED").exists(), f"{name} is DAMAGED")
    check("damaged_snapshots 2\n" in (case.mnt / "status").read_text(), "status")
    job = case.backup("web1")
    eq(job["disks"][0]["kind"], "incremental", "kind")
    eq(digest(case.latest("web1", "vda") / "disk.raw"), digest(image), "what it made")
    check(not (case.vm(names[1]) / "DAMAGED").exists(), "all of the second one has healed")
    left = [line.split()[:2] for line in (case.vm(names[0]) / "DAMAGED").read_text().splitlines()
            if not line.startswith("#")]
    eq(left, [[str(2 * MIB), str(128 * KIB)]], "what no source holds any more")
    case.vm(names[0]).rmdir()
    eq(case.backtree("check", case.repo).status, 0, "check")


# (how the pack is damaged, is all its content still there)
DAMAGED = {
    "trailer": (lambda p: write_at(p, p.stat().st_size - 20, b"\xff" * 8), True),
    "index": (lambda p: write_at(p, p.stat().st_size - 48 - 30, b"\xff" * 8), True),
    "cut behind the records": (lambda p: os.truncate(p, p.stat().st_size - 49), True),
    "header": (lambda p: write_at(p, 20, b"\xff" * 8), True),
    "cut in half": (lambda p: os.truncate(p, p.stat().st_size // 2), False),
    "a record's header and the index": (
        lambda p: (write_at(p, 64 + 10, b"\xff" * 3), write_at(p, p.stat().st_size - 20, b"\xff" * 8)),
        False),
    "empty": (lambda p: os.truncate(p, 0), False),
}


@each(DAMAGED)
def test_damaged_pack(case, row):
    """A pack with a damaged index is salvaged, and that is said."""
    damage, whole = row
    world = World(case)
    pack = max(case.pack_files(), key=lambda p: p.stat().st_size)
    damage(pack)
    lose(case)
    done = world.rebuild(status=3)
    check("salvaged" in done.out and pack.stem in done.out, f"said: {done}")
    if whole:
        world.compare()
        return
    case.mount()
    case.daemon.allow_errors("damage|missing|no pack|corrupt")
    for name in case.listed():
        compare_or_named(case, world, name, done.out)
    case.umount()


def test_a_pack_of_another_repository(case):
    world = World(case)
    case.backtree("init", case.dir / "other")
    case.backtree("add", case.dir / "other", "web9", f"vda={world.images['a']}")
    case.backtree("backup", case.dir / "other", "web9")
    stranger = max((case.dir / "other" / "packs").rglob("*.pack"), key=lambda p: p.stat().st_size)
    shard = case.repo / "packs" / stranger.parent.name
    shard.mkdir(exist_ok=True)
    (shard / stranger.name).write_bytes(stranger.read_bytes())
    (shard / stranger.name.replace(".pack", ".open")).write_bytes(b"x" * 100)
    done = world.rebuild()
    check("another repository" in done.out, f"said: {done}")
    check((shard / stranger.name).exists(), "nothing is removed")
    (shard / stranger.name).unlink()
    world.compare()


@each(["rebuild-aside", "rebuild-rename", "3-pack-commit"])
def test_killed(case, point):
    """Before the last step the old catalog stands; the next rebuild works."""
    world = World(case)
    done = case.backtree("rebuild", case.repo, status=None, env={"BACKTREE_FAULT": f"{point}=kill"})
    eq(done.status, 0 if point[0] == "3" else -signal.SIGKILL, f"how it ended: {done}")
    world.compare()
    world.rebuild()
    world.compare()
    check(not list(case.repo.glob("catalog.db.rebuild*")), "nothing half made is left")


@each(["EIO", "ENOSPC"])
def test_failed_exchange(case, error):
    world = World(case)
    for point in ("rebuild-aside", "rebuild-rename"):
        case.refused("rebuild", case.repo, env={"BACKTREE_FAULT": f"{point}={error}"})
        check(not list(case.repo.glob("catalog.db.rebuild*")), "nothing half made is left")
    world.compare()


def test_forgetting_on_a_full_disk(case):
    """No space for the note: forgotten all the same, and a warning says what that means."""
    world = World(case)
    name = case.listed("--disk=web1/vda")[-1]
    done = case.backtree("remove", case.repo, name, env={"BACKTREE_FAULT": "pack-create=ENOSPC"})
    check("no note is kept" in done.err, f"a warning: {done}")
    check(name not in case.listed(), "forgotten")
    world.rebuild()
    check(name in case.listed(), "it is back, as the warning said")


@each({"forgotten": "remove", "protected": "1"})
def test_a_request_a_crash_interrupted(case, how):
    """Killed between the note and its transaction: the next start carries it out, once."""
    world = World(case)
    name = case.listed("--disk=web1/vda")[-1]
    case.mount(fault="note-sealed=kill")
    daemon = case.daemon
    try:
        if how == "remove":
            case.vm(name).rmdir()
        else:
            (case.vm(name) / "protected").write_text("1\n")
    except OSError:
        pass
    case.daemon = None
    eq(daemon.wait_ended(30), -signal.SIGKILL, "how the daemon ended")
    case.run(["umount", "-l", case.mnt], status=None)
    case.mount()
    case.daemon.allow_errors("adopted")
    if how == "remove":
        check(not case.vm(name).exists(), "forgotten at the next start")
    else:
        eq((case.vm(name) / "protected").read_text(), "1\n", "protected at the next start")
    case.umount()
    world.before = world.look()
    world.rebuild()
    world.compare()


def test_an_interrupted_backup(case):
    """A snapshot whose job died in its last step; the next job took its place, and keeps it."""
    world = World(case)
    write_at(world.images["a"], 0, noise(1000, "one"))
    case.backtree("backup", case.repo, "web1/vda", status=None,
                  env={"BACKTREE_FAULT": "5-snapshot-commit=kill"})
    write_at(world.images["a"], 0, noise(1000, "two"))
    case.backtree("backup", case.repo, "web1/vda", status=0)
    world.before = world.look()
    done = world.rebuild()
    check("left out" in done.out, f"said: {done}")
    world.compare()


main()
