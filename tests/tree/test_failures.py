# SPDX-License-Identifier: MIT
"""Backups that cannot be: sources that vanish, shrink or fail, stores that cannot write, caches
that lie. The job says why, what was there stays, and the next run works.
"""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import (KIB, MIB, copy, loop_device, make_disk, make_scattered_disk, noise, write_at)

CHUNK = 64 * KIB


def one_vm(case, fault=None, size=4 * MIB, extents=((0, 2 * MIB),)):
    image = make_disk(case.dir / "vda.raw", size, extents)
    case.start(fault=fault)
    case.add("web1", vda=image)
    return image


def expect_failed(case, job, says, disk_says=None):
    info = case.wait_job(job, "failed")
    check(says in info["reason"], f"reason says {says!r}: {info['reason']!r}")
    disk = next(d for d in info["disks"] if d["state"] == "failed")
    check((disk_says or says) in disk["reason"], f"reason of the disk: {disk['reason']!r}")
    check(says in (case.job_dir(job) / "log").read_text(), "the log tells the reason")
    case.daemon.allow_errors(".")
    return info


def begin_reading(case, image):
    """A backup of the image that takes its time, and has opened and begun to read it."""
    case.start(fault="source-read=sleep-500")
    case.add("web1", vda=image)
    job = case.request(case.vm("web1") / "backup")
    within(10, lambda: int((case.job_dir(job) / "progress").read_text().split()[0]) > 0,
           "the source is being read")
    return job


def test_source_is_gone(case):
    image = one_vm(case)
    case.backup("web1")
    image.rename(case.dir / "moved.raw")
    job = case.request(case.vm("web1") / "backup")
    expect_failed(case, job, "No such file or directory")
    check(str(image) in case.job(job)["reason"], "the reason names the source")
    eq(len(case.snapshots("web1", "vda")), 1, "snapshots")
    context = case.info(case.vm("web1"))
    eq((context["runs"], context["successes"], context["failures"]), (2, 1, 1), "totals")
    (case.dir / "moved.raw").rename(image)
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)


def test_source_became_a_folder(case):
    image = one_vm(case)
    image.unlink()
    image.mkdir()
    expect_failed(case, case.request(case.vm("web1") / "backup"), "directory")


def test_source_is_truncated_while_it_is_read(case):
    image = make_scattered_disk(case.dir / "vda.raw", 20)
    job = begin_reading(case, image)
    os.truncate(image, 16 * MIB + 100)
    info = expect_failed(case, job, str(image))
    eq(case.snapshots("web1", "vda"), [], "snapshots")
    check(info["reason"], "a reason")
    eq(case.chains("web1", "vda"), [], "chains")


def test_source_grows_while_it_is_read(case):
    """Another size than at the start: no snapshot that pretends to be the disk."""
    image = make_scattered_disk(case.dir / "vda.raw", 12)
    job = begin_reading(case, image)
    os.truncate(image, 300 * MIB)
    expect_failed(case, job, str(image))
    case.remount()
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)


def test_source_that_cannot_be_read(case):
    one_vm(case, fault="source-read=EIO")
    job = case.request(case.vm("web1") / "backup")
    expect_failed(case, job, "Input/output error")
    eq(case.data_packs(), [], "files in packs/")
    case.backup("web1")


def test_a_disk_error_in_an_incremental(case):
    image = one_vm(case)
    case.backup("web1")
    old = copy(image, case.dir / "old.raw")
    write_at(image, 0, noise(MIB, 2))
    case.remount(fault="source-read=EIO")
    expect_failed(case, case.request(case.vm("web1") / "backup"), "Input/output error")
    case.expect_same(case.snapshots("web1", "vda")[0] / "disk.raw", old)
    case.backup("web1")
    check("-incr-" in case.latest("web1", "vda").name, "the chain goes on")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)


STORE_FAULTS = ["pack-create", "1-pack-append", "2-pack-index", "2-pack-sync", "2-pack-rename",
                "2-pack-dirsync", "3-pack-commit", "4-snapshot-record", "5-snapshot-commit"]


