# SPDX-License-Identifier: MIT
"""Large folders: what a listing brings along, what it costs in requests, entries that come and go while one is read.

Nothing here is timed: costs are counted in system calls of the daemon. How long it takes, and how much there may be,
is the business of tests/bench/scale.
"""
import ctypes
import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, make_disk, noise, write_at

SNAPSHOTS = 400 if LONG else 120
JOBS = 1000 if LONG else 300
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_GETDENTS64 = {"x86_64": 217, "aarch64": 61}.get(os.uname().machine)


def chain_of(case):
    return case.vm("web1") / "vda" / "chain-0001"


def back_up(case, count):
    for number in range(count):
        write_at(case.dir / "vda.raw", number % 16 * 16 * KIB, noise(512, f"{time.monotonic()}/{number}"))
        case.backup("web1")


def many(case, snapshots=SNAPSHOTS, jobs=0, init=("--keep-all",)):
    """A chain, and beside it so many jobs: prunes that keep everything, one for each VM and touch."""
    make_disk(case.dir / "vda.raw", 256 * KIB, [(0, 256 * KIB)])
    case.start(init=("--chunk-size=16K", *init))
    case.add("web1", vda=case.dir / "vda.raw")
    back_up(case, snapshots)
    vms = 20 if jobs else 0
    for number in range(vms):
        os.mkdir(case.vm(f"other{number}"))
    while jobs and len(os.listdir(case.mnt / "jobs")) <= jobs:
        (case.mnt / "control" / "prune").write_text("\n")
        within(60, lambda: not os.listdir(case.mnt / "jobs" / "active"), "the prunes have ended", interval=0.05)
    return chain_of(case)


class Folder:
    """An open folder, read by getdents64(2) in pieces that hold a few names."""

    def __init__(self, path, size=512):
        if SYS_GETDENTS64 is None:
            raise Skip(f"the number of getdents64 on {os.uname().machine}")
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.buffer = ctypes.create_string_buffer(size)

    def piece(self):
        """[(name, offset of the next one), …]; empty at the end."""
        count = LIBC.syscall(SYS_GETDENTS64, self.fd, self.buffer, len(self.buffer))
        if count < 0:
            raise OSError(ctypes.get_errno(), "getdents64")
        entries, at = [], 0
        while at < count:
            _, offset, length, _ = struct.unpack_from("QqHB", self.buffer.raw, at)
            entries.append((self.buffer.raw[at + 19:at + length].split(b"\0")[0].decode(), offset))
            at += length
        return entries

    def rest(self, but=()):
        """All that is left. Names are looked up now and then, all `but` these: that makes the kernel ask for
        attributes with the names that follow."""
        entries = []
        while piece := self.piece():
            entries += piece
            for name, _ in piece[-1:]:
                if name not in but:
                    os.lstat(os.path.join(self.path, name))
        return entries

    def seek(self, offset):
        os.lseek(self.fd, offset, os.SEEK_SET)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def names(entries):
    return [name for name, _ in entries if name not in (".", "..")]


def told(path):
    """What stat(2) says of each entry of a folder, asked in the order of the listing."""
    said = {}
    with os.scandir(path) as entries:
        for entry in entries:
            status = os.lstat(entry.path)
            said[entry.name] = (status.st_ino, entry.inode(), status.st_mode, status.st_nlink, status.st_uid,
                                status.st_gid, status.st_size, status.st_blocks, status.st_mtime_ns,
                                status.st_ctime_ns, entry.is_dir(follow_symlinks=False))
    return said


def system_calls(daemon):
    """Reads and writes of the daemon so far: at least two for each request it has served."""
    with open(f"/proc/{daemon.process.pid}/io", encoding="ascii") as lines:
        figures = dict(line.split(": ") for line in lines)
    return int(figures["syscr"]) + int(figures["syscw"])


def test_listed_attributes_are_those_of_stat(case):
    """What a listing brings along is what a look-up tells: the kernel has dropped the first when it asks again."""
    chain = many(case, jobs=JOBS)
    folders = [case.mnt / "vms", case.vm("web1"), chain.parent, chain, case.mnt / "jobs"]
    case.remount()
    listed = {folder: told(folder) for folder in folders}
    case.remount()
    for folder in folders:  # without a listing: each name is looked up
        for name, said in listed[folder].items():
            status = os.lstat(folder / name)
            eq((status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_size,
                status.st_blocks, status.st_mtime_ns, status.st_ctime_ns), (said[0], *said[2:10]),
               f"{folder / name}, looked up and listed")
            eq(said[0], said[1], f"inode of {folder / name}, by stat and in the listing")
    check(len(listed[chain]) == SNAPSHOTS + 1, f"{len(listed[chain])} entries of the chain")
    check(len(listed[case.mnt / "jobs"]) > JOBS, "job records")
    for row in case.catalog.rows("SELECT * FROM backup_disks"):
        name = next(n for n in listed[chain] if n.startswith(f"{row['number']:04d}-"))
        eq(listed[chain][name][6], row["new_bytes"], f"size of {name}")
        eq(listed[chain][name][8], row["taken_at"], f"mtime of {name}")
    for row in case.catalog.rows("SELECT * FROM backup_jobs"):
        eq(listed[case.mnt / "jobs"][str(row["id"])][8], row["finished_at"], f"mtime of job {row['id']}")


