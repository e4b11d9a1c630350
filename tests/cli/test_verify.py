# SPDX-License-Identifier: MIT
"""verify and backup --verify-after: output, JSON, exit status 3 on damage, the same with and without
a mount.
"""
import hashlib
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, noise, read_at, write_at

CHUNK = 64 * KIB
BOTH = {"not mounted": False, "mounted": True}


def prepare(case, mounted=False):
    case.init()
    make_disk(case.dir / "a.raw", 3 * MIB, [(0, MIB), (2 * MIB, 100 * KIB)], "a")
    make_disk(case.dir / "b.raw", 3 * MIB, [(0, MIB)], "b")
    case.backtree("add", case.repo, "web1", f"vda={case.dir}/a.raw", f"vdb={case.dir}/b.raw")
    case.backtree("backup", case.repo, "web1")
    if mounted:
        case.mount()


def flip(case, number, disk="a.raw"):
    """A byte of the payload of a disk's chunk."""
    row = case.catalog.rows(
        'SELECT c."offset" AS at, p.uuid FROM chunks c JOIN packs p ON p.id = c.pack_id '
        'WHERE c.id = ? ORDER BY c."row" DESC',
        hashlib.sha256(read_at(case.dir / disk, number * CHUNK, CHUNK)).digest())[0]
    pack = case.repo / "packs" / row["uuid"][:2] / f"{row['uuid']}.pack"
    at = row["at"] + 64 + 500
    write_at(pack, at, bytes([read_at(pack, at, 1)[0] ^ 0x10]))


@each(BOTH)
def test_whole(case, mounted):
    prepare(case, mounted)
    done = case.backtree("verify", case.repo)
    eq(len(done.out.splitlines()), 1, f"a summary alone: {done}")
    check("no damage" in done.out and done.err == "", f"it says so: {done}")
    report = case.backtree("verify", case.repo, "--json").json()
    eq((report["kind"], report["state"], report["damage"]), ("verify", "completed", False), "record")
    eq(report["figures"]["proved_bytes"], case.pack_bytes(), "bytes proved")
    eq(report["figures"]["verified_snapshots"], 2, "snapshots")
    stats = case.backtree("stats", case.repo, "--json").json()["totals"]
    eq((stats["damaged_snapshots"], stats["lost_records"], stats["unverified_bytes"]), (0, 0, 0),
       "stats")
    check(stats["last_verified_at"] and stats["oldest_verified_at"], "times")


@each(BOTH)
def test_damage_and_healing(case, mounted):
    prepare(case, mounted)
    flip(case, 3)
    if mounted:
        case.remount()
    done = case.backtree("verify", case.repo, status=3)
    lines = done.out.splitlines()
    eq(len(lines), 3, f"the record, the snapshot, a summary: {done}")
    check(lines[0].startswith("damage: pack ") and "checksum" in lines[0], lines[0])
    check(f"65536 bytes in 1 extent cannot be read: {3 * CHUNK}+65536" in lines[1], lines[1])
    eq(len(done.err.splitlines()), 1, f"one line of error: {done}")
    report = case.backtree("verify", case.repo, "web1/vda", "--json", status=3).json()
    eq((report["damage"], report["disk"]), (True, "vda"), "the record")
    figures = report["figures"]
    eq((figures["damaged_records"], figures["known_damaged_records"]), (0, 1), "found before")
    check(report["reason"].startswith("1 damaged record, 65536 bytes of 1 snapshot cannot"),
          report["reason"])
    eq(case.backtree("verify", case.repo, "web1/vdb").status, 0, "the other disk")
    check(", DAMAGED" in case.backtree("list", case.repo).out, "list")
    stats = case.backtree("stats", case.repo, "--json").json()["totals"]
    eq((stats["damaged_snapshots"], stats["lost_records"]), (1, 1), "stats")
    path = case.listed()[0]
    eq(case.backtree("show", case.repo, path, "--json").json()["damaged"], True, "show")
    case.backtree("backup", case.repo, "web1")
    check("DAMAGED" not in case.backtree("list", case.repo).out, "list")
    done = case.backtree("verify", case.repo)
    check("no damage" in done.out, f"clean: {done}")
    done = case.backtree("check", case.repo, "--full")
    check("leftover: " in done.out and "damage: " not in done.out, f"check: {done}")
    if not mounted:
        case.mount()
    for vm_disk, image in (("vda", "a.raw"), ("vdb", "b.raw")):
        for snapshot in case.snapshots("web1", vm_disk):
            case.expect_same(snapshot / "disk.raw", case.dir / image)