@each({f"{point} {code}": (point, code) for point in STORE_FAULTS for code in ("ENOSPC", "EIO")})
def test_store_fails(case, row):
    point, code = row
    image = one_vm(case)
    case.backup("web1")
    old = copy(image, case.dir / "old.raw")
    write_at(image, 0, noise(MIB, 2))
    case.remount(fault=f"{point}={code}")
    words = {"ENOSPC": "No space left", "EIO": "Input/output error"}[code]
    expect_failed(case, case.request(case.vm("web1") / "backup"), words)
    eq(len(case.snapshots("web1", "vda")), 1, "snapshots")
    case.expect_same(case.snapshots("web1", "vda")[0] / "disk.raw", old)
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    eq([p for p in case.pack_files() if "open" in p.name or "tmp" in p.name], [], "leftovers")


def test_cache_that_cannot_be_written(case):
    """The fingerprint cache is a cache: a backup does not fail for want of it."""
    image = one_vm(case, fault="cache-write=ENOSPC")
    case.backup("web1")
    write_at(image, MIB, noise(100, 3))
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    case.daemon.allow_errors(".")


def test_one_disk_fails_the_others_keep_their_snapshots(case):
    for disk in ("vda", "vdb", "vdc"):
        make_disk(case.dir / f"{disk}.raw", MIB, [(0, 300 * KIB)], seed=disk)
    case.start()
    case.add("web1", **{d: case.dir / f"{d}.raw" for d in ("vda", "vdb", "vdc")})
    (case.dir / "vdb.raw").unlink()
    job = case.request(case.vm("web1") / "backup")
    info = expect_failed(case, job, "vdb")
    states = {d["disk"]: d["state"] for d in info["disks"]}
    eq(states, {"vda": "completed", "vdb": "failed", "vdc": "completed"}, "states")
    for disk in ("vda", "vdc"):
        case.expect_same(case.latest("web1", disk) / "disk.raw", case.dir / f"{disk}.raw")
    eq(case.snapshots("web1", "vdb"), [], "snapshots of vdb")
    links = {p.resolve() for p in case.job_dir(job).iterdir() if p.is_symlink()}
    eq(links, set(case.snapshots("web1", "vda") + case.snapshots("web1", "vdc")), "links of the job")


def test_a_failed_vm_does_not_disturb_another(case):
    for vm in ("web1", "web2"):
        make_disk(case.dir / f"{vm}.raw", MIB, [(0, 300 * KIB)], seed=vm)
    case.start()
    for vm in ("web1", "web2"):
        case.add(vm, vda=case.dir / f"{vm}.raw")
    (case.dir / "web1.raw").unlink()
    first, second = (case.request(case.vm(vm) / "backup") for vm in ("web1", "web2"))
    expect_failed(case, first, "No such file")
    case.wait_job(second)
    case.expect_same(case.latest("web2", "vda") / "disk.raw", case.dir / "web2.raw")


def test_block_device_that_vanished(case):
    needs_root()
    make_disk(case.dir / "backing.raw", 4 * MIB, [(0, MIB)])
    case.start()
    with loop_device(case.dir / "backing.raw", "--read-only") as device:
        case.add("web1", vda=device)
        case.backup("web1")
    # The node stays, but nothing is attached to it any more: a disk of another size.
    job = case.request(case.vm("web1") / "backup")
    state = case.bounded(lambda: (case.job_dir(job) / "wait").read_text().strip(), 30, "wait")
    check(state in ENDED, f"the job ends: {state}")
    case.expect_same(case.snapshots("web1", "vda")[0] / "disk.raw", case.dir / "backing.raw")
    case.daemon.allow_errors(".")


