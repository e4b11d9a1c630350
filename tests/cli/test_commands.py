# SPDX-License-Identifier: MIT
"""Commands do the same mounted and unmounted: one engine, the same records. Every story is told
three times: without a daemon, beside one, and through the tree alone; the catalogs must agree.
"""
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, copy, make_disk, make_scattered_disk, noise, write_at

# Columns that tell what happened, without times, uuids and sizes of things that differ by a run.
JOBS = ("SELECT id, kind, state, \"trigger\", mode, tags, disk_id, context_id, done_bytes, "
        "total_bytes, reason FROM backup_jobs ORDER BY id")
DISKS = ("SELECT id, job_id, disk_id, state, tags, chain_id, parent_id, number, kind, capacity, "
         "hex(digest) AS digest, data_bytes, changed_bytes FROM backup_disks ORDER BY id")
CONTEXTS = ("SELECT id, name, runs, successes, failures, cancellations FROM vm_backup_contexts "
            "ORDER BY id")
SOURCES = "SELECT id, name, source, capacity, chunk_size FROM vm_disks ORDER BY id"
RESTORES = ("SELECT job_id, snapshot_id, target, safety, safety_job_id, compared_bytes, "
            "written_bytes, verified_bytes FROM job_restores ORDER BY job_id")


def told(case):
    return {sql: case.catalog.rows(sql) for sql in (JOBS, DISKS, CONTEXTS, SOURCES, RESTORES)}


class Story:
    """The steps of one run, by command or by the tree; both forms of a step stand together."""

    def __init__(self, case, by_tree):
        self.case = case
        self.by_tree = by_tree

    def add(self, vm, **disks):
        if self.by_tree:
            self.case.add(vm, **disks)
        else:
            self.case.backtree("add", self.case.repo, vm, *(f"{d}={s}" for d, s in disks.items()))

    def backup(self, name, words=()):
        if self.by_tree:
            tree = {"--full": "full", "--incremental": "incremental",
                    "--scheduled": "trigger=scheduled"}
            self.case.backup(name, " ".join(tree.get(w, w.removeprefix("--")) for w in words))
        else:
            self.case.backtree("backup", self.case.repo, name, *words)

    def restore(self, snapshot, target, safety=True):
        if self.by_tree:
            self.case.restore(self.case.vm(snapshot), target, "" if safety else "safety=off")
        else:
            self.case.backtree("restore", self.case.repo, snapshot, target,
                               *(() if safety else ("--no-safety",)))

    def names(self):
        """Snapshot paths, by the command."""
        return self.case.listed()

    def forget(self, snapshot):
        if self.by_tree:
            os.rmdir(self.case.vm(snapshot))
        else:
            self.case.backtree("remove", self.case.repo, snapshot)


def tell(case, way):
    """Adds, backs up, changes, restores, forgets; returns what the catalog says."""
    case.init()
    if way != "unmounted":
        case.mount()
    story = Story(case, by_tree=way == "tree")
    vda = make_disk(case.dir / "vda.raw", 2 * MIB + 5, [(0, MIB)], seed="vda")
    vdb = make_disk(case.dir / "vdb.raw", MIB, [(0, 100 * KIB)], seed="vdb")
    story.add("web1", vda=vda, vdb=vdb)
    story.add("web2", vda=vdb)
    story.backup("web1")
    first = copy(vda, case.dir / "first.raw")
    write_at(vda, 500 * KIB, noise(70 * KIB, "second"))
    story.backup("web1", ("--tag=nightly", "--scheduled"))
    story.backup("web1/vda", ("--full", "--tag=a", "--tag=b"))
    story.backup("web1/vda", ("--incremental",))
    story.backup("web2")
    names = story.names()
    eq(len(names), 7, "snapshots")
    story.restore(names[0], vda)
    case.expect_same(vda, first)
    story.restore(names[0], case.dir / "new.raw", safety=False)
    case.expect_same(case.dir / "new.raw", first)
    story.forget(names[1])
    if case.daemon:
        case.umount()
    # Work folders differ; nothing else may.
    return [[{k: str(v).replace(str(case.dir), "D") for k, v in row.items()} for row in rows]
            for rows in told(case).values()]


