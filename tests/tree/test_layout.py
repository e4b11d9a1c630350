# SPDX-License-Identifier: MIT
"""The shape of the tree: what is where, what it says of itself, and that walking it ends."""
import json
import os
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, noise, write_at

DENIED = (errno.EPERM, errno.EROFS, errno.EACCES)


def one_vm(case, backups=0):
    make_disk(case.dir / "vda.raw", 1 * MIB, [(0, 300 * KIB), (700 * KIB, 4 * KIB)])
    case.start()
    case.add("web1", vda=case.dir / "vda.raw")
    for number in range(backups):
        if number:
            write_at(case.dir / "vda.raw", 100 * KIB * number, noise(KIB, number))
        case.backup("web1")
    return case.vm("web1")


def walk(top):
    """Every path below `top`; symbolic links are not followed."""
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            yield os.path.join(folder, name)


def test_top_level(case):
    case.start()
    names = {p.name for p in case.mnt.iterdir()}
    check({"README", "status", "metrics", "report.html", "last_error", "control", "jobs", "vms"} <= names,
          f"names: {names}")
    eq(sorted(p.name for p in (case.mnt / "control").iterdir()), ["check", "gc", "prune", "verify"],
       "control/")
    eq(list((case.mnt / "vms").iterdir()), [], "vms/ of a new repository")
    eq([p.name for p in (case.mnt / "jobs").iterdir()], ["active"], "jobs/ of a new repository")
    check(len((case.mnt / "README").read_text().splitlines()) > 10, "README is a page of help")
    eq((case.mnt / "last_error").read_text(), "", "last_error of a new mount")


def test_readme_speaks_of_what_is_there(case):
    """What the page tells people to look at exists."""
    vm = one_vm(case, 1)
    text = (case.mnt / "README").read_text()
    for word in ("vms", "backup", "disk.raw", "disk.qcow2", "restore", "source", "wait", "last_error"):
        check(word in text, f"README says nothing of {word}")
    for later in ("report.html", "metrics", "control/", "disk.qcow2", "retention"):
        present = (case.mnt / later.rstrip("/")).exists() or any(
            os.path.basename(p) == later for p in walk(vm))
        check(present or later not in text, f"README promises {later}, which is not there")


def test_status(case):
    one_vm(case, 2)
    lines = dict(line.split(" ", 1) for line in (case.mnt / "status").read_text().splitlines())
    eq(lines["contexts"], "1", "contexts")
    eq(lines["disks"], "1", "disks")
    eq(lines["snapshots"], "2", "snapshots")
    eq(lines["chains"], "1", "chains")
    eq(lines["jobs_completed"], "2", "jobs_completed")
    eq(lines["logical_bytes"], str(2 * MIB), "logical_bytes")
    check(0 < int(lines["unique_bytes"]) <= int(lines["data_bytes"]), f"unique bytes: {lines}")
    eq(int(lines["stored_bytes"]), case.pack_bytes(), "stored_bytes are those of the pack files")
    check("last_success.web1" in lines, f"latest success by VM: {lines}")
    eq((lines["state"], lines["path"], lines["failing_jobs"], lines["protected_snapshots"]),
       ("healthy", str(case.repo), "0", "0"), "state")
    eq((lines["last_verify"], lines["last_gc"], lines["last_check"]), ("never",) * 3, "upkeep")
    check(abs(float(lines["dedup_ratio"]) - int(lines["data_bytes"]) / int(lines["unique_bytes"])) < 0.001,
          f"dedup: {lines}")
    check(abs(float(lines["compression_ratio"]) -
              int(lines["unique_bytes"]) / int(lines["stored_bytes"])) < 0.001, f"compression: {lines}")
    for key in ("version", "records", "deltas", "packs", "reserve_bytes", "cache_hits", "cache_misses",
                "cache_bytes", "up_since", "retention"):
        check(lines[key], f"{key} of {lines}")
    check(int(lines["free_bytes"]) <= int(lines["capacity_bytes"]), "free of capacity")