def test_disk_full_for_real(case):
    """A repository on a file system that runs full: the job fails, what was there is readable."""
    needs_root()
    make_disk(case.dir / "small.fs", 48 * MIB)
    case.run(["mkfs.ext4", "-q", case.dir / "small.fs"])
    (case.dir / "fs").mkdir()
    case.run(["mount", "-o", "loop", case.dir / "small.fs", case.dir / "fs"])
    case.repo = case.dir / "fs" / "repo"
    case.catalog.path = case.repo / "catalog.db"
    image = one_vm(case, size=8 * MIB, extents=((0, 4 * MIB),))
    case.backup("web1")
    make_disk(case.dir / "big.raw", 128 * MIB, [(0, 128 * MIB)], seed="big")
    case.add("web2", vda=case.dir / "big.raw")
    expect_failed(case, case.request(case.vm("web2") / "backup"), "No space left")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    case.remount()
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    case.daemon.allow_errors(".")


# --- the fingerprint cache is believed only as far as it proves itself


def cached_vms(case):
    """Two VMs of the same size with other content, each with a cache; unmounted."""
    image = one_vm(case, size=24 * MIB, extents=((0, 20 * MIB),))
    make_disk(case.dir / "other.raw", 24 * MIB, [(0, 20 * MIB)], seed="other")
    case.add("web2", vda=case.dir / "other.raw")
    case.backup("web1")
    case.backup("web2")
    uuids = [case.info(case.vm(vm) / "vda")["uuid"] for vm in ("web1", "web2")]
    case.umount()
    files = [next(p for p in (case.repo / "cache").iterdir() if p.name.startswith(u)) for u in uuids]
    return image, files


def flip(path, offset, count=1):
    data = bytearray(path.read_bytes())
    for place in range(offset, min(offset + count, len(data))):
        data[place] ^= 0xFF
    path.write_bytes(data)


FORGERIES = {
    "deleted": lambda own, other: own.unlink(),
    "empty": lambda own, other: own.write_bytes(b""),
    "cut short": lambda own, other: os.truncate(own, own.stat().st_size // 2),
    "cut within the head": lambda own, other: os.truncate(own, 20),
    "of another disk": lambda own, other: shutil.copyfile(other, own),
    "first byte": lambda own, other: flip(own, 0),
    "byte 40": lambda own, other: flip(own, 40),
    "a record's middle": lambda own, other: flip(own, own.stat().st_size // 2),
    "a page": lambda own, other: flip(own, 4096, 4096),
    "last byte": lambda own, other: flip(own, own.stat().st_size - 1),
    "zeros": lambda own, other: own.write_bytes(bytes(own.stat().st_size)),
    "noise": lambda own, other: own.write_bytes(noise(own.stat().st_size, 1)),
    "doubled": lambda own, other: own.write_bytes(own.read_bytes() * 2),
    "a folder in its place": lambda own, other: (own.unlink(), own.mkdir()),
    "the whole folder deleted": lambda own, other: [p.unlink() for p in own.parent.iterdir()],
}


@each(FORGERIES)
def test_cache_is(case, forge):
    image, (own, other) = cached_vms(case)
    forge(own, other)
    write_at(image, 3 * MIB, noise(CHUNK, "changed"))
    write_at(image, 21 * MIB, noise(10, "changed too"))
    case.mount()
    case.daemon.allow_errors("cache|fingerprint")
    case.backup("web1")
    check("-incr-" in case.latest("web1", "vda").name, "an incremental all the same")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)
    eq(case.info(case.latest("web1", "vda"))["changed_bytes"], 2 * CHUNK, "changed_bytes")
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)


def test_cache_of_an_older_snapshot(case):
    """A cache that was right once (restored from somewhere) is of another snapshot: ignored."""
    image, (own, _) = cached_vms(case)
    old = own.read_bytes()
    first = image.read_bytes()[:MIB]
    write_at(image, 0, noise(MIB, "second"))
    case.mount()
    case.backup("web1")
    case.umount()
    own.write_bytes(old)
    write_at(image, 0, first)
    case.mount()
    case.backup("web1")
    case.expect_same(case.latest("web1", "vda") / "disk.raw", image)


main()