def test_unmounted_mounted_and_tree_tell_the_same(case):
    results = {}
    for way in ("unmounted", "mounted", "tree"):
        case.repo = case.dir / f"repo-{way}"
        case.catalog.path = case.repo / "catalog.db"
        for name in ("new.raw", "first.raw"):
            (case.dir / name).unlink(missing_ok=True)
        results[way] = tell(case, way)
    for number, what in enumerate(("jobs", "disks of jobs", "contexts", "disks", "restores")):
        eq(results["mounted"][number], results["unmounted"][number], f"{what}, mounted/unmounted")
        eq(results["tree"][number], results["unmounted"][number], f"{what}, tree/unmounted")


def ready(case, mounted, fault=None, scattered=0):
    image = case.dir / "vda.raw"
    if scattered:
        make_scattered_disk(image, scattered)
    else:
        make_disk(image, 2 * MIB, [(0, MIB)])
    case.init()
    if mounted:
        case.mount(fault=fault)
    case.backtree("add", case.repo, "web1", f"vda={image}")
    return image


WAYS = {"unmounted": False, "mounted": True}


@each(WAYS)
def test_backup_says_what_it_made(case, mounted):
    ready(case, mounted)
    done = case.backtree("backup", case.repo, "web1")
    name = case.listed()[0].rsplit("/", 1)[1]
    check(name in done.out, f"names the snapshot {name}: {done}")
    eq(done.err, "", "stderr without a terminal")


@each(WAYS)
def test_one_record_a_backup(case, mounted):
    ready(case, mounted)
    for number in range(1, 4):
        case.backtree("backup", case.repo, "web1")
        eq(case.catalog.job_count(), number, "job records")
    eq(case.catalog.unfinished(), 0, "unfinished")


@each(WAYS)
def test_failed_backup(case, mounted):
    image = ready(case, mounted)
    image.unlink()
    done = case.backtree("backup", case.repo, "web1", status=1)
    line = done.err.splitlines()[-1]
    check(line.startswith("backtree: backup web1"), f"says whose backup: {done}")
    check("No such file or directory" in line and str(image) in line, f"says why: {done}")
    eq(case.catalog.rows("SELECT state FROM backup_jobs"), [{"state": "failed"}], "the record")
    if mounted:
        case.daemon.allow_errors(".")


@each(WAYS)
def test_one_failed_disk(case, mounted):
    ready(case, mounted)
    other = make_disk(case.dir / "vdb.raw", MIB, [(0, 4096)])
    case.backtree("add", case.repo, "web1", f"vdb={other}")
    other.unlink()
    case.backtree("backup", case.repo, "web1", status=1)
    eq(len(case.listed()), 1, "snapshots")
    if mounted:
        case.daemon.allow_errors(".")


@each(WAYS)
def test_add_is_all_or_nothing(case, mounted):
    image = ready(case, mounted)
    case.refused("add", case.repo, "web2", f"vda={image}", f"vdb={case.dir}/nothing",
                 says="nothing.*No such file")
    case.refused("add", case.repo, "web1", f"vdb={image}", f"vda={image}", says="vda")
    eq(case.catalog.rows("SELECT name FROM vm_backup_contexts"), [{"name": "web1"}], "VMs")
    eq(case.catalog.rows("SELECT name FROM vm_disks"), [{"name": "vda"}], "disks")


@each(WAYS)
def test_add_takes_a_relative_source(case, mounted):
    """A path given on the command line is the caller's, and recorded as an absolute one."""
    image = ready(case, mounted)
    case.backtree("add", case.repo, "web2", f"vda={image.name}", cwd=case.dir)
    eq(case.catalog.value("SELECT source FROM vm_disks ORDER BY id DESC"), str(image), "source")


