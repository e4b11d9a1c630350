# SPDX-License-Identifier: MIT
"""init, mount and umount: what makes a repository, who may own it, where it may be mounted; and
each way of getting it wrong, told in one line with nothing changed.
"""
import os
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, loop_mounted, make_disk, make_scattered_disk


def listing(folder):
    return sorted((str(p.relative_to(folder)), p.lstat().st_size) for p in folder.rglob("*"))


def names_below(folder):
    """Every name, but for the side files SQLite makes when somebody looks, and the lock's."""
    return [name for name, _ in listing(folder)
            if "catalog.db-" not in name and not name.endswith("/lock")]


def test_init(case):
    case.init()
    names = {p.name for p in case.repo.iterdir()}
    check({"config", "catalog.db", "packs", "cache"} <= names, f"files: {names}")
    eq(stat.S_IMODE((case.repo / "config").stat().st_mode) & 0o077, 0, "config holds a secret")
    eq(case.catalog.value("PRAGMA journal_mode"), "wal", "journal")
    check(case.catalog.value("PRAGMA user_version") >= 1, "user_version")
    for table in ("vm_backup_contexts", "vm_disks", "backup_jobs", "backup_chains", "backup_disks",
                  "packs", "chunks"):
        eq(case.catalog.value(f"SELECT count(*) FROM {table}"), 0, table)


def test_init_makes_the_folder_or_takes_an_empty_one(case):
    case.repo.mkdir()
    case.init()
    case.backtree("init", case.dir / "other")


def test_two_repositories_differ(case):
    case.backtree("init", case.dir / "a")
    case.backtree("init", case.dir / "b")
    check((case.dir / "a/config").read_text() != (case.dir / "b/config").read_text(), "configs")


def test_init_of_a_folder_that_is_not_empty(case):
    case.repo.mkdir()
    (case.repo / "precious").write_text("x")
    case.refused("init", case.repo, says="not empty")
    eq(listing(case.repo), [("precious", 1)], "the folder")
    case.repo = case.dir / "again"
    case.init()
    before = listing(case.repo)
    case.refused("init", case.repo, says="not empty|already")
    eq(listing(case.repo), before, "the repository")


@each(["catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db-journal", "config.tmp", "lock"])
def test_init_after_one_that_died(case, name):
    """Whatever an init that did not get to `config` may leave is no reason to refuse."""
    (case.repo / "packs").mkdir(parents=True)
    (case.repo / "cache").mkdir()
    (case.repo / name).write_bytes(b"half")
    case.init()
    check(not (case.repo / "catalog.db-journal").exists(), "the journal is gone")
    case.backtree("check", case.repo)


@each({"a file": "file", "below a file": "file/x", "below nothing": "no/such/folder"})
def test_init_where_it_cannot_be(case, where):
    (case.dir / "file").write_text("x")
    case.refused("init", case.dir / where)
    eq(sorted(p.name for p in case.dir.iterdir()), ["file", "mnt"], "the folder")


@each(["--chunk-size=1000", "--chunk-size=8K", "--chunk-size=8M", "--chunk-size=x",
       "--chunk-size=-65536", "--chunk-size=", "--chunk-size=96K", "--level=0", "--level=20",
       "--level=x", "--nonsense"])
def test_init_bad_option(case, option):
    case.backtree("init", option, case.repo, status=2)
    check(not case.repo.exists(), "nothing was made")


@each({"16K": 16 * KIB, "64K": 64 * KIB, "65536": 64 * KIB, "1M": MIB, "4M": 4 * MIB})
def test_init_chunk_size(case, size):
    word = {16 * KIB: "16K", 64 * KIB: "64K", MIB: "1M", 4 * MIB: "4M"}[size]
    case.backtree("init", f"--chunk-size={word}", case.repo)
    make_disk(case.dir / "a.raw", MIB)
    case.backtree("add", case.repo, "web1", f"vda={case.dir}/a.raw")
    eq(case.catalog.value("SELECT chunk_size FROM vm_disks"), size, "chunk size")


def test_init_level(case):
    """A higher level stores less of the same text."""
    text = b"".join(b"%d lines of text that repeat themselves %d\n" % (n, n * n) for n in range(60000))
    (case.dir / "a.raw").write_bytes(text)
    sizes = []
    for level in (1, 19):
        case.repo = case.dir / f"repo{level}"
        case.backtree("init", f"--level={level}", case.repo)
        case.backtree("add", case.repo, "web1", f"vda={case.dir}/a.raw")
        case.backtree("backup", case.repo, "web1")
        sizes.append(case.pack_bytes())
    check(sizes[1] < sizes[0], f"bytes at level 1 and 19: {sizes}")