@each({"snapshots": chain_of, "jobs": lambda case: case.mnt / "jobs"})
def test_listing_with_attributes_asks_once(case, folder):
    """The cost of `ls -l` is that of a listing: no request for each name."""
    many(case, jobs=JOBS)
    path = folder(case)
    count = len(os.listdir(path))
    check(count > min(SNAPSHOTS, JOBS), f"{count} entries")

    def cheap():
        # Told attributes are believed for a second: a machine that is too busy for that tries again.
        time.sleep(1.1)
        before = system_calls(case.daemon)
        told(path)
        return system_calls(case.daemon) - before < count // 2

    within(60, cheap, f"{path} is listed with fewer system calls of the daemon than a half for each name")


def test_find_reads_no_record(case):
    chain = many(case, jobs=JOBS)
    case.remount(fault="pack-read:1=EIO,pack-read:2=EIO")
    found = case.sh(f"find {case.mnt} -type d; ls -lR {case.mnt}/vms > /dev/null").out.splitlines()
    check(len(found) > SNAPSHOTS + JOBS, f"{len(found)} folders")
    # They are armed, and nobody has met them yet: the record (the catalog stands in for it), the map.
    raises(errno.EIO, lambda: (chain / os.listdir(chain)[-1] / "disk.raw").read_bytes(), "the first read of a pack")
    case.daemon.allow_errors(".")


def test_offsets_lead_back(case):
    """telldir and seekdir: from each offset the same names follow."""
    chain = many(case)
    with Folder(chain) as folder:
        entries = folder.rest()
        eq(len(set(names(entries))), SNAPSHOTS + 1, "names, each once")
        for index in (0, 1, 2, SNAPSHOTS // 2, SNAPSHOTS - 1, SNAPSHOTS, SNAPSHOTS + 2):
            folder.seek(entries[index][1])
            eq(folder.rest(), entries[index + 1:], f"entries after number {index}")
        folder.seek(entries[-1][1] + 1000)
        eq(folder.rest(), [], "past the end")


def test_entries_come_and_go_while_listed(case):
    """One listing shows the folder as it was when it began; from the beginning again, as it is now."""
    chain = many(case)
    before = sorted(os.listdir(chain))
    with Folder(chain) as folder:
        read = folder.piece() + folder.piece()
        check(len(read) < SNAPSHOTS // 2, f"{len(read)} names read so far")
        gone = [before[1], before[SNAPSHOTS // 2], before[-2]]
        for name in gone:
            os.rmdir(chain / name)
        back_up(case, 2)
        eq(sorted(names(read + folder.rest(but=gone))), before, "names of the listing that had begun")
        now = sorted(os.listdir(chain))
        eq(len(now), len(before) - 3 + 2, "names now")
        folder.seek(0)
        eq(sorted(names(folder.rest())), now, "names from the beginning again")
    for name in gone:
        check(not os.path.lexists(chain / name), f"{name} is not there")


def test_listing_brings_nothing_back(case):
    """The rest of a listing that began before a change makes nothing appear that has gone meanwhile."""
    chain = many(case, snapshots=60)
    with Folder(chain) as folder:
        last = names(folder.rest())[-3:]
    with Folder(chain) as folder:
        folder.piece()
        for name in last:
            os.rmdir(chain / name)
        eq(names(folder.rest(but=last))[-3:], last, "the end of the listing that had begun")
        for name in last:
            raises(errno.ENOENT, lambda: os.lstat(chain / name), f"{name}, which was forgotten")
    eq(len(os.listdir(chain)), 60 - 3 + 1, "snapshots and info.json")


def test_jobs_go_with_their_vm(case):
    """Records that the kernel has seen go from jobs/ with the VM whose they were."""
    many(case, snapshots=2, jobs=40)
    jobs = case.mnt / "jobs"
    mine = [str(row["id"]) for row in case.catalog.rows(
        "SELECT id FROM backup_jobs WHERE context_id = (SELECT id FROM vm_backup_contexts WHERE name = 'other3')")]
    check(len(mine) > 1, f"jobs of the VM: {mine}")
    told(jobs)
    with Folder(jobs) as folder:
        folder.piece()
        os.rmdir(case.vm("other3"))
        folder.rest()
        for job in mine:
            within(20, lambda: not os.path.lexists(jobs / job), f"job {job} is gone")
    check(not set(mine) & set(os.listdir(jobs)), "none is listed")
    eq(case.catalog.value("SELECT count(*) FROM backup_jobs WHERE id = ?", mine[0]), 0, "records")


def test_a_log_does_not_grow_with_what_is_kept(case):
    """A prune tells everything it forgets, and of what it keeps a hundred."""
    many(case)
    lines = [line.split(" ", 1)[1] for line in
             (case.job_dir(case.prune("web1")["job"]) / "log").read_text().splitlines()]
    eq(len([line for line in lines if line.startswith("kept chain") or line.startswith("kept web1/")]), 100, "kept")
    eq(lines[-1], f"kept {SNAPSHOTS - 100} more, which are not listed", "the last line")
    job = case.prune("web1 keep-last=2")["job"]
    lines = (case.job_dir(job) / "log").read_text().splitlines()
    eq(sum(" forgotten " in line for line in lines), SNAPSHOTS - 2, "forgotten")


def test_end_of_a_job_is_seen_at_once(case):
    """The kernel keeps what it was told of a job's folder only until that changes."""
    make_disk(case.dir / "vda.raw", 256 * KIB, [(0, 256 * KIB)])
    case.start(fault="source-read=sleep-300")
    case.add("web1", vda=case.dir / "vda.raw")
    (case.vm("web1") / "backup").write_text("\n")
    told(case.mnt / "jobs")
    eq((case.mnt / "jobs" / "1" / "wait").read_text(), "completed\n", "wait")
    eq(os.lstat(case.mnt / "jobs" / "1").st_mtime_ns, case.catalog.value("SELECT finished_at FROM backup_jobs"),
       "mtime of the job's folder, straight after wait")


main()