def test_status_tells_what_was_done(case):
    """Upkeep, protection and failures show up in it, and failures go when they are made good."""
    vm = one_vm(case, 2)
    (case.snapshots("web1", "vda")[0] / "protected").write_text("1\n")
    for kind in ("verify", "gc", "check"):
        case.wait_job(case.request(case.mnt / "control" / kind))
    source = (vm / "vda/source").read_text().strip()
    os.rename(source, source + ".away")
    case.backup("web1", state="failed")

    def read():
        return dict(line.split(" ", 1) for line in (case.mnt / "status").read_text().splitlines())

    lines = read()
    eq((lines["state"], lines["failing_jobs"], lines["protected_snapshots"]), ("failing", "1", "1"), "state")
    for key in ("last_verify", "last_gc", "last_check"):
        check(lines[key].startswith("20"), f"{key}: {lines[key]}")
    os.rename(source + ".away", source)
    case.backup("web1")
    eq(read()["state"], "healthy", "the failure was made good")


def test_entries_of_a_vm(case):
    vm = one_vm(case, 1)
    eq({p.name for p in vm.iterdir()}, {"backup", "info.json", "retention", "vda"}, "entries of a VM")
    disk = vm / "vda"
    eq({p.name for p in disk.iterdir()}, {"backup", "source", "info.json", "latest", "chain-0001"},
       "entries of a disk")
    eq({p.name for p in (disk / "chain-0001").iterdir()} - {"info.json"},
       {case.snapshots("web1", "vda")[0].name}, "entries of a chain")
    names = {p.name for p in case.snapshots("web1", "vda")[0].iterdir()}
    check({"disk.raw", "disk.qcow2", "info.json", "restore"} <= names, f"entries of a snapshot: {names}")


def test_latest_appears_with_the_first_snapshot(case):
    vm = one_vm(case)
    check(not os.path.lexists(vm / "vda" / "latest"), "latest before the first snapshot")
    case.backup("web1")
    first = case.snapshots("web1", "vda")[0]
    eq(os.readlink(vm / "vda" / "latest"), f"chain-0001/{first.name}", "latest")
    case.backup("web1")
    second = case.snapshots("web1", "vda")[1]
    eq(os.readlink(vm / "vda" / "latest"), f"chain-0001/{second.name}", "latest after an incremental")
    case.backup("web1", "full")
    third = case.snapshots("web1", "vda")[2]
    eq(os.readlink(vm / "vda" / "latest"), f"chain-0002/{third.name}", "latest after a full")


def test_names_of_snapshots(case):
    one_vm(case, 2)
    case.backup("web1", "full")
    names = [(p.parent.name, *SNAPSHOT_NAME.match(p.name).groups()[:2])
             for p in case.snapshots("web1", "vda")]
    eq(names, [("chain-0001", "0001", "full"), ("chain-0001", "0002", "incr"),
               ("chain-0002", "0001", "full")], "chains, numbers and kinds")