# --- what is no repository, or not one for this program

COMMANDS = {
    "mount": lambda c: ("mount", "-f", c.repo, c.mnt),
    "add": lambda c: ("add", c.repo, "web2"),
    "backup": lambda c: ("backup", c.repo, "web1"),
    "restore": lambda c: ("restore", c.repo, "web1/vda", c.dir / "x.raw"),
    "remove": lambda c: ("remove", c.repo, "web1"),
    "list": lambda c: ("list", c.repo),
    "jobs": lambda c: ("jobs", c.repo),
    "show": lambda c: ("show", c.repo, "web1"),
    "stats": lambda c: ("stats", c.repo),
    "check": lambda c: ("check", c.repo),
    "rebuild": lambda c: ("rebuild", c.repo),
}


@each(COMMANDS)
def test_not_a_repository(case, command):
    case.refused(*command(case), says="not a backtree repository|No such file")
    check(not case.repo.exists(), "nothing was made")
    case.repo.mkdir()
    (case.repo / "file").write_text("x")
    case.refused(*command(case), says="not a backtree repository")
    eq(listing(case.repo), [("file", 1)], "the folder")


@each(COMMANDS)
def test_newer_repository(case, command):
    case.init()
    config = case.repo / "config"
    text = config.read_text()
    line = next(n for n in text.splitlines() if n.split()[-1] == "1")
    config.write_text(text.replace(line, line[:-1] + "2", 1))
    before = listing(case.repo)
    case.refused(*command(case), says="newer|version|format")
    eq(listing(case.repo), before, "the repository")


@each(["mount", "backup", "list"])
def test_newer_catalog(case, name):
    case.init()
    case.sh(f"sqlite3 {case.repo}/catalog.db 'PRAGMA user_version = 1000'")
    case.refused(*COMMANDS[name](case), says="newer|version|knows")
    eq(case.catalog.value("PRAGMA user_version"), 1000, "user_version")


DAMAGES = {
    "config empty": lambda r: (r / "config").write_text(""),
    "config cut": lambda r: os.truncate(r / "config", 40),
    "config byte": lambda r: (r / "config").write_bytes(
        (r / "config").read_bytes().replace(b"0", b"9", 1)),
    "config noise": lambda r: (r / "config").write_bytes(os.urandom(500)),
    "config a folder": lambda r: ((r / "config").unlink(), (r / "config").mkdir()),
    "catalog gone": lambda r: (r / "catalog.db").unlink(),
    "catalog empty": lambda r: (r / "catalog.db").write_bytes(b""),
    "catalog noise": lambda r: (r / "catalog.db").write_bytes(os.urandom(8192)),
    "packs gone": lambda r: (r / "packs").rmdir(),
}


@each(DAMAGES)
def test_damaged_repository(case, damage):
    case.init()
    damage(case.repo)
    for name in ("mount", "backup"):
        done = case.backtree(*COMMANDS[name](case), status=(1, 3))
        eq(len(done.err.splitlines()), 1, f"one line: {done}")
        check(done.err.startswith("backtree: "), f"says why: {done}")
    eq(mounts_below(case.mnt), [], "mounts")


def test_catalog_of_another_repository(case):
    case.backtree("init", case.dir / "other")
    case.init()
    (case.repo / "catalog.db").write_bytes((case.dir / "other/catalog.db").read_bytes())
    for side in ("catalog.db-wal", "catalog.db-shm"):
        (case.repo / side).unlink(missing_ok=True)
    case.refused("mount", "-f", case.repo, case.mnt, status=(1, 3), says="repository")


def test_cache_can_always_be_deleted(case):
    image = make_disk(case.dir / "a.raw", MIB, [(0, 4096)])
    case.start()
    case.add("web1", vda=image)
    case.backup("web1")
    case.umount()
    case.run(["rm", "-rf", case.repo / "cache"])
    case.mount()
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)


# --- the lock


def test_second_mount(case):
    case.start()
    (case.dir / "second").mkdir()
    done = case.refused("mount", "-f", case.repo, case.dir / "second", status=75, says="busy")
    check(str(case.daemon.process.pid) in done.err, f"tells the owner's pid: {done}")
    check(str(case.mnt) in done.err, f"and where it is mounted: {done}")
    check((case.mnt / "README").exists(), "the first goes on")


def test_lock_of_a_dead_owner_is_no_lock(case):
    case.start()
    case.crash()
    check((case.repo / "lock").exists(), "the file is still there")
    case.mount()