@each(WAYS)
def test_add_a_vm_without_disks(case, mounted):
    ready(case, mounted)
    case.backtree("add", case.repo, "web2")
    case.refused("backup", case.repo, "web2", says="web2")


@each(WAYS)
def test_remove(case, mounted):
    image = ready(case, mounted)
    case.backtree("backup", case.repo, "web1")
    case.refused("remove", case.repo, "web1", says="web1")
    case.refused("remove", case.repo, "web1/vda", says="vda")
    case.refused("remove", case.repo, "web1", "--disks", says="web1")
    case.backtree("remove", case.repo, case.listed()[0])
    eq(case.listed(), [], "snapshots")
    case.refused("remove", case.repo, "web1", says="web1")
    case.backtree("remove", case.repo, "web1/vda")
    case.backtree("remove", case.repo, "web1")
    eq(case.catalog.value("SELECT count(*) FROM vm_backup_contexts"), 0, "VMs")
    case.backtree("add", case.repo, "web1", f"vda={image}")
    case.backtree("remove", case.repo, "web1", "--disks")
    eq(case.catalog.value("SELECT count(*) FROM vm_disks"), 0, "disks")


@each(WAYS)
def test_restore_names(case, mounted):
    """A disk is its latest snapshot, and so is `latest`; a snapshot is named by its path."""
    image = ready(case, mounted)
    case.backtree("backup", case.repo, "web1")
    old = copy(image, case.dir / "old.raw")
    write_at(image, 0, b"new")
    case.backtree("backup", case.repo, "web1")
    first, second = case.listed()
    for name, expected in ((first, old), (second, image), ("web1/vda", image),
                           ("web1/vda/latest", image), (f"vms/{first}/", old)):
        target = case.dir / "target.raw"
        target.unlink(missing_ok=True)
        case.backtree("restore", case.repo, name, target)
        case.expect_same(target, expected)


@each(WAYS)
def test_restore_takes_a_relative_target(case, mounted):
    image = ready(case, mounted)
    case.backtree("backup", case.repo, "web1")
    case.backtree("restore", case.repo, "web1/vda", "here.raw", cwd=case.dir)
    case.expect_same(case.dir / "here.raw", image)


@each(WAYS)
def test_restore_says_what_it_did(case, mounted):
    image = ready(case, mounted)
    case.backtree("backup", case.repo, "web1")
    write_at(image, 0, noise(1000, "damage"))
    done = case.backtree("restore", case.repo, "web1/vda", image)
    check(str(image) in done.out and "64" in done.out, f"target and bytes written: {done}")
    eq(case.catalog.job_count(), 2, "the backup and the safety backup")


@each(WAYS)
def test_failed_restore(case, mounted):
    image = ready(case, mounted, fault="restore-write:2=EIO")
    case.backtree("backup", case.repo, "web1")
    target = make_disk(case.dir / "target.raw", 2 * MIB, [(0, 2 * MIB)], seed="t")
    before = copy(target, case.dir / "before.raw")
    env = {} if mounted else {"BACKTREE_FAULT": "restore-write:2=EIO"}
    done = case.backtree("restore", case.repo, "web1/vda", target, status=1, env=env)
    check("Input/output error" in done.err.splitlines()[-1], f"says why: {done}")
    case.expect_same(target, before)
    check(image.exists(), "the image")
    if mounted:
        case.daemon.allow_errors(".")


@each(WAYS)
def test_refused_restore(case, mounted):
    ready(case, mounted)
    case.backtree("backup", case.repo, "web1")
    small = make_disk(case.dir / "small.raw", MIB, [(0, MIB)])
    for target, says in ((small, "small|large"), (case.dir, "director|folder"),
                         (case.dir / "no" / "x.raw", "No such file"), ("/dev/null", "character")):
        case.refused("restore", case.repo, "web1/vda", target, says=says,
                     status=(1, 75))
    eq(case.catalog.job_count("restore"), 0, "restore records")


