# SPDX-License-Identifier: MIT
"""A repository whose file system has not a byte left: backups fail and lose nothing, forgetting and
garbage collection work, and after them there is room again.
"""
import contextlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, copy, loop_mounted, make_disk, noise, write_at

GENERATIONS = 4
CHANGED = 12 * MIB


def available(folder):
    fs = os.statvfs(folder)
    return fs.f_bavail * fs.f_frsize


def fill(folder, name="filler"):
    """Takes every byte there is, in ever smaller pieces."""
    with open(folder / name, "ab", buffering=0) as out:
        for size in (MIB, 64 * KIB, 4 * KIB, 512):
            with contextlib.suppress(OSError):
                while out.write(bytes(size)) == size:
                    pass
    left = available(folder)
    check(left < 64 * KIB, f"{left} bytes are available on the full file system")


@contextlib.contextmanager
def small_disk(case, kind="ext4", size=160 * MIB):
    """A repository on a small file system of its own, with a full and incrementals; the source and
    what it was at each backup are elsewhere. Unmounted."""
    needs_root()
    make_disk(case.dir / "small.fs", size)
    case.run([f"mkfs.{kind}", "-q", case.dir / "small.fs"])
    with loop_mounted(case.dir / "small.fs", case.dir / "fs") as folder:
        case.repo = folder / "repo"
        case.catalog.path = case.repo / "catalog.db"
        case.init("--keep-last=1")
        image = make_disk(case.dir / "vda.raw", 64 * MIB, [(0, 16 * MIB)], seed="first")
        case.backtree("add", case.repo, "web1", f"vda={image}")
        case.past = []
        for generation in range(GENERATIONS):
            write_at(image, 20 * MIB, noise(CHANGED, generation))
            case.backtree("backup", case.repo, "web1")
            case.past.append(copy(image, case.dir / f"past-{generation}.raw"))
        case.image = image
        yield folder


def expect_no_space(case, vm):
    said = case.backtree("backup", case.repo, vm, status=1).err.splitlines()
    eq(len(said), 1, f"lines on stderr: {said}")
    check("No space left" in said[0], f"the reason: {said[0]}")


def unmounted(case):
    """Ends with the daemon, so that the file system below can be taken away."""
    case.daemon.allow_errors("disk is full|No space left|reserve")
    case.umount()


@each({"ext4": ("ext4", 160 * MIB), "xfs": ("xfs", 320 * MIB)})
def test_forget_and_collect_mounted(case, row):
    with small_disk(case, *row) as folder:
        case.mount()
        fill(folder)
        write_at(case.image, 20 * MIB, noise(CHANGED, "new"))
        reason = case.backup("web1", state="failed")["reason"]
        check("No space left" in reason, f"the reason: {reason}")
        for snapshot, past in zip(case.snapshots("web1", "vda"), case.past):
            case.expect_same(snapshot / "disk.raw", past)
        case.snapshots("web1", "vda")[0].rmdir()
        case.prune()
        eq(len(case.snapshots("web1", "vda")), 1, "snapshots that are left")
        case.expect_same(case.latest("web1", "vda") / "disk.raw", case.past[-1])
        job = case.request(case.mnt / "control" / "gc")
        case.wait_job(job)
        check(available(folder) > CHANGED, f"{available(folder)} bytes came back")
        case.backup("web1")
        case.expect_same(case.latest("web1", "vda") / "disk.raw", case.image)
        unmounted(case)
        case.backtree("check", "--full", case.repo)
        check((case.repo / "cache" / "reserve").stat().st_blocks > 0, "the reserve is back")


def test_forget_and_collect_by_commands(case):
    with small_disk(case) as folder:
        fill(folder)
        write_at(case.image, 20 * MIB, noise(CHANGED, "new"))
        expect_no_space(case, "web1")
        case.backtree("prune", case.repo)
        case.backtree("gc", case.repo)
        check(available(folder) > CHANGED, f"{available(folder)} bytes came back")
        case.backtree("backup", case.repo, "web1")
        case.backtree("check", "--full", case.repo)
        case.mount()
        case.expect_same(case.latest("web1", "vda") / "disk.raw", case.image)
        case.umount()


def test_backups_leave_the_reserve_alone(case):
    """A backup that is too large fails before the last bytes are gone, and forgetting needs none of
    the reserve then."""
    with small_disk(case) as folder:
        big = make_disk(case.dir / "big.raw", 256 * MIB, [(n * 32 * MIB, 32 * MIB) for n in range(8)])
        case.backtree("add", case.repo, "web2", f"vda={big}")
        expect_no_space(case, "web2")
        check(available(folder) > MIB, f"{available(folder)} bytes are left alone")
        check((case.repo / "cache" / "reserve").exists(), "the reserve was not needed")
        case.backtree("prune", case.repo)
        case.backtree("gc", case.repo)
        case.backtree("backup", case.repo, "web1")


def test_the_reserve_comes_back_when_it_was_deleted(case):
    case.start()
    case.umount()
    (case.repo / "cache" / "reserve").unlink()
    case.mount()
    check((case.repo / "cache" / "reserve").stat().st_blocks * 512 >= 4 * MIB, "its blocks")


main()