def test_a_frozen_owner_is_an_owner(case):
    case.start()
    case.daemon.process.send_signal(19)
    (case.dir / "second").mkdir()
    case.refused("mount", "-f", case.repo, case.dir / "second", status=75, says="busy")
    case.daemon.process.send_signal(18)


def test_many_mounts_at_once(case):
    case.init()
    points = [case.dir / f"m{n}" for n in range(6)]
    for point in points:
        point.mkdir()
    children = [case.spawn([BINARY, "mount", case.repo, point], stderr=subprocess.PIPE)
                for point in points]
    results = []
    for child in children:
        child.communicate(timeout=30 * SLOWDOWN)
        results.append(child.returncode)
    eq(sorted(results), [0] + [75] * 5, "exit statuses")
    mounted = [p for p in points if mounts_below(p)]
    eq(len(mounted), 1, "mounts")
    case.backtree("umount", mounted[0])


# --- mountpoints

BAD_POINTS = {
    "missing": ("{d}/nothing", "No such file"),
    "a file": ("{d}/file", "not a directory|not a folder|Not a directory"),
    "not empty": ("{d}/full", "not empty"),
    "the repository": ("{r}", None),
    "in the repository": ("{r}/packs", None),
    "around the repository": ("{d}", None),
}


@each(BAD_POINTS)
def test_bad_mountpoint(case, row):
    where, says = row
    case.init()
    (case.dir / "file").write_text("x")
    (case.dir / "full").mkdir()
    (case.dir / "full" / "precious").write_text("x")
    before = names_below(case.dir)
    point = where.format(d=case.dir, r=case.repo)
    case.refused("mount", "-f", case.repo, point, says=says)
    case.refused("mount", case.repo, point, says=says)
    eq(mounts_below(case.dir), [], "mounts")
    eq(names_below(case.dir), before, "files")
    case.mount()


def test_stale_mount_is_cleaned(case):
    case.start()
    daemon, case.daemon = case.daemon, None
    daemon.kill()
    eq(mounts_below(case.mnt), [str(case.mnt)], "the dead mount is still there")
    raises(errno.ENOTCONN, lambda: os.listdir(case.mnt))
    case.mount()
    eq(len(mounts_below(case.mnt)), 1, "one mount")


def test_mount_on_a_live_mount(case):
    """A second repository on a mountpoint in use is refused: it is not empty."""
    case.start()
    case.backtree("init", case.dir / "other")
    case.refused("mount", "-f", case.dir / "other", case.mnt, status=(1, 75))
    eq(len(mounts_below(case.mnt)), 1, "one mount")


def test_relative_paths(case):
    case.init()
    case.backtree("mount", "repo", "mnt", cwd=case.dir)
    check((case.mnt / "README").exists(), "mounted")
    case.backtree("umount", "mnt", cwd=case.dir)
    eq(mounts_below(case.mnt), [], "mounts")


# --- in the background, and umount


def owner(case):
    words = dict(line.split(" ", 1) for line in (case.repo / "lock").read_text().splitlines())
    return int(words["pid"])