def test_listing_tells_the_story(case):
    """mtime is the time of the backup, st_size what it added to the repository."""
    begun = time.time()
    one_vm(case, 3)
    total = 0
    for snapshot in case.snapshots("web1", "vda"):
        status, info = snapshot.stat(), case.info(snapshot)
        row = case.catalog.rows("SELECT * FROM backup_disks WHERE uuid = ?", info["uuid"])[0]
        eq(status.st_size, row["new_bytes"], "st_size")
        eq(status.st_size, info["new_bytes"], "new_bytes of info.json")
        eq(status.st_mtime_ns, row["taken_at"], "mtime")
        check(begun - 1 <= status.st_mtime <= time.time() + 1, "mtime is when it was taken")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(status.st_mtime_ns // 10**9))
        eq(SNAPSHOT_NAME.match(snapshot.name).group(3), stamp, "the name's time")
        total += status.st_size
    sizes = [s.stat().st_size for s in case.snapshots("web1", "vda")]
    check(sizes[0] > 300 * KIB, f"the full stored the noise: {sizes}")
    check(all(0 < s < 80 * KIB for s in sizes[1:]), f"incrementals are small: {sizes}")
    check(abs(total - case.pack_bytes()) <= 3 * 4096, f"{total} of {case.pack_bytes()} pack bytes")


def test_ls_by_time(case):
    """`ls -t` sorts snapshots, chains and disks by their newest backup."""
    case.start()
    for disk in ("vda", "vdb", "vdc"):
        make_disk(case.dir / f"{disk}.raw", 256 * KIB, [(0, 4096)], seed=disk)
    case.add("web1", **{disk: case.dir / f"{disk}.raw" for disk in ("vda", "vdb", "vdc")})
    for disk in ("vdc", "vda", "vdb", "vda"):
        case.backup(f"web1/{disk}")
        time.sleep(0.02)
    listed = case.sh(f"ls -t {case.vm('web1')}").out.split()
    eq([n for n in listed if n.startswith("vd")], ["vda", "vdb", "vdc"], "ls -t of a VM")
    names = [p.name for p in case.snapshots("web1", "vda")]
    listed = case.sh(f"ls -t {case.vm('web1')}/vda/chain-0001").out.split()
    eq([n for n in listed if n in names], [names[1], names[0]], "ls -t of a chain")
    case.backup("web1/vda", "full")
    listed = case.sh(f"ls -t {case.vm('web1')}/vda").out.split()
    eq([n for n in listed if n.startswith("chain")], ["chain-0002", "chain-0001"], "ls -t of a disk")


def by_time(case, folder):
    return [n for n in case.sh(f"ls -t {folder}").out.split() if n.startswith(("vd", "web", "chain"))]


def test_folders_are_as_new_as_their_newest_snapshot(case):
    """Not as their last change: a disk that was added, a source that was set, a forgotten snapshot."""
    make_disk(case.dir / "x.raw", 64 * KIB, [(0, 4096)])
    case.start()
    for vm in ("web1", "web2", "web3"):
        case.add(vm, vda=case.dir / "x.raw")
        time.sleep(0.02)
    eq(by_time(case, case.mnt / "vms"), ["web3", "web2", "web1"], "without snapshots: as old as themselves")
    for vm in ("web2", "web3", "web1", "web2"):
        case.backup(vm)
        time.sleep(0.02)
    eq(by_time(case, case.mnt / "vms"), ["web2", "web1", "web3"], "by the newest backup")
    for vm in ("web1", "web2", "web3"):
        newest = case.snapshots(vm, "vda")[-1].stat().st_mtime_ns
        for folder in (case.vm(vm), case.vm(vm) / "vda", case.vm(vm) / "vda" / "chain-0001"):
            eq(folder.stat().st_mtime_ns, newest, f"mtime of {folder}")
    case.add("web3", vdb=case.dir / "x.raw")
    (case.vm("web1") / "vda" / "source").write_text(f"{case.dir}/x.raw\n")
    eq(by_time(case, case.mnt / "vms"), ["web2", "web1", "web3"], "changes are no backups")
    case.snapshots("web2", "vda")[-1].rmdir()
    within(10, lambda: by_time(case, case.mnt / "vms") == ["web1", "web3", "web2"], "its newest is an older one now")
    eq(case.vm("web2").stat().st_mtime_ns, case.snapshots("web2", "vda")[-1].stat().st_mtime_ns, "mtime")
    case.remount()
    eq(by_time(case, case.mnt / "vms"), ["web1", "web3", "web2"], "after another mount")


def test_generated_files_have_their_true_size(case):
    one_vm(case, 1)
    checked = 0
    for path in walk(case.mnt):
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or path.endswith(("disk.raw", "/wait")):
            continue
        with open(path, "rb", buffering=0) as source:
            opened = os.fstat(source.fileno()).st_size
            data = source.read()
            eq(len(data), opened, f"bytes of {path}")
            eq(source.read(1), b"", f"end of {path}")
        checked += 1
    check(checked >= 12, f"{checked} files looked at")


def test_generated_files_are_consistent_within_an_open(case):
    vm = one_vm(case)
    with open(case.mnt / "status", "rb", buffering=0) as source:
        size = os.fstat(source.fileno()).st_size
        head = source.read(10)
        case.backup("web1")
        tail = source.read()
        eq(len(head + tail), size, "bytes")
        check(b"\nsnapshots 0\n" in head + tail, "the state as it was at open")
    check("\nsnapshots 1\n" in (case.mnt / "status").read_text(), "a new open sees the new state")
    check(vm.exists(), "the VM")


def test_info_json_everywhere(case):
    vm = one_vm(case, 2)
    first, second = case.snapshots("web1", "vda")
    context, disk, chain = case.info(vm), case.info(vm / "vda"), case.info(first.parent)
    eq(context["vm"], "web1", "name of the VM")
    eq((context["runs"], context["successes"], context["failures"]), (2, 2, 0), "totals")
    check(context["last_success_at"], "last success")
    eq(disk["disk"], "vda", "name of the disk")
    eq(disk["capacity"], 1 * MIB, "capacity")
    eq(disk["source"], str(case.dir / "vda.raw"), "source")
    eq(disk["snapshots"], 2, "snapshots of the disk")
    eq(chain["snapshots"], 2, "snapshots of the chain")
    a, b = case.info(first), case.info(second)
    eq((a["kind"], b["kind"]), ("full", "incremental"), "kinds")
    eq((a["parent"], b["parent"]), (None, first.name), "parents")
    eq((a["capacity"], b["capacity"]), (1 * MIB, 1 * MIB), "capacities")
    eq((a["job"], b["job"]), (1, 2), "jobs")
    eq(len(a["digest"]), 64, "digest")
    check(a["digest"] != b["digest"], "other content, other digest")
    check(a["change_id"] and a["change_id"] != b["change_id"], "change ids")
    eq(disk["change_id"], b["change_id"], "the disk's change id is that of the last backup")
    for folder in (vm, vm / "vda", first.parent, first, case.job_dir(1)):
        text = (folder / "info.json").read_text()
        check(text.startswith("{\n  \"") and text.endswith("}\n"), f"pretty-printed: {text[:40]!r}")
        json.loads(text)


def test_same_content_same_digest(case):
    """The digest is of the content alone: an unchanged disk has the same one, full or incremental."""
    one_vm(case, 1)
    case.backup("web1")
    case.backup("web1", "full")
    digests = {case.info(s)["digest"] for s in case.snapshots("web1", "vda")}
    eq(len(digests), 1, "digests")


def test_extended_attributes(case):
    one_vm(case, 2)
    for snapshot in case.snapshots("web1", "vda"):
        info = case.info(snapshot)
        seen = {n: os.getxattr(snapshot, n).decode() for n in os.listxattr(snapshot)}
        for name, value in (("state", "completed"), ("change_id", info["change_id"]),
                            ("parent", info["parent"] or ""), ("job", str(info["job"])),
                            ("new_bytes", str(info["new_bytes"])), ("digest", info["digest"])):
            if name == "parent" and not value:
                check(not seen.get("user.backtree.parent"), f"a full has no parent: {seen}")
            else:
                eq(seen.get(f"user.backtree.{name}"), value, name)
        raises(errno.ENODATA, lambda: os.getxattr(snapshot, "user.backtree.nothing"))
        raises(DENIED + (errno.ENOTSUP,),
               lambda: os.setxattr(snapshot, "user.backtree.state", b"x"))
    done = case.sh(f"getfattr -d {case.snapshots('web1', 'vda')[1]}")
    check("user.backtree.digest" in done.out, f"getfattr -d: {done}")


def test_inodes_are_stable_and_distinct(case):
    one_vm(case, 2)

    def inodes():
        return {p: os.lstat(p).st_ino for p in walk(case.mnt)}

    before = inodes()
    eq(len(set(before.values())), len(before), "distinct inodes")
    eq(inodes(), before, "a second walk")
    case.remount()
    eq(inodes(), before, "after a new mount")
    listing = case.sh(f"ls -i {case.snapshots('web1', 'vda')[0]}").out.split()
    by_name = dict(zip(listing[1::2], listing[::2]))
    eq(int(by_name["disk.raw"]), before[str(case.snapshots("web1", "vda")[0] / "disk.raw")],
       "readdir and stat agree")


def test_walks_end(case):
    one_vm(case, 3)
    count = int(case.sh(f"find {case.mnt} | wc -l", timeout=20).out)
    check(20 < count < 500, f"find saw {count}")
    count_followed = case.sh(f"find -L {case.mnt} | wc -l", timeout=20, status=(0, 1))
    check(int(count_followed.out) < 3000, f"find -L ends: {count_followed}")
    case.sh(f"du -s {case.mnt}", timeout=20)
    case.sh(f"grep -r 'no such text anywhere' {case.mnt}", status=1, timeout=20)
    case.sh(f"ls -lR {case.mnt}", timeout=20)


def test_stat_reads_no_chunk(case):
    """find, ls -lR and du answer without reading packs: they work when every pack read would fail."""
    one_vm(case, 2)
    case.remount(fault=",".join(f"pack-read:{n}=EIO" for n in range(1, 17)))
    case.sh(f"find {case.mnt} -printf '%p %s %b %t\\n'; ls -lR {case.mnt}")
    names = [p.name for p in case.snapshots("web1", "vda")]
    eq(len(names), 2, "snapshots")
    case.daemon.allow_errors(".")


def test_find_reads_no_job_waits(case):
    """grep -r over jobs/ of ended jobs ends at once."""
    one_vm(case, 2)
    case.sh(f"grep -r completed {case.mnt}/jobs", timeout=10)


def test_df_is_the_repositorys(case):
    case.start()
    for fields in ("f_blocks", "f_bsize"):
        check(getattr(os.statvfs(case.mnt), fields) > 0, fields)
    tree, real = os.statvfs(case.mnt), os.statvfs(case.repo)
    eq(tree.f_blocks * tree.f_frsize, real.f_blocks * real.f_frsize, "capacity")
    difference = abs(tree.f_bavail * tree.f_frsize - real.f_bavail * real.f_frsize)
    check(difference < 512 * MIB, f"free space differs by {difference}")
    case.sh(f"df {case.mnt}")


def test_modes(case):
    vm = one_vm(case, 1)
    snapshot = case.snapshots("web1", "vda")[0]
    for trigger in (vm / "backup", vm / "vda" / "backup", case.job_dir(1) / "cancel",
                    snapshot / "restore"):
        eq(oct(stat.S_IMODE(trigger.stat().st_mode)), oct(0o600), f"mode of {trigger.name}")
        check(stat.S_ISREG(trigger.stat().st_mode), f"{trigger.name} is a file")
    for name in ("disk.raw", "disk.qcow2"):
        eq(stat.S_IMODE((snapshot / name).stat().st_mode) & 0o222, 0, f"{name} has no w")
    for path in walk(case.mnt):
        eq(os.lstat(path).st_uid, os.geteuid(), f"owner of {path}")


def test_mount_is_the_owners_alone(case):
    needs_root()
    one_vm(case, 1)
    os.chmod(case.dir, 0o755)
    done = case.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", case.mnt],
                    status=2)
    check("Permission denied" in done.err, f"others may not look: {done}")