@each(BOTH)
def test_verify_after(case, mounted):
    prepare(case, mounted)
    done = case.backtree("backup", case.repo, "web1", "--verify-after")
    check(done.out.endswith("web1: verified\n"), f"it says so: {done}")
    eq(case.catalog.value("SELECT count(*) FROM backup_disks WHERE verified_at IS NOT NULL"), 2,
       "verified")
    lines = case.backtree("jobs", case.repo, "--kind=verify").out.splitlines()
    check(len(lines) == 2 and " (job 2) " in lines[1], f"what it is of: {lines}")
    flip(case, 3)
    if mounted:
        case.remount()
    done = case.backtree("backup", case.repo, "web1", "--verify-after", status=3)
    check("verification (job " in done.err and "web1/vda: 0003" in done.out, f"both told: {done}")
    done = case.backtree("backup", case.repo, "web1", "--verify-after")
    check(done.out.endswith("web1: verified\n"), f"healed: {done}")


def test_a_share(case):
    prepare(case)
    for number in range(4):
        write_at(case.dir / "a.raw", number * 100 * KIB, noise(90 * KIB, number))
        case.backtree("backup", case.repo, "web1")
    count = case.catalog.value("SELECT count(*) FROM packs")
    seen = 0
    for part in range(1, 4):
        seen += case.backtree("verify", case.repo, f"--share={part}/3",
                              "--json").json()["figures"]["packs"]
    eq(seen, count, "parts")
    report = case.backtree("verify", case.repo, "--share=20%", "--json").json()
    eq(report["words"], "20%", "the words of the record")
    check(0 < report["figures"]["packs"] < count, "a share")
    eq(case.backtree("verify", case.repo, "--unverified=1h", "--json").json()["figures"]["packs"], 0,
       "proved already")
    report = case.backtree("verify", case.repo, "--scheduled", "--share=1%", "--json").json()
    eq(report["trigger"], "scheduled", "for a timer")


def test_a_disk_that_fails_once(case):
    """EIO from the disk under a pack is damage there; when it reads again the marks go."""
    prepare(case)
    # Which read is the Nth depends on who reads first: of an index, or of a record.
    for number in (25, 20, 30, 15, 35, 12, 18, 22, 28):
        done = case.backtree("verify", case.repo, status=(0, 3),
                             env={"BACKTREE_FAULT": f"pack-read:{number}=EIO"})
        if done.status == 3:
            break
    eq(done.status, 3, "exit status")
    check("damage: pack " in done.out, f"told: {done}")
    eq(case.catalog.value("SELECT count(*) FROM snapshot_damage"), 0, "proved again before that")
    eq(case.catalog.value("SELECT count(*) FROM chunks WHERE damaged_at IS NOT NULL"), 0, "marks")
    case.backtree("verify", case.repo)


@each({"a share of nothing": ("--share=0%",), "a part that is none": ("--share=4/3",),
       "no share": ("--share=some",), "a word": ("--share=unverified=1d",),
       "an age": ("--unverified=soon",), "two words": ("--unverified=1d 5%",),
       "a name and a share": ("web1", "--share=5%"), "two names": ("web1", "web2")})
def test_usage(case, options):
    prepare(case)
    case.refused("verify", case.repo, *options, status=2)
    eq(case.catalog.job_count("verify"), 0, "jobs")


def test_a_name_that_is_none(case):
    prepare(case)
    case.refused("verify", case.repo, "web9", says="web9")
    case.refused("verify", case.repo, "web1/vda/chain-0001", says="name a VM, a disk or a snapshot")
    eq(case.catalog.job_count("verify"), 0, "jobs")


def test_interrupting_it_cancels_the_job(case):
    prepare(case)
    child = case.spawn([BINARY, "verify", case.repo], stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, text=True,
                       env=dict(os.environ, BACKTREE_FAULT="pack-read=sleep-200"))
    within(20, lambda: case.catalog.value(
        "SELECT count(*) FROM backup_jobs WHERE kind = 'verify' AND state = 'running'"), "it runs")
    begun = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    check(time.monotonic() - begun < 3 * SLOWDOWN, "at once")
    eq((child.returncode, case.catalog.jobs("verify")[0]["state"]), (1, "cancelled"), err)


if __name__ == "__main__":
    main()
