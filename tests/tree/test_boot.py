# SPDX-License-Identifier: MIT
"""A guest boots off the tree: its root disk is a snapshot's disk.raw or disk.qcow2, below an overlay
that takes what the guest writes.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import guest
from backtree_testing import *
from disks import MIB, copy, digest

TEXTS = ("written before the first backup", "written before the second")


def prepare(case):
    """Two snapshots of a guest's root disk that differ in a text. Returns kernel and initramfs."""
    guest.needed("qemu-system-x86_64", "qemu-img")
    drivers = guest.kernel()
    initramfs = guest.make_initramfs(drivers, case.dir / "initramfs")
    disk = guest.make_root_disk(case.dir / "root.raw", 64 * MIB, TEXTS[0])
    case.start()
    case.add("web1", vda=disk)
    case.backup("web1")
    copy(disk, case.dir / "0.raw")
    guest.change_text(disk, TEXTS[1])
    case.backup("web1")
    copy(disk, case.dir / "1.raw")
    return drivers, initramfs


def make_overlay(case, name, number):
    """Over that file of a snapshot."""
    path = case.snapshots("web1", "vda")[number] / name
    overlay = case.dir / f"over-{number}.qcow2"
    case.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", name.split(".")[1],
              overlay])
    return overlay


@each(["disk.raw", "disk.qcow2"])
def test_each_snapshot_boots_as_it_was(case, name):
    drivers, initramfs = prepare(case)
    snapshots = case.snapshots("web1", "vda")
    before = [digest(snapshot / name) for snapshot in snapshots]
    case.remount()
    for number, text in enumerate(TEXTS):
        told = guest.boot(case, drivers, initramfs, make_overlay(case, name, number))
        eq(told, {"text": text, "boots": "1", "root": "vda", "done": ""}, "what the guest told")
    # What the guests wrote is in their overlays alone.
    for number, snapshot in enumerate(snapshots):
        case.expect_same(snapshot / "disk.raw", case.dir / f"{number}.raw")
        eq(digest(snapshot / name), before[number], f"{name} of {snapshot.name}")


def test_what_the_guest_wrote_is_there_at_the_next_boot(case):
    drivers, initramfs = prepare(case)
    overlay = make_overlay(case, "disk.qcow2", 0)
    for boots in ("1", "2"):
        told = guest.boot(case, drivers, initramfs, overlay)
        eq((told["text"], told["boots"]), (TEXTS[0], boots), "what the guest told")
    case.run(["qemu-img", "check", "-q", overlay], timeout=60)


main()