def test_allow_other(case):
    needs_root()
    one_vm(case, 1)
    case.remount(options=("-o", "allow_other"))
    os.chmod(case.dir, 0o755)
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    case.run([*other, "ls", "-l", case.mnt / "vms" / "web1"])
    done = case.run([*other, "touch", case.vm("web1") / "backup"], status=1)
    check("Permission denied" in done.err, f"triggers are the owner's: {done}")
    eq(case.catalog.job_count(), 1, "job records")


READ_ONLY = {
    "create at the top": lambda c, s: open(c.mnt / "new", "w"),
    "create in a VM": lambda c, s: open(c.vm("web1") / "new", "w"),
    "create in a disk": lambda c, s: open(c.vm("web1") / "vda" / "new", "w"),
    "create in a chain": lambda c, s: open(s.parent / "new", "w"),
    "create in a snapshot": lambda c, s: open(s / "new", "w"),
    "mkdir at the top": lambda c, s: os.mkdir(c.mnt / "new"),
    "mkdir in a disk": lambda c, s: os.mkdir(c.vm("web1") / "vda" / "new"),
    "mkdir in a chain": lambda c, s: os.mkdir(s.parent / "new"),
    "mkdir in a snapshot": lambda c, s: os.mkdir(s / "new"),
    "write disk.raw": lambda c, s: open(s / "disk.raw", "r+b"),
    "truncate disk.raw": lambda c, s: os.truncate(s / "disk.raw", 0),
    "remove disk.raw": lambda c, s: os.unlink(s / "disk.raw"),
    "chmod disk.raw": lambda c, s: os.chmod(s / "disk.raw", 0o777),
    "chown disk.raw": lambda c, s: os.chown(s / "disk.raw", 1, 1),
    "write info.json": lambda c, s: open(s / "info.json", "w"),
    "write status": lambda c, s: open(c.mnt / "status", "w"),
    "write a state": lambda c, s: open(c.job_dir(1) / "state", "w"),
    "rename a snapshot": lambda c, s: os.rename(s, str(s) + "x"),
    "rename a disk": lambda c, s: os.rename(c.vm("web1") / "vda", c.vm("web1") / "vdb"),
    "symlink": lambda c, s: os.symlink("x", c.vm("web1") / "link"),
    "hard link": lambda c, s: os.link(s / "disk.raw", s / "other"),
    "mknod": lambda c, s: os.mkfifo(c.vm("web1") / "fifo"),
    "remove a trigger": lambda c, s: os.unlink(c.vm("web1") / "backup"),
    "remove latest": lambda c, s: os.unlink(c.vm("web1") / "vda" / "latest"),
    "remove vms": lambda c, s: os.rmdir(c.mnt / "vms"),
    "remove jobs": lambda c, s: os.rmdir(c.mnt / "jobs"),
    "remove a chain": lambda c, s: os.rmdir(s.parent),
}