def alive(pid):
    """Not gone, nor a zombie that only waits for an init that reaps."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as words:
            return words.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_background_mount_answers_when_it_returns(case):
    case.init()
    case.backtree("mount", case.repo, case.mnt)
    check((case.mnt / "README").exists(), "README")
    pid = owner(case)
    check(os.path.exists(f"/proc/{pid}"), "the daemon")
    eq(os.readlink(f"/proc/{pid}/cwd"), "/", "it keeps no folder busy")
    case.backtree("umount", case.mnt)
    done = case.backtree("add", case.repo, "web1")
    check(done.status == 0, "umount returned when the daemon had let go of the repository")
    within(5, lambda: not alive(pid), "the daemon has ended")
    eq(mounts_below(case.mnt), [], "mounts")
    case.backtree("mount", case.repo, case.mnt)
    case.backtree("umount", case.repo)
    eq(mounts_below(case.mnt), [], "mounts")


def test_background_mount_closes_its_output(case):
    """`out=$(backtree mount …)` does not wait for the daemon."""
    case.init()
    case.sh(f'out=$({BINARY} mount {case.repo} {case.mnt} 2>&1); echo "$out"', timeout=20)
    case.backtree("umount", case.mnt)


def test_background_mount_that_fails_says_so(case):
    case.refused("mount", case.repo, case.mnt, says="No such file|not a backtree repository")
    case.start()
    (case.dir / "second").mkdir()
    case.refused("mount", case.repo, case.dir / "second", status=75, says="busy")


def test_umount_waits_for_the_daemon(case):
    """After umount the repository can be mounted again at once, jobs or not."""
    make_scattered_disk(case.dir / "slow.raw", 60)
    case.init()
    case.backtree("add", case.repo, "web1", f"vda={case.dir}/slow.raw")
    for _ in range(3):
        case.backtree("mount", case.repo, case.mnt, env={"BACKTREE_FAULT": "source-read=sleep-50"})
        (case.vm("web1") / "backup").touch()
        case.backtree("umount", case.mnt)
        done = case.backtree("stats", case.repo, "--json").json()
        eq(done["totals"]["contexts"], 1, "contexts")


def test_umount_while_files_are_open(case):
    case.start()
    with open(case.mnt / "README", "rb"):
        case.refused("umount", case.mnt, status=(1, 75), says="busy|open")
        check((case.mnt / "status").exists(), "still mounted")
        case.refused("umount", case.repo, status=(1, 75), says="busy|open")


def test_lazy_umount(case):
    case.start()
    daemon, case.daemon = case.daemon, None
    with open(case.mnt / "README", "rb") as held:
        child = case.spawn([BINARY, "umount", "--lazy", case.mnt])
        within(5, lambda: not mounts_below(case.mnt), "out of sight")
        check(held.read(10) or True, "the open file can be read")
    eq(child.wait(15 * SLOWDOWN), 0, "exit status")
    eq(daemon.wait_ended(), 0, "the daemon's end")


@each({"nothing mounted": "mnt", "no such folder": "nothing", "a file": "file"})
def test_umount_of(case, where):
    (case.dir / "file").write_text("x")
    case.refused("umount", case.dir / where)


def test_umount_of_an_unmounted_repository(case):
    case.init()
    case.refused("umount", case.repo, says="not mounted")


def test_umount_of_another_file_system(case):
    """umount takes away mounts of ours alone."""
    needs_root()
    case.run(["mount", "-t", "tmpfs", "tmpfs", case.mnt])
    case.refused("umount", case.mnt)
    eq(mounts_below(case.mnt), [str(case.mnt)], "the tmpfs is still there")


def test_what_mounts_are_called(case):
    case.start()
    line = next(x for x in open("/proc/self/mountinfo") if f" {case.mnt} " in x)
    check("fuse.backtree" in line and str(case.repo) in line, f"type and source: {line}")


@each(["nonsense", "cache=x", "cache=-1", "allow_other=maybe", "cache"])
def test_bad_mount_option(case, option):
    case.init()
    done = case.backtree("mount", "-f", "-o", option, case.repo, case.mnt, status=(1, 2))
    check(option.split("=")[0] in done.err, f"names the option: {done}")
    eq(mounts_below(case.mnt), [], "mounts")


def test_mount_options_of_fstab(case):
    """What mount(8) and systemd pass along is understood."""
    case.init()
    case.mount(options=("-o", "rw,nosuid,nodev,noauto,nofail,_netdev,x-systemd.automount"))


def test_start_is_quick(case):
    case.init()
    begun = time.monotonic()
    case.mount()
    check(time.monotonic() - begun < 2 * SLOWDOWN, "mounted within two seconds")


def test_repository_on_a_read_only_file_system(case):
    """A backup there is refused in one line."""
    needs_root()
    case.init()
    case.backtree("add", case.repo, "web1", f"vda={make_disk(case.dir / 'a.raw', MIB)}")
    case.run(["mount", "--bind", case.repo, case.mnt])
    case.run(["mount", "-o", "remount,bind,ro", case.mnt])
    case.refused("backup", case.mnt, "web1", says="Read-only")
    eq(case.catalog.job_count(), 0, "job records")


def test_a_repository_on_a_read_only_file_system_can_be_looked_at(case):
    needs_root()
    make_disk(case.dir / "small.fs", 64 * MIB)
    case.run(["mkfs.ext4", "-q", case.dir / "small.fs"])
    image = make_disk(case.dir / "vda.raw", MIB, [(0, 512 * KIB)])
    with loop_mounted(case.dir / "small.fs", case.dir / "fs") as folder:
        repo = folder / "a ? %20 #name"  # characters that mean something in a URI
        case.backtree("init", repo)
        case.backtree("add", repo, "web1", f"vda={image}")
        case.backtree("backup", repo, "web1")
        case.run(["mount", "-o", "remount,ro", folder])
        check("0001-full-" in case.backtree("list", repo).out, "list")
        check("whole" in case.backtree("check", "--full", repo).out, "check")
        case.refused("backup", repo, "web1", says="Read-only file system")


main()