@each(WAYS)
def test_restore_of_a_target_in_use(case, mounted):
    needs_root()
    ready(case, mounted)
    case.backtree("backup", case.repo, "web1")
    target = make_disk(case.dir / "target.raw", 2 * MIB, [(0, MIB)], seed="t")
    case.run(["losetup", "--find", target])
    case.refused("restore", case.repo, "web1/vda", target, status=(1, 75), says="loop")


def test_unmounted_jobs_do_not_outlive_a_signal(case):
    """^C during a backup without a daemon: the record says how it ended, nothing is locked."""
    ready(case, False, scattered=60)
    child = case.spawn([BINARY, "backup", case.repo, "web1"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE,
                       env=dict(os.environ, BACKTREE_FAULT="source-read=sleep-100"))
    within(10, lambda: case.catalog.value("SELECT count(*) FROM backup_jobs WHERE state='running'"),
           "the job runs")
    begun = time.monotonic()
    child.send_signal(signal.SIGINT)
    check(child.wait(10) != 0, "an exit status that is not 0")
    check(time.monotonic() - begun < 3 * SLOWDOWN, "soon")
    eq(case.catalog.unfinished(), 0, "unfinished records")
    eq(case.catalog.rows("SELECT state FROM backup_jobs")[0]["state"], "cancelled", "the record")
    case.backtree("backup", case.repo, "web1")


def test_mounted_backup_interrupted(case):
    """^C of a command that waits for the daemon's job: the job is cancelled or goes on by itself,
    the command ends soon."""
    ready(case, True, fault="source-read=sleep-100", scattered=30)
    child = case.spawn([BINARY, "backup", case.repo, "web1"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    within(10, lambda: case.catalog.value("SELECT count(*) FROM backup_jobs WHERE state='running'"),
           "the job runs")
    child.send_signal(signal.SIGINT)
    check(child.wait(5 * SLOWDOWN) != 0, "an exit status that is not 0")
    case.settle()


def test_no_wait(case):
    ready(case, True, fault="source-read=sleep-100", scattered=20)
    begun = time.monotonic()
    done = case.backtree("backup", case.repo, "web1", "--no-wait")
    check(time.monotonic() - begun < 1.5 * SLOWDOWN, "did not wait")
    check("1" in done.out, f"tells the job: {done}")
    eq(case.catalog.unfinished(), 1, "unfinished")
    case.settle()


def test_commands_join_the_pending_job(case):
    """The pending rule holds for commands too: both wait for the same record."""
    ready(case, True, fault="source-read=sleep-100", scattered=15)
    first = case.request(case.vm("web1") / "backup")
    case.wait_state(first, "running")
    children = [case.spawn([BINARY, "backup", case.repo, "web1"], stdout=subprocess.PIPE)
                for _ in range(3)]
    for child in children:
        out, _ = child.communicate(timeout=60 * SLOWDOWN)
        eq(child.returncode, 0, f"exit status ({out})")
    eq(case.catalog.job_count(), 2, "job records")


def test_unmounted_commands_take_turns(case):
    """A second command meets the lock: busy, status 75, told who holds it; nothing is recorded."""
    ready(case, False, scattered=30)
    child = case.spawn([BINARY, "backup", case.repo, "web1"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env=dict(os.environ, BACKTREE_FAULT="source-read=sleep-100"))
    within(10, lambda: case.catalog.value("SELECT count(*) FROM backup_jobs WHERE state='running'"),
           "the job runs")
    for arguments in (("backup", case.repo, "web1"), ("add", case.repo, "web2"),
                      ("remove", case.repo, "web1"), ("mount", "-f", case.repo, case.mnt),
                      ("restore", case.repo, "web1/vda", case.dir / "x.raw")):
        case.refused(*arguments, status=(75, 1) if arguments[0] == "restore" else 75,
                     says=f"pid {child.pid}|no snapshot")
    for arguments in (("list", case.repo), ("jobs", case.repo), ("stats", case.repo),
                      ("show", case.repo, "web1")):
        case.backtree(*arguments)
    eq(case.catalog.job_count(), 1, "job records")
    child.send_signal(signal.SIGTERM)
    child.wait(10)


main()