@each(READ_ONLY)
def test_denied(case, action):
    one_vm(case, 1)
    snapshot = case.snapshots("web1", "vda")[0]
    before = sorted(walk(case.mnt))
    raises(DENIED + (errno.ENOTEMPTY, errno.ENOTSUP, errno.ENOSYS), lambda: action(case, snapshot))
    eq(sorted(walk(case.mnt)), before, "the tree")
    eq(case.catalog.job_count(), 1, "job records")
    case.expect_same(snapshot / "disk.raw", case.dir / "vda.raw")


def test_unknown_names(case):
    vm = one_vm(case, 1)
    for path in ("nothing", "vms/nothing", "vms/web1/nothing", "vms/web1/vda/chain-0002",
                 "vms/web1/vda/chain-1", "vms/web1/vda/chain-00001",
                 "vms/web1/vda/chain-0001/0001-full-20200101T000000Z",
                 "vms/web1/vda/chain-0001/nothing", "vms/WEB1"):
        raises(errno.ENOENT, lambda: os.stat(case.mnt / path), path)
    raises(errno.ENOTDIR, lambda: os.stat(vm / "backup" / "x"), "below a file")
    raises((errno.ENAMETOOLONG, errno.ENOENT), lambda: os.stat(case.mnt / "vms" / ("x" * 255)))


def test_stderr_of_a_quiet_day(case):
    """A mount that only did what it was asked logs nothing."""
    one_vm(case, 2)
    daemon = case.daemon
    case.umount()
    eq(daemon.log(), "", "stderr of the daemon")


def test_signals_end_the_mount(case):
    case.init()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        case.mount()
        daemon, case.daemon = case.daemon, None
        daemon.terminate(signum)
        eq(mounts_below(case.mnt), [], f"mounts after signal {signum}")


def test_working_folder_keeps_the_mount_busy(case):
    case.start()
    child = case.spawn(["sleep", "60"], cwd=case.mnt / "vms", stdout=subprocess.DEVNULL)
    done = case.run(["umount", case.mnt], status=(16, 32))
    check("busy" in done.err, f"umount says busy: {done}")
    child.kill()
    child.wait(5)


main()
